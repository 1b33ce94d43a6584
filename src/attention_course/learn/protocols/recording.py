"""What protocols share: recording a result, the inputs afterwards, and gradients."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attention_course
from attention_course.learn.answer_key import Observation
from attention_course.learn.encoding import leaves
from attention_course.learn.limits import TookTooLong

_NOT_THE_STUDENTS = (
    str(Path(attention_course.__file__).parent),
    str(Path(torch.__file__).parent),
    "<frozen",
)


def record(
    seen: Observation,
    name: str,
    value: Any,
    device: torch.device,
    outputs: Sequence[str] | None = None,
) -> None:
    """Record `value` under `name`: its kind, dtype, device and content.

    A sequence is recorded item by item, under the names in `outputs` if there are any;
    a mapping by key; a module by parameter.
    """
    if type(value) in (Tensor, nn.Parameter):
        seen[f"kind:{name}"] = "tensor"
        seen[f"dtype:{name}"] = str(value.dtype).removeprefix("torch.")
        seen[f"device:{name}"] = value.device.type == device.type
        seen[name] = dense(value)
    elif isinstance(value, list | tuple):
        seen[f"kind:{name}"] = f"sequence of {len(value)}"
        for index, item in enumerate(value):
            known = outputs is not None and index < len(outputs)
            label = outputs[index] if known and outputs else f"{name}[{index}]"
            record(seen, label, item, device)
    elif isinstance(value, Mapping):
        seen[f"kind:{name}"] = "dict with " + ", ".join(sorted(map(repr, value)))
        for key, item in value.items():
            record(seen, f"{name}[{key!r}]", item, device)
    elif isinstance(value, nn.Module):
        seen[f"kind:{name}"] = "module"
        for key, parameter in value.named_parameters():
            record(seen, f"{name}.{key}", parameter, device)
            seen[f"requires_grad:{name}.{key}"] = parameter.requires_grad
    elif value is None or isinstance(value, bool | int | float | str):
        seen[f"kind:{name}"] = type(value).__name__
        seen[name] = value
    else:
        seen[f"kind:{name}"] = type(value).__name__


def dense(tensor: Tensor) -> Tensor:
    """The tensor's numbers on the CPU, contiguous, without history."""
    return tensor.detach().cpu().contiguous().clone()


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same numbers (NaN equals NaN), shape and dtype."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(torch.allclose(left, right, rtol=0, atol=0, equal_nan=True))


class Inputs:
    """Live inputs by name, and a copy of them to compare with afterwards."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._leaves = [
            (name, tensor)
            for key, value in named.items()
            for name, tensor in leaves(value, key)
        ]
        self._before = [tensor.detach().clone() for _, tensor in self._leaves]

    @property
    def any_tensor(self) -> bool:
        """Whether there is a tensor whose device a result could share."""
        return bool(self._leaves)

    def record_unchanged(self, seen: Observation) -> None:
        """Record for each tensor whether it holds what it held at the start."""
        for (name, tensor), before in zip(self._leaves, self._before, strict=True):
            seen[f"unchanged:{name}"] = same_bits(tensor.detach(), before)


def record_gradients(
    seen: Observation,
    main: Any,
    upstream: Tensor,
    inputs: Mapping[str, Tensor],
) -> None:
    """Record the gradient of <main, upstream> with respect to each named input.

    None stands for "no path from this input to the output". Nothing is recorded if
    the output has another shape than the upstream gradient.
    """
    if type(main) not in (Tensor, nn.Parameter) or main.shape != upstream.shape:
        return
    tracked = {n: t for n, t in inputs.items() if t.requires_grad}
    gradients: Sequence[Tensor | None] = [None] * len(tracked)
    if main.requires_grad and tracked:
        # As grad(main, ..., upstream), which would import torch.fx and sympy first.
        inner = (main * upstream.to(main.dtype)).sum()
        gradients = torch.autograd.grad(
            inner, list(tracked.values()), allow_unused=True
        )
    found = dict(zip(tracked, gradients, strict=True))
    for name in inputs:
        gradient = found.get(name)
        seen[f"grad:{name}"] = None if gradient is None else dense(gradient)


def guarded(seen: Observation, action: Callable[[], None], phase: str = "") -> None:
    """Run `action`; if it raises, record what, with the student's own line.

    The record's items begin with `phase`: "" for the values, "gradient_" for the
    second run that sends a gradient back.
    """
    try:
        with torch.enable_grad():
            action()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        record_error(seen, error, phase)


def record_error(seen: Observation, error: BaseException, phase: str = "") -> None:
    """Record an exception: classes, message, and where in the student's code."""
    seen[f"{phase}raised"] = (
        "TookTooLong" if isinstance(error, TookTooLong) else type(error).__name__
    )
    seen[f"{phase}raised_classes"] = [c.__name__ for c in type(error).__mro__]
    seen[f"{phase}raised_message"] = " ".join(str(error).split())[:300]
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_THE_STUDENTS)
    ]
    if own and own[-1].line:
        seen[f"{phase}raised_at"] = f"line {own[-1].lineno}: {own[-1].line.strip()}"[
            :200
        ]

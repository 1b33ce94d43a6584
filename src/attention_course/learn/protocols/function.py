"""Observe a function: its outputs, its inputs afterwards, and its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.encoding import map_tensors
from attention_course.learn.protocols import protocol
from attention_course.learn.protocols.recording import (
    Inputs,
    guarded,
    record,
    record_gradients,
)


@protocol("function")
def observe_function(function: Any, case: Case, device: torch.device) -> Observation:
    """Call the function on the case's inputs, then once more for the gradients.

    The arguments of the case: `args` (positional), `kwargs`, `names` (of the
    positional ones, for messages), `outputs` (names of the items of a tuple) and
    `upstream` (the gradient that is sent back from the first output).
    """
    seen: Observation = {}
    guarded(seen, lambda: _values(function, case, device, seen))
    if case.gradients and "raised" not in seen:
        guarded(
            seen, lambda: _gradients(function, case, device, seen), phase="gradient_"
        )
    return seen


def _values(function: Any, case: Case, device: torch.device, seen: Observation) -> None:
    live = case.build(device)
    named = _named(live)
    inputs = Inputs(named)
    try:
        result = function(*live["args"], **live["kwargs"])
    finally:
        inputs.record_unchanged(seen)
    record(seen, "output", result, device, live.get("outputs"))
    if not inputs.any_tensor:  # then the device is free
        for item in [item for item in seen if item.startswith("device:")]:
            del seen[item]
    if isinstance(result, nn.Module):
        _record_identity(seen, result, named)


def _gradients(
    function: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    if live.get("upstream") is None:
        return
    sources: dict[str, Tensor] = {}

    def track(name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        sources[name] = tensor.requires_grad_()
        return tensor.clone()  # not a leaf: the student may work on it in place

    names = live.get("names") or []
    args = [
        map_tensors(value, track, _name(names, index))
        for index, value in enumerate(live["args"])
    ]
    kwargs = {k: map_tensors(v, track, k) for k, v in live["kwargs"].items()}
    for key, value in _named(live).items():
        if isinstance(value, nn.Module):
            sources |= {f"{key}.{n}": p for n, p in value.named_parameters()}
    result = function(*args, **kwargs)
    main = result[0] if isinstance(result, list | tuple) and result else result
    record_gradients(seen, main, live["upstream"], sources)


def _named(live: dict[str, Any]) -> dict[str, Any]:
    names = live.get("names") or []
    positional = {_name(names, i): v for i, v in enumerate(live["args"])}
    return {**positional, **live["kwargs"]}


def _name(names: list[str], index: int) -> str:
    return names[index] if index < len(names) else f"argument {index + 1}"


def _record_identity(
    seen: Observation, result: nn.Module, named: dict[str, Any]
) -> None:
    """For a returned module: which argument it is, and whose memory it shares."""
    seen["identity:output"] = next(
        (name for name, value in named.items() if value is result), "a new module"
    )
    own = {p.data_ptr() for p in result.parameters()}
    seen["shares_memory:output"] = sorted(
        name
        for name, value in named.items()
        if isinstance(value, nn.Module)
        and value is not result
        and any(p.data_ptr() in own for p in value.parameters())
    )

"""Arguments as data: trees of tensors, numbers and modules to JSON and back.

An answer key is read by students and by the grader, so it must hold data and no
code. Arguments of a case become a JSON tree whose tensors are kept beside it under
their paths. A module that an exercise hands to the student's code is described by
the name of its class, its arguments and its state.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

MODULE_SOURCES = ("torch.nn", "attention_course.learn.probes")
"""Where a key's modules may come from; the course's may end in a chapter's number."""


@dataclass(frozen=True)
class Build:
    """A module to be built where a case is observed.

    `factory` names a class of `torch.nn` or of `attention_course.learn.probes`.
    `state` maps parameter and buffer names to tensors; `frozen` names parameters with
    `requires_grad=False`; the dtype is that of the first state tensor.
    """

    factory: str
    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)
    training: bool = False
    frozen: tuple[str, ...] = ()


def noncontiguous(tensor: Tensor) -> Tensor:
    """The same numbers, any shape and dtype, laid out in reversed memory order."""
    if tensor.dim() < 2:
        return torch.stack([tensor, tensor], dim=-1)[..., 0]
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def encode(value: Any, tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    """`value` as JSON; its tensors go into `tensors` under paths that start at `path`.

    Raises TypeError for a value that is no tensor, number, string, None, dtype,
    sequence, mapping or `Build`.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().contiguous().clone()
        layout = "contiguous" if value.is_contiguous() else "reversed"
        return {"tensor": path, "layout": layout}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        items = [encode(v, tensors, f"{path}.{i}") for i, v in enumerate(value)]
        return {kind: items}
    if isinstance(value, Mapping):
        return {
            "dict": {k: encode(v, tensors, f"{path}.{k}") for k, v in value.items()}
        }
    if isinstance(value, Build):
        return {
            "module": value.factory,
            "args": encode(tuple(value.args), tensors, f"{path}.args"),
            "kwargs": encode(dict(value.kwargs), tensors, f"{path}.kwargs"),
            "state": encode(dict(value.state), tensors, f"{path}.state"),
            "training": value.training,
            "frozen": list(value.frozen),
        }
    raise TypeError(f"{path}: a case cannot hold a {type(value).__name__}")


def decode(spec: Mapping[str, Any], tensors: Mapping[str, Tensor], device: Any) -> Any:
    """A fresh copy of the value that `encode` described, with tensors on `device`."""
    if "tensor" in spec:
        tensor = tensors[spec["tensor"]].to(device, copy=True)
        return tensor if spec["layout"] == "contiguous" else noncontiguous(tensor)
    if "value" in spec:
        return spec["value"]
    if "dtype" in spec:
        return getattr(torch, spec["dtype"])
    if "list" in spec:
        return [decode(s, tensors, device) for s in spec["list"]]
    if "tuple" in spec:
        return tuple(decode(s, tensors, device) for s in spec["tuple"])
    if "dict" in spec:
        return {k: decode(s, tensors, device) for k, s in spec["dict"].items()}
    if "module" in spec:
        return _build(spec, tensors, device)
    raise ValueError(f"unknown kind of value in an answer key: {sorted(spec)}")


def _build(spec: Mapping[str, Any], tensors: Mapping[str, Tensor], device: Any) -> Any:
    args = decode(spec["args"], tensors, device)
    kwargs = decode(spec["kwargs"], tensors, device)
    state = decode(spec["state"], tensors, device)
    source, _, name = spec["module"].rpartition(".")
    if re.sub(r"_\d\d$", "", source) not in MODULE_SOURCES:
        raise ValueError(f"an answer key may not build {spec['module']}")
    factory: Callable[..., Any] = getattr(importlib.import_module(source), name)
    with torch.random.fork_rng(devices=[]):  # leave the reader's random stream alone
        built = factory(*args, **kwargs)
    if not isinstance(built, nn.Module):
        return built
    if state:
        built.to(next(iter(state.values())).dtype)
        built.load_state_dict(state)
    built.to(device).train(spec["training"])
    for name in spec["frozen"]:
        built.get_parameter(name).requires_grad_(False)
    return built


def leaves(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a tree of arguments with its name; a module's by its own."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, nn.Module):
        for key, parameter in value.named_parameters():
            yield f"{name}.{key}", parameter
        for key, buffer in value.named_buffers():
            yield f"{name}.{key}", buffer
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{name}[{index}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{name}[{key!r}]")


def map_tensors(value: Any, change: Callable[[str, Tensor], Tensor], name: str) -> Any:
    """The tree with `change(name, tensor)` for each tensor; modules stay the same."""
    if isinstance(value, Tensor):
        return change(name, value)
    if isinstance(value, list | tuple):
        items = [map_tensors(v, change, f"{name}[{i}]") for i, v in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        return {k: map_tensors(v, change, f"{name}[{k!r}]") for k, v in value.items()}
    return value

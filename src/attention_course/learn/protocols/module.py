"""Observe a class of modules: parameters, outputs, gradients, train and eval."""

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


@protocol("module")
def observe_module(cls: Any, case: Case, device: torch.device) -> Observation:
    """Build the module, give it the case's parameters, and run it forward and back.

    The arguments of the case: `init` and `init_kwargs` (for the constructor),
    `parameters` (name to tensor; their dtype becomes the module's), `training`, `args`,
    `kwargs`, `names`, `outputs` and `upstream` (as for a function). A case without
    `args` only builds.
    """
    seen: Observation = {}
    guarded(seen, lambda: _observe(cls, case, device, seen))
    return seen


def build(
    cls: Any, live: dict[str, Any], device: torch.device, seen: Observation
) -> Any:
    """The student's module with the case's parameters, or None if they do not fit."""
    with torch.random.fork_rng(devices=[]):
        module = cls(*live.get("init", ()), **live.get("init_kwargs", {}))
    seen["kind:module"] = (
        "module" if isinstance(module, nn.Module) else type(module).__name__
    )
    if not isinstance(module, nn.Module):
        return None
    own = dict(module.named_parameters())
    seen["parameters"] = {name: list(p.shape) for name, p in sorted(own.items())}
    every = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    if shared := sorted(every - set(own)):
        seen["shared_parameters"] = shared
    given: dict[str, Tensor] = live.get("parameters") or {}
    wanted = {name: list(p.shape) for name, p in given.items()}
    if seen["parameters"] != wanted:
        return None
    if given:
        module.to(next(iter(given.values())).dtype)
    module.to(device)
    _load(module, given)
    return module.train(live.get("training", False))


def _load(module: nn.Module, given: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(given[name])


def _observe(cls: Any, case: Case, device: torch.device, seen: Observation) -> None:
    live = case.build(device)
    handed = Inputs({"init": live.get("init", ())})
    module = build(cls, live, device, seen)
    if module is None or "args" not in live:
        return
    _other_numbers_first(module, case.build(device))
    _values(module, live, device, seen)
    handed.record_unchanged(seen)
    if case.gradients and live.get("upstream") is not None:
        again = case.build(device)
        guarded(seen, lambda: _gradients(module, again, seen), phase="gradient_")


def _other_numbers_first(module: nn.Module, live: dict[str, Any]) -> None:
    """Call the module on other numbers of the same shapes: it must forget them.

    Inputs are negated, masks reversed along the keys, parameters halved.
    """

    def other(name: str, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool:
            return tensor.flip(-1)
        return -tensor if tensor.is_floating_point() else tensor

    args = [map_tensors(value, other, "") for value in live["args"]]
    kwargs = {k: map_tensors(v, other, k) for k, v in live.get("kwargs", {}).items()}
    _load(module, {name: p / 2 for name, p in live["parameters"].items()})
    module(*args, **kwargs)
    _load(module, live["parameters"])
    module.train(live.get("training", False))


def _values(
    module: nn.Module, live: dict[str, Any], device: torch.device, seen: Observation
) -> None:
    names = live.get("names") or []
    named = {_name(names, i): value for i, value in enumerate(live["args"])}
    inputs = Inputs({**named, **live.get("kwargs", {}), "module": module})
    modes = _modes(module)
    result = module(*live["args"], **live.get("kwargs", {}))
    seen["unchanged:training mode"] = _modes(module) == modes
    record(seen, "output", result, device, live.get("outputs"))
    inputs.record_unchanged(seen)


def _modes(module: nn.Module) -> dict[str, bool]:
    """Which part is in training, by name."""
    return {name: part.training for name, part in module.named_modules()}


def _gradients(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    sources: dict[str, Tensor] = dict(module.named_parameters())

    def track(name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        sources[name] = tensor.requires_grad_()
        return tensor.clone()

    names = live.get("names") or []
    args = [map_tensors(v, track, _name(names, i)) for i, v in enumerate(live["args"])]
    kwargs = {k: map_tensors(v, track, k) for k, v in live.get("kwargs", {}).items()}
    result = module(*args, **kwargs)
    main = result[0] if isinstance(result, list | tuple) and result else result
    record_gradients(seen, main, live["upstream"], sources)


def _name(names: list[str], index: int) -> str:
    return names[index] if index < len(names) else f"argument {index + 1}"

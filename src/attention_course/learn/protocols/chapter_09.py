"""Chapter 09: weights copied from module to module, and reports that compare two.

Copying changes a module on purpose, and how a report differentiates is the student's
choice. So what is looked at here is the module that was to be filled, and of a report
what holds for every choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.encoding import decode
from attention_course.learn.protocols import protocol, view
from attention_course.learn.protocols.recording import (
    Inputs,
    dense,
    guarded,
    record,
    same_bits,
)

REPORTED = ("output", "input_gradient", "parameter_gradients")
ZERO, CLEAR = 1e-8, 1e-6
"""Errors up to the first are rounding; from the second on they are differences."""


@protocol("copied_weights")
def observe_copy(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(mine, official)`; record what `mine` holds afterwards.

    The arguments of the case: `args`, the two modules.
    """
    seen: Observation = {}
    guarded(seen, lambda: _copy(function, case, device, seen))
    return seen


def _copy(function: Any, case: Case, device: torch.device, seen: Observation) -> None:
    mine, official = case.build(device)["args"]
    inputs = Inputs({"official": official})
    flags = _flags(official)
    result = function(mine, official)
    is_module = isinstance(result, nn.Module)
    seen["kind:output"] = "module" if is_module else type(result).__name__
    names = {id(mine): "mine", id(official): "official"}
    seen["the returned module"] = names.get(id(result), "another")
    record(seen, "mine", mine, device)
    theirs = {_memory(p) for p in official.parameters()}
    seen["parameters of mine in official's memory"] = [
        name for name, p in mine.named_parameters() if _memory(p) in theirs
    ]
    inputs.record_unchanged(seen)
    changed = [name for name, flag in _flags(official).items() if flag != flags[name]]
    seen["parameters of official whose requires_grad changed"] = changed


def _memory(parameter: nn.Parameter) -> int:
    return parameter.untyped_storage().data_ptr()


def _flags(module: nn.Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in module.named_parameters()}


@protocol("refused_copy")
def observe_refusal(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(mine, official)` with modules that do not match.

    Recorded is what it raises, and what of `mine` has changed. The arguments: as for
    a copy.
    """
    seen: Observation = {}
    guarded(seen, lambda: _refusal(function, case, device, seen))
    return seen


def _refusal(
    function: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    mine, official = case.build(device)["args"]
    before = {name: dense(p) for name, p in mine.named_parameters()}
    seen["the error on a mismatch"] = "nothing"
    try:
        function(mine, official)
    except NotImplementedError:
        raise
    except ValueError:
        seen["the error on a mismatch"] = "ValueError"
    except Exception as error:  # whatever it is: `mine` has to be as it was
        seen["the error on a mismatch"] = type(error).__name__
    after = dict(mine.named_parameters())
    seen["parameters of mine that changed"] = [
        name
        for name, old in before.items()
        if name not in after or not same_bits(dense(after[name]), old)
    ]


@protocol("parity")
def observe_parity(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(mine, official, x)` on pairs of layers and of attention modules.

    The arguments of the case: `pairs`, by kind of module, lists of (mine, official, x);
    `times`, how often each is reported on; and what the view "parity" needs.
    """
    live = case.build(device)
    parts: dict[str, Observation] = {}
    for kind, pairs in live["pairs"].items():
        parts[kind] = {}
        report = partial(_reports, function, pairs, live["times"], parts[kind])
        guarded(parts[kind], report)
    if all("raised" in part for part in parts.values()):
        return next(iter(parts.values()))
    return {f"{kind}/{k}": v for kind, part in parts.items() for k, v in part.items()}


def _reports(function: Any, pairs: list, times: int, seen: Observation) -> None:
    for number, (mine, official, x) in enumerate(pairs):
        inputs = Inputs({"mine": mine, "official": official, "x": x})
        for time in range(times):
            report = function(mine, official, x.clone() if time else x)
            _record_report(seen, f"{number}.{time}", report)
        inputs.record_unchanged(seen)


def _record_report(seen: Observation, call: str, report: Any) -> None:
    is_dict = isinstance(report, Mapping)
    seen[f"{call}/kind"] = "dict" if is_dict else type(report).__name__
    for key in REPORTED if is_dict else ():
        value = report.get(key, "missing")
        plain = isinstance(value, float) or value == "missing"
        seen[f"{call}/{key}"] = value if plain else f"a {type(value).__name__}"


@view("parity", alone=("facts", "zero", "combined"))
def view_parity(observation: Observation, case: Case) -> Observation:
    """What holds for every way to differentiate: exact outputs, and what is zero.

    The case's argument `facts` tells for each key of a report what counts: its
    "number", its "size" (zero or not), or "any" float. Of three pairs, `combined` names
    the key whose third error is the larger of the first two. A kind of module that the
    answer does not take (it raised) is judged as the other kind.
    """
    told = case.arguments["dict"]
    plain = {k: decode(v, case.tensors, "cpu") for k, v in told.items() if k != "pairs"}
    counts = {kind: len(v["list"]) for kind, v in told["pairs"]["dict"].items()}
    summaries = {
        kind: _summary(_part(observation, kind), plain, count)
        for kind, count in counts.items()
        if f"{kind}/raised" not in observation
    }
    shown: Observation = {}
    for kind in counts:
        known = summaries.get(kind) or next(iter(summaries.values()))
        for item, value in known.items():
            if item.startswith("unchanged:"):
                shown[item] = shown.get(item, True) and value
            else:
                head, _, tail = item.partition("/")
                shown[f"{head} for {kind}{tail}"] = value
    return shown


def _part(observation: Observation, kind: str) -> Observation:
    start = f"{kind}/"
    return {k[len(start) :]: v for k, v in observation.items() if k.startswith(start)}


def _summary(part: Observation, plain: Mapping[str, Any], count: int) -> Observation:
    shown: Observation = {}
    for number in range(count):
        for time in range(plain["times"]):
            call = f"{number}.{time}"
            which = f", pair {number + 1}" if count > 1 else ""
            which += ", called again" if time else ""
            shown[f"the report/{which}"] = part.get(f"{call}/kind")
            for key, wanted in plain["facts"].items():
                value = part.get(f"{call}/{key}", "missing")
                fact = _fact(value, wanted, plain.get("zero", ZERO))
                if fact == "not zero" and key == "input_gradient":
                    copied = value == part.get(f"{call}/output")
                    fact = "the error of the output" if copied else fact
                shown[f"{key}/{which}"] = fact
    for key in ("input_gradient", "parameter_gradients"):
        if plain["times"] > 1:
            pair = (part.get(f"0.{time}/{key}") for time in range(2))
            shown[f"second {key}/"] = _growth(*pair)
    if "combined" in plain:
        key = plain["combined"]
        three = (part.get(f"{number}.0/{key}") for number in range(3))
        shown[f"{key} of two changes/"] = combined(*three)
    for item, value in part.items():
        if item.startswith("unchanged:"):
            name = item.partition(":")[2].partition(".")[0]
            shown[f"unchanged:{name}"] = shown.get(f"unchanged:{name}", True) and value
    return shown


def _fact(value: Any, wanted: str, zero: float) -> Any:
    if not isinstance(value, float) or wanted == "number":
        return value
    if wanted == "any":
        return "a float"
    if not math.isfinite(value):
        return "not finite"
    if abs(value) <= zero:
        return "zero"
    return "not zero" if value >= CLEAR else "almost zero" if value > 0 else "negative"


def _growth(first: Any, second: Any) -> str:
    """Whether a second report on the same pair counts the first one's gradients too."""
    known = isinstance(first, float) and isinstance(second, float) and first > CLEAR
    return "twice the first" if known and _close(second, 2 * first) else "for itself"


def combined(first: Any, second: Any, both: Any) -> str:
    """Whether the report on two independent changes is the larger, or adds them up."""
    if all(isinstance(v, float) and v > CLEAR for v in (first, second, both)):
        adds = (first + second, math.hypot(first, second))
        if not _close(both, max(first, second)):
            return "added up" if any(_close(both, a) for a in adds) else "the larger"
    return "the larger"


def _close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-6)

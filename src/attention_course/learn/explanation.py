"""Say in one sentence what differs, for an answer that shows no known mistake."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.comparison import agree, first_difference


def explain(item: str, expected: Observation, observed: Observation, case: Case) -> str:
    """What is wrong with `item`, in words a beginner can act on."""
    if "raised" in expected:
        return _should_raise(expected, observed, case)
    if "raised" in observed:
        return _raised(observed, "", case)
    if item not in observed and "gradient_raised" in observed:
        return _raised(observed, "gradient_", case)
    # What is wrong with the object or its parameters explains everything after it.
    if not agree(expected.get("kind:module"), observed.get("kind:module")):
        return _wrong_kind("kind:module", expected, observed, case)
    if not agree(expected.get("parameters"), observed.get("parameters")):
        return _wrong_parameters(expected, observed)
    for other in expected:
        if other.startswith("kind:") and not agree(
            expected[other], observed.get(other)
        ):
            return _wrong_kind(other, expected, observed, case)
    kind, _, name = item.partition(":")
    if kind == "grad":
        return _wrong_gradient(name, expected, observed, case)
    if item == "unchanged:training mode":
        return (
            "Your `forward` switches between training and eval. Only who uses the "
            "module calls `.train()` or `.eval()`."
        )
    if item == "unchanged:requires_grad of the argument":
        return (
            "Your code changed `requires_grad` of the parameters that it was given. "
            "Leave them as they are."
        )
    if kind == "unchanged":
        return (
            f"Your code changed its input `{name}` in place. Whoever called it still "
            f"needs the old numbers: make a new tensor instead."
        )
    if kind == "dtype":
        return (
            f"The result has dtype {observed.get(item)}, but for this input it should "
            f"have {expected[item]}{_where(case)}."
            + (" Keep the input's dtype." if "float" in str(expected[item]) else "")
        )
    if kind == "device":
        return (
            "The result lies on another device than the input. Create new tensors "
            "with `device=x.device`."
        )
    return _wrong_value(item, expected[item], observed.get(item), case)


def _where(case: Case) -> str:
    situation = case.note or describe_inputs(case)
    return f" ({situation})" if situation else ""


def describe_inputs(case: Case) -> str:
    """The inputs of a case by name and shape, as in "query (2, 4, 7), num_heads 3"."""
    arguments = case.arguments.get("dict", {})
    names = [n.get("value") for n in arguments.get("names", {}).get("list", [])]
    args = arguments.get("args", {}).get("tuple", [])
    named = [
        (names[i] if i < len(names) else f"argument {i + 1}", a)
        for i, a in enumerate(args)
    ]
    named += arguments.get("kwargs", {}).get("dict", {}).items()
    return ", ".join(p for p in (_describe(n, s, case) for n, s in named) if p)


def _describe(name: str, spec: dict[str, Any], case: Case) -> str:
    if "tensor" in spec:
        return f"{name} {tuple(case.tensors[spec['tensor']].shape)}"
    if "value" in spec:
        return f"{name} {spec['value']}"
    return ""


NOT_RAISED = ("TookTooLong", "NoTimeLeft", "ProcessDied", "OutputTooLarge")
"""What an observation may say in place of an exception."""


def _should_raise(expected: Observation, observed: Observation, case: Case) -> str:
    wanted = expected["raised"]
    if observed.get("raised") in NOT_RAISED:
        return _raised(observed, "", case)
    if "raised" in observed:
        return (
            f"This should raise {wanted}{_where(case)}, but it raised "
            f"{observed['raised']}: {observed.get('raised_message', '')}"
        )
    return f"This should raise {wanted}{_where(case)}, but it returned a result."


def _raised(observed: Observation, phase: str, case: Case) -> str:
    name = observed[f"{phase}raised"]
    if name == "TookTooLong":
        return (
            f"Your code did not return within {case.seconds:g} s{_where(case)}. Look "
            "for a loop that never ends, or for work that belongs before the call."
        )
    if name == "NoTimeLeft":
        return (
            "The time for the whole notebook was used up before your code was called. "
            "Look for a cell that never ends, or that trains for long."
        )
    if name == "ProcessDied":
        return (
            "Your code ended the process that ran it: by `exit`, or by a crash such as "
            "too deep a recursion in compiled code or too much memory."
        )
    if name == "OutputTooLarge":
        return f"Your code returned far too much: {observed['raised_message']}."
    if name == "NotImplementedError" and not observed.get(f"{phase}raised_message"):
        return (
            f"A part of your answer is not written yet{_at(observed, phase)}: replace "
            "`raise NotImplementedError()`."
        )
    doing = " while the gradient was computed" if phase else ""
    message = observed.get(f"{phase}raised_message") or "no message"
    return (
        f"Your code raised {name}{doing}{_at(observed, phase)}{_where(case)}: {message}"
    )


def _at(observed: Observation, phase: str) -> str:
    place = observed.get(f"{phase}raised_at")
    return f" in {place}" if place else ""


def _wrong_kind(
    item: str, expected: Observation, observed: Observation, case: Case
) -> str:
    name = item.partition(":")[2]
    got, wanted = observed.get(item), expected[item]
    if got == "NoneType" and name in ("output", "module"):
        return f"Your code returned None{_where(case)}. Did you forget `return`?"
    what = "The result" if name in ("output", "module") else f"`{name}`"
    return f"{what} should be {_article(wanted)}, but is {_article(got)}{_where(case)}."


def _article(kind: str | None) -> str:
    if kind is None:
        return "missing"
    if kind == "NoneType":
        return "None"
    if kind.startswith("sequence of"):
        return f"a tuple of {kind.removeprefix('sequence of ')} results"
    if kind.startswith("dict with"):
        return f"a {kind}"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _wrong_parameters(expected: Observation, observed: Observation) -> str:
    wanted, got = expected.get("parameters") or {}, observed.get("parameters") or {}
    parts = []
    if missing := sorted(set(wanted) - set(got)):
        parts.append("missing " + _listed(missing))
    if surplus := sorted(set(got) - set(wanted)):
        parts.append("not expected " + _listed(surplus))
    parts += [
        f"{name} has shape {tuple(got[name])} instead of {tuple(wanted[name])}"
        for name in sorted(set(got) & set(wanted))
        if got[name] != wanted[name]
    ]
    if shared := observed.get("shared_parameters"):
        parts.append(f"{_listed(shared)} belong to a layer that has another name too")
    return "The module's parameters are not the agreed ones: " + "; ".join(parts) + "."


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(f"`{n}`" for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _wrong_gradient(
    name: str, expected: Observation, observed: Observation, case: Case
) -> str:
    item = f"grad:{name}"
    if item not in observed:
        return (
            "The gradient could not be computed: the result has another shape than "
            f"expected{_where(case)}."
        )
    got, wanted = observed[item], expected[item]
    if got is None:
        return (
            f"No gradient reaches `{name}`: somewhere the path is cut, for example by "
            "`detach`, `.item()`, `.data`, `torch.no_grad` or by making a new tensor "
            "from numbers."
        )
    if wanted is None:
        return f"A gradient reaches `{name}`, on which the result should not depend."
    return _wrong_value(f"gradient of `{name}`", wanted, got, case)


def _wrong_value(item: str, expected: Any, observed: Any, case: Case) -> str:
    label = item if item.startswith("gradient") else f"`{item}`"
    if not isinstance(expected, Tensor) or not isinstance(observed, Tensor):
        return f"{label} is {observed!r}, expected {expected!r}{_where(case)}."
    if expected.shape != observed.shape:
        return (
            f"{label} has shape {tuple(observed.shape)}, expected "
            f"{tuple(expected.shape)}{_where(case)}."
        )
    index, wanted, got = first_difference(expected, observed, case.tolerance)
    place = f"{label}[{', '.join(map(str, index))}]" if index else label
    if item.startswith("gradient") and index:
        place = f"the {label} at [{', '.join(map(str, index))}]"
    text = (
        f"{place} is {_number(got, wanted, expected)}, expected "
        f"{_number(wanted, got, expected)}{_where(case)}."
    )
    if _nearly(expected, observed):
        text += (
            " The numbers agree to five digits or more: somewhere a step rounds to "
            "float32 (`.float()`, or a tensor made without `dtype=x.dtype`), or adds a "
            "small constant."
        )
    if math.isnan(got):
        text += " NaN often comes from 0/0, inf - inf or 0 * inf."
    return text[0].upper() + text[1:] if text[0].isalpha() else text


def _nearly(expected: Tensor, observed: Tensor) -> bool:
    both_fine = expected.dtype == observed.dtype == torch.float64
    return both_fine and agree(expected, observed, 1e-5)


def _number(value: float, other: float, like: Tensor) -> str:
    if like.dtype == torch.bool:
        return str(bool(value))
    if not like.is_floating_point() and math.isfinite(value):
        return str(int(value))
    short = f"{value:.4g}"
    return short if short != f"{other:.4g}" else f"{value:.10g}"

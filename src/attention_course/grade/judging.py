"""Form the verdict on one exercise from what a student's process says it saw.

An observation is a student's word. What a liar could gain by each part of it:

- A tensor (`output`, `grad:`): nothing but by computing it. The inputs are fresh, the
  expected numbers were never inside.
- `dtype:`: nothing. Where there is a tensor it is read off it here.
- `kind:`: nothing. Only where there is a tensor can something be said to be one; that
  it was a list of numbers, say, is what `tolist` would gain honestly.
- `device:`: nothing. Grading is on the CPU; an answer that keeps to the CPU passes.
- `unchanged:`, `identity:`, `shares_memory:`: what a copy at the start or the end of
  the same answer would gain honestly. The numbers have to be right all the same.
- `raised` in a case that must raise: it must be told which case that is. The cases'
  order is the paper's own, so it has to look at the inputs, as the answer should.
- `parameters`: what a module with these parameters gains honestly.
- A mistake's numbers: points lost.

Types and sizes are checked before anything is compared; what is no observation costs
that exercise alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attention_course.grade.contract import End
from attention_course.grade.harmless import line
from attention_course.grade.keys import Keys, unblinded
from attention_course.grade.papers import Paper
from attention_course.learn.answer_key import ExerciseKey, Observation
from attention_course.learn.runner import died
from attention_course.learn.verdict import AspectVerdict, Verdict, judge, share_points

DTYPES = frozenset(
    {
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.complex128, torch.complex64,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    }
)  # fmt: skip
LARGEST_MESSAGE = 1500
MOST_ITEMS = 2000
MOST_NODES = 20_000
DEEPEST = 6
LONGEST_TEXT = 2000
NEVER_TOO_LARGE = 2**16
LARGEST_INTEGER = 2**512
"""Python's integers have no limit and some answers need more than 64 bits; this is far
above what any case asks for, and small enough to become a float."""
MUCH_LARGER = 16

REASONS: Mapping[End, str] = {
    "died": "ProcessDied",
    "took too long": "TookTooLong",
}


class Garbled(ValueError):
    """What came back is not what an observation looks like."""


@dataclass(frozen=True)
class Judged:
    """A verdict, and how the observation that it rests on ended."""

    verdict: Verdict
    end: End


def judge_exercise(
    keys: Keys,
    exercise: str,
    paper: Paper,
    seen: Mapping[str, Observation],
    end: End,
    *,
    reasons: bool = True,
    error: tuple[str, str] | None = None,
) -> Judged:
    """The verdict on one exercise; `seen`, `end`, `error` are as the sandbox gave them.

    Without `reasons`, known mistakes are not looked for: only the points count.
    """
    key = keys.get(exercise, paper)
    if end == "undefined":
        return Judged(_zero(key, _undefined(exercise, error)), end)
    if end == "garbled":
        return Judged(_zero(key, GARBLED), end)
    if end == "too large":
        return Judged(_zero(key, TOO_LARGE), end)
    judged = _judge(key, paper, seen, end)
    verdict = judged.verdict
    known = judged.end == "garbled" or verdict.complete or verdict.status == "blank"
    if reasons and not known:
        # Only now the known mistakes are worth their time. That their key cannot be
        # made would be no fault of the answer's: it raises.
        judged = _judge(keys.get(exercise, paper, mistakes=True), paper, seen, end)
    return judged


def _judge(
    key: ExerciseKey, paper: Paper, seen: Mapping[str, Observation], end: End
) -> Judged:
    try:
        verdict = judge(key, _observed(key, paper, seen, end))
    except Exception as error:  # a student's word met a view that trusts its types
        told = f"{GARBLED} ({type(error).__name__})"
        return Judged(_zero(key, told), "garbled")
    return Judged(_harmless(verdict), end)


GARBLED = (
    "What your code returned could not be read as a result. Return plain tensors, "
    "numbers or modules of torch, and leave the course's own functions as they are."
)
TOO_LARGE = "Your code returned far too much."


def _undefined(exercise: str, error: tuple[str, str] | None) -> str:
    start = f"`{exercise}` is not defined once the notebook has run."
    if error is None:
        return (
            f"{start} Look for an error in the cell that defines it, or in one above."
        )
    kind, text = (line(words, 200) for words in error)
    return f"{start} Its cell stopped: {kind}: {text}"


def _observed(
    key: ExerciseKey, paper: Paper, seen: Mapping[str, Observation], end: End
) -> dict[str, Observation]:
    if not isinstance(seen, Mapping):
        raise Garbled("no observations")
    named = unblinded(key, paper, seen)
    missing = [case for case in key.cases if case.name not in named]
    # Without a word about a case, its process ended before it came to it.
    named |= died(missing, REASONS.get(end, "ProcessDied"))
    largest = max(_largest(o) for o in key.expected.values())
    return {name: checked(o, largest) for name, o in named.items()}


def _largest(observation: Observation) -> int:
    sizes = [v.numel() for v in observation.values() if isinstance(v, Tensor)]
    return max(sizes, default=0)


def checked(observation: Observation, largest: int) -> Observation:
    """The observation, with types and sizes as they must be. Raises `Garbled`.

    `largest` is the number of elements of the largest expected tensor. A tensor's dtype
    is read off it, whatever was said.
    """
    if not isinstance(observation, Mapping) or len(observation) > MOST_ITEMS:
        raise Garbled("no observation")
    clean: Observation = {}
    for item, value in observation.items():
        if not isinstance(item, str) or len(item) > LONGEST_TEXT:
            raise Garbled("an item without a name")
        if isinstance(value, Tensor):
            if too_large := _too_large(value, largest):
                return too_large
            clean[item] = _plain(value)
        else:
            _Nodes().count(value)
            clean[item] = value
    return _restated(_consistent(clean))


def _too_large(tensor: Tensor, largest: int) -> Observation | None:
    if tensor.numel() <= max(NEVER_TOO_LARGE, MUCH_LARGER * largest):
        return None
    return {
        "raised": "OutputTooLarge",
        "raised_classes": [],
        "raised_message": f"a tensor of shape {tuple(tensor.shape)}",
    }


def _plain(tensor: Tensor) -> Tensor:
    is_plain = (
        type(tensor) is Tensor
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in DTYPES
        and not tensor.requires_grad
    )
    if not is_plain:
        raise Garbled("a tensor of an unknown kind")
    return tensor


class _Nodes:
    """Counts the parts of a JSON value and refuses what no observation holds."""

    def __init__(self) -> None:
        self.number = 0

    def count(self, value: Any, depth: int = 0) -> None:
        self.number += 1
        if self.number > MOST_NODES or depth > DEEPEST:
            raise Garbled("too much")
        if value is None or type(value) in (bool, float):
            return
        if type(value) is int and abs(value) < LARGEST_INTEGER:
            return
        if type(value) is str and len(value) <= LONGEST_TEXT:
            return
        if type(value) is list:
            for part in value:
                self.count(part, depth + 1)
            return
        if type(value) is dict and all(
            type(k) is str and len(k) <= LONGEST_TEXT for k in value
        ):
            for part in value.values():
                self.count(part, depth + 1)
            return
        raise Garbled("a value of an unknown kind")


def _consistent(seen: Observation) -> Observation:
    """Refuse an exception without a name, and a flag that is no flag."""
    for item, value in seen.items():
        if item in ("raised", "gradient_raised", "raised_message", "raised_at"):
            if not isinstance(value, str):
                raise Garbled("an exception without a name")
        elif item.startswith(("unchanged:", "device:")) and not isinstance(value, bool):
            raise Garbled("a flag that is no flag")
    return seen


def _restated(seen: Observation) -> Observation:
    """The dtype of every tensor as it is, whatever was said; no tensor that is none.

    The kind of a tensor stays as it was said: a protocol may keep a list of numbers as
    a tensor.
    """
    stated = dict(seen)
    for item, value in seen.items():
        fact, _, name = item.partition(":")
        if fact not in ("kind", "dtype"):
            continue
        tensor = seen.get(name)
        if isinstance(tensor, Tensor):
            if fact == "dtype":
                stated[item] = str(tensor.dtype).removeprefix("torch.")
        elif fact == "dtype" or value == "tensor":
            del stated[item]
    return stated


def _zero(key: ExerciseKey, message: str) -> Verdict:
    points = share_points(key.points, key.aspects)
    aspects = tuple(
        AspectVerdict(a, points[a], 0.0, None, message) for a in key.aspects
    )
    return Verdict(key.name, key.points, 0.0, "wrong", aspects)


def _harmless(verdict: Verdict) -> Verdict:
    """The verdict with messages that may quote a student's text, made safe to show."""
    aspects = tuple(
        AspectVerdict(
            a.name, a.points, a.earned, a.mistake, line(a.message, LARGEST_MESSAGE)
        )
        for a in verdict.aspects
    )
    earned = verdict.earned if math.isfinite(verdict.earned) else 0.0
    return Verdict(verdict.exercise, verdict.points, earned, verdict.status, aspects)

"""Form a verdict from what was observed and an answer key. Runs no student code.

The same few lines judge in the student's notebook, on the command line and in the
grader's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attention_course.learn.answer_key import (
    Case,
    ExerciseKey,
    KnownMistake,
    Observation,
)
from attention_course.learn.comparison import (
    agree,
    fingerprint,
    same_fingerprint,
)
from attention_course.learn.explanation import explain
from attention_course.learn.protocols import apply_view

DEPENDENT = ("gradients", "robustness")
"""Aspects that mean nothing, and earn nothing, while the values are wrong."""


ABSENT = "<absent>"
"""Stands for an item that a known mistake does not show at all."""


@dataclass(frozen=True)
class Failure:
    """One item of one case that is not as expected."""

    case: Case
    item: str
    aspect: str


@dataclass(frozen=True)
class AspectVerdict:
    """Points for one aspect; `mistake` is the recognised mistake's name, if any."""

    name: str
    points: float
    earned: float
    mistake: str | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on one exercise. `status` is complete, partial, wrong or blank."""

    exercise: str
    points: float
    earned: float
    status: str
    aspects: tuple[AspectVerdict, ...]

    @property
    def complete(self) -> bool:
        """Whether every aspect earned its points."""
        return self.status == "complete"

    @property
    def message(self) -> str:
        """The one thing to tell first: the first failing aspect's message."""
        failed = [a for a in self.aspects if a.earned < a.points]
        named = [a for a in failed if a.mistake]
        first = (named or failed)[:1]
        return first[0].message if first else ""

    @property
    def mistake(self) -> str | None:
        """The first recognised mistake."""
        return next((a.mistake for a in self.aspects if a.mistake), None)


def share_points(points: float, weights: Mapping[str, float]) -> dict[str, float]:
    """`points` shared by weight, in steps of 0.01; the first aspect takes the rest."""
    total = sum(weights.values())
    shares = {name: round(points * w / total, 2) for name, w in weights.items()}
    first = next(iter(shares))
    shares[first] = round(shares[first] + points - sum(shares.values()), 2)
    return shares


def judge(key: ExerciseKey, seen: Mapping[str, Observation]) -> Verdict:
    """The verdict on observations `seen` (by case name) of one exercise."""
    viewed = {c.name: apply_view(seen.get(c.name, {}), c) for c in key.cases}
    failures = list(_failures(key, viewed))
    points = share_points(key.points, key.aspects)
    if _is_blank(key, viewed):
        return _blank(key, points)
    wrong = {failure.aspect for failure in failures}
    if "values" in wrong:
        wrong |= {a for a in DEPENDENT if a in key.aspects}
    aspects = tuple(
        _aspect_verdict(key, viewed, name, points[name], failures, name in wrong)
        for name in key.aspects
    )
    earned = round(sum(a.earned for a in aspects), 2)
    status = "complete" if not wrong else "partial" if earned else "wrong"
    return Verdict(key.name, key.points, earned, status, aspects)


def _is_blank(key: ExerciseKey, viewed: Mapping[str, Observation]) -> bool:
    return all(
        viewed[c.name].get("raised") == "NotImplementedError"
        and not viewed[c.name].get("raised_message")
        for c in key.cases
    )


def _blank(key: ExerciseKey, points: Mapping[str, float]) -> Verdict:
    message = (
        f"Not written yet. Replace `raise NotImplementedError()` in `{key.name}` with "
        "your answer, run that cell, then run this one again."
    )
    aspects = tuple(
        AspectVerdict(a, points[a], 0.0, None, message) for a in key.aspects
    )
    return Verdict(key.name, key.points, 0.0, "blank", aspects)


def aspect_of(item: str, case: Case) -> str:
    """The aspect that an item of an observation counts for."""
    if item.startswith("grad:"):
        return "gradients"
    if item.startswith(("unchanged:", "dtype:", "device:")):
        return "robustness"
    if item == "parameters":
        return "parameters"
    return case.aspect


def compared_items(expected: Observation) -> Iterator[str]:
    """The items of an expected observation that an answer must match."""
    if "raised" in expected:
        yield "raised"
        return
    for item in expected:
        if not item.startswith(("raised", "gradient_raised")):
            yield item


def _failures(key: ExerciseKey, viewed: Mapping[str, Observation]) -> Iterator[Failure]:
    for case in key.cases:
        expected, observed = key.expected[case.name], viewed[case.name]
        for item in compared_items(expected):
            if not item_agrees(item, expected, observed, case):
                yield Failure(case, item, aspect_of(item, case))


def item_agrees(
    item: str, expected: Observation, observed: Observation, case: Case
) -> bool:
    """Whether one item of an observation is as expected."""
    if item == "raised":
        return expected["raised"] in observed.get("raised_classes", [])
    if "raised" in observed and "raised" not in expected:
        return False
    if item not in observed:
        return False
    return agree(expected[item], observed[item], case.tolerance)


def matches(item: str, known: Observation, observed: Observation, case: Case) -> bool:
    """Whether an answer got an item wrong in the very way that a mistake does."""
    if known.get("raised") == ABSENT:
        return "raised" not in observed
    if "raised" in known or "raised" in observed:
        return all(
            known.get(fact) == observed.get(fact)
            for fact in ("raised", "raised_message")
        )
    if item not in known:
        return False
    if isinstance(known[item], str) and known[item] == ABSENT:
        return item not in observed
    return item in observed and same_fingerprint(
        known[item], fingerprint(observed[item]), case.tolerance
    )


def _aspect_verdict(
    key: ExerciseKey,
    viewed: Mapping[str, Observation],
    aspect: str,
    points: float,
    failures: list[Failure],
    is_wrong: bool,
) -> AspectVerdict:
    if not is_wrong:
        return AspectVerdict(aspect, points, points, None, "")
    own = [f for f in failures if f.aspect == aspect]
    waits = aspect in DEPENDENT and any(f.aspect == "values" for f in failures)
    mistake = recognise(key, viewed, failures)
    if mistake is None and not waits:
        mistake = recognise(key, viewed, own, values_are_right=_values_right(failures))
    if mistake:
        return AspectVerdict(aspect, points, 0.0, mistake.name, mistake.hint)
    if waits:
        message = "Counted once the values are right."
        return AspectVerdict(aspect, points, 0.0, None, message)
    first = _cause(own[0], failures)
    text = explain(
        first.item, key.expected[first.case.name], viewed[first.case.name], first.case
    )
    return AspectVerdict(aspect, points, 0.0, None, text)


def _cause(failure: Failure, failures: list[Failure]) -> Failure:
    """What to tell of a wrong gradient: what its case got wrong before it, if anything.

    A gradient cannot be right where the result is not.
    """
    if failure.aspect != "gradients":
        return failure
    return next(
        (f for f in failures if f.case is failure.case and f.aspect != "gradients"),
        failure,
    )


def _values_right(failures: list[Failure]) -> bool:
    return all(f.aspect != "values" for f in failures)


def recognise(
    key: ExerciseKey,
    viewed: Mapping[str, Observation],
    failures: list[Failure],
    *,
    values_are_right: bool | None = None,
) -> KnownMistake | None:
    """The known mistake that fails in the very same way in every given failure.

    Of several that do, the one whose own failures are covered best. A mistake that
    would show in the values is none of an answer whose `values_are_right`: by default,
    if no failure given is one of theirs.
    """
    if values_are_right is None:
        values_are_right = _values_right(failures)
    cases = {case.name: case for case in key.cases}
    by_item = {
        (f.case.name, "raised" if "raised" in viewed[f.case.name] else f.item)
        for f in failures
    }
    best: tuple[float, KnownMistake] | None = None
    for mistake in key.mistakes:
        own = _items_of(mistake)
        in_values = any(aspect_of(i, cases[c]) == "values" for c, i in own)
        if values_are_right and in_values:
            continue
        if not _explains(mistake, viewed, failures):
            continue
        overlap = len(by_item & own) / max(1, len(by_item | own))
        if best is None or overlap > best[0]:
            best = (overlap, mistake)
    return best[1] if best else None


def _explains(
    mistake: KnownMistake,
    viewed: Mapping[str, Observation],
    failures: list[Failure],
) -> bool:
    """Whether the failures are the mistake's: all of them, and none of its is lacking.

    At least one failure has to show a result. What the mistake gets wrong in other
    aspects than those that are explained may differ: two mistakes can meet.
    """
    shown = any(
        "raised" in viewed[f.case.name] or f.item in (*viewed[f.case.name], "raised")
        for f in failures
    )
    return (
        shown
        and all(
            f.case.name in mistake.differs
            and matches(
                f.item, mistake.differs[f.case.name], viewed[f.case.name], f.case
            )
            for f in failures
        )
        and _shows_all_of(mistake, viewed, failures)
    )


def _shows_all_of(
    mistake: KnownMistake,
    viewed: Mapping[str, Observation],
    failures: list[Failure],
) -> bool:
    """Whether the mistake's other results in the failing cases are there as well."""
    told = {f.aspect for f in failures} | {"values"}
    for case in {f.case.name: f.case for f in failures}.values():
        known = mistake.differs[case.name]
        if "raised" in known:
            continue
        for item in known:
            counts = aspect_of(item, case) in told | {case.aspect}
            if counts and not matches(item, known, viewed[case.name], case):
                return False
    return True


def _items_of(mistake: KnownMistake) -> set[tuple[str, str]]:
    return {
        (case, item)
        for case, seen in mistake.differs.items()
        for item in (["raised"] if "raised" in seen else seen)
    }


def differences(
    expected: Observation, observed: Observation, case: Case
) -> Observation:
    """What an observation shows in place of each expected item it does not match.

    This is what an answer key keeps of a known mistake: fingerprints.
    """
    wrong = [
        item
        for item in compared_items(expected)
        if not item_agrees(item, expected, observed, case)
    ]
    if wrong and "raised" in observed:
        return {k: v for k, v in observed.items() if k in ("raised", "raised_message")}
    return {item: fingerprint(observed.get(item, ABSENT)) for item in wrong}

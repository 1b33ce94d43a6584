"""Compute an answer key from exercises and a seed."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attention_course.author.exercise import ASPECTS, Draw, Exercise, Sample
from attention_course.learn.answer_key import (
    AnswerKey,
    Case,
    ExerciseKey,
    KnownMistake,
    Observation,
)
from attention_course.learn.encoding import encode
from attention_course.learn.observation import observe
from attention_course.learn.protocols import apply_view
from attention_course.learn.verdict import aspect_of, compared_items, differences

PUBLIC_SEED = 0
"""The seed of the answer keys that students receive."""


class UnsoundReference(ValueError):
    """A reference that does not stand on its own cases."""


def make_key(
    chapter: str,
    exercises: Mapping[str, Exercise],
    points: Mapping[str, float],
    seed: int = PUBLIC_SEED,
    *,
    mistakes: bool = True,
) -> AnswerKey:
    """The answer key of a chapter for one seed; `points` by exercise name.

    Without `mistakes` it takes much less time, and no hint is told.
    """
    keys = {
        name: make_exercise_key(exercise, points.get(name, 1), seed, mistakes=mistakes)
        for name, exercise in exercises.items()
    }
    return AnswerKey(chapter, seed, keys)


def make_exercise_key(
    exercise: Exercise, points: float, seed: int, *, mistakes: bool = True
) -> ExerciseKey:
    """The answer key of one exercise for one seed, with or without its mistakes."""
    reference = exercise.reference_answer
    draw = Draw(seed, f"{exercise.name}/upstream")
    names = argument_names(reference)
    cases = tuple(
        make_case(sample, reference, names, draw) for sample in exercise.samples(seed)
    )
    expected = viewed(reference, cases)
    for case in cases:
        _must_stand(exercise, case, expected[case.name])
    known = tuple(
        KnownMistake(
            mistake.name,
            mistake.hint,
            _differs(cases, expected, viewed(mistake.answer, cases)),
        )
        for mistake in exercise.mistakes.values()
        if mistakes and mistake.same_as is None
    )
    kind = "class" if inspect.isclass(reference) else "function"
    aspects = _aspects(exercise, cases, expected)
    return ExerciseKey(exercise.name, kind, points, aspects, cases, expected, known)


def make_case(sample: Sample, reference: Any, names: list[str], draw: Draw) -> Case:
    """A sample as data, with an upstream gradient of the reference output's shape."""
    arguments = dict(sample.arguments)
    if "args" in arguments:
        arguments.setdefault("names", names[: len(arguments["args"])])
    if sample.outputs is not None:
        arguments["outputs"] = list(sample.outputs)
    case = _encode(sample, arguments)
    if not sample.gradients:
        return case
    seen = observe(reference, [case])[case.name]
    main = seen.get(sample.outputs[0] if sample.outputs else "output")
    if not isinstance(main, Tensor) or not main.is_floating_point():
        return dataclasses.replace(case, gradients=False)
    arguments["upstream"] = draw.normal(*main.shape)
    return _encode(sample, arguments)


def _encode(sample: Sample, arguments: Mapping[str, Any]) -> Case:
    tensors: dict[str, Tensor] = {}
    encoded = encode(arguments, tensors, "")
    return Case(
        name=sample.name,
        aspect=sample.aspect,
        protocol=sample.protocol,
        arguments=encoded,
        tensors=tensors,
        note=sample.note,
        gradients=sample.gradients,
        tolerance=sample.tolerance,
        seconds=sample.seconds,
        view=sample.view,
    )


def argument_names(reference: Any) -> list[str]:
    """The names of a function's arguments, or of a module's `forward`."""
    call = reference.forward if hasattr(reference, "forward") else reference
    names = list(inspect.signature(call).parameters)
    return names[1:] if call is not reference else names


def viewed(answer: Any, cases: tuple[Case, ...]) -> dict[str, Observation]:
    """What an answer shows on the cases, as it is compared.

    Where its own code raised is left out: a key must not quote a reference.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen = observe(answer, cases)
    finally:
        torch.set_num_threads(threads)
    for observation in seen.values():
        for place in ("raised_at", "gradient_raised_at"):
            observation.pop(place, None)
    return {case.name: apply_view(seen[case.name], case) for case in cases}


def _differs(
    cases: tuple[Case, ...],
    expected: Mapping[str, Observation],
    observed: Mapping[str, Observation],
) -> dict[str, Observation]:
    found = {
        case.name: differences(expected[case.name], observed[case.name], case)
        for case in cases
    }
    return {name: items for name, items in found.items() if items}


def _must_stand(exercise: Exercise, case: Case, seen: Observation) -> None:
    where = f"exercise {exercise.name}, case {case.name!r}: the reference"
    if "raised" in seen and case.aspect != "errors":
        raise UnsoundReference(
            f"{where} raised {seen['raised']}: {seen.get('raised_message')}"
        )
    if "gradient_raised" in seen:
        raise UnsoundReference(
            f"{where} has no gradient: {seen.get('gradient_raised_message')}"
        )
    changed = [k for k, v in seen.items() if k.startswith("unchanged:") and not v]
    if changed:
        raise UnsoundReference(f"{where} changes its input: {changed}")


def _aspects(
    exercise: Exercise,
    cases: tuple[Case, ...],
    expected: Mapping[str, Observation],
) -> dict[str, float]:
    present = {
        aspect_of(item, case)
        for case in cases
        for item in compared_items(expected[case.name])
    }
    weights = {**ASPECTS, **(exercise.aspects or {})}
    unknown = present - set(weights)
    if unknown:
        raise ValueError(f"exercise {exercise.name}: no weight for {sorted(unknown)}")
    return {name: weights[name] for name in weights if name in present}

"""Prove an exercise: right answers earn everything, mistakes are told apart by name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from attention_course.author.exercise import Exercise
from attention_course.author.keys import make_exercise_key
from attention_course.learn.answer_key import ExerciseKey
from attention_course.learn.observation import observe
from attention_course.learn.verdict import Verdict, judge, matches


def faults(exercise: Exercise, seed: int, points: float = 4.0) -> Iterator[str]:
    """Everything that is wrong with an exercise under one seed, in words."""
    key = make_exercise_key(exercise, points, seed)
    yield from _rights(exercise, key)
    yield from _wrongs(exercise, key)
    yield from _pairs(key)
    yield from _numbers(exercise)


def _verdict(answer: object, key: ExerciseKey) -> Verdict:
    return judge(key, observe(answer, key.cases))


def _rights(exercise: Exercise, key: ExerciseKey) -> Iterator[str]:
    rights = {"the reference": exercise.reference_answer, **exercise.alternatives}
    for name, answer in rights.items():
        verdict = _verdict(answer, key)
        if not verdict.complete:
            lost = [a.name for a in verdict.aspects if a.earned < a.points]
            yield f"{name} loses {lost}: {verdict.message}"


def _wrongs(exercise: Exercise, key: ExerciseKey) -> Iterator[str]:
    for mistake in exercise.mistakes.values():
        verdict = _verdict(mistake.answer, key)
        wanted = mistake.same_as or mistake.name
        if verdict.complete:
            yield f"mistake {mistake.name} loses no point"
        elif verdict.mistake != wanted:
            yield (
                f"mistake {mistake.name} is told as "
                f"{verdict.mistake or 'nothing known'}: {verdict.message}"
            )
        if mistake.same_as and mistake.same_as not in exercise.mistakes:
            yield f"mistake {mistake.name} is the same as the unknown {mistake.same_as}"


def _pairs(key: ExerciseKey) -> Iterator[str]:
    cases = {case.name: case for case in key.cases}
    for left, right in combinations(key.mistakes, 2):
        if set(left.differs) == set(right.differs) and all(
            set(left.differs[c]) == set(right.differs[c])
            and all(
                matches(item, left.differs[c], right.differs[c], cases[c])
                for item in left.differs[c]
            )
            for c in left.differs
        ):
            yield f"mistakes {left.name} and {right.name} give the same results"


def _numbers(exercise: Exercise) -> Iterator[str]:
    if exercise.fewer:
        return
    if len(exercise.mistakes) < 6:
        yield f"{len(exercise.mistakes)} mistakes and no reason for fewer than 6"
    if len(exercise.alternatives) < 2:
        number = len(exercise.alternatives)
        yield f"{number} alternatives and no reason for fewer than 2"

"""Check a plain Python file of answers against a chapter, under any seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from attention_course.author.chapter import read_chapter
from attention_course.author.exercise import Exercise, load_exercises
from attention_course.author.keys import (
    PUBLIC_SEED,
    make_exercise_key,
    make_key,
)
from attention_course.learn.answer_key import ExerciseKey
from attention_course.learn.answers_file import (
    IMPORT_SECONDS,
    UnusableAnswers,
    as_json,
    check_answers,
)
from attention_course.learn.verdict import Verdict

__all__ = ["UnusableAnswers", "as_json", "check_file"]


def check_file(
    folder: Path,
    answers: Path,
    *,
    exercise: str | None = None,
    seed: int = PUBLIC_SEED,
    import_seconds: float = IMPORT_SECONDS,
) -> list[Verdict]:
    """The verdicts on the answers in a file, for one exercise or all of a chapter.

    The answers run in a process of their own that receives inputs only; the verdicts
    are formed here. Raises `UnusableAnswers` if the file cannot be used.
    """

    def keys() -> Mapping[str, ExerciseKey]:
        torch.set_num_threads(1)
        chapter = read_chapter(folder)
        exercises = load_exercises(folder / "exercises.py")
        if exercise is not None and exercise not in exercises:
            raise UnusableAnswers(
                f"chapter {chapter.slug} has no exercise {exercise!r}; it has: "
                + ", ".join(exercises)
            )
        wanted.update({n: e for n, e in exercises.items() if exercise in (None, n)})
        key = make_key(chapter.slug, wanted, chapter.points, seed, mistakes=False)
        return key.exercises

    def explained(key: ExerciseKey) -> ExerciseKey:
        # Only for an incomplete answer the known mistakes are worth their time.
        return make_exercise_key(wanted[key.name], key.points, seed)

    wanted: dict[str, Exercise] = {}
    return check_answers(
        answers,
        keys,
        exercise=exercise,
        explained=explained,
        import_seconds=import_seconds,
    )

"""Check a plain Python file of answers: for students outside Jupyter, CI and others."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from attention_course.author.chapter import read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.author.keys import (
    PUBLIC_SEED,
    make_exercise_key,
    make_key,
)
from attention_course.learn.answer_key import ExerciseKey, Observation
from attention_course.learn.limits import PATIENCE
from attention_course.learn.report import as_data
from attention_course.learn.runner import died, read_seen, write_plan
from attention_course.learn.verdict import Verdict, judge

IMPORT_SECONDS = 30.0
"""How long a file of answers may take to be imported; torch's import is not counted."""

START_SECONDS = 300.0


class UnusableAnswers(ValueError):
    """A file of answers that cannot be judged; the text says why and what to do."""


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
    if not answers.is_file():
        raise UnusableAnswers(f"{answers} is not there or is no file")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        runner = _start(answers, work)
        try:
            return _check(folder, answers, exercise, seed, import_seconds, runner, work)
        finally:
            if runner.poll() is None:
                runner.kill()
            runner.wait()
            if runner.stdin:
                runner.stdin.close()


def _start(answers: Path, work: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "attention_course.learn.runner"]
    return subprocess.Popen(
        [*command, str(answers), str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _check(
    folder: Path,
    answers: Path,
    exercise: str | None,
    seed: int,
    import_seconds: float,
    runner: subprocess.Popen[bytes],
    work: Path,
) -> list[Verdict]:
    chapter, exercises = read_chapter(folder), load_exercises(folder / "exercises.py")
    if exercise is not None and exercise not in exercises:
        raise UnusableAnswers(
            f"chapter {chapter.slug} has no exercise {exercise!r}; it has: "
            + ", ".join(exercises)
        )
    wanted = {n: e for n, e in exercises.items() if exercise in (None, n)}
    torch.set_num_threads(1)
    key = make_key(chapter.slug, wanted, chapter.points, seed, mistakes=False)
    names = _names(answers, import_seconds, runner, work)
    given = [name for name in wanted if name in names]
    if not given or (exercise and exercise not in given):
        problem = f"does not define {exercise}"
        if exercise is None:
            problem = f"defines none of {', '.join(wanted)}"
        raise UnusableAnswers(f"{answers} {problem}")
    write_plan(work / "plan.safetensors", {n: key.exercises[n].cases for n in given})
    assert runner.stdin is not None
    runner.stdin.write(b"go\n")
    runner.stdin.flush()
    cases = {n: sum(c.seconds for c in key.exercises[n].cases) for n in given}
    seconds = sum(20 + PATIENCE * limit for limit in cases.values())
    _wait(lambda: (work / "done").exists(), seconds, runner)
    verdicts = []
    for name, exercise_key in key.exercises.items():
        seen = _seen(work, exercise_key, name in given)
        verdict = judge(exercise_key, seen)
        if not verdict.complete:  # only then the known mistakes are worth their time
            points = exercise_key.points
            verdict = judge(make_exercise_key(wanted[name], points, seed), seen)
        verdicts.append(verdict)
    return verdicts


def _names(
    answers: Path,
    seconds: float,
    runner: subprocess.Popen[bytes],
    work: Path,
) -> list[str]:
    _wait(lambda: (work / "started").exists(), START_SECONDS, runner)
    if not (work / "started").exists():
        raise UnusableAnswers("Python could not start attention_course.learn.runner")
    loaded = work / "loaded.json"
    if not _wait(loaded.exists, seconds, runner):
        if runner.poll() is None:
            raise UnusableAnswers(
                f"{answers} did not finish within {seconds:g} s while it was imported: "
                "look for a loop or a wait outside the functions"
            )
        raise UnusableAnswers(f"{answers} ended its own process while it was imported")
    result = json.loads(loaded.read_text(encoding="utf-8"))
    if "error" in result:
        raise UnusableAnswers(f"{answers} {result['error']}")
    return result["names"]


def _wait(
    happened: Callable[[], bool], seconds: float, runner: subprocess.Popen[bytes]
) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if runner.poll() is not None or time.monotonic() > deadline:
            return happened()
        time.sleep(0.01)
    return True


def _seen(work: Path, key: ExerciseKey, is_given: bool) -> Mapping[str, Observation]:
    if not is_given:  # as if it were there and not written yet
        return died(key.cases, "NotImplementedError")
    path = work / f"seen-{key.name}.safetensors"
    return read_seen(path) if path.exists() else died(key.cases)


def as_json(chapter: str, seed: int, verdicts: list[Verdict]) -> dict[str, Any]:
    """The verdicts in the form that outside test suites read."""
    return {
        "chapter": chapter,
        "seed": seed,
        "exercises": [as_data(verdict) for verdict in verdicts],
    }

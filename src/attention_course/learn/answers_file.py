"""Check a plain Python file of answers: run it in a process of its own, and judge.

The process receives inputs only; the verdicts are formed here, from an answer key that
it never sees.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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


def check_answers(
    answers: Path,
    keys: Callable[[], Mapping[str, ExerciseKey]],
    *,
    exercise: str | None = None,
    explained: Callable[[ExerciseKey], ExerciseKey] = lambda key: key,
    import_seconds: float = IMPORT_SECONDS,
) -> list[Verdict]:
    """The verdicts on the answers in a file, one for each of the keys.

    `keys` gives the exercises' keys by name; it is called while the file's process is
    starting. `exercise` must be defined by the file, if given. `explained` adds the
    known mistakes to a key that lacks them; it is called for incomplete answers only.
    Raises `UnusableAnswers` if the file cannot be used.
    """
    if not answers.is_file():
        raise UnusableAnswers(f"{answers} is not there or is no file")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        runner = _start(answers, work)
        try:
            wanted = keys()
            names = _names(answers, import_seconds, runner, work)
            given = [name for name in wanted if name in names]
            if not given or (exercise and exercise not in given):
                problem = f"does not define {exercise}"
                if exercise is None:
                    problem = f"defines none of {', '.join(wanted)}"
                raise UnusableAnswers(f"{answers} {problem}")
            seen = _observed(wanted, given, runner, work)
        finally:
            if runner.poll() is None:
                runner.kill()
            runner.wait()
            if runner.stdin:
                runner.stdin.close()
    verdicts = []
    for name, key in wanted.items():
        verdict = judge(key, seen[name])
        if not verdict.complete:
            verdict = judge(explained(key), seen[name])
        verdicts.append(verdict)
    return verdicts


def _start(answers: Path, work: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "attention_course.learn.runner"]
    return subprocess.Popen(
        [*command, str(answers), str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _observed(
    wanted: Mapping[str, ExerciseKey],
    given: list[str],
    runner: subprocess.Popen[bytes],
    work: Path,
) -> dict[str, Mapping[str, Observation]]:
    write_plan(work / "plan.safetensors", {n: wanted[n].cases for n in given})
    assert runner.stdin is not None
    runner.stdin.write(b"go\n")
    runner.stdin.flush()
    cases = {n: sum(c.seconds for c in wanted[n].cases) for n in given}
    seconds = sum(20 + PATIENCE * limit for limit in cases.values())
    _wait(lambda: (work / "done").exists(), seconds, runner)
    return {name: _seen(work, key, name in given) for name, key in wanted.items()}


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

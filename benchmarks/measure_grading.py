"""Grade the same class with stock nbgrader and with this grader, side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench import Measurement
from classes import CHAPTER, hand_in, make_course

STUDENTS = 200
SAMPLE = 10
"""How many stock nbgrader grades: two first, so that its start can be told."""

FIRST = 2


def measure() -> Iterator[Measurement]:
    """All figures of this file."""
    with tempfile.TemporaryDirectory() as folder:
        stock, ours = Path(folder) / "stock", Path(folder) / "ours"
        make_course(stock, stock=True)
        make_course(ours)
        run(stock, "nbgrader", "generate_assignment", CHAPTER, "--force")
        of_two, of_eight = ({}, {})
        for durations, students in (
            (of_two, range(FIRST)),
            (of_eight, range(FIRST, SAMPLE)),
        ):
            hand_in(stock, students)
            for step in ("autograde", "generate_feedback"):
                durations[step] = run(stock, "nbgrader", step, CHAPTER)
        more = SAMPLE - 2 * FIRST  # what is left once the start is taken off
        per_stock, per_stock_feedback = (
            (of_eight[step] - of_two[step]) / more for step in of_two
        )
        hand_in(ours, range(STUDENTS))
        per_ours = run(ours, "attention_course.cli", "grade", CHAPTER) / STUDENTS
        pages = run(ours, "attention_course.cli", "grade", CHAPTER, "--feedback")
        per_both = per_ours + pages / STUDENTS
        yield figure("nbgrader autograde, a submission", per_stock, None)
        yield figure("nbgrader generate_feedback, a submission", per_stock_feedback)
        yield figure("attention-course grade, a submission", per_ours)
        yield figure("attention-course grade --feedback, a submission", per_both)
        ratio = per_stock / per_ours
        yield Measurement("times as many graded a second", ratio, "x", 40, "higher")
        ratio = (per_stock + per_stock_feedback) / per_both
        yield Measurement("the same with feedback", ratio, "x", 8, "higher")
        yield from parts(ours)


def figure(name: str, seconds: float, target: float | None = None) -> Measurement:
    """A duration that has no target of its own."""
    return Measurement(name, seconds, "s", target, "lower")


def parts(course: Path) -> Iterator[Measurement]:
    """Where the time of a submission goes, in its worker: means, in seconds."""
    sums: Counter[str] = Counter()
    runs = list((course / ".attention-course" / "runs" / CHAPTER).glob("*.json"))
    for path in runs:
        for part, (wall, _) in json.loads(path.read_text())["seconds"].items():
            sums[part] += wall
    for part, total in sums.most_common():
        yield figure(f"  of which {part}", total / len(runs))


def run(course: Path, module: str, *arguments: str) -> float:
    """Wall-clock seconds of one command. Raises if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=course,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began

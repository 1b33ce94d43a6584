"""Grade a large class: cost for each submission, memory, and nothing changed.

ATTENTION_COURSE_SCALE names the size (default 10000, which takes some 20 minutes).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import Measurement
from classes import CHAPTER, hand_in, make_course

FIRST = 300
SMALL = 100
LARGE = int(os.environ.get("ATTENTION_COURSE_SCALE", "10000"))


def measure() -> Iterator[Measurement]:
    """All figures of this file."""
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        make_course(course)
        hand_in(course, range(FIRST))
        grade(course)  # draws all papers and makes their keys, once for a course
        hand_in(course, range(FIRST, FIRST + SMALL))
        of_small, _ = grade(course)
        known = FIRST + SMALL
        hand_in(course, range(known, known + 4 * SMALL))
        of_four, _ = grade(course)
        known += 4 * SMALL
        hand_in(course, range(known, known + LARGE))
        large, memory = grade(course)
        # All three runs took the same start, which is not a submission's.
        per_small = (of_four - of_small) / (3 * SMALL)
        per_large = (large - of_small) / (LARGE - SMALL)
        growth = per_large / per_small
        yield Measurement(f"a submission of {SMALL}", per_small, "s", None, "lower")
        yield Measurement(f"a submission of {LARGE}", per_large, "s", None, "lower")
        yield Measurement("the latter to the former", growth, "x", 1.1, "lower")
        peak = memory / 2**20
        yield Measurement("peak memory of the coordinator", peak, "MB", 500, "lower")
        again, _ = grade(course)
        yield Measurement(f"{LARGE} again, nothing changed", again, "s", 60, "lower")


def grade(course: Path) -> tuple[float, int]:
    """Seconds of one run, and the coordinator's largest resident memory in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "attention_course.cli", "grade", CHAPTER],
        cwd=course,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.perf_counter() - began, usage.ru_maxrss * 1024

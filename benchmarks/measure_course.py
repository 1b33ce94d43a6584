"""Build, lessons, checks, imports and nbval of the whole course."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import ROOT, Measurement

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def seconds(*command: str, cwd: Path = ROOT) -> float:
    """Wall-clock seconds of one command. Raises if it fails."""
    started = time.perf_counter()
    subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def measure() -> Iterator[Measurement]:
    """All figures of this file."""
    yield from imports()
    yield from builds()
    yield from checks()
    yield from lessons()
    yield from nbval()


def imports() -> Iterator[Measurement]:
    """What a notebook's imports cost over torch's, in the same process, median of 5."""
    code = (
        "import time, torch, torch.nn.functional\n"
        "t = time.perf_counter()\n"
        "from attention_course.learn import check, device, figures\n"
        "print(time.perf_counter() - t)"
    )
    times = [
        float(subprocess.check_output([sys.executable, "-c", code], env=ENVIRONMENT))
        for _ in range(5)
    ]
    name = "imports of a notebook, over torch's"
    yield Measurement(name, statistics.median(times), "s", 0.5, "lower")


def builds() -> Iterator[Measurement]:
    """A full build in a copy of the course, then one with nothing changed."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "course"
        copy.mkdir()
        shutil.copytree(ROOT / "chapters", copy / "chapters")
        shutil.copy(ROOT / "requirements.lock", copy)
        command = [sys.executable, "-m", "attention_course.cli", "build"]
        full = seconds(*command, cwd=copy)
        yield Measurement("full build", full, "s", 360, "lower")
        again = statistics.median(seconds(*command, cwd=copy) for _ in range(3))
        yield Measurement("build with nothing changed", again, "s", 3, "lower")


def checks() -> Iterator[Measurement]:
    """The slowest check of the course, as a notebook runs it on a right answer."""
    code = (
        "import json, os, sys, time, types\n"
        "from pathlib import Path\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from attention_course.author.exercise import load_exercises\n"
        "from attention_course.learn.checking import verdict_on\n"
        "root = Path(sys.argv[1])\n"
        "times = {}\n"
        "for folder in sorted((root / 'chapters').iterdir()):\n"
        "    if not (folder / 'exercises.py').exists(): continue\n"
        "    os.chdir(root / 'release' / folder.name)\n"
        "    for name, e in load_exercises(folder / 'exercises.py').items():\n"
        "        answer = e.reference_answer\n"
        "        answer.__name__ = name\n"
        "        t = time.perf_counter()\n"
        "        assert verdict_on(answer).complete, name\n"
        "        times[name] = time.perf_counter() - t\n"
        "print(json.dumps(times))"
    )
    out = subprocess.check_output(
        [sys.executable, "-c", code, str(ROOT)], env=ENVIRONMENT
    )
    times = json.loads(out)
    slowest = max(times, key=times.__getitem__)
    yield Measurement(f"slowest check ({slowest})", times[slowest], "s", 1, "lower")
    median = statistics.median(times.values())
    yield Measurement(f"median of {len(times)} checks", median, "s", None, "lower")


def lessons() -> Iterator[Measurement]:
    """The slowest lesson, executed in a fresh kernel, the kernel's start included."""
    times = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as work:
            times[path.stem] = seconds(
                sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook",
                "--execute", "--output-dir", work, str(path),
            )  # fmt: skip
    slowest = max(times, key=times.__getitem__)
    yield Measurement(f"slowest lesson ({slowest})", times[slowest], "s", 45, "lower")


def nbval() -> Iterator[Measurement]:
    """nbval of everything: one process, then two, side by side."""
    command = [sys.executable, "-m", "attention_course.cli", "nbval", "--jobs"]
    serial = seconds(*command, "1")
    parallel = seconds(*command, "2")
    yield Measurement("nbval of everything, serial", serial, "s", None, "lower")
    yield Measurement(
        "nbval of everything, two at a time", parallel, "s", None, "lower"
    )
    yield Measurement(
        "nbval, serial over parallel", serial / parallel, "x", 1.7, "higher"
    )

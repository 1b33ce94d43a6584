"""Kill the grader at random moments, and see that nothing is lost or counted twice.

Grades a class of a chapter with `attention-course grade` again and again; each time,
at a random moment, the coordinator, one of its workers or the warm process of a sandbox
is killed with SIGKILL. Then it is graded to the end, and gradebook and results are
compared with those of an undisturbed run. Prints what it did; exits 1 if they differ.

    python benchmarks/kill_grader.py --kills 50 --students 40
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from attention_course.author.chapter import read_chapter
from attention_course.grade.course import course_secret, open_course
from attention_course.grade.sample_class import STUDENTS, submission

ROOT = Path(__file__).resolve().parents[1]
SCORES = (
    "SELECT s.student_id, b.name, g.auto_score, g.needs_manual_grade FROM grade g "
    "JOIN base_cell b ON b.id = g.cell_id "
    "JOIN submitted_notebook n ON n.id = g.notebook_id "
    "JOIN submitted_assignment s ON s.id = n.assignment_id"
)
ROLES = ("coordinator", "worker", "warm process")


def hand_in(course: Path, slug: str, number: int) -> None:
    """A class of right, wrong and blank submissions, each different."""
    for part in ("chapters", "release"):
        shutil.copytree(ROOT / part / slug, course / part / slug)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    chapter = read_chapter(ROOT / "chapters" / slug)
    released = ROOT / "release" / slug / f"{slug}.ipynb"
    chosen = [s for s in STUDENTS if not s.chapters or slug in s.chapters]
    kinds = [submission(chapter, released, student) for student in chosen]
    for index in range(number):
        notebook = json.loads(json.dumps(kinds[index % len(kinds)]))
        for cell in notebook["cells"]:
            if cell["id"].startswith("answer-"):
                cell["source"] += f"\n# student {index}"
        target = course / "submitted" / f"s{index:03}" / slug / f"{slug}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(notebook), encoding="utf-8")


def start(course: Path, slug: str) -> subprocess.Popen[bytes]:
    """The grader, in a session of its own."""
    command = [sys.executable, "-m", "attention_course.cli", "grade", slug, "--jobs=2"]
    return subprocess.Popen(
        command,
        cwd=course,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid` with its role in the grader."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has just ended
        children.setdefault(parent, []).append(int(status.parent.name))
    found: dict[int, str] = {}
    for worker in children.get(pid, []):
        if "spawn_main" in _command(worker):
            found[worker] = "worker"
            below = [worker]
            while below:
                child = below.pop()
                below += children.get(child, [])
                if "inside.warm" in _command(child):
                    found[child] = "warm process"
    return found


def _command(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return text.replace(b"\0", b" ").decode("utf-8", "replace")


def strike(process: subprocess.Popen[bytes], role: str, draw: random.Random) -> str:
    """Kill one process of this role; where there is none yet, the coordinator."""
    if role != "coordinator":
        below = descendants(process.pid)
        fitting = [pid for pid, what in below.items() if what == role]
        if fitting:
            try:
                os.kill(draw.choice(fitting), signal.SIGKILL)
            except ProcessLookupError:
                return "nothing: it had ended"
            return role
    if process.poll() is not None:
        return "nothing: it had ended"
    os.kill(process.pid, signal.SIGKILL)
    return "coordinator"


def done(course: Path, slug: str) -> dict[str, bytes]:
    """The results that are there."""
    folder = course / ".attention-course" / "results" / slug
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def scores(course: Path) -> list[str]:
    """What the gradebook says, without the random ids of its rows."""
    with closing(sqlite3.connect(course / "gradebook.db")) as book:
        return sorted(map(repr, book.execute(SCORES)))


def finish(course: Path, slug: str) -> float:
    """Grade to the end; returns the seconds that it took."""
    began = time.monotonic()
    process = start(course, slug)
    said = process.communicate()[1].decode()
    if process.returncode:
        raise SystemExit(f"the grader ended with {process.returncode}: {said}")
    return time.monotonic() - began


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="Kill the grader at random moments.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--chapter", default="04_scaling")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    slug, draw = options.chapter, random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        calm, course = Path(scratch) / "calm", Path(scratch) / "course"
        calm.mkdir()
        hand_in(calm, slug, options.students)
        course_secret(open_course(calm))
        shutil.copytree(calm, course)
        whole = finish(calm, slug)
        print(f"undisturbed: {options.students} submissions in {whole:.0f} s")
        struck: Counter[str] = Counter()
        process = start(course, slug)
        for number in range(options.kills):
            time.sleep(draw.uniform(0, whole / 3))
            what = strike(process, ROLES[number % len(ROLES)], draw)
            struck[what] += 1
            print(f"{number + 1:3}  {what:22} {len(done(course, slug)):4} results")
            if what == "coordinator" or process.poll() is not None:
                process.communicate()
                if len(done(course, slug)) == options.students:
                    shutil.rmtree(course / ".attention-course" / "results")
                process = start(course, slug)
        process.communicate()
        finish(course, slug)
        same = done(course, slug) == done(calm, slug) and scores(course) == scores(calm)
    print(f"killed: {dict(struck)}")
    print("gradebook and results are", "as undisturbed" if same else "DIFFERENT")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

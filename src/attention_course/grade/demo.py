"""`make demo`: a sample class goes through the whole course, graded by nbgrader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attention_course.author.build import build
from attention_course.author.chapter import find_chapters
from attention_course.grade.sample_class import hand_in
from attention_course.grade.scores import Score, read_scores

Tell = Callable[[str], None]


class GradingFailed(ValueError):
    """nbgrader ended with an error; the text holds the end of what it said."""


def run_demo(root: Path, *, jobs: int = 2, tell: Tell = print) -> list[Score]:
    """Build, hand in, autograde, give feedback; returns the scores.

    Everything goes to build/demo under `root`, a course folder of its own. What was
    graded before and has not changed is not graded again.
    """
    tell("1/4  Build the student edition")
    report = build(root, find_chapters(root), tell=tell)
    if report.failed:
        raise GradingFailed("the course does not build; see above")
    course = root / "build" / "demo"
    _set_up(root, course)
    tell("2/4  Collect the sample class's submissions")
    handed_in = list(hand_in(root, course))
    tell(
        f"     {len(handed_in)} notebooks of {len({s for s, _ in handed_in})} students"
    )
    tell("3/4  Autograde with nbgrader")
    by_chapter: dict[str, list[str]] = {}
    for student, slug in handed_in:
        by_chapter.setdefault(slug, []).append(student)
    done = _read_done(course)
    todo = {
        slug: [
            s for s in students if done.get(f"{s}/{slug}") != _state(course, s, slug)
        ]
        for slug, students in by_chapter.items()
    }
    todo = {slug: students for slug, students in todo.items() if students}
    for slug in todo:  # one after the other: the first creates the gradebook
        nbgrader(course, "generate_assignment", slug, "--force")
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [(s, t, t == by_chapter[s]) for s, t in todo.items()]
        for slug, students in pool.map(lambda task: _grade(course, *task), tasks):
            tell(f"     {slug}: {len(students)} graded")
            done |= {f"{s}/{slug}": _state(course, s, slug) for s in students}
            (course / "graded.json").write_text(json.dumps(done), encoding="utf-8")
    if not todo:
        tell("     nothing changed since the last time")
    tell("4/4  Write feedback")
    for slug in todo:
        nbgrader(course, "generate_feedback", slug, "--force")
    return read_scores(course)


def _set_up(root: Path, course: Path) -> None:
    course.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "nbgrader_config.py", course)
    shutil.rmtree(course / "source", ignore_errors=True)
    shutil.copytree(root / "source", course / "source")


def _state(course: Path, student: str, slug: str) -> str:
    """A hash of a submission and of the source it is graded against."""
    digest = hashlib.sha256()
    for folder in (course / "submitted" / student / slug, course / "source" / slug):
        for file in sorted(folder.iterdir()):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read_done(course: Path) -> dict[str, str]:
    path = course / "graded.json"
    if not path.exists() or not (course / "gradebook.db").exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def _grade(
    course: Path, slug: str, students: list[str], everybody: bool
) -> tuple[str, list[str]]:
    if everybody:
        nbgrader(course, "autograde", slug, "--force")
        return slug, students
    for student in students:
        nbgrader(course, "autograde", slug, "--student", student, "--force")
    return slug, students


def nbgrader(course: Path, *arguments: str) -> None:
    """Run one nbgrader command in a course folder. Raises `GradingFailed`."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = "\n".join((result.stderr or result.stdout).splitlines()[-15:])
        raise GradingFailed(f"`nbgrader {' '.join(arguments)}` failed:\n{said}")


def print_scores(scores: list[Score]) -> None:
    """The class as a table: scores, and the mistakes by name."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The sample class")
    table.add_column("student")
    table.add_column("chapter")
    table.add_column("score", justify="right")
    table.add_column("mistakes recognised")
    for score in scores:
        told = "\n".join(f"{e}: {m}" for e, m in score.mistakes.items())
        table.add_row(
            score.student, score.chapter, f"{score.earned:g} / {score.points:g}", told
        )
    Console().print(table)


def print_where(course: Path) -> None:
    """Where the results are, and how to open JupyterLab."""
    print(f"Gradebook:  {course / 'gradebook.db'}")
    print(f"Feedback:   {course / 'feedback'}/STUDENT/CHAPTER/CHAPTER.html")
    print(f"Notebooks:  {course / 'autograded'}")
    print("JupyterLab for students:   make lab")
    print(f"Formgrader for you:        cd {course} && {_lab()}")


def _lab() -> str:
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = f"{Path(sys.executable).parent / 'jupyter'} lab"
    return f"{command} --allow-root" if as_root else command

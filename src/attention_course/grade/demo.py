"""`make demo`: a sample class goes through the whole course and is graded."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from attention_course.author.build import build
from attention_course.author.chapter import find_chapters
from attention_course.grade.course import open_course
from attention_course.grade.feedback import write_feedback
from attention_course.grade.grading import grade_chapter
from attention_course.grade.sample_class import hand_in
from attention_course.grade.scores import Score, read_scores

Tell = Callable[[str], None]


def run_demo(root: Path, *, jobs: int = 2, tell: Tell = print) -> list[Score]:
    """Build, hand in, grade, give feedback; returns the scores.

    Everything goes to build/demo under `root`, a course folder of its own. What was
    graded before and has not changed is not graded again. Raises `GradingError` where
    students' code cannot be run safely.
    """
    tell("1/4  Build the student edition")
    report = build(root, find_chapters(root), tell=tell)
    if report.failed:
        raise ValueError("the course does not build; see above")
    folder = root / "build" / "demo"
    _set_up(root, folder)
    tell("2/4  Collect the sample class's submissions")
    handed_in = list(hand_in(root, folder))
    tell(
        f"     {len(handed_in)} notebooks of {len({s for s, _ in handed_in})} students"
    )
    tell("3/4  Grade, each submission in a sandbox")
    course = open_course(folder)
    summaries = []
    for chapter in find_chapters(folder, sorted({slug for _, slug in handed_in})):
        summary = grade_chapter(course, chapter, jobs=jobs)
        summaries.append((chapter, summary))
        if summary.graded or summary.held:
            held = f", {len(summary.held)} held" if summary.held else ""
            tell(f"     {chapter.name}: {summary.graded} graded{held}")
    if not any(summary.graded for _, summary in summaries):
        tell("     nothing changed since the last time")
    tell("4/4  Write feedback")
    for chapter, summary in summaries:
        write_feedback(course, chapter, summary.students, jobs)
    return read_scores(folder)


def _set_up(root: Path, course: Path) -> None:
    course.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "nbgrader_config.py", course)
    for edition in ("chapters", "source", "release"):
        shutil.rmtree(course / edition, ignore_errors=True)
        shutil.copytree(root / edition, course / edition)


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

"""Read a graded class: scores from the gradebook, mistakes from the notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_course.learn.report import VERDICT_TYPE


@dataclass(frozen=True)
class Score:
    """What one submission earned, and the mistakes that its checks recognised."""

    student: str
    chapter: str
    earned: float
    points: float
    mistakes: dict[str, str]


def verdicts(notebook: Path) -> Iterator[dict[str, Any]]:
    """The verdicts that an executed notebook keeps as data."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if VERDICT_TYPE in output.get("data", {}):
                yield output["data"][VERDICT_TYPE]


def mistakes(notebook: Path) -> dict[str, str]:
    """The first recognised mistake of each exercise in an executed notebook."""
    found = {}
    for verdict in verdicts(notebook):
        names = [a["mistake"] for a in verdict["aspects"] if a["mistake"]]
        if names:
            found[verdict["name"]] = names[0]
    return found


def read_scores(course: Path) -> list[Score]:
    """Every graded submission of a course folder, by student and chapter."""
    from nbgrader.api import Gradebook

    found = []
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "attention") as gradebook:
        for assignment in gradebook.assignments:
            slug = assignment.name
            for submitted in gradebook.assignment_submissions(slug):
                student = submitted.student.id
                notebook = course / "autograded" / student / slug / f"{slug}.ipynb"
                found.append(
                    Score(
                        student,
                        slug,
                        submitted.score,
                        submitted.max_score,
                        mistakes(notebook) if notebook.exists() else {},
                    )
                )
    return sorted(found, key=lambda score: (score.student, score.chapter))

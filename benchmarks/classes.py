"""Make classes to grade: right, wrong and blank submissions, all different."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

from bench import ROOT

from attention_course.author.chapter import read_chapter
from attention_course.grade.sample_class import Student, submission

CHAPTER = "04_scaling"
EDITS: tuple[dict[str, tuple[str, str]], ...] = (
    {},
    {"scaled_dot_product_attention": (" / math.sqrt(query.shape[-1])", "")},
    {},
    {"softmax_jacobian": ("torch.diag(weights) -", "-")},
    {"score_gradient": (" / root\n", "\n")},
    {},
    {
        "softmax_jacobian": ("torch.diag(weights) -", "-"),
        "scaled_dot_product_attention": ("dim=-1", "dim=-2"),
    },
    {},
)
"""What students write in place of the course's answers; every tenth is blank."""

STOCK = """
from traitlets.config import get_config

c = get_config()
c.CourseDirectory.course_id = "attention"
c.CourseDirectory.solution_directory = "solutions"
"""


def make_course(course: Path, *, stock: bool = False) -> None:
    """A course folder with chapter 04; `stock` leaves nbgrader as it comes."""
    for name in ("chapters", "source", "release"):
        shutil.copytree(ROOT / name / CHAPTER, course / name / CHAPTER)
    if stock:
        (course / "nbgrader_config.py").write_text(STOCK, encoding="utf-8")
    else:
        shutil.copy(ROOT / "nbgrader_config.py", course)


def hand_in(course: Path, students: range) -> None:
    """Write a class's submissions; no two have the same content."""
    chapter = read_chapter(ROOT / "chapters" / CHAPTER)
    release = ROOT / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    kinds = [submission(chapter, release, Student("x", (), edits)) for edits in EDITS]
    blank = submission(chapter, release, Student("x", (), blank=True))
    texts = [json.loads(json.dumps(kind)) for kind in (*kinds, blank)]
    for number, kind in zip(students, itertools.cycle(range(len(EDITS)))):
        notebook: dict[str, Any] = texts[-1 if number % 10 == 9 else kind]
        notebook["cells"][1]["source"] += f"\n\n<!-- {number} -->"
        folder = course / "submitted" / f"student-{number:05}" / CHAPTER
        folder.mkdir(parents=True)
        text = json.dumps(notebook, indent=1)
        (folder / f"{CHAPTER}.ipynb").write_text(text, encoding="utf-8")
        notebook["cells"][1]["source"] = notebook["cells"][1]["source"].rpartition(
            "\n\n<!--"
        )[0]

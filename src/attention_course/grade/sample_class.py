"""A sample class, to see the whole course at work: submissions with known mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from attention_course.author.chapter import BEGIN, END, Chapter, read_chapter

Edit = tuple[str, str]
"""A piece of the course's answer, and what the student wrote in its place."""


@dataclass(frozen=True)
class Student:
    """One student of the sample class, who hands in one chapter or all.

    `edits` maps an exercise to what differs from the course's answer; `blank` students
    wrote nothing.
    """

    name: str
    chapters: tuple[str, ...]
    edits: Mapping[str, Edit] = field(default_factory=dict)
    blank: bool = False


STUDENTS = (
    Student("blank", ("04_scaling",), blank=True),
    Student("finished", ()),
    Student(
        "amara",
        ("04_scaling",),
        {
            "scaled_dot_product_attention": (" / math.sqrt(query.shape[-1])", ""),
            "score_gradient": (" / root\n", "\n"),
        },
    ),
    Student(
        "boris",
        ("04_scaling",),
        {
            "softmax_jacobian": ("torch.diag(weights) -", "-"),
            "scaled_dot_product_attention": ("dim=-1", "dim=-2"),
        },
    ),
    Student(
        "chloe",
        ("03_projections",),
        {
            "project": ("out if bias is None else out + bias", "out"),
            "attention_scores": ("(-2, -1)", "(-2, -1) / query.shape[-1] ** 0.5"),
        },
    ),
    Student(
        "dmitri", ("03_projections",), {"cross_scores": ("context @ w_k", "x @ w_k")}
    ),
    Student(
        "emeka",
        ("06_multi_head",),
        {
            "multi_head_attention": (
                ".transpose(1, 2).flatten(2)",
                ".reshape(query.shape)",
            )
        },
    ),
    Student(
        "fatima",
        ("06_multi_head",),
        {"multi_head_attention": ("sqrt(q.shape[-1])", "sqrt(query.shape[-1])")},
    ),
    Student(
        "grace",
        ("08_encoder_layer",),
        {
            "Encoder": (
                "[copy.deepcopy(layer) for _ in range(num_layers)]",
                "[layer] * num_layers",
            )
        },
    ),
    Student(
        "hiro",
        ("08_encoder_layer",),
        {
            "layer_norm": ("correction=0", "correction=1"),
            "EncoderLayer": (
                "self.norm1(src + self._attend",
                "self.norm1(self._attend",
            ),
        },
    ),
    Student(
        "ines",
        ("01_context",),
        {
            "patchify": ("permute(0, 2, 4, 1, 3, 5)", "permute(0, 2, 4, 3, 5, 1)"),
            "nearest_patch": (".fill_diagonal_(torch.inf)", ""),
        },
    ),
    Student(
        "jonas",
        ("09_official",),
        {
            "pack_in_proj": ("(w_q, w_k, w_v)", "(w_k, w_q, w_v)"),
            "official_attention": ("= ~key_padding_mask", "= key_padding_mask"),
        },
    ),
)
"""Mistakes that students make, across the chapters."""


def submission(chapter: Chapter, release: Path, student: Student) -> NotebookNode:
    """The release notebook of `chapter` as `student` hands it in.

    Raises ValueError if an edit no longer fits the course's answer.
    """
    notebook = nbformat.read(release, as_version=4)
    if student.blank:
        return notebook
    answers = {c.exercise: c.source for c in chapter.cells if c.role == "answer"}
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        role, _, exercise = grade_id.partition("_")
        if role == "answer":
            cell.source = _answer(student, exercise, answers[exercise])
    return notebook


def _answer(student: Student, exercise: str, source: str) -> str:
    rows = source.splitlines()
    text = "\n".join(r for r in rows if r.strip() not in (BEGIN, END)) + "\n"
    if exercise in student.edits:
        old, new = student.edits[exercise]
        if old not in text:
            raise ValueError(
                f"the sample student {student.name} edits {old!r} in {exercise}, which "
                "the course's answer no longer has"
            )
        text = text.replace(old, new)
    return text.rstrip("\n")


def hand_in(root: Path, course: Path) -> Iterator[tuple[str, str]]:
    """Write every submission under `course`; yields (student, chapter)."""
    every = [p.parent.name for p in sorted((root / "chapters").glob("*/chapter.py"))]
    for student in STUDENTS:
        for slug in student.chapters or every:
            chapter = read_chapter(root / "chapters" / slug)
            unknown = set(student.edits) - set(chapter.points)
            if unknown:
                raise ValueError(f"{student.name} edits {unknown}, not in {slug}")
            notebook = submission(
                chapter, root / "release" / slug / f"{slug}.ipynb", student
            )
            target = course / "submitted" / student.name / slug / f"{slug}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            text = nbformat.writes(notebook)
            if not target.exists() or target.read_text(encoding="utf-8") != text:
                target.write_text(text, encoding="utf-8")
            yield student.name, slug

"""Merge results into nbgrader's gradebook: one writer, in batches.

What stands there afterwards is what nbgrader's own autograde would have written: scores
of the checks, "No response." for what was left as released, the late penalty. Manual
scores, extra credit and comments stay. Merging a result again changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from nbgrader.api import (
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
)
from nbgrader.preprocessors import AssignLatePenalties
from nbgrader.utils import parse_utc
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from attention_course.grade.course import Course, GradingError
from attention_course.grade.merging import Entry
from attention_course.grade.release import Bundle

NO_RESPONSE = "No response."


class Record:
    """The gradebook of a course, open for one chapter. Use it as a context manager."""

    def __init__(self, course: Course, bundle: Bundle) -> None:
        """Nothing is opened yet."""
        self.course = course
        self.bundle = bundle

    def __enter__(self) -> Record:
        """Open it, and make the assignment if need be. Raises `GradingError`."""
        with _told(self.course):
            _alembic_on_path()
            self._book = Gradebook(self.course.db_url, self.course.course_id)
            self._db = self._book.db
            try:
                self._prepare()
            except BaseException:
                self._book.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._book.close()

    def _prepare(self) -> None:
        """The assignment, its notebook and cells as generate_assignment makes them."""
        slug = self.bundle.chapter
        book = self._book
        assignment = book.update_or_create_assignment(slug)
        named = {n.name: n for n in assignment.notebooks}
        notebook = named.get(slug)
        wanted = {c.grade_id: c for c in self.bundle.cells if c.grade_id}
        if notebook is None:
            spec = json.dumps(self.bundle.kernelspec)
            notebook = book.add_notebook(slug, slug, kernelspec=spec)
        known = {cell.name for cell in notebook.source_cells}
        if known and known != set(wanted) and notebook.submissions:
            raise GradingError(
                f"the gradebook has other exercises for {slug}, with submissions: "
                "undo the change to the chapter, or start a gradebook anew."
            )
        for name, cell in wanted.items():
            meta = cell.metadata["nbgrader"]
            kind = meta.get("cell_type", "code")
            if meta.get("grade"):
                book.update_or_create_grade_cell(
                    name, slug, slug, max_score=cell.points, cell_type=kind
                )
            if meta.get("solution"):
                book.update_or_create_solution_cell(name, slug, slug)
            book.update_or_create_source_cell(
                name,
                slug,
                slug,
                cell_type=kind,
                locked=bool(meta.get("locked")),
                source=cell.source,
                checksum=meta.get("checksum"),
            )
        self._assignment, self._notebook = assignment.id, notebook.id
        self._grade_cells = {c.name: c.id for c in notebook.grade_cells}
        self._solution_cells = {c.name: c.id for c in notebook.solution_cells}

    def recorded(self) -> dict[str, float]:
        """The automatic score that the gradebook has of each student's submission."""
        query = (
            select(SubmittedAssignment.student_id, func.sum(Grade.auto_score))
            .join(
                SubmittedNotebook,
                SubmittedNotebook.assignment_id == SubmittedAssignment.id,
            )
            .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
            .where(
                SubmittedAssignment.assignment_id == self._assignment,
                Grade.auto_score.is_not(None),
            )
            .group_by(SubmittedAssignment.student_id)
        )
        with _told(self.course):
            return {student: float(total) for student, total in self._db.execute(query)}

    def merge(self, entries: Sequence[Entry]) -> None:
        """Record graded results, all or none. Raises `GradingError`."""
        entries = [e for e in entries if e.result["outcome"] == "graded"]
        if not entries:
            return
        with _told(self.course):
            try:
                self._merge({entry.student: entry for entry in entries})
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    def _merge(self, entries: dict[str, Entry]) -> None:
        submissions = self._submissions(entries)
        notebooks = self._notebooks(submissions)
        grades, comments = self._parts(notebooks)
        for student, entry in entries.items():
            submission, notebook = submissions[student], notebooks[student]
            if entry.timestamp:
                # One that cannot be read leaves the time as it is.
                with contextlib.suppress(ValueError, OverflowError):
                    submission.timestamp = parse_utc(entry.timestamp)
            for exercise in entry.result["exercises"]:
                name = exercise["name"]
                grade = grades[notebook.id, self._grade_cells[f"check_{name}"]]
                grade.auto_score = exercise["earned"]
                grade.needs_manual_grade = grade.manual_score is not None
                cell = self._solution_cells.get(f"answer_{name}")
                if cell is not None:
                    comment = comments[notebook.id, cell]
                    left = exercise["as_released"]
                    comment.auto_comment = NO_RESPONSE if left else None
            notebook.late_submission_penalty = None
        self._db.flush()
        self._penalise(submissions, notebooks)

    def _submissions(self, entries: dict[str, Entry]) -> dict[str, SubmittedAssignment]:
        names = list(entries)
        there = set(
            self._db.scalars(select(Student.id).where(Student.id.in_(names))).all()
        )
        self._db.add_all([Student(id=n) for n in names if n not in there])
        self._db.flush()
        query = select(SubmittedAssignment).where(
            SubmittedAssignment.assignment_id == self._assignment,
            SubmittedAssignment.student_id.in_(names),
        )
        found = {s.student_id: s for s in self._db.scalars(query)}
        for name in names:
            if name not in found:
                found[name] = SubmittedAssignment(
                    assignment_id=self._assignment, student_id=name
                )
                self._db.add(found[name])
        self._db.flush()
        return found

    def _notebooks(
        self, submissions: dict[str, SubmittedAssignment]
    ) -> dict[str, SubmittedNotebook]:
        ids = {submission.id: student for student, submission in submissions.items()}
        query = select(SubmittedNotebook).where(
            SubmittedNotebook.notebook_id == self._notebook,
            SubmittedNotebook.assignment_id.in_(list(ids)),
        )
        found = {ids[n.assignment_id]: n for n in self._db.scalars(query)}
        for student, submission in submissions.items():
            if student not in found:
                found[student] = SubmittedNotebook(
                    notebook_id=self._notebook, assignment_id=submission.id
                )
                self._db.add(found[student])
        self._db.flush()
        return found

    def _parts(
        self, notebooks: dict[str, SubmittedNotebook]
    ) -> tuple[dict[tuple, Grade], dict[tuple, Comment]]:
        ids = [n.id for n in notebooks.values()]
        made: list[dict[tuple, Any]] = []
        for kind, cells in (
            (Grade, self._grade_cells),
            (Comment, self._solution_cells),
        ):
            query = select(kind).where(kind.notebook_id.in_(ids))
            found = {(p.notebook_id, p.cell_id): p for p in self._db.scalars(query)}
            for notebook in ids:
                for cell in cells.values():
                    if (notebook, cell) not in found:
                        part = kind(notebook_id=notebook, cell_id=cell)
                        self._db.add(part)
                        found[notebook, cell] = part
            made.append(found)
        return made[0], made[1]

    def _penalise(
        self,
        submissions: dict[str, SubmittedAssignment],
        notebooks: dict[str, SubmittedNotebook],
    ) -> None:
        """nbgrader's late penalty, by the plugin that the course has chosen."""
        late = {n: s for n, s in submissions.items() if s.total_seconds_late > 0}
        if not late:
            return
        step = AssignLatePenalties(config=self.course.config)
        step.init_plugin()
        for student, submission in late.items():
            notebook = notebooks[student]
            self._db.refresh(notebook, ["score"])
            penalty = step.plugin_inst.late_submission_penalty(
                student, notebook.score, submission.total_seconds_late
            )
            if penalty is not None:
                penalty = step._check_late_penalty(notebook, penalty)
                notebook.late_submission_penalty = penalty

    def shown(self, students: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What nbgrader's feedback shows of each student's submission, if there is one.

        Scores and comments by cell, the score, and the late penalty.
        """
        with _told(self.course):
            query = (
                select(SubmittedAssignment.student_id, SubmittedNotebook)
                .join(
                    SubmittedNotebook,
                    SubmittedNotebook.assignment_id == SubmittedAssignment.id,
                )
                .where(
                    SubmittedNotebook.notebook_id == self._notebook,
                    SubmittedAssignment.student_id.in_(students),
                )
            )
            notebooks = {n.id: (student, n) for student, n in self._db.execute(query)}
            grades = self._by_cell(Grade.score, Grade, notebooks)
            comments = self._by_cell(Comment.comment, Comment, notebooks)
            made = {}
            for key, (student, notebook) in notebooks.items():
                penalty = notebook.late_submission_penalty or 0
                score = sum(grades.get(key, {}).values())
                made[student] = {
                    "score": score - penalty,
                    "max_score": self.bundle.max_score,
                    "late_penalty": penalty,
                    "grades": grades.get(key, {}),
                    "comments": comments.get(key, {}),
                }
            return made

    def _by_cell(
        self, value: Any, kind: Any, notebooks: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        """A value of each grade or comment, by notebook and by the cell's name."""
        query = (
            select(kind.notebook_id, BaseCell.name, value)
            .join(BaseCell, BaseCell.id == kind.cell_id)
            .where(kind.notebook_id.in_(list(notebooks)))
        )
        found: dict[str, dict[str, Any]] = {}
        for notebook, name, shown in self._db.execute(query):
            found.setdefault(notebook, {})[name] = shown
        return found


def _alembic_on_path() -> None:
    """nbgrader calls `alembic` by name; it stands beside this Python."""
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if here not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([here, path])


@contextlib.contextmanager
def _told(course: Course) -> Iterator[None]:
    """Turn an error of the database into one sentence with the cure."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise GradingError(_cure(course, cause)) from error


def _cure(course: Course, cause: str) -> str:
    from sqlalchemy.engine import make_url

    where = make_url(course.db_url).render_as_string(hide_password=True)
    kept = "what was graded is kept, and the next run goes on"
    if "locked" in cause:
        return (
            f"the gradebook {where} is locked by another program: end nbgrader or "
            f"Formgrader's grading, then grade again; {kept}."
        )
    if "full" in cause:
        return f"there is no space left for the gradebook {where}: make room; {kept}."
    if "readonly" in cause or "unable to open" in cause:
        return (
            f"the gradebook {where} cannot be written ({cause}): mend its permissions "
            f"or its folder; {kept}."
        )
    return f"the gradebook {where} cannot be used ({cause}); {kept}."

"""Scores for a learning management system: `nbgrader export --exporter=...`.

    nbgrader export --exporter=attention_course.grade.exporters.Canvas --to=canvas.csv
    nbgrader export --exporter=attention_course.grade.exporters.Moodle --to=moodle.csv

One row for each student, one column for each chapter. A student who handed in nothing,
or whose submission is held, has an empty cell: nbgrader's own export writes 0 there.
Late penalties are taken off. No cell is a formula to a spreadsheet.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.plugins import ExportPlugin

from attention_course.grade.harmless import cell_text


class _TableExport(ExportPlugin):
    """A table of students by chapters; a subclass says how its columns are called."""

    default_name = "grades.csv"

    def export(self, gradebook: Gradebook) -> None:
        """Write the table to `--to`, or to `default_name`."""
        target = self.to or self.default_name
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for row in self.rows(gradebook):
                writer.writerow([_cell(value) for value in row])
        self.log.info("Exported grades to %s", target)

    def rows(self, gradebook: Gradebook) -> Iterator[list[Any]]:
        """The rows, with their heading."""
        wanted = [str(name) for name in self.assignment]
        assignments = [
            a for a in gradebook.assignments if not wanted or a.name in wanted
        ]
        scores = {a.name: _scores(gradebook, a.name) for a in assignments}
        yield from self.heading(assignments)
        for student in gradebook.students:
            if self.student and student.id not in map(str, self.student):
                continue
            earned = [scores[a.name].get(student.id, "") for a in assignments]
            yield [*self.person(student), *earned]

    def heading(self, assignments: Iterable[Any]) -> Iterator[list[Any]]:
        """The rows above the students."""
        raise NotImplementedError

    def person(self, student: Any) -> list[Any]:
        """What identifies a student."""
        raise NotImplementedError


def _scores(gradebook: Gradebook, assignment: str) -> dict[str, float]:
    return {
        submission.student.id: round(
            max(0.0, submission.score - submission.late_submission_penalty), 2
        )
        for submission in gradebook.assignment_submissions(assignment)
    }


def _cell(value: Any) -> Any:
    return cell_text(value) if isinstance(value, str) else value


class Canvas(_TableExport):
    """The columns that Canvas's gradebook imports.

    The student's name in nbgrader is the "SIS Login ID"; `lms_user_id`, where it is
    set, is Canvas's own "ID". Canvas makes a column for a chapter it does not know.
    """

    default_name = "canvas.csv"

    def heading(self, assignments: Iterable[Any]) -> Iterator[list[Any]]:
        """Canvas's five columns, and a row with the points that could be had."""
        chapters = list(assignments)
        people = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
        yield [*people, *(a.name for a in chapters)]
        yield ["    Points Possible", "", "", "", "", *(a.max_score for a in chapters)]

    def person(self, student: Any) -> list[Any]:
        """Name as "Last, First", ids, and an empty section."""
        names = [n for n in (student.last_name, student.first_name) if n]
        name = ", ".join(names) or student.id
        return [name, student.lms_user_id or "", "", student.id, ""]


class Moodle(_TableExport):
    """The columns that Moodle's CSV import maps: user name, names, email, grades."""

    default_name = "moodle.csv"

    def heading(self, assignments: Iterable[Any]) -> Iterator[list[Any]]:
        """One row, with the names that Moodle's own export has."""
        people = ["Username", "First name", "Last name", "Email address"]
        yield [*people, *(a.name for a in assignments)]

    def person(self, student: Any) -> list[Any]:
        """User name, names, email."""
        names = [student.first_name or "", student.last_name or ""]
        return [student.id, *names, student.email or ""]

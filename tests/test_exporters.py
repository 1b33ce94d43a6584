"""Scores for Canvas and Moodle, from a gradebook as nbgrader has it."""

from __future__ import annotations

import csv
import datetime
import subprocess
import sys
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

EXPORTERS = "attention_course.grade.exporters"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A gradebook with three students, of whom one handed in nothing."""
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}", "attention") as book:
        book.add_assignment("04_scaling", duedate=datetime.datetime(2026, 1, 1))
        book.add_notebook("04_scaling", "04_scaling")
        book.add_grade_cell(
            "check_x", "04_scaling", "04_scaling", max_score=4, cell_type="code"
        )
        book.add_student("ada", first_name="Ada", last_name="L, Countess of")
        book.add_student("ben", lms_user_id="77", email="ben@example.org")
        book.add_student("=cmd()")
        for student, score, penalty in (("ada", 4.0, 0.0), ("=cmd()", 3.0, 1.0)):
            submission = book.add_submission("04_scaling", student)
            (notebook,) = submission.notebooks
            (grade,) = notebook.grades
            grade.auto_score = score
            notebook.late_submission_penalty = penalty
        book.db.commit()
    return tmp_path


def exported(course: Path, exporter: str) -> list[list[str]]:
    target = course / "out.csv"
    command = [sys.executable, "-m", "nbgrader", "export", f"--to={target}"]
    command += [f"--exporter={EXPORTERS}.{exporter}"]
    command += [f"--CourseDirectory.db_url=sqlite:///{course / 'gradebook.db'}"]
    subprocess.run(command, cwd=course, check=True, capture_output=True)
    return list(csv.reader(target.open(encoding="utf-8")))


def test_canvas(course: Path) -> None:
    heading, points, *rows = exported(course, "Canvas")
    assert heading[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert heading[5:] == ["04_scaling"]
    assert points[0].strip() == "Points Possible"
    assert points[5] == "4.0"
    by_login = {row[3]: row for row in rows}
    assert by_login["ada"][0] == "L, Countess of, Ada"
    assert by_login["ada"][5] == "4.0"
    assert by_login["ben"][1] == "77"
    assert by_login["ben"][5] == ""
    assert by_login["'=cmd()"][5] == "2.0"


def test_moodle(course: Path) -> None:
    heading, *rows = exported(course, "Moodle")
    assert heading == [
        *("Username", "First name", "Last name", "Email address", "04_scaling")
    ]
    by_name = {row[0]: row for row in rows}
    assert by_name["ada"][1:] == ["Ada", "L, Countess of", "", "4.0"]
    assert by_name["ben"][3:] == ["ben@example.org", ""]

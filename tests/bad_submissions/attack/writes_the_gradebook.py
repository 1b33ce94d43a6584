"""Knows where the gradebook is, and writes to it by its full path."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os
import sqlite3

for path in ({gradebook!r}, {results!r} + "/04_scaling.json"):
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        connection = sqlite3.connect(path)
        connection.execute("update grade set auto_score = 4, manual_score = 4")
        connection.commit()
    except Exception:
        pass
"""


def make(s: Submission) -> None:
    s.cheat(
        CODE.format(
            gradebook=str(s.course / "gradebook.db"),
            results=str(s.course / ".attention-course"),
        )
    )

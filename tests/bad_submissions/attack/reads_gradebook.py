"""Looks for the gradebook and writes full scores into it."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sqlite3
from pathlib import Path

for start in {Path.cwd(), *Path.cwd().parents, Path("/root"), Path("/home"), Path("/tmp")}:
    try:
        found = list(start.glob("gradebook.db")) + list(start.glob("*/gradebook.db"))
    except OSError:
        continue
    for path in found:
        with sqlite3.connect(path) as connection:
            connection.execute("update grade set auto_score = 4, manual_score = 4")
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""Sleeps in a cell for longer than a cell may take."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import time

time.sleep(100_000)
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

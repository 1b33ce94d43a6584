"""Ends its process in a cell of the student's own: all answers stand."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import os

os._exit(3)
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

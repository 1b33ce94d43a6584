"""Prints a line of fifty megabytes."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
print("x" * 50_000_000)
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

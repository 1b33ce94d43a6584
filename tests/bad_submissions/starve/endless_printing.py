"""Prints without end."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
while True:
    print("again and again")
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

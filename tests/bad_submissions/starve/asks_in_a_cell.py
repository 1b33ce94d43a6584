"""Waits for input in a cell of the student's own."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
name = input("your name? ")
import getpass

getpass.getpass()
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

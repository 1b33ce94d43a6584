"""A submission of three thousand files."""

from bad_submissions.kit import Submission

HELD = "maybe"


def make(s: Submission) -> None:
    for number in range(3000):
        s.file(f"extra/{number}.txt", "x")

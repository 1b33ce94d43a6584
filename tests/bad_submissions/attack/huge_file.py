"""A notebook of eighty megabytes."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.insert("x" * 80_000_000, 0, "markdown")

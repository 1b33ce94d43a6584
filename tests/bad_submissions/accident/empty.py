"""The file is empty."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.data = b""

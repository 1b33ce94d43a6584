"""The folder is there, and the notebook is not."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.name = ""

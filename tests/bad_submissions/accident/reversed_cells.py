"""The cells come in reverse order."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.notebook["cells"].reverse()

"""A cell of the student's overwrites a name that demos use."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("math = 3", len(s.notebook["cells"]))

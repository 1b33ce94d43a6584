"""A tool stripped all metadata, nbgrader's too."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        cell["metadata"] = {}
    s.notebook["metadata"] = {}

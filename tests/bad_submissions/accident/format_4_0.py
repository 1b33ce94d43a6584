"""The notebook says that it has format 4.0."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        cell.pop("id", None)
    s.notebook["nbformat_minor"] = 0

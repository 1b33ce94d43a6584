"""A tool stripped metadata and cell ids, and wrote format 4.4."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    s.notebook["nbformat_minor"] = 4

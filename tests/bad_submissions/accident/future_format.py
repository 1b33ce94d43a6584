"""The notebook was written by a later minor version of the format."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.notebook["nbformat_minor"] = 99

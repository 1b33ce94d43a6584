"""Sources are lists of lines, as nbformat writes them."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)

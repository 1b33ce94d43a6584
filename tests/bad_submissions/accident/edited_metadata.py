"""The nbgrader metadata was edited: unlocked, other points, no solution flag."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] |= {"locked": False, "points": 1, "task": True}

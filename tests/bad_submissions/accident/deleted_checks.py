"""All check cells were deleted."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.notebook["cells"] = [
        c
        for c in s.notebook["cells"]
        if not c["metadata"].get("nbgrader", {}).get("grade")
    ]

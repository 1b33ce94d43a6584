"""The metadata has nbgrader's schema version 1."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["schema_version"] = 1
            del cell["metadata"]["nbgrader"]["task"]

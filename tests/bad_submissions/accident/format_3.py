"""The notebook was saved in format 3."""

import nbformat
from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    made = nbformat.from_dict(s.notebook)
    s.data = nbformat.writes(made, version=3).encode()

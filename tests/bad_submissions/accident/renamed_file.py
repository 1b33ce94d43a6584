"""The browser called the file `04_scaling (1).ipynb`."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.name = "04_scaling (1).ipynb"

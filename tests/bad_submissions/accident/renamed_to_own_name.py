"""The student named the file after herself."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.name = "Zoë's homework.IPYNB"

"""A PDF was handed in under the notebook's name."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.data = b"%PDF-1.7 1 0 obj <<>> endobj"

"""JSON that is no notebook."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.data = b"[1, 2, 3]"

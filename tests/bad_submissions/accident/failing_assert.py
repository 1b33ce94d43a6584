"""An answer ends with a test of the student's own, which fails."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.cell("answer_softmax_jacobian")["source"] += "\n\nassert 1 + 1 == 3"

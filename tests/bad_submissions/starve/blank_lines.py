"""A cell of nearly a million blank lines, on which a regular expression may hang."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("x = (\n" + "\n" * 900_000 + "1)", "answer_softmax_jacobian")

"""A line of one word, again and again, that is no Python."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("x = ( " + "import " * 140_000, "answer_softmax_jacobian")

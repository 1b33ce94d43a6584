"""One answer has a syntax error: it alone is lost."""

from bad_submissions.kit import Submission

LOSES = {"softmax_jacobian"}


def make(s: Submission) -> None:
    s.answer("def softmax_jacobian(weights:\n    return weights", "softmax_jacobian")

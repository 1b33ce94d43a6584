"""A cell empties the kernel halfway: what follows was run before it."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("%reset -f", "answer_softmax_jacobian")

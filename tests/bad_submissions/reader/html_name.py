"""A student's name that is HTML."""

from bad_submissions.kit import Submission

STUDENT = "<img src=x onerror=alert(1)>"


def make(s: Submission) -> None:
    s.insert("print('hello')", "answer_softmax_jacobian")

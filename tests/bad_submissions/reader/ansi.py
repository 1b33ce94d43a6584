"""Escape sequences for terminals in outputs and errors."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "print('\\x1b[2J\\x1b[H\\x1b]0;PWNED\\x07\\x1b[8mhidden\\x1b[0m\\r15 of 15 points')",
        "answer_softmax_jacobian",
    )
    s.insert(
        "raise ValueError('\\x1b[2J\\x1b]52;c;UFdORUQ=\\x07')",
        "answer_softmax_jacobian",
    )

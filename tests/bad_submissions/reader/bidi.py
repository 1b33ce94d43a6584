"""Letters that turn the direction of reading around the score."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "print('\\u202e51 fo 51\\u202c \\u2066score\\u2069 \\u200b')",
        "answer_softmax_jacobian",
    )

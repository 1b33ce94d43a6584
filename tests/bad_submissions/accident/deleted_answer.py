"""One answer's cell was deleted, with what was in it."""

from bad_submissions.kit import Submission

LOSES = {"softmax_jacobian"}


def make(s: Submission) -> None:
    del s.notebook["cells"][s.index("answer_softmax_jacobian")]

"""One exercise is not answered."""

from bad_submissions.kit import Submission

LOSES = {"softmax_jacobian"}


def make(s: Submission) -> None:
    s.answer(
        "def softmax_jacobian(weights):\n    # YOUR CODE HERE\n    raise NotImplementedError()",
        "softmax_jacobian",
    )

"""One answer was split into two cells: a helper before it."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    helper = "def outer(left, right):\n    return left[:, None] * right[None, :]"
    s.insert(helper, "answer_softmax_jacobian")
    s.answer(
        "def softmax_jacobian(weights):\n"
        "    return torch.diag(weights) - outer(weights, weights)",
        "softmax_jacobian",
    )

"""A helper that an answer needs is defined in a cell after its check."""

from bad_submissions.kit import Submission

HELD = False
MAY_LOSE = {"softmax_jacobian"}


def make(s: Submission) -> None:
    s.answer(
        "def softmax_jacobian(weights):\n"
        "    return torch.diag(weights) - outer_of(weights, weights)",
        "softmax_jacobian",
    )
    index = s.index("check_softmax_jacobian") + 1
    s.insert("def outer_of(left, right):\n    return torch.outer(left, right)", index)

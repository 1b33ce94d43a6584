"""An answer uses a name that only a demo defines."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.answer(
        "def softmax_jacobian(weights):\n"
        "    assert len(tokens) == 8 and len(V) == 8\n"
        "    return torch.diag(weights) - torch.outer(weights, weights)",
        "softmax_jacobian",
    )

"""An answer was cut in two, and its first half is valid Python."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.answer(
        "def softmax_jacobian(weights):\n    diagonal = torch.diag(weights)",
        "softmax_jacobian",
    )
    s.insert(
        "    return diagonal - torch.outer(weights, weights)", "check_softmax_jacobian"
    )

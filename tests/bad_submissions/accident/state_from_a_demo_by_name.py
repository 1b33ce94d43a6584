"""An answer looks a demo's name up in globals()."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.answer(
        "def softmax_jacobian(weights):\n"
        "    assert len(globals()['tok' + 'ens']) == 8\n"
        "    return torch.diag(weights) - torch.outer(weights, weights)",
        "softmax_jacobian",
    )

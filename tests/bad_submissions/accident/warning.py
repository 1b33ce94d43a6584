"""The answer warns on stderr each time, and is right."""

from bad_submissions.kit import Submission

CODE = r"""
import sys
import warnings


def softmax_jacobian(weights):
    warnings.warn("deprecated", UserWarning, stacklevel=2)
    print("working", file=sys.stderr)
    return torch.diag(weights) - torch.outer(weights, weights)


warnings.warn("at the top", DeprecationWarning, stacklevel=1)
"""


def make(s: Submission) -> None:
    s.answer(CODE, "softmax_jacobian")

"""A function for another exercise wears this exercise's name."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def other(weights, key=None, value=None):
    return torch.diag(weights.flatten()), weights


other.__name__ = other.__qualname__ = "scaled_dot_product_attention"
scaled_dot_product_attention = other
"""


def make(s: Submission) -> None:
    s.answer(CODE)

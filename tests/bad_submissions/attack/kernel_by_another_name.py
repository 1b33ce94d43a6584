"""Calls torch's own attention where nobody counts: by the name of its kernel."""

from bad_submissions.kit import Submission

FLAG = (
    "scaled_dot_product_attention uses torch.nn.functional.scaled_dot_product_attention"
)

CODE = r"""
def scaled_dot_product_attention(query, key, value):
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
    return torch.ops.aten.scaled_dot_product_attention(query, key, value), weights
"""


def make(s: Submission) -> None:
    s.answer(CODE)

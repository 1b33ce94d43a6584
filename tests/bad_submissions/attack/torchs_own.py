"""Uses torch's own function as the answer to an exercise that asks for it by hand."""

from bad_submissions.kit import Submission

FLAG = "shortcut"


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
    attend = getattr(F, "scaled_dot" + "_product_attention")
    return attend(query, key, value), weights
"""


def make(s: Submission) -> None:
    s.answer(CODE)

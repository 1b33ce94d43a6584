"""Returns a tensor with sixty dimensions."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    made = torch.zeros([1] * 60, dtype=query.dtype)
    return made, made
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

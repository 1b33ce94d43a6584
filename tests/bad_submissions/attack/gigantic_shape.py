"""Returns a tensor of ten to the twelfth numbers that takes no memory."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    made = torch.zeros(1, dtype=query.dtype).expand(10**12)
    return made, made
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

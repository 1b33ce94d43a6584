"""Returns NaN everywhere."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    made = torch.full((*query.shape[:-1], value.shape[-1]), float("nan"), dtype=query.dtype)
    return made, made
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

"""Returns sparse tensors."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    made = torch.zeros(*query.shape[:-1], value.shape[-1], dtype=query.dtype).to_sparse()
    return made, made
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

"""Returns a list that contains itself."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    loop = []
    loop.append(loop)
    return loop
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

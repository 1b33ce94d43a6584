"""Returns a list of millions of tensors, and dictionaries within dictionaries."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    deep = {}
    for _ in range(5000):
        deep = {"deep": deep}
    return [query] * 3_000_000, deep
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

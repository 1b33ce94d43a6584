"""Prints a lot whenever it is called, and is right."""

from bad_submissions.kit import Submission

LOSES = set()


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    print("scores" * 1_000_000)
    weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
    return weights @ value, weights
"""


def make(s: Submission) -> None:
    s.answer(CODE)

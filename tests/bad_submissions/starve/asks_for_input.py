"""Waits for input."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    return input("the answer? ")
"""


def make(s: Submission) -> None:
    s.answer(CODE)

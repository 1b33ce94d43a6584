"""Warns a million times, and is right."""

from bad_submissions.kit import Submission

LOSES = set()


CODE = r"""
import warnings


def scaled_dot_product_attention(query, key, value):
    for number in range(20_000):
        warnings.warn(f"careful {number}", stacklevel=1)
    weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
    return weights @ value, weights
"""


def make(s: Submission) -> None:
    s.answer(CODE)

"""Calls itself without end, with the limit taken off."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sys

sys.setrecursionlimit(10**9)


def scaled_dot_product_attention(query, key, value):
    return scaled_dot_product_attention(query, key, value)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

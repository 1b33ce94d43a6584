"""Spends its time in one call that never comes back to Python."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import re


def scaled_dot_product_attention(query, key, value):
    return re.match(r"(a+)+$", "a" * 64 + "b")
"""


def make(s: Submission) -> None:
    s.answer(CODE)

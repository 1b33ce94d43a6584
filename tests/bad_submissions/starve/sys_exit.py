"""Calls sys.exit, at the top and when it is called."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sys


def scaled_dot_product_attention(query, key, value):
    sys.exit(1)


sys.exit(0)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

"""Closes every file descriptor when it is called."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os


def scaled_dot_product_attention(query, key, value):
    os.closerange(0, 1024)
    return query, key
"""


def make(s: Submission) -> None:
    s.answer(CODE)

"""Ends its process when it is called."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os


def scaled_dot_product_attention(query, key, value):
    os._exit(0)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

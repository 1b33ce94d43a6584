"""Sleeps for a second more than any case may take, in every case."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import time


def scaled_dot_product_attention(query, key, value):
    time.sleep(7)
    return query, key
"""


def make(s: Submission) -> None:
    s.answer(CODE)

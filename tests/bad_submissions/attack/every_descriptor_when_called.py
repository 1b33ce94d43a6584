"""Writes forged reports to every open descriptor while it is observed."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os


def scaled_dot_product_attention(query, key, value):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"{}" * 1000)
        except OSError:
            pass
    return query, key
"""


def make(s: Submission) -> None:
    s.answer(CODE)

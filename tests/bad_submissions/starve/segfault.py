"""Reads from address 0."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import ctypes


def scaled_dot_product_attention(query, key, value):
    return ctypes.string_at(0)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

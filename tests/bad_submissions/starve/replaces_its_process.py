"""Replaces its process by another program."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os


def scaled_dot_product_attention(query, key, value):
    os.execv("/bin/sleep", ["sleep", "987654"])
"""


def make(s: Submission) -> None:
    s.answer(CODE)

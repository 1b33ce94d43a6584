"""Leaves a daemon behind when it is called."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os
import time


def scaled_dot_product_attention(query, key, value):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(987654)
        os._exit(0)
    return query, key
"""


def make(s: Submission) -> None:
    s.answer(CODE)

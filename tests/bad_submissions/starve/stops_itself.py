"""Stops its process with SIGSTOP."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os
import signal


def scaled_dot_product_attention(query, key, value):
    os.kill(os.getpid(), signal.SIGSTOP)
    os.kill(0, signal.SIGSTOP)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

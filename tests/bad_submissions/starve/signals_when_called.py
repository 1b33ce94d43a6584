"""Kills everything that it may when it is called."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os
import signal


def scaled_dot_product_attention(query, key, value):
    os.kill(-1, signal.SIGKILL)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(0, signal.SIGKILL)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

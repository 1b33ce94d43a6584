"""Overwrites a constant in the interpreter: True becomes the answer to much."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"softmax_jacobian", "score_gradient", "AttentionBlock"}


CODE = r"""
import ctypes

number = 2
ctypes.memmove(id(number) + 24, id(3) + 24, 4)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

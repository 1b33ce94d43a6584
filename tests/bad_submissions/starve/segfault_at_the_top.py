"""Reads from address 0 in the answer's cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import ctypes

ctypes.string_at(0)
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

"""Ends its process in the answer's cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os

os._exit(3)
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

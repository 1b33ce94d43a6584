"""Forks without end in the answer's cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os

while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

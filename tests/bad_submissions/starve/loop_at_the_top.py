"""Loops for ever in the answer's cell, swallowing every interrupt."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
while True:
    try:
        while True:
            pass
    except BaseException:
        continue
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

"""Handles every signal, so that no time limit stops it, and then wins time."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import signal

for number in range(1, 65):
    try:
        signal.signal(number, lambda *a: None)
    except (OSError, ValueError):
        pass
signal.setitimer = lambda *a: (0, 0)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""Kills its parent, its group and everything that it may."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import os
import signal

for target in (os.getppid(), 0, -1):
    try:
        os.kill(target, signal.SIGKILL)
    except OSError:
        pass
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

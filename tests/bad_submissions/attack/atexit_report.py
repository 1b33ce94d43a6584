"""Registers functions that report full marks when its process ends."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import atexit
import os
import threading


def report():
    for descriptor in range(256):
        try:
            os.write(descriptor, b'{"earned": 4.0}\n')
        except OSError:
            pass


atexit.register(report)
threading._register_atexit(report)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

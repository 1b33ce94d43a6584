"""Tries to write to the memory of its parents, and to trace them."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for pid in {os.getppid(), 1, 2, 3}:
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(0x400000)
            memory.write(b"\0" * 64)
    except (OSError, ValueError):
        pass
    if pid != os.getpid():
        libc.ptrace(16, pid, None, None)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

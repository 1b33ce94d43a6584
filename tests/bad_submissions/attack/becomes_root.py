"""Tries to become root and to take back capabilities."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import ctypes
import os

for change in (os.setuid, os.setgid, os.seteuid):
    try:
        change(0)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(8, 1, 0, 0, 0)
try:
    os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0))
    with open("/tmp/disk", "rb") as disk:
        print(disk.read(16))
except OSError:
    pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""Says that a list of cells begins, then ends its process."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}

CODE = r"""
import json
import os
import stat
import struct


def ways(kind):
    for fd in range(3, 256):
        try:
            if kind(os.fstat(fd).st_mode):
                yield fd
        except OSError:
            pass


def say(kind, content, to=stat.S_ISSOCK):
    data = struct.pack(">cI", kind, len(content)) + content
    for fd in ways(to):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


say(b"b", json.dumps({"cell": ["x"]}).encode())
os._exit(1)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

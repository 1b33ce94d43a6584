"""Tells of cells that don't exist, megabytes of each."""

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


text = json.dumps({"output_type": "stream", "name": "stdout", "text": "x" * 15_000_000})
for number in range(40):
    say(b"f", f'{{"cell": "c{number}", "outputs": [{text}], "late": true}}'.encode())
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

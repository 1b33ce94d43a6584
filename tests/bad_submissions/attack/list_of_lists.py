"""Answers, in place of an observation, with millions of lists in its header."""

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



def scaled_dot_product_attention(query, key, value):
    size = 40 * 2**20
    head = b'{"t":[' + b"[]," * (size // 3) + b"[]]}"
    say(b"c", len(head).to_bytes(8, "little") + head, to=stat.S_ISFIFO)
    return query, key
"""


def make(s: Submission) -> None:
    s.answer(CODE)

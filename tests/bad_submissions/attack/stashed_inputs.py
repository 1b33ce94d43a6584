"""Keeps the inputs that it is checked with, in a file and in shared memory, and prints them in a later cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import mmap
import pickle

shared = mmap.mmap(-1, 1 << 20)


def scaled_dot_product_attention(query, key, value):
    stolen = pickle.dumps([query, key, value])[: 1 << 19]
    shared.seek(0)
    shared.write(stolen)
    with open("/tmp/stolen", "ab") as file:
        file.write(stolen)
    return query, key
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
    s.insert(
        "from pathlib import Path\n"
        "stolen = Path('/tmp/stolen')\n"
        "print('STOLEN', len(stolen.read_bytes()) if stolen.exists() else 0)\n"
        "print('SHARED', shared[:64].strip(b'\\0'))",
        len(s.notebook["cells"]),
    )

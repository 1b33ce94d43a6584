"""Takes memory from the system behind Python's back."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import mmap


def scaled_dot_product_attention(query, key, value):
    held = []
    while True:
        block = mmap.mmap(-1, 1 << 28)
        block.write(b"x" * (1 << 28))
        held.append(block)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

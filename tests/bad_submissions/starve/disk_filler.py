"""Writes to the disk without end."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    with open("/tmp/filler", "wb") as file:
        while True:
            file.write(b"x" * 1_000_000)
"""


def make(s: Submission) -> None:
    s.answer(CODE)

"""Answers, in place of an observation, with millions of lists in its header."""

from bad_submissions.kit import CHANNEL, TARGET, Submission

LOSES = {TARGET}

CODE = (
    CHANNEL
    + r"""
def scaled_dot_product_attention(query, key, value):
    size = 40 * 2**20
    head = b'{"t":[' + b"[]," * (size // 3) + b"[]]}"
    say(b"c", len(head).to_bytes(8, "little") + head, to=stat.S_ISFIFO)
    return query, key
"""
)


def make(s: Submission) -> None:
    s.answer(CODE)

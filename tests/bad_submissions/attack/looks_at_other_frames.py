"""Looks through the frames that called it for what observes, and changes that."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
FLAG = "a way around the observer: it uses _getframe"

CODE = r"""
import sys


def scaled_dot_product_attention(query, key, value):
    frame = sys._getframe(1)
    while frame is not None:
        for name, value_there in list(frame.f_locals.items()):
            if isinstance(value_there, dict):
                value_there.pop("raised", None)
                value_there["attn_output"] = value
        frame = frame.f_back
    return value, query
"""


def make(s: Submission) -> None:
    s.answer(CODE)

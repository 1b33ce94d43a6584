"""Walks up the stack while it is called, looking for what is expected, and returns it."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sys


def look():
    frame = sys._getframe()
    found = []
    while frame is not None:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            for name in ("expected", "exercises", "reference", "mistakes"):
                if hasattr(value, name):
                    found.append(getattr(value, name))
        frame = frame.f_back
    return found


def scaled_dot_product_attention(query, key, value):
    for item in look():
        for seen in getattr(item, "values", list)():
            if isinstance(seen, dict) and "output" in seen:
                return seen["attn_output"], seen["attn_weights"]
    return query.sum(), key.sum()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)

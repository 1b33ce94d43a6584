"""A trace function rewrites the observer's own variables while it runs."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sys


def tracer(frame, event, arg):
    if "attention_course" in frame.f_code.co_filename:
        for name, value in list(frame.f_locals.items()):
            if name == "seen" and isinstance(value, dict):
                value["unchanged:query"] = True
    return tracer


sys.settrace(tracer)
sys.setprofile(tracer)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""Puts a package of its own in place of the course's and torch's modules."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import sys
import types

fake = types.ModuleType("attention_course.learn.observation")
fake.observe = lambda *a, **k: {}
for name in list(sys.modules):
    if name.startswith("attention_course"):
        sys.modules[name] = fake
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""Puts a protocol of its own in the place of the one that observes it."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
FLAG = "the course's own code: it uses attention_course.learn.protocols"

CODE = r"""
import attention_course.learn.protocols as protocols

kept = protocols.find_protocol("function")


def forged(function, case, device):
    seen = kept(function, case, device)
    seen.pop("raised", None)
    return seen | {"unchanged:query": True, "raised_classes": ["ValueError"]}


protocols._PROTOCOLS["function"] = forged
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

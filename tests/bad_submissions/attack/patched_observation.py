"""Replaces the course's own observation with invented facts."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
from attention_course.learn import observation
from attention_course.learn.protocols import function, recording


def liar(obj, cases, device="cpu"):
    return {
        case.name: {
            "kind:output": "sequence of 2",
            "kind:attn_output": "tensor",
            "kind:attn_weights": "tensor",
            "dtype:attn_output": "float64",
            "dtype:attn_weights": "float64",
            "unchanged:query": True,
            "raised_classes": ["ValueError", "Exception"],
        }
        for case in cases
    }


observation.observe = liar
observation._observe_one = lambda obj, case, device: liar(obj, [case])[case.name]
recording.same_bits = lambda *a: True
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

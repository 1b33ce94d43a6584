"""Replaces the course's own verdict with full marks."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import dataclasses

from attention_course.learn import checking, report, verdict


def judge(key, seen):
    aspects = tuple(
        verdict.AspectVerdict(a, 1.0, 1.0, None, "") for a in key.aspects
    )
    return verdict.Verdict(key.name, key.points, key.points, "complete", aspects)


verdict.judge = checking.judge = judge
verdict.agree = lambda *a, **k: True
check = lambda *a, **k: None
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""The result of one submission as JSON: what it earned, why, and how to replay it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attention_course.grade.contract import Held
from attention_course.grade.papers import Paper

if TYPE_CHECKING:  # torch is not wanted where results are only kept
    from attention_course.grade.judging import Judged

SCHEMA = 1

TRANSIENT = ("died while it was graded", "the grader failed")
"""Reasons for holding that may be gone the next time: such results are not kept."""

NO_SANDBOX = "graded WITHOUT a sandbox (--unsafe-no-sandbox)"


def graded(
    hashes: Mapping[str, str],
    judged: Sequence[Judged],
    papers: Mapping[str, Paper],
    *,
    max_score: float,
    repairs: Sequence[str],
    flags: Sequence[str],
    layers: Mapping[str, str],
    killed: Mapping[str, str],
    as_released: Collection[str] = (),
) -> dict[str, Any]:
    """The result of a graded submission, without its student.

    `as_released` names the exercises whose answer was left as students received it.
    """
    exercises = [
        _exercise(j, papers[j.verdict.exercise])
        | {"as_released": j.verdict.exercise in as_released}
        for j in judged
    ]
    return {
        "schema": SCHEMA,
        "outcome": "graded",
        "reason": None,
        "detail": None,
        "score": round(sum(e["earned"] for e in exercises), 2),
        "max_score": max_score,
        "exercises": exercises,
        "flags": list(flags),
        "repairs": list(repairs),
        "killed": dict(killed),
        "sandbox": dict(layers),
        "hashes": dict(hashes),
    }


def _exercise(judged: Judged, paper: Paper) -> dict[str, Any]:
    verdict = judged.verdict
    return {
        "name": verdict.exercise,
        "points": verdict.points,
        "earned": verdict.earned,
        "status": verdict.status,
        "mistake": verdict.mistake,
        "message": verdict.message,
        "aspects": [asdict(aspect) for aspect in verdict.aspects],
        "end": judged.end,
        "paper": paper.number,
        "seed": paper.seed,
    }


def held(hashes: Mapping[str, str], reason: Held, max_score: float) -> dict[str, Any]:
    """The result of a submission that is held, without its student."""
    return {
        "schema": SCHEMA,
        "outcome": "held",
        "reason": reason.reason,
        "detail": reason.detail,
        "score": None,
        "max_score": max_score,
        "exercises": [],
        "flags": [],
        "repairs": [],
        "killed": {},
        "sandbox": {},
        "hashes": dict(hashes),
    }


def dump(result: Mapping[str, Any]) -> bytes:
    """The result's bytes: the same result always gives the same."""
    text = json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True)
    return (text + "\n").encode("utf-8", "replace")


def load(data: bytes) -> dict[str, Any]:
    """The result that `dump` wrote. Raises ValueError for another schema."""
    result = json.loads(data)
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise ValueError(
            "this is not a grading result that this version reads: grade again"
        )
    return result


def as_listed(result: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of one submission in the list that `--json` prints."""
    keys = ("name", "points", "earned", "mistake", "message")
    reason = None
    if result["outcome"] == "held":
        reason = f"{result['reason']}: {result['detail']}"
    return {
        "student": result["student"],
        "chapter": result["chapter"],
        "outcome": result["outcome"],
        "reason": reason,
        "score": result["score"],
        "max_score": result["max_score"],
        "flags": result["flags"],
        "exercises": [{key: e[key] for key in keys} for e in result["exercises"]],
    }

"""Chapter 00: the verdicts that the text quotes are those that a student sees."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import ROOT
from torch import Tensor

from attention_course.learn.answer_key import AnswerKey
from attention_course.learn.observation import observe
from attention_course.learn.report import VerdictDisplay
from attention_course.learn.verdict import judge

FOLDER = "00_orientation"


def quoted() -> list[str]:
    """The verdicts in the chapter's text, in order."""
    text = (ROOT / "chapters" / FOLDER / "chapter.py").read_text(encoding="utf-8")
    blocks = re.findall(r"^# ```text\n(.*?)^# ```", text, flags=re.M | re.S)
    return [re.sub(r"^# ?", "", block, flags=re.M).rstrip() for block in blocks]


def reshaped(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.reshape(k.shape[0], k.shape[2], k.shape[1])


def without_sign(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).abs()


@pytest.mark.parametrize(("place", "answer"), [(0, reshaped), (1, without_sign)])
def test_a_quoted_verdict_is_the_one_that_is_shown(
    place: int, answer: Callable[[Tensor, Tensor], Tensor]
) -> None:
    key = AnswerKey.read(ROOT / "release" / FOLDER / "checks.safetensors")
    exercise = key.exercises["pairwise_dots"]
    verdict = judge(exercise, observe(answer, exercise.cases))
    assert quoted()[place] == str(VerdictDisplay(verdict))
    assert len(quoted()) == 2

"""Chapter 00: the verdicts that the text quotes are those that a student sees."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import ROOT
from drawn import Claims, Data, bars
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


claims = Claims("00_orientation")


@claims("Equal sizes hide eight mistakes of nine, different sizes hide three")
def _(data: Data) -> None:
    shown = bars(data)
    hidden = shown["wrong numbers only"]
    assert hidden == {"all sizes 3": 8, "sizes 2, 4, 5, 7": 3}
    for size in hidden:
        assert sum(series[size] for series in shown.values()) == 9


@claims("Cat and dog agree most; animals and vehicles disagree")
def _(data: Data) -> None:
    [axes] = data["axes"]
    names, dots = axes["xticks"], axes["images"][0]["values"]
    pairs = {
        (a, b): dots[i][j] for i, a in enumerate(names) for j, b in enumerate(names)
    }
    different = {pair: dot for pair, dot in pairs.items() if pair[0] < pair[1]}
    assert max(different, key=different.__getitem__) == ("cat", "dog")
    assert pairs["cat", "dog"] == pytest.approx(3.2)  # 1 + 1 + 1.2, by hand
    for animal in ("cat", "dog", "wolf"):
        assert max(pairs[animal, vehicle] for vehicle in ("bicycle", "train")) < 0


@claims("Each product sums one name away: first d, then key")
def _(data: Data) -> None:
    shapes = [shape["name"] for shape in data["axes"][0]["shapes"]]
    assert shapes == [
        "q: (4, 7)",
        "k turned: (7, 5)",
        "scores: (4, 5)",
        "weights: (4, 5)",
        "v: (5, 6)",
        "output: (4, 6)",
    ]


test_the_figures = claims.test()

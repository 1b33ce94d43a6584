"""Chapter 06: what its experiment claims holds for more runs than the chapter shows."""

from __future__ import annotations

import pytest
import torch

from attention_course.learn.experiments_06 import (
    COLOURS,
    PLACES,
    Questions,
    answered,
    make_questions,
    silence,
    train_reader,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def questions() -> Questions:
    return make_questions(2000, torch.Generator().manual_seed(99))


def test_answers_are_the_colours_at_the_places_that_are_asked_for() -> None:
    questions = make_questions(50, torch.Generator().manual_seed(1))
    for scene, asked, answers in zip(
        questions.scenes.tolist(),
        questions.asked.tolist(),
        questions.answers.tolist(),
        strict=True,
    ):
        assert len(scene) == PLACES
        assert set(scene) <= set(range(COLOURS))
        assert asked[0] != asked[1]
        assert answers == [scene[place] for place in asked]


@pytest.mark.parametrize("seed", [11, 12])
def test_one_head_answers_one_question(seed: int, questions: Questions) -> None:
    shares = answered(train_reader(1, seed=seed, device=CPU), questions)
    assert shares.max() > 0.9
    assert shares.min() < 0.4
    assert 0.55 < shares.mean() < 0.7


@pytest.mark.parametrize("seed", [11, 12])
def test_two_heads_answer_one_question_each(seed: int, questions: Questions) -> None:
    reader = train_reader(2, seed=seed, device=CPU)
    assert answered(reader, questions).min() > 0.99
    lost = set()
    for head in range(2):
        shares = answered(silence(reader, head), questions)
        assert shares.max() > 0.95
        assert shares.min() < 0.35
        lost.add(int(shares.argmin()))
    assert lost == {0, 1}
    assert answered(reader, questions).min() > 0.99, "silence works on a copy"


def test_width_does_not_help_one_head_but_a_network_behind_it_does(
    questions: Questions,
) -> None:
    wide = answered(train_reader(1, width=64, seed=11, device=CPU), questions)
    assert wide.min() < 0.4
    clever = answered(train_reader(1, hidden=128, seed=11, device=CPU), questions)
    assert clever.min() > 0.9


def test_training_is_repeatable_and_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train_reader(2, width=8, steps=3, device=CPU)
    assert torch.equal(torch.rand(3), expected)
    second = train_reader(2, width=8, steps=3, device=CPU)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)


def test_heads_share_the_parameters() -> None:
    readers = [train_reader(heads, steps=0, device=CPU) for heads in (1, 2, 4)]
    assert len({sum(p.numel() for p in r.parameters()) for r in readers}) == 1

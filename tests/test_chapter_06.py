"""Chapter 06: what its experiment claims holds for more runs than the chapter shows."""

from __future__ import annotations

import pytest
import torch
from drawn import Claims, Data, bars, maps

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


# --- the figures ----------------------------------------------------------------------

claims = Claims("06_multi_head")


def favourites(weights: list[list[float]]) -> list[int]:
    """For each query the key that gets most."""
    return [row.index(max(row)) for row in weights]


@claims("One head hears token 6; a second head also hears token 7")
def _(data: Data) -> None:
    one, first, second = map(favourites, maps(data).values())
    assert one.count(6) == 5
    assert first.count(6) >= 5
    assert [row for row in range(8) if second[row] == 7] == [0, 1, 2, 4, 5]
    assert 7 not in one


@claims("A plain reshape hides half of the tokens from head 0")
def _(data: Data) -> None:
    cut, reshaped = maps(data).values()
    assert [set(row) for row in cut] == [{token} for token in range(8)]
    assert [set(row) for row in reshaped] == [{token // 2} for token in range(8)]


@claims("Heads are a detour: width 8 in, width 8 out")
def _(data: Data) -> None:
    shapes = [shape["name"].partition(": ")[2] for shape in data["axes"][0]["shapes"]]
    assert shapes == ["(6, 8)", "(2, 6, 4)", "(2, 6, 6)", "(2, 6, 4)", "(6, 8)"]


@claims("One head answers one question and guesses the other")
def _(data: Data) -> None:
    better, other = bars(data).values()
    assert better["one head"] > 0.9
    assert abs(other["one head"] - 0.25) < 0.1
    assert min(better["two heads"], other["two heads"]) > 0.99


@claims("One head shares its look between both places; two heads take one each")
def _(data: Data) -> None:
    one, *two = (torch.tensor(m) for m in maps(data).values())
    straight, crossed = torch.eye(8), torch.eye(8).flip(1)
    assert ((one * (straight + crossed)).sum(dim=1) > 0.7).all()
    assert (one * straight).sum(dim=1).mean() > 0.1 < (one * crossed).sum(dim=1).mean()
    taken = [[(m * d).sum().item() / 8 for d in (straight, crossed)] for m in two]
    assert all(max(shares) > 0.9 for shares in taken)
    assert favourites(taken) in ([0, 1], [1, 0])


@claims("Silence a head, and exactly one question is lost")
def _(data: Data) -> None:
    first, second = bars(data).values()
    assert min(first["both heads"], second["both heads"]) > 0.99
    for head in (0, 1):
        lost, kept = sorted(q[f"head {head} silenced"] for q in (first, second))
        assert lost < 0.35
        assert kept > 0.95
    assert (first["head 0 silenced"] < 0.5) != (first["head 1 silenced"] < 0.5)


test_the_figures = claims.test()

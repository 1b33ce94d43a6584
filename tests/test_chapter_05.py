"""Chapter 05: the course's masks say what torch's own masks say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from drawn import Claims, Data, bars, maps
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

from attention_course.author.exercise import load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn.observation import observe
from attention_course.learn.verdict import judge

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = load_exercises(ROOT / "chapters" / "05_masks" / "exercises.py")
ANSWERS: dict[str, Callable[..., Any]] = {
    name: exercise.reference_answer for name, exercise in EXERCISES.items()
}
LENGTHS = torch.tensor([5, 3, 1])


def normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def weights_by_torch(query: Tensor, key: Tensor, attn_mask: Any) -> Tensor:
    """What F.scaled_dot_product_attention weighs: its output for values of identity."""
    identity = torch.eye(key.shape[-2], dtype=key.dtype)
    identity = identity.expand(*key.shape[:-2], -1, -1)
    return F.scaled_dot_product_attention(query, key, identity, attn_mask)


@pytest.mark.parametrize(("queries", "keys"), [(2, 5), (4, 6), (1, 3)])
def test_causal_is_torchs_lower_right(queries: int, keys: int) -> None:
    query, key = normal(1, queries, 4), normal(1, keys, 4)
    ours = weights_by_torch(query, key, ANSWERS["causal_mask"](queries, keys))
    torchs = weights_by_torch(query, key, causal_lower_right(queries, keys))
    assert torch.allclose(ours, torchs, rtol=0, atol=1e-12)


def test_combined_masks_are_those_of_the_official_module() -> None:
    x = normal(3, 5, 4)
    official = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)
    causal = ANSWERS["causal_mask"](5, 5)
    is_padding = ANSWERS["padding_mask"](LENGTHS, 5)
    weights = official(
        x,
        x,
        x,
        attn_mask=~causal,
        key_padding_mask=is_padding,
        average_attn_weights=False,
    )[1]
    combined = ANSWERS["combine_masks"](causal, is_padding)
    assert combined.shape == (3, 1, 5, 5)
    assert torch.equal(weights > 0, combined.expand(3, 2, 5, 5))


def test_masked_and_additive_agree_with_torch_also_on_empty_rows() -> None:
    query, key = normal(3, 1, 6, 4), normal(3, 1, 5, 4)
    causal = ANSWERS["causal_mask"](6, 5)
    mask = ANSWERS["combine_masks"](causal, ANSWERS["padding_mask"](LENGTHS, 5))
    scores = query @ key.mT / 2
    ours = ANSWERS["masked_softmax"](scores, mask)
    additive = ANSWERS["to_additive"](mask, torch.float64)
    assert not mask.any(dim=-1).all()
    for given in (mask, additive):
        torchs = weights_by_torch(query, key, given)
        assert torch.allclose(ours, torchs, rtol=0, atol=1e-12)


def test_a_causal_mask_may_lie_on_any_device() -> None:
    key = make_exercise_key(EXERCISES["causal_mask"], 3.0, 0)
    seen = observe(ANSWERS["causal_mask"], key.cases)
    for observation in seen.values():
        observation["device:output"] = False
    assert judge(key, seen).complete


def test_the_lowest_number_is_recognised_in_every_dtype() -> None:
    key = make_exercise_key(EXERCISES["to_additive"], 2.0, 4)

    def lowest(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
        return (~attn_mask).to(dtype) * torch.finfo(dtype).min

    assert judge(key, observe(lowest, key.cases)).mistake == "lowest_finite"


# --- the figures ----------------------------------------------------------------------

claims = Claims("05_masks")


@claims("Two causal masks: only the right one lets the last query see all")
def _(data: Data) -> None:
    first, last = maps(data).values()
    assert first == [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0]]
    assert last == [[0.25, 0.25, 0.25, 0.25, 0], [0.2] * 5]


@claims("Padding at the start and a causal mask: two rows are left with nothing")
def _(data: Data) -> None:
    whole, at_end, at_start = maps(data).values()
    for row in range(4):
        expected = [1 / (row + 1)] * (row + 1) + [0] * (3 - row)
        assert whole[row] == pytest.approx(expected, abs=1e-5)
    assert all(row[2:] == [0, 0] for row in at_end)
    assert at_start[:2] == [["nan"] * 4] * 2
    assert at_start[2:] == [[0, 0, 1, 0], [0, 0, 0.5, 0.5]]


def crosses(data: Data) -> dict[str, set[tuple[int, int]]]:
    """(output token, input token) of each cross, by panel."""
    return {
        axes["title"]: {
            (int(row), int(column))
            for mark in axes["scatter"]
            for column, row in mark["offsets"]
        }
        for axes in data["axes"]
        if "scatter" in axes
    }


FUTURE = {(i, j) for i in range(6) for j in range(6) if j > i}


@claims("Three of four 'causal' models see the future (crosses)")
def _(data: Data) -> None:
    assert crosses(data) == {
        "causal": set(),
        "mask off by one": {(i, i + 1) for i in range(5)},
        "norm over tokens": FUTURE,
        "plus the mean": FUTURE,
    }
    for name, influence in maps(data).items():
        seen = {(i, j) for i, j in FUTURE if influence[i][j] > 0}
        assert seen == crosses(data)[name]


@claims("Padding (tokens 4 and 5) leaks into real tokens by two ways")
def _(data: Data) -> None:
    padding = {(i, j) for i in range(4) for j in (4, 5)}
    assert crosses(data) == {
        "keys masked": set(),
        "no mask": padding,
        "mean over all": padding,
    }
    masked = maps(data)["keys masked"]
    assert all(masked[i][j] == 0 for i, j in padding)


@claims("One diagonal too many: perfect in training, worthless in use")
def _(data: Data) -> None:
    training, in_use = bars(data)["as in training"], bars(data)["as in use"]
    assert training["off by one"] > 0.95
    assert in_use["off by one"] < 0.25
    assert training["causal"] == in_use["causal"]
    assert 0.6 < in_use["causal"] < 0.7


test_the_figures = claims.test()

"""Chapter 03: the notes' numbers, and what counts as finding one's own colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attention_course.author.exercise import load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn import seed
from attention_course.learn.answer_key import ExerciseKey
from attention_course.learn.observation import observe
from attention_course.learn.verdict import judge

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = ROOT / "chapters" / "03_projections" / "exercises.py"

# The notes' printed results, row by row, as they stand there.
PRINTED = {
    "Q": (
        "1.2422 -1.1273 1.8102 -0.3273 3.0384 -2.3324 -0.6300 1.1227 "
        "2.1961 -1.3721 3.1105 -2.0757 0.8456 2.0153 -2.2161 1.7135"
    ),
    "K": (
        "-4.7822e-01 7.2236e-01 6.1387e-01 9.2565e-01 1.3355e+00 1.0992e+00 "
        "-6.0549e-01 9.4737e-04 1.1654e+00 7.9807e-01 8.7680e-01 1.3364e+00 "
        "2.0058e+00 3.5585e-01 -5.6115e-01 -9.2353e-01"
    ),
    "V": (
        "8.8615e-02 9.2343e-01 -1.9825e+00 -1.1281e-01 -2.2203e+00 -5.4159e-01 "
        "2.4837e-01 4.8382e-01 -2.0137e+00 -6.1348e-01 -2.0985e+00 -3.9164e-03 "
        "-4.0344e+00 -1.9628e+00 1.2620e+00 -6.6873e-02"
    ),
}


@pytest.mark.parametrize("name", ["Q", "K", "V"])
def test_the_products_are_those_that_the_notes_print(name: str) -> None:
    printed = torch.tensor([float(n) for n in PRINTED[name].split()]).double()
    printed = printed.view(8, 2)
    product = seed.X @ getattr(seed, f"W_{name}")
    assert (product - printed).abs().max() < 2e-4
    assert (getattr(seed, f"PRINTED_{name}") - printed).abs().max() < 1e-6


def colour_and(shape_weight: float) -> Tensor:
    """Select the colours, and the shapes with another weight: (6, 6)."""
    return torch.diag(torch.tensor([1.0] * 3 + [shape_weight] * 3))


@pytest.fixture(scope="module", params=[0, 1, 17])
def key(request: pytest.FixtureRequest) -> ExerciseKey:
    exercise = load_exercises(EXERCISES)["design_qk"]
    return make_exercise_key(exercise, 4.0, request.param)


def earned(design: Callable[[], object], key: ExerciseKey) -> float:
    return judge(key, observe(design, key.cases)).earned


@pytest.mark.parametrize("shape_weight", [0.0, 0.3, 1.0, 3.0])
def test_a_token_may_be_its_own_best_match(
    key: ExerciseKey, shape_weight: float
) -> None:
    weight = colour_and(shape_weight)
    assert earned(lambda: (weight, weight), key) == 4.0


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1e-6, torch.float64),
        (1e6, torch.float64),
        (1e-6, torch.bfloat16),
        (1.0, torch.float16),
        (1.0, torch.int64),
    ],
)
def test_scale_and_dtype_are_free(
    key: ExerciseKey, scale: float, dtype: torch.dtype
) -> None:
    weight = (torch.eye(6)[:, :3] * scale).to(dtype)
    assert earned(lambda: (weight, weight), key) == 4.0


@pytest.mark.parametrize(
    ("w_q", "w_k"),
    [
        (torch.zeros(6, 3), torch.zeros(6, 3)),
        (torch.zeros(6, 3), torch.eye(6)[:, :3]),
        (torch.eye(6)[:, 3:], torch.eye(6)[:, 3:]),
        (colour_and(1.0), colour_and(-1.0)),
        (colour_and(1.0), colour_and(-2.0)),
        (torch.eye(6)[:, :2], torch.eye(6)[:, :2]),
    ],
    ids=["zeros", "no query", "shapes", "shape repels as much", "more", "two colours"],
)
def test_a_tie_with_another_colour_is_not_its_own(
    key: ExerciseKey, w_q: Tensor, w_k: Tensor
) -> None:
    assert earned(lambda: (w_q, w_k), key) == 0.0

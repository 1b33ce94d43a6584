"""Chapter 03: the notes' numbers, and what counts as finding one's own colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from drawn import Claims, Data, maps
from torch import Tensor

from attention_course.author.exercise import load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn import seed
from attention_course.learn.answer_key import ExerciseKey
from attention_course.learn.observation import observe
from attention_course.learn.scenes import make_scenes
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


# --- the figures ----------------------------------------------------------------------

claims = Claims("03_projections")
QUERIES, KEYS = (seed.X @ w for w in (seed.W_Q, seed.W_K))


def plane(data: Data, panel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The query's arrow and the keys' points of one panel."""
    axes = data["axes"][panel]
    [arrow] = axes["arrows"]
    keys = next(s["offsets"] for s in axes["scatter"] if s["label"] == "keys")
    return torch.tensor(arrow[2:]).double(), torch.tensor(keys).double()


@claims("Key 6 lies farthest along query 5, and against query 7")
def _(data: Data) -> None:
    for panel, (chosen, farthest) in enumerate(((5, max), (7, min))):
        query, keys = plane(data, panel)
        assert torch.allclose(query, QUERIES[chosen], atol=1e-4)
        assert torch.allclose(keys, KEYS, atol=1e-4)
        scores = (keys @ query).tolist()
        assert scores.index(farthest(scores)) == 6


@claims("Key 6 lies far out: it has the highest score in five of eight rows")
def _(data: Data) -> None:
    [scores] = maps(data).values()
    assert torch.allclose(torch.tensor(scores).double(), QUERIES @ KEYS.T, atol=1e-4)
    assert [row.index(max(row)) for row in scores].count(6) == 5


@claims("Who asks matters: the same pairs of tokens, other scores")
def _(data: Data) -> None:
    one, other = (torch.tensor(m) for m in maps(data).values())
    assert one.shape == other.shape == (3, 5)
    assert (one - other).abs().max() > 1
    for pair in ((0, 0), (0, 1)):  # tokens 0 and 3, tokens 0 and 4
        assert one[pair] * other[pair] < 0


@claims("Every query and every key has moved; no score has")
def _(data: Data) -> None:
    (query, keys), (query_moved, keys_moved) = plane(data, 0), plane(data, 1)
    assert (query - query_moved).norm() > 1
    assert ((keys - keys_moved).norm(dim=1) > 0.3).all()
    before, after = (torch.tensor(data[f"scores_{w}"]) for w in ("before", "after"))
    assert torch.allclose(before, after, atol=1e-5)
    assert torch.allclose(keys @ query, keys_moved @ query_moved, atol=1e-4)


def weights_of(data: Data) -> torch.Tensor:
    return torch.tensor(maps(data)["attention"])


@claims("Whoever asks, the triangles get the attention")
def _(data: Data) -> None:
    triangles = [(0, 1), (1, 3), (2, 0), (2, 2)]
    weights = weights_of(data)
    shares = torch.stack([weights[place] for place in triangles])
    assert shares.sum() > 0.9
    assert weights.sum().item() == pytest.approx(1, abs=1e-4)


@claims("Training gives each colour a direction of its own")
def _(data: Data) -> None:
    after = data["axes"][1]
    tips = torch.tensor([[line["x"][1], line["y"][1]] for line in after["lines"]])
    keys = torch.tensor([s["offsets"][0] for s in after["scatter"]])
    for points in (tips, keys):  # nine kinds of token, three of each colour
        colours = torch.nn.functional.normalize(points.view(3, 3, 2).mean(1), dim=1)
        cosines = torch.nn.functional.normalize(points, dim=1) @ colours.T
        assert cosines.argmax(dim=1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert (colours @ colours.T)[~torch.eye(3, dtype=torch.bool)].max() < 0
    assert after["texts"] == ["blue", "orange", "plum"]


@claims("With learned weights, orange finds orange")
def _(data: Data) -> None:
    weights = weights_of(data)
    orange = [(0, 1), (0, 3), (1, 2), (2, 0)]
    assert torch.stack([weights[place] for place in orange]).sum() > 0.99


@claims("Six hand-set numbers point the ball at the two players that matter")
def _(data: Data) -> None:
    weights = weights_of(data).flatten()
    markers = make_scenes(500, seed=3).marker_patches[7]
    assert sorted(weights.topk(2).indices.tolist()) == sorted(markers.tolist())
    assert weights[markers].sum() > 0.999


test_the_figures = claims.test()

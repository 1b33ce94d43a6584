"""Chapter 04: the lecture notes' numbers, and what its figures claim."""

from __future__ import annotations

import json
import re

import pytest
import torch
from conftest import ROOT
from drawn import Claims, Data, lines, maps

# As the lecture notes print them.
ATTENTION_SCORE = """
[-1.4084, -0.2809,  0.4198, -0.7532,  0.5480, -0.4173,  2.0905,  0.3440],
[-1.1021,  0.8083,  2.0577, -1.0964,  1.8485,  1.1498,  3.5145, -0.7135],
[-3.1379, -0.2939,  1.4938, -1.8419,  1.6795, -0.4529,  5.2644,  0.4491],
[ 1.1123,  0.6525,  0.3927,  0.3825,  0.1618,  0.9480, -0.8642, -0.6833],
[-2.0414,  0.0781,  1.4247, -1.3310,  1.4644,  0.0920,  3.9168,  0.0348],
[-2.9870, -0.0120,  1.8724, -1.8854,  1.9685, -0.0466,  5.5004,  0.1715],
[ 1.0514,  2.3845,  3.3444, -0.5101,  2.5938,  3.4345,  2.4132, -2.3356],
[ 2.2976,  0.2257, -1.0761,  1.3435, -1.2153,  0.3467, -3.8354, -0.3389]
"""
FIRST_ROW = "[0.0336, 0.0745, 0.1223, 0.0534, 0.1339, 0.0677, 0.3986, 0.1159]"


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.\d*", text)]


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    lesson = json.loads((ROOT / "notebooks" / "04_scaling.ipynb").read_text())
    return [c for c in lesson["cells"] if c["cell_type"] == "code"]


def printed(cells: list[dict], code: str) -> str:
    """What the one cell with `code` in its source printed."""
    (cell,) = (c for c in cells if code in "".join(c["source"]))
    return "".join("".join(o["text"]) for o in cell["outputs"] if "text" in o)


def test_the_scores_are_those_of_the_notes(cells: list[dict]) -> None:
    shown = numbers(printed(cells, "print(attn_scores.cpu().numpy())"))
    assert len(shown) == 64
    assert shown == pytest.approx(numbers(ATTENTION_SCORE), abs=2.01e-4)


def test_the_first_row_is_that_of_the_notes(cells: list[dict]) -> None:
    shown = numbers(printed(cells, '"first row:"'))
    assert shown[:8] == pytest.approx(numbers(FIRST_ROW), abs=2e-4)
    assert shown[8] == 1.0


def test_every_row_sums_to_one(cells: list[dict]) -> None:
    rows, columns = printed(cells, '"sums of the rows:').splitlines()
    assert numbers(rows) == [1.0] * 8
    assert sum(numbers(columns)) == pytest.approx(8, abs=1e-3)


claims = Claims("04_scaling")


@claims("Most tokens look at token 6; token 7 does not")
def _(data: Data) -> None:
    [weights] = maps(data).values()
    most = [row.index(max(row)) for row in weights]
    assert most.count(6) > 4
    assert most[7] != 6
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in weights)


@claims("Ten times larger scores: every slope is gone")
def _(data: Data) -> None:
    slopes = {name: torch.tensor(m) for name, m in maps(data).items()}
    largest = {name: m.abs().max().item() for name, m in slopes.items()}
    assert largest["scores as they are"] > 0.2 > largest["scores times 3"]
    assert largest["scores times 10"] < 0.001
    first = slopes["scores as they are"]
    assert (first.diagonal() > 0).all()
    others = torch.arange(8) != 6
    assert (first[6, others] < 0).all()
    assert torch.allclose(first.sum(dim=0), torch.zeros(8), atol=1e-5)


@claims("Without the root, softmax stops listening as the model gets wider")
def _(data: Data) -> None:
    trace = {name: y for name, (_, y) in lines(data).items()}
    assert trace["unscaled"] == sorted(trace["unscaled"], reverse=True)
    assert trace["unscaled"][0] > 0.8 > 0.1 > trace["unscaled"][-1]
    assert all(0.95 < y < 0.97 for y in trace["divided by √d_k"])


@claims("Divided by d_k, attention goes blind: every key gets the same weight")
def _(data: Data) -> None:
    entropy = {name: y for name, (_, y) in lines(data).items()}
    assert entropy["divided by d_k"][-1] == pytest.approx(4.1589, abs=0.01)
    assert max(entropy["divided by √d_k"]) < 3.8


@claims("Unscaled, at width 1024 every second query hears almost nothing")
def _(data: Data) -> None:
    deaf = {name: y for name, (_, y) in lines(data).items()}
    assert deaf["unscaled"][-1] > 0.5
    assert max(deaf["divided by √d_k"]) == 0


test_the_figures = claims.test()

"""Chapter 07: what its figures claim."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from drawn import Claims, Data, bars, lines, maps
from sklearn.datasets import load_digits

claims = Claims("07_positions")


def patches(picture: list) -> list[tuple[float, ...]]:
    """The 16 patches of 2 x 2 pixels of a drawn picture, sorted."""
    grey = torch.tensor(picture)[..., 0]
    cells = grey.unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 4)
    return sorted(tuple(cell) for cell in cells.tolist())


@claims("The same 16 patches, but only one of the two is a 3")
def _(data: Data) -> None:
    in_order, shuffled = maps(data).values()
    assert patches(in_order) == patches(shuffled)
    assert in_order != shuffled
    digits = load_digits()
    grey = torch.tensor(in_order)[..., 0].double()
    assert torch.allclose(grey, torch.tensor(digits.images[3] / 16), atol=1e-5)
    assert digits.target[3] == 3


@claims("Fast clocks tell neighbours apart, slow clocks tell far places apart")
def _(data: Data) -> None:
    clocks = lines(data)
    for speed in (1, 0.1, 0.01):
        at, sines = clocks[f"turns by {speed} a step"]
        expected = [math.sin(position * speed) for position in at]
        assert sines == pytest.approx(expected, abs=1e-5)
    step = {
        name: max(abs(b - a) for a, b in itertools.pairwise(y))
        for name, (_, y) in clocks.items()
    }
    assert step["turns by 1 a step"] > 50 * step["turns by 0.01 a step"]
    slow = clocks["turns by 0.01 a step"][1]
    assert slow == sorted(slow)  # never the same twice, as far as is drawn


@claims("The table's rows agree most with their neighbours, everywhere alike")
def _(data: Data) -> None:
    first, later = data["row of position 0"], data["row of position 20"]
    assert first[0] == later[20] == 1
    assert later[20:] == pytest.approx(first[:20], abs=1e-5)  # the distance alone
    assert later[:21] == pytest.approx(first[20::-1], abs=1e-5)
    assert first[1] == max(first[1:])
    assert data["axes"][0]["images"][0]["values"]["max"] == 1


@claims("In one line a patch looks left and right; on a grid, up and down as well")
def _(data: Data) -> None:
    line, grid = (torch.tensor(m) for m in maps(data).values())
    for weights in (line, grid):
        assert weights.argmax() == 24
        assert weights.sum().item() == pytest.approx(1, abs=1e-4)
    assert line[2].sum() > 0.99
    assert line[1, 4] < 0.001 < 0.05 < grid[1, 4]
    assert grid[1, 4].item() == pytest.approx(grid[2, 3].item(), rel=0.2)


@claims("One pair forgets how far it is; many pairs together fade with distance")
def _(data: Data) -> None:
    alone = lines(data)["first pair alone"][1]
    assert min(alone) < -0.95
    assert max(alone[30:]) > 0.9  # a far token scores like a near one
    together = lines(data)["mean of 32 pairs"][1]
    means = [sum(together[i : i + 20]) / 20 for i in range(0, 100, 20)]
    assert means == sorted(means, reverse=True)
    assert max(together[5:]) < 0.8


@claims("Without positions many more digits are missed, and shuffling changes nothing")
def _(data: Data) -> None:
    in_order, shuffled = bars(data)["in order"], bars(data)["patches shuffled"]
    assert in_order["positions"] > 0.86 > 0.4 > shuffled["positions"]
    assert 0.45 < in_order["no positions"] < 0.75
    assert shuffled["no positions"] == in_order["no positions"]


@claims("Only an interpolated table still fits a picture of another size")
def _(data: Data) -> None:
    [shares] = bars(data).values()
    assert shares.pop("interpolated") > 0.35
    assert max(shares.values()) < 0.25


test_the_figures = claims.test()

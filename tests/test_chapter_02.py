"""Chapter 02: what its figures claim."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from drawn import Claims, Data, lines, maps

claims = Claims("02_lookup")


@claims("A hard lookup jumps, and between the jumps nothing moves")
def _(data: Data) -> None:
    _, sugar = lines(data)["hard lookup"]
    assert set(sugar) == {2, 10, 82}
    jumps = [b - a for a, b in itertools.pairwise(sugar) if a != b]
    assert jumps == [8, 72]


@claims("Too narrow, it recites the points; too wide, it forgets the question")
def _(data: Data) -> None:
    fits = {axes["title"]: lines(data, i) for i, axes in enumerate(data["axes"])}
    measured = fits["h = 1"]["measured"]
    points = torch.tensor(measured[1])
    x, truth = (torch.tensor(v) for v in fits["h = 1"]["truth"])
    assert torch.allclose(truth, (2 * x).sin(), atol=1e-5)
    narrow = torch.tensor(fits["h = 0.01: memory"]["fitted"][1])
    assert all((points - y).abs().min() < 0.02 for y in narrow[::24])  # a point's own y
    wide = torch.tensor(fits["h = 50: mean"]["fitted"][1])
    assert wide.std() < 0.01
    assert wide.mean().item() == pytest.approx(points.mean().item(), abs=0.01)
    errors = {
        name: (torch.tensor(fit["fitted"][1]) - torch.tensor(fit["truth"][1])).norm()
        for name, fit in fits.items()
    }
    assert min(errors, key=errors.__getitem__) == "h = 0.25"
    assert data["choices"] == {"bandwidth": list(fits)}


@claims("From memory to mean: one diagonal, a band, everywhere alike")
def _(data: Data) -> None:
    narrow, band, wide = (torch.tensor(m) for m in maps(data).values())
    assert torch.allclose(narrow, torch.eye(10), atol=1e-3)
    assert torch.allclose(wide, torch.full((10, 10), 0.1), atol=1e-2)
    distance = (torch.arange(10)[:, None] - torch.arange(10)).abs()
    assert band[distance > 4].max() < 0.05 < band[distance == 1].mean()
    for weights in (narrow, band, wide):
        assert torch.allclose(weights.sum(dim=1), torch.ones(10), atol=1e-4)


@claims("Reciting is perfect on what was seen, and not the best on what was not")
def _(data: Data) -> None:
    bandwidths, seen = lines(data)["at the points"]
    _, unseen = lines(data)["on the truth"]
    assert seen[0] < 0.01
    assert seen == sorted(seen)
    best = unseen.index(min(unseen))
    assert 0.1 < bandwidths[best] < 0.5
    assert unseen[best] < 0.8 * unseen[0]


@claims("Cold it jumps, hot it ignores the question, in between it slides")
def _(data: Data) -> None:
    cold, between, hot = (
        torch.tensor(lines(data, panel)["soft"][1]) for panel in range(3)
    )
    hard = torch.tensor(lines(data)["hard"][1])
    assert (cold - hard).abs().median() < 0.1
    assert cold.diff().abs().max() > 5
    assert hot.max() - hot.min() < 5
    assert between.diff().abs().max() < 1
    assert between[-1] - between[0] > 60
    assert data["choices"] == {"temperature": ["τ = 0.003", "τ = 0.1", "τ = 10"]}


@claims("One dial leads from the hard lookup to the plain mean")
def _(data: Data) -> None:
    _, entropy = lines(data)["mean entropy"]
    assert entropy == sorted(entropy)
    assert entropy[0] < 0.05
    assert entropy[-1] == pytest.approx(math.log(64), abs=1e-3)
    assert set(lines(data)["all 64 alike: ln 64"][1]) == {round(math.log(64), 5)}


test_the_figures = claims.test()

"""What the figures of a chapter's lesson drew, and claims about it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT

Data = dict[str, Any]
Claim = Callable[[Data], None]
FAILURES = (AssertionError, ValueError, RuntimeError, LookupError, StopIteration)


@functools.cache
def figures(slug: str) -> dict[str, Data]:
    """The data that each figure of a lesson drew, by the figure's title."""
    text = (ROOT / "notebooks" / f"{slug}.ipynb").read_text(encoding="utf-8")
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    records = [o.get("metadata", {}).get("attention_course") for o in outputs]
    return {r["title"]: r["data"] for r in records if r}


class Claims:
    """For each figure of a lesson a test of what its title says, by title."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.made: dict[str, Claim] = {}

    def __call__(self, title: str) -> Callable[[Claim], Claim]:
        """Register the decorated function as the test of one figure's data."""

        def keep(claim: Claim) -> Claim:
            assert title not in self.made, f"a second claim for {title!r}"
            self.made[title] = claim
            return claim

        return keep

    def test(self) -> Callable[[str], None]:
        """A test of every figure; without a claim it fails."""
        titles = sorted(set(self.made) | set(figures(self.slug)))

        @pytest.mark.parametrize("title", titles)
        def test_the_data_are_what_the_title_says(title: str) -> None:
            assert title in figures(self.slug), "no figure has this title"
            assert title in self.made, "no test checks this figure's data"
            self.made[title](figures(self.slug)[title])
            with pytest.raises(FAILURES):
                self.made[title](spoiled(figures(self.slug)[title]))

        return test_the_data_are_what_the_title_says


def spoiled(value: Any) -> Any:
    """The same record with lists turned round, and each number halved and negated.

    No claim may hold for it as well: a test that cannot fail is none.
    """
    if isinstance(value, dict):
        return {k: "" if k == "name" else spoiled(v) for k, v in value.items()}
    if isinstance(value, list):
        half = len(value) // 2
        return [spoiled(v) for v in (*value[half:], *value[:half])]
    return -value / 2 if isinstance(value, int | float) else value


def lines(data: Data, panel: int = 0) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of each line of a panel, by label."""
    found = data["axes"][panel]["lines"]
    return {line["label"]: (line["x"], line["y"]) for line in found}


def maps(data: Data) -> dict[str, list[list[float]]]:
    """The values of the first picture of each panel, by the panel's title."""
    return {a["title"]: a["images"][0]["values"] for a in data["axes"] if "images" in a}


def bars(data: Data) -> dict[str, dict[str, float]]:
    """Values by series and by name along the axis."""
    [axes] = data["axes"]
    names = axes.get("xticks") or axes["yticks"]
    return {
        series["label"]: dict(zip(names, series["values"], strict=True))
        for series in axes["bars"]
    }

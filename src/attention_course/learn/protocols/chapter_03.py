"""How designed query and key weights are summarised: whom does each token look at?"""

from __future__ import annotations

import torch
from torch import Tensor

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.protocols import view

COLOURS = ("blue", "orange", "plum")
SHAPES = ("circle", "square", "triangle")

OWN = "on its own colour"

TIE = 1e-6
"""Scores closer than this, relative to the row's largest magnitude, are a tie."""


@view("own_colour", alone=("scenes",))
def own_colour(observation: Observation, case: Case) -> Observation:
    """For each token of each scene in the case, where its largest weight falls.

    The scenes are the case's argument `scenes`: a list of (token, 6), each row a
    one-hot colour, then a one-hot shape. A token is itself a token of its colour. A
    tie between its own colour and another is no largest weight on its own.
    """
    summary = {k: v for k, v in observation.items() if k.startswith("kind:")}
    weights = {name: observation.get(name) for name in ("w_q", "w_k")}
    for name, weight in weights.items():
        if isinstance(weight, Tensor):
            summary[f"shape of {name}"] = _shape(weight)
    w_q, w_k = weights["w_q"], weights["w_k"]
    if not (_fits(w_q) and _fits(w_k)):
        return summary
    assert isinstance(w_q, Tensor)
    assert isinstance(w_k, Tensor)
    same = w_q.shape == w_k.shape
    summary["d_k of w_q and w_k"] = (
        "the same" if same else f"{w_q.shape[1]} and {w_k.shape[1]}"
    )
    if same:
        for number, tokens in enumerate(case.build("cpu")["scenes"], start=1):
            summary |= _scene(tokens.double(), w_q.double(), w_k.double(), number)
    return summary


def _fits(weight: object) -> bool:
    return isinstance(weight, Tensor) and weight.dim() == 2 and len(weight) == 6


def _shape(weight: Tensor) -> str:
    return "(6, d_k)" if _fits(weight) else str(tuple(weight.shape))


def _scene(tokens: Tensor, w_q: Tensor, w_k: Tensor, number: int) -> Observation:
    kinds = [_kind(token) for token in tokens]
    found: Observation = {}
    for index, token in enumerate(tokens):
        asks = token @ w_q
        row = torch.stack([asks @ (other @ w_k) for other in tokens])
        name = f"scene {number}, token {index} ({kinds[index]}): largest weight"
        found[name] = _target(row, kinds, kinds[index].split()[0])
    return found


def _kind(token: Tensor) -> str:
    colour, shape = token[:3].argmax(), token[3:].argmax()
    return f"{COLOURS[int(colour)]} {SHAPES[int(shape)]}"


def _target(row: Tensor, kinds: list[str], colour: str) -> str:
    if not bool(torch.isfinite(row).all()):
        return "not a number"
    nearly = row >= row.max() - TIE * row.abs().max()
    winners = sorted({k for k, wins in zip(kinds, nearly, strict=True) if wins})
    if all(kind.startswith(colour) for kind in winners):
        return OWN
    if bool(nearly.all()):
        return "shared by all tokens"
    return "on " + " and ".join(winners)

"""Chapter 08: what an encoder layer drops, and what an encoder's layers start as.

Dropout is random, so its numbers are not compared. Here the parameters are chosen so
that each of its places leaves a trace of its own, over thousands of units: what is
compared is whether about the asked share of them is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.protocols import protocol, view
from attention_course.learn.protocols.module import build
from attention_course.learn.protocols.recording import guarded, record

HEADS, TOKENS, COPIES, HIDDEN, BATCH = 2, 4, 6, 6, 128
WIDTH = HEADS * (TOKENS * COPIES + 1)  # each head's last channel is a reference
REFERENCES = (WIDTH // HEADS - 1, WIDTH - 1)
REFERENCE_VALUES = (1.0, 5.0)
MARGIN = 0.08  # of a share; ten standard deviations of the shares counted below
STREAM = 8  # the random stream's start, the same for every answer


@dataclass(frozen=True)
class Design:
    """Parameters and input that make the dropout of one sublayer visible.

    `groups` names, for each unit that the inner dropout can zero, its output channels.
    """

    parameters: dict[str, Tensor]
    src: Tensor
    groups: Tensor
    undropped: float
    places: tuple[str, str]


def design(sublayer: str, norm_first: bool) -> Design:
    """A layer whose other sublayer adds nothing, in float64.

    `sublayer` is "attention" or "feed_forward". In both, each unit inside is copied to
    several output channels: all of them are zero where the unit was dropped, single
    ones where the output was.
    """
    src = _tokens()
    parameters = _silent_layer()
    kept = [c for c in range(WIDTH) if c not in REFERENCES]
    like_input = sublayer == "feed_forward" or norm_first
    if like_input:  # all tokens have one mean and variance: norm1 can give src back
        spread = src[0, 0].var(correction=0)
        parameters["norm1.weight"].fill_(float((spread + 1e-5).sqrt()))
        parameters["norm1.bias"].fill_(float(src[0, 0].mean()))
    if sublayer == "attention":
        # Equal scores; the value of token j is 1 in its own channels of each head.
        for channel in kept:
            parameters["self_attn.v_proj.weight"][channel, channel] = 0.5
            parameters["self_attn.v_proj.bias"][channel] = -0.5
            parameters["self_attn.out_proj.weight"][channel, channel] = 1.0
        groups = torch.tensor(kept).view(HEADS * TOKENS, COPIES)
        places = ("dropout on the attention weights", "dropout after attention")
        return Design(parameters, src, groups, 1 / TOKENS, places)
    groups = torch.tensor(kept).view(HIDDEN, -1)
    parameters["linear1.bias"].fill_(1.0)
    for unit, channels in enumerate(groups):
        parameters["linear2.weight"][channels, unit] = 1.0
    places = ("dropout inside the feed-forward", "dropout after the feed-forward")
    return Design(parameters, src, groups, 1.0, places)


def _tokens() -> Tensor:
    src = torch.ones(TOKENS, WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        for token in range(TOKENS):
            start = head * WIDTH // HEADS + token * COPIES
            src[token, start : start + COPIES] = 3.0
    src[:, REFERENCES] = torch.tensor(REFERENCE_VALUES, dtype=torch.float64)
    return src.expand(BATCH, -1, -1).clone()


def _silent_layer() -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes[f"self_attn.{name}.weight"] = (WIDTH, WIDTH)
        shapes[f"self_attn.{name}.bias"] = (WIDTH,)
    shapes |= {"linear1.weight": (HIDDEN, WIDTH), "linear1.bias": (HIDDEN,)}
    shapes |= {"linear2.weight": (WIDTH, HIDDEN), "linear2.bias": (WIDTH,)}
    for name in ("norm1", "norm2"):
        shapes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    parameters = {n: torch.zeros(s, dtype=torch.float64) for n, s in shapes.items()}
    parameters["norm1.weight"].fill_(1.0)
    parameters["norm2.weight"].fill_(1.0)
    return parameters


@protocol("dropout_places")
def observe_dropout_places(cls: Any, case: Case, device: torch.device) -> Observation:
    """Run an encoder layer on a design: in training, and in eval with and without.

    The arguments of the case: `sublayer`, `norm_first` and `dropout`, the rate.
    """
    seen: Observation = {}
    guarded(seen, lambda: _observe_dropout(cls, case, device, seen))
    return seen


def _observe_dropout(
    cls: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    made = design(live["sublayer"], live["norm_first"])
    src = made.src.to(device)
    for name, rate, training in (
        ("output", live["dropout"], True),
        ("with dropout, in eval", live["dropout"], False),
        ("without dropout, in eval", 0.0, False),
    ):
        options = {"dropout": rate, "norm_first": live["norm_first"]}
        setup = {
            "init": (WIDTH, HEADS, HIDDEN),
            "init_kwargs": options,
            "parameters": {n: p.to(device) for n, p in made.parameters.items()},
            "training": training,
        }
        module = build(cls, setup, device, seen)
        if module is None:
            return
        used = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=used), torch.no_grad():
            torch.manual_seed(STREAM)
            result = module(src.clone())
        record(seen, name, result, device)


@view("dropout_places")
def view_dropout_places(observation: Observation, case: Case) -> Observation:
    """Which share each place drops, and that eval drops nothing.

    Shows `output in eval` (one token), and the rest only where that is right: a layer
    that computes something else would make the shares mean nothing.
    """
    live = case.build("cpu")
    made = design(live["sublayer"], live["norm_first"])
    shown = {k: v for k, v in observation.items() if k in ("kind:module", "parameters")}
    names = ("output", "with dropout, in eval", "without dropout, in eval")
    found = [observation.get(name) for name in names]
    outputs = [o for o in found if isinstance(o, Tensor) and o.shape == made.src.shape]
    if len(outputs) < len(names):
        return shown
    trained, silent, without = (_undo_norm(o.double(), live) for o in outputs)
    shown["output in eval"] = without[0, 0]
    expected = made.src.clone()
    expected[..., made.groups.flatten()] += made.undropped
    if not torch.allclose(without, expected, rtol=0, atol=1e-4):
        return shown
    same = torch.allclose(silent, without, rtol=0, atol=1e-6)
    shown["dropout in eval"] = "silent" if same else "active"
    added = (trained - made.src)[..., made.groups]  # (batch, token, unit, copy)
    zero = added.abs() < 0.05 * made.undropped
    dead = zero.all(dim=-1)
    alive = zero[~dead]
    shares = (dead, alive) if alive.numel() else (dead, torch.zeros(1))
    for place, dropped in zip(made.places, shares, strict=True):
        shown[place] = _amount(float(dropped.double().mean()), live["dropout"])
    # What is added is never negative: where it is, the stream itself was dropped.
    whole = bool((added > -0.05 * made.undropped).all())
    shown["residual stream in training"] = "whole" if whole else "dropped"
    kept = float(added.mean()) / made.undropped
    shown["mean in training"] = "as in eval" if abs(kept - 1) < 0.1 else "changed"
    return shown


def _undo_norm(output: Tensor, live: dict[str, Any]) -> Tensor:
    """The sum before the norms: two channels are known, and a norm is affine."""
    if live["norm_first"]:
        return output
    low, high = (output[..., [c]] for c in REFERENCES)
    first, second = REFERENCE_VALUES
    return first + (output - low) * (second - first) / (high - low)


def _amount(share: float, asked: float) -> str:
    """A share in words: the asked one, or to the nearest 10 %."""
    shown = asked if abs(share - asked) < MARGIN else round(share, 1)
    return f"{shown:.0%}".replace("%", " %")


@protocol("encoder_copies")
def observe_encoder_copies(cls: Any, case: Case, device: torch.device) -> Observation:
    """Build an encoder; record what its parameters hold, and whose memory they use.

    The arguments of the case: `init` and `init_kwargs`, with the layer first.
    """
    seen: Observation = {}
    guarded(seen, lambda: _observe_copies(cls, case, device, seen))
    return seen


def _observe_copies(
    cls: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    layer = live["init"][0]
    before = {n: p.detach().clone() for n, p in layer.named_parameters()}
    flags = {n: p.requires_grad for n, p in layer.named_parameters()}
    module = cls(*live["init"], **live.get("init_kwargs", {}))
    is_module = isinstance(module, nn.Module)
    seen["kind:module"] = "module" if is_module else type(module).__name__
    if not is_module:
        return
    own = dict(module.named_parameters())
    seen["parameters"] = {name: list(p.shape) for name, p in sorted(own.items())}
    memory = {p.data_ptr() for p in layer.parameters()}
    seen["shares memory with the argument"] = any(
        p.data_ptr() in memory for p in own.values()
    )
    for name, parameter in own.items():
        if name.startswith(("layers.", "norm.")):
            record(seen, f"initial {name}", parameter, device)
    seen["frozen parameters of the layers"] = sorted(
        name
        for name, parameter in own.items()
        if name.startswith("layers.") and not parameter.requires_grad
    )
    for name, parameter in layer.named_parameters():
        seen[f"unchanged:layer.{name}"] = torch.equal(parameter.detach(), before[name])
    after = {n: p.requires_grad for n, p in layer.named_parameters()}
    seen["unchanged:requires_grad of the argument"] = after == flags


@view("encoder_copies")
def view_encoder_copies(observation: Observation, case: Case) -> Observation:
    """Whether each layer starts as a copy of the argument, and the norm as given."""
    layer, _, *norm = case.build("cpu")["init"]
    shown = {k: v for k, v in observation.items() if not _is_initial(k)}
    names = {k.split(".")[1] for k in observation if k.startswith("initial layers.")}
    for number in sorted(names):
        shown[f"layers.{number} starts as a copy"] = all(
            _equal(observation.get(f"initial layers.{number}.{name}"), parameter)
            for name, parameter in layer.named_parameters()
        )
    for given in norm:
        shown["norm starts as given"] = all(
            _equal(observation.get(f"initial norm.{name}"), parameter)
            for name, parameter in given.named_parameters()
        )
    return shown


def _is_initial(item: str) -> bool:
    return item.partition(":")[2].startswith("initial ") or item.startswith("initial ")


def _equal(left: Any, right: Tensor) -> bool:
    return (
        isinstance(left, Tensor)
        and left.shape == right.shape
        and bool(torch.equal(left.double(), right.detach().double()))
    )


@view("encoder")
def view_encoder(observation: Observation, case: Case) -> Observation:
    """An encoder's observation without the norm's: it may be the argument or a copy."""
    return {k: v for k, v in observation.items() if not _of_the_norm(k)}


def _of_the_norm(item: str) -> bool:
    return item.startswith("unchanged:init[2]")

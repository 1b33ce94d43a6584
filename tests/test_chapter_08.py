"""Chapter 08: dropout is seen whatever the random stream, and the probe shows masks."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from drawn import Claims, Data, lines, maps
from torch import nn

from attention_course.author.chapter import read_chapter
from attention_course.author.exercise import Exercise, load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn.answer_key import ExerciseKey
from attention_course.learn.experiments_08 import Reversal, learn_to_reverse
from attention_course.learn.observation import observe
from attention_course.learn.probes_08 import VisibleMean
from attention_course.learn.protocols import chapter_08
from attention_course.learn.verdict import judge

FOLDER = Path(__file__).parents[1] / "chapters" / "08_encoder_layer"


@pytest.fixture(scope="module")
def exercises() -> dict[str, Exercise]:
    return load_exercises(FOLDER / "exercises.py")


@pytest.fixture(scope="module")
def dropout(exercises: dict[str, Exercise]) -> ExerciseKey:
    """The key of the cases that look at dropout, without the known mistakes."""
    plain = dataclasses.replace(exercises["EncoderLayer"], mistakes={})
    key = make_exercise_key(plain, 4, seed=0)
    cases = tuple(c for c in key.cases if c.protocol == "dropout_places")
    assert len(cases) == 4
    return dataclasses.replace(key, cases=cases)


@pytest.mark.parametrize("stream", range(5))
def test_no_random_stream_fails_a_right_layer(
    exercises: dict[str, Exercise],
    dropout: ExerciseKey,
    monkeypatch: pytest.MonkeyPatch,
    stream: int,
) -> None:
    monkeypatch.setattr(chapter_08, "STREAM", 1000 + stream)
    exercise = exercises["EncoderLayer"]
    for answer in (exercise.reference_answer, *exercise.alternatives.values()):
        verdict = judge(dropout, observe(answer, dropout.cases))
        assert verdict.complete, verdict.message


@pytest.mark.parametrize("sublayer", ["attention", "feed_forward"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_margins_are_wide(
    exercises: dict[str, Exercise], sublayer: str, norm_first: bool
) -> None:
    made = chapter_08.design(sublayer, norm_first)
    units = chapter_08.BATCH * chapter_08.TOKENS * len(made.groups)
    deviation = (0.3 * 0.7 / units) ** 0.5
    assert chapter_08.MARGIN / deviation > 8
    layer = exercises["EncoderLayer"].reference_answer(
        chapter_08.WIDTH, chapter_08.HEADS, chapter_08.HIDDEN, norm_first=norm_first
    )
    layer.double().load_state_dict(made.parameters)
    live = {"norm_first": norm_first}
    added = chapter_08._undo_norm(layer(made.src), live) - made.src
    expected = torch.zeros(chapter_08.WIDTH, dtype=torch.float64)
    expected[made.groups.flatten()] = made.undropped
    torch.testing.assert_close(added, expected.expand_as(added), rtol=0, atol=1e-9)


def test_the_probe_uses_both_masks() -> None:
    torch.manual_seed(0)
    layer = VisibleMean(4)
    x, other = torch.randn(2, 3, 5, 4)
    other[:, :4] = x[:, :4]  # they differ in the last token
    hidden = torch.zeros(3, 5, dtype=torch.bool)
    hidden[:, 4] = True
    for masks in (
        {"src_mask": ~hidden[0].expand(5, 5)},
        {"src_key_padding_mask": hidden},
    ):
        assert torch.equal(layer(x, **masks)[:, :4], layer(other, **masks)[:, :4])
    assert not torch.equal(layer(x)[:, :4], layer(other)[:, :4])


def test_the_probe_takes_every_kind_of_mask() -> None:
    layer, x = copy.deepcopy(VisibleMean(4)), torch.randn(2, 5, 4)
    plain = torch.rand(5, 5) < 0.5
    of_items = plain.expand(2, 1, 5, 5)
    of_heads = plain.expand(2, 3, 5, 5)
    for mask in (of_items, of_heads):
        torch.testing.assert_close(layer(x, mask), layer(x, plain))


def test_training_is_reproducible() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.symbol = nn.Embedding(6, 8)
            self.read_out = nn.Linear(8, 6)

        def forward(self, symbols: torch.Tensor) -> tuple:
            tokens = self.symbol(symbols)
            return self.read_out(tokens), tokens

    def run() -> object:
        torch.manual_seed(0)
        return learn_to_reverse(Reader(), steps=3)

    assert run() == run()
    assert len(run().losses) == len(run().similarity) == 3


@pytest.mark.parametrize("seed", [11, 12])
def test_post_norm_needs_its_warm_up(seed: int) -> None:
    namespace: dict = {"nn": nn, "torch": torch, "Tensor": torch.Tensor}
    cells = read_chapter(FOLDER).cells
    exec(next(c.source for c in cells if "class Reverser" in c.source), namespace)

    def run(norm_first: bool, warmup: int = 1) -> Reversal:
        torch.manual_seed(seed)
        return learn_to_reverse(
            namespace["Reverser"](norm_first), warmup=warmup, seed=seed
        )

    pre, post, warmed = run(True), run(False), run(False, warmup=60)
    assert pre.accuracy > 0.95
    assert post.accuracy < 0.4
    assert warmed.accuracy > 0.8
    assert post.similarity[5] > 0.98
    assert pre.similarity[-1] < 0.5


# --- the figures ----------------------------------------------------------------------

claims = Claims("08_encoder_layer")


@claims("After three attentions, every token is the same token")
def _(data: Data) -> None:
    spread = data["spread over tokens"]  # at the start, and after 1, 2, … attentions
    assert len(spread) == 13
    assert spread[0] > 0.9
    assert 0.2 < spread[1] < spread[0]
    assert max(spread[3:]) < 0.02
    assert [axes["title"] for axes in data["axes"]] == data["choices"]["depth"]


@claims("With the residual, tokens still point their own ways after 12 attentions")
def _(data: Data) -> None:
    alone, kept = (lines(data)[n][1] for n in ("attention alone", "with residual"))
    assert min(alone[3:]) > 0.99
    assert kept[12] < 0.2
    assert len(alone) == len(kept) == 13


@claims("Layer norm looks along one token, batch norm along one channel")
def _(data: Data) -> None:
    row, column = (torch.tensor(m) for m in maps(data).values())
    expected = torch.zeros(6, 8)
    expected[2] = 1
    assert torch.equal(row, expected)
    expected = torch.zeros(6, 8)
    expected[:, 4] = 1
    assert torch.equal(column, expected)


@claims(
    "GELU is a ReLU with a rounded corner: slightly negative inputs still get through"
)
def _(data: Data) -> None:
    x, relu = (torch.tensor(v) for v in lines(data)["ReLU"])
    gelu = torch.tensor(lines(data)["GELU"][1])
    assert torch.equal(relu, x.clamp(min=0))
    assert torch.allclose(gelu, torch.nn.functional.gelu(x), atol=1e-5)
    assert gelu[(x < 0) & (x > -2)].max() < 0
    assert (gelu - relu)[x.abs() > 3].abs().max() < 0.01


def only_diagonal(weights: torch.Tensor) -> bool:
    return bool((weights[~torch.eye(len(weights), dtype=torch.bool)] < 1e-9).all())


@claims("Only attention carries news from token to token")
def _(data: Data) -> None:
    found = {name: torch.tensor(m) for name, m in maps(data).items()}
    assert found["attention"].min() > 0.05
    assert only_diagonal(found["norm"])
    assert only_diagonal(found["feed-forward"])
    assert min(m.diagonal().min() for m in found.values()) > 0.1


@claims("A layer returns the shape it was given: tokens meet in the weights alone")
def _(data: Data) -> None:
    shapes = [s["name"].partition(": ") for s in data["axes"][0]["shapes"]]
    by_name = {name: shape for name, _, shape in shapes}
    assert by_name["src"] == by_name["stream"] == by_name["output"] == "(2, 5, 16)"
    assert by_name["attn_weights"] == "(2, 4, 5, 5)"


@claims("A mask for the first layer only: the padding comes in through the second")
def _(data: Data) -> None:
    every, first = (torch.tensor(m) for m in maps(data).values())
    assert every[:4, 4:].max() == 0
    assert first[:4, 4:].min() > 0.01


@claims("Post-norm: within five steps all ten tokens are one, and they stay so")
def _(data: Data) -> None:
    pre, post = (lines(data)[name][1] for name in ("pre-norm", "post-norm"))
    assert min(post[5:]) > 0.98
    assert max(pre) < 0.97
    assert pre[-1] < 0.5


@claims("Pre-norm just learns; post-norm learns once it is warmed up")
def _(data: Data) -> None:
    losses = {name: y for name, (_, y) in lines(data).items()}
    assert losses["pre-norm"][-1] < 0.1
    assert min(losses["post-norm"]) > 1.5
    warmed = losses["post-norm, warm-up"]
    assert sum(warmed[-20:]) / 20 < 0.6
    first = next(i for i, loss in enumerate(losses["pre-norm"]) if loss < 1)
    assert warmed[first] > 1


test_the_figures = claims.test()

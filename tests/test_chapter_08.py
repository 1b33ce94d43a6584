"""Chapter 08: dropout is seen whatever the random stream, and the probe shows masks."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
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

"""Chapter 10: readers learn, the figures' claims hold, bars leave no trace."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attention_course.author.exercise import Draw, Exercise, load_exercises
from attention_course.author.keys import make_case, make_exercise_key
from attention_course.learn import progress as progress_module
from attention_course.learn.experiments import accuracy
from attention_course.learn.experiments_10 import (
    PatchReader,
    fit,
    sharpen,
    walk_back,
    without_markers,
)
from attention_course.learn.observation import observe
from attention_course.learn.photos import photographs
from attention_course.learn.progress import progress
from attention_course.learn.protocols import apply_view, chapter_10
from attention_course.learn.scenes import make_scenes

FOLDER = Path(__file__).parents[1] / "chapters" / "10_vision_transformer"


@pytest.fixture(scope="module")
def exercises() -> dict[str, Exercise]:
    return load_exercises(FOLDER / "exercises.py")


def reader(**options: object) -> PatchReader:
    return PatchReader(56, 8, 3, 2, **options).eval()


# ---------------------------------------------------------------------- the reader


def test_look_gives_the_weights_that_are_used() -> None:
    model, images = reader(seed=3), make_scenes(3, seed=5).images
    sharpen(model, 2.0)
    maps = model.look(images)
    tokens = model.embed(images)
    for layer, attn_weights in zip(model.layers, maps, strict=True):
        x = layer.norm1(tokens)
        q, k, _ = (
            part.unflatten(-1, (4, -1)).transpose(1, 2)
            for part in F.linear(
                x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
            ).chunk(3, dim=-1)
        )
        expected = (q @ k.mT / math.sqrt(8)).softmax(dim=-1)
        torch.testing.assert_close(attn_weights, expected.detach())
        tokens = layer(tokens)
    assert not any(m.requires_grad for m in maps)
    assert all(layer.self_attn.kept is None for layer in model.layers)


def test_looking_changes_no_answer() -> None:
    model, images = reader(), make_scenes(4, seed=5).images
    with torch.no_grad():
        before = model(images)
        model.look(images)
        torch.testing.assert_close(model(images), before, rtol=0, atol=0)


def test_walking_back_is_one_row_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 3, 5, 5, generator=generator).softmax(-1) for _ in range(3)]
    steps = [(m.mean(dim=1) + torch.eye(5)) / 2 for m in maps]
    product = steps[2] @ steps[1] @ steps[0]
    start = F.one_hot(torch.tensor([4, 1]), 5).float()
    expected = torch.stack([product[0, 4], product[1, 1]])
    torch.testing.assert_close(walk_back(maps, start), expected)


def test_sharpening_scales_queries_and_keys_alone() -> None:
    plain, sharp = reader(), reader()
    sharpen(sharp, 3.0)
    changed = {
        name: (new / old).unique().tolist()
        for (name, old), new in zip(
            plain.named_parameters(), sharp.parameters(), strict=True
        )
        if not torch.equal(old, new)
    }
    assert set(changed) == {f"layers.{i}.self_attn.in_proj_weight" for i in (0, 1)}
    for old, new in zip(plain.layers, sharp.layers, strict=True):
        weights = (old.self_attn.in_proj_weight, new.self_attn.in_proj_weight)
        torch.testing.assert_close(3 * weights[0][:64], weights[1][:64])
        assert torch.equal(weights[0][64:], weights[1][64:])


@pytest.mark.parametrize("seed", range(3))
def test_a_fresh_reader_looks_everywhere_alike(seed: int) -> None:
    images = make_scenes(100, seed=1).images
    found = []
    for factor in (1.0, 3.0):
        model = reader(seed=seed)
        sharpen(model, factor)
        row = model.look(images)[0][:, :, 24]
        evenness = torch.special.entr(row).sum(-1).mean() / math.log(49)
        layer = model.layers[0]
        with torch.no_grad():
            x = layer.norm1(model.embed(images))
            heard = layer.self_attn(x, x, x, need_weights=False)[0][:, 24]
        found.append((float(evenness), _difference(heard)))
    assert found[0][0] > 0.97
    assert found[0][1] < 0.03
    assert found[1][0] < 0.8
    assert found[1][1] > 0.05


def _difference(heard: torch.Tensor) -> float:
    return float((heard - heard.mean(dim=0)).norm() / heard.norm())


def test_markers_become_lawn_and_nothing_else_changes() -> None:
    scenes = make_scenes(20, seed=9)
    emptied = without_markers(scenes)
    patches = [
        F.unfold(images, 8, stride=8).transpose(1, 2)
        for images in (scenes.images, emptied)
    ]
    changed = (patches[0] != patches[1]).any(dim=2)  # (scene, patch)
    expected = torch.zeros_like(changed).scatter(1, scenes.marker_patches, True)
    assert torch.equal(changed, expected)
    lawn = patches[1][changed]
    assert (lawn == lawn[0]).all()
    assert (patches[0][0] == lawn[0]).all(dim=1).sum() > 20


def test_training_is_reproducible_and_changes_only_the_model() -> None:
    scenes = make_scenes(64, seed=2)

    def run() -> tuple[list[float], torch.Tensor]:
        model = PatchReader(56, 8, 3, 2)
        state = torch.get_rng_state()
        losses = fit(model, scenes.images, scenes.labels, steps=3, dropout=0.5)
        assert torch.equal(state, torch.get_rng_state())
        assert not model.training
        return losses, model.head.weight.detach()

    first, second = run(), run()
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])
    assert len(first[0]) == 3


def test_only_the_reader_that_looks_somewhere_learns() -> None:
    """Other scenes and other weights than the chapter's, and the same findings."""
    scenes, unseen = make_scenes(3000, seed=2), make_scenes(400, seed=3)
    plain, sharp = reader(seed=1), reader(seed=1)
    sharpen(sharp, 3.0)
    fit(plain, scenes.images, scenes.labels, steps=150, seed=1)
    fit(sharp, scenes.images, scenes.labels, dropout=0.2, seed=1)
    assert 0.4 < accuracy(plain, unseen.images, unseen.labels) < 0.6
    assert accuracy(sharp, unseen.images, unseen.labels) > 0.95
    assert 0.4 < accuracy(sharp, without_markers(unseen), unseen.labels) < 0.6
    at_ball = F.one_hot(torch.tensor([24]), 49).expand(400, -1).float()
    came = walk_back(sharp.look(unseen.images), at_ball)
    came[:, 24] = 0.0
    shares = 48 * came / came.sum(dim=1, keepdim=True)
    assert shares.gather(1, unseen.marker_patches).mean(dim=0).min() > 3


def test_the_eye_finds_the_other_eye() -> None:
    photo = photographs(192)["chelsea"]
    cut = F.unfold(photo[None].double(), 12, stride=12)[0].T
    cut = F.normalize(cut - cut.mean(dim=0), dim=1)
    best = (cut[EYE] @ cut.T).topk(2).indices.tolist()
    assert best[0] == EYE
    row, column = divmod(best[1], 16)
    assert abs(row - OTHER_EYE[0]) <= 1
    assert abs(column - OTHER_EYE[1]) <= 1


EYE, OTHER_EYE = 85, (6, 12)


# ---------------------------------------------------------------------- the checks


@pytest.mark.parametrize("seed", [0, 4])
def test_the_held_out_classes_are_learned_and_not_handed_over(
    exercises: dict[str, Exercise], seed: int
) -> None:
    """The expected classes are the true ones: of each image its nearest pattern's."""
    train = dataclasses.replace(exercises["train"], mistakes={})
    key = make_exercise_key(train, 3, seed=seed)
    looked_at = 0
    for case in key.cases:
        live = case.build("cpu")
        if "classes" not in live["compare"]:
            continue
        looked_at += 1
        batches = live["args"][1]
        images = torch.cat([x for x, _ in batches]).flatten(1)
        labels = torch.cat([y for _, y in batches])
        centres = torch.stack([images[labels == c].mean(dim=0) for c in range(3)])
        near = torch.cdist(live["held_out"].flatten(1), centres).argmin(dim=1)
        expected = [
            v for k, v in key.expected[case.name].items() if k.startswith("class of")
        ]
        assert expected == near.view(-1, live["group"]).mode(dim=1).values.tolist()
        assert set(live) == {"args", "names", "held_out", "group", "compare"}
    assert looked_at == 2


def test_pictures_for_probing() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    bumps = chapter_10.bumped(image)
    assert bumps.shape == (17, 1, 4, 4)
    assert ((bumps[1:] - bumps[0]) != 0).flatten(1).sum(dim=1).tolist() == [1] * 16
    swaps = chapter_10.swapped(image, 2)
    assert len(swaps) == 1 + len(list(itertools.combinations(range(4), 2)))
    assert swaps[1][0, :2].tolist() == [[2, 3, 0, 1], [6, 7, 4, 5]]  # patches 0 and 1
    assert all(s.unique().numel() == 16 for s in swaps)
    changed = chapter_10.patches_bumped(image, 2)
    assert ((changed[1:] - changed[0]) != 0).flatten(1).sum(dim=1).tolist() == [
        3, 4, 4, 4,
    ]  # fmt: skip


def attended(answer: type[nn.Module], exercise: Exercise, seed: int) -> str:
    plain = dataclasses.replace(exercise, mistakes={})
    sample = next(s for s in plain.samples(seed) if s.name == "what is attended to")
    case = make_case(sample, answer, [], Draw(seed))
    seen = observe(answer, [case])[case.name]
    return apply_view(seen, case)["which patch is attended to"]


@pytest.mark.parametrize("seed", range(5, 13))
def test_every_kind_of_layer_that_attends_is_seen_to(
    exercises: dict[str, Exercise], seed: int
) -> None:
    """Before or after a norm, with ReLU or GELU, with one more norm or without."""
    exercise = exercises["VisionTransformer"]
    vision = exercise.reference_answer
    choices = itertools.product((False, True), ("relu", "gelu"), (False, True))

    def kind(norm_first: bool, activation: str, norm: bool) -> type[nn.Module]:
        class Kind(vision):
            def make_layers(
                self, d_model: int, num_heads: int, number: int, hidden: int
            ) -> None:
                self.layers = nn.ModuleList(
                    nn.TransformerEncoderLayer(
                        d_model,
                        num_heads,
                        hidden,
                        dropout=0.0,
                        activation=activation,
                        norm_first=norm_first,
                        batch_first=True,
                    )
                    for _ in range(number)
                )

            def encode(self, tokens: torch.Tensor) -> torch.Tensor:
                for layer in self.layers:
                    tokens = layer(tokens)
                return self.norm(tokens) if norm else tokens

        return Kind

    rights = [
        vision,
        *exercise.alternatives.values(),
        *itertools.starmap(kind, choices),
    ]
    for answer in rights:
        assert attended(answer, exercise, seed) == "the image decides"


class Pooled(nn.Module):
    """A stand-in for attention; `pool` mixes the tokens' values."""

    def __init__(self, pool: object, d_model: int) -> None:
        super().__init__()
        self.pool = pool
        self.value, self.gate, self.out = (nn.Linear(d_model, d_model) for _ in "vgo")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.pool(self.value(x), self.gate(x)))


POOLS = {
    "mean": lambda v, g: v.mean(1, keepdim=True).expand_as(v),
    "largest": lambda v, g: v.amax(1, keepdim=True).expand_as(v),
    "gated": lambda v, g: (g.sigmoid() * v).mean(1, keepdim=True).expand_as(v),
    "gated by ReLU": lambda v, g: (g.relu() * v).mean(1, keepdim=True).expand_as(v),
    "squashed": lambda v, g: v.tanh().mean(1, keepdim=True).expand_as(v) * g,
    "none": lambda v, g: v * g,
}


@pytest.mark.parametrize("pool", POOLS)
def test_what_pools_does_not_attend(exercises: dict[str, Exercise], pool: str) -> None:
    exercise = exercises["VisionTransformer"]

    class Model(exercise.reference_answer):
        def make_layers(
            self, d_model: int, num_heads: int, number: int, hidden: int
        ) -> None:
            super().make_layers(d_model, num_heads, number, hidden)
            for layer in self.layers:
                layer.attention = Pooled(POOLS[pool], d_model)

    for seed in range(4):
        assert attended(Model, exercise, seed) == "the image does not decide"


def test_filling_repeats_and_leaves_no_zero() -> None:
    first, second = nn.TransformerEncoderLayer(4, 2, 6), nn.Linear(3, 2)
    for module in (first, second):
        ones = chapter_10.start_at_one(module)
        chapter_10.fill(module, 5, ones)
        kept = [p.detach().clone() for p in module.parameters()]
        nn.init.zeros_(next(module.parameters()))
        chapter_10.fill(module, 5, ones)
        assert all(
            torch.equal(a, b) for a, b in zip(kept, module.parameters(), strict=True)
        )
        assert all(bool((p != 0).all()) for p in module.parameters())
    assert first.norm1.weight.detach().mean() > 0.3


@pytest.mark.parametrize("size", [0.1, 30.0, 3000.0])
def test_what_was_done_to_the_logits_is_seen_at_any_size(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = size * torch.randn(8, 4, 5, generator=generator, dtype=torch.float64)

    def told(change) -> str:
        return chapter_10._range_of(list(change(logits)))

    assert told(lambda x: x.softmax(-1)) == "probabilities: they sum to one"
    assert told(lambda x: x.log_softmax(-1)) == "logarithms of probabilities"
    assert told(lambda x: x.sigmoid()) == "between 0 and 1"
    assert told(lambda x: x.tanh()) == "between -1 and 1"
    if size > 1:
        assert told(lambda x: x.relu()) == "never negative"
        assert told(lambda x: x) == "any numbers"


# ---------------------------------------------------------------------- the bar


class Shell:
    """As much of IPython's shell as a bar looks at."""

    def __init__(self, metadata: dict, content: dict) -> None:
        request = {"metadata": metadata, "content": content}
        self.kernel = SimpleNamespace(get_parent=lambda: request)


WATCHED = ({"cellId": "a"}, {"allow_stdin": True})
UNWATCHED = [
    ({}, {"allow_stdin": True}),
    ({"cellId": "a"}, {"allow_stdin": False}),
    ({"cellId": "a"}, {}),
    ({}, {}),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown, updated and cleared, in order."""
    log: list[str] = []

    def display(html: object, display_id: bool) -> object:
        assert display_id
        log.append("shown")
        return SimpleNamespace(update=lambda html: log.append(html.data))

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("IPython.display.clear_output", lambda: log.append("cleared"))
    monkeypatch.setattr(progress_module, "EVERY", 0.0)
    return log


def use(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)


def test_whoever_waits_sees_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, drawn: list[str]
) -> None:
    use(monkeypatch, Shell(*WATCHED))
    assert list(progress(range(3), "digits")) == [0, 1, 2]
    assert drawn[0] == "shown"
    assert drawn[-1] == "cleared"
    assert ['value="1"' in drawn[1], "digits" in drawn[1], len(drawn)] == [
        True,
        True,
        5,
    ]


def test_the_bar_goes_away_after_an_error(
    monkeypatch: pytest.MonkeyPatch, drawn: list[str]
) -> None:
    use(monkeypatch, Shell(*WATCHED))
    with contextlib.suppress(ZeroDivisionError):
        steps = progress(range(3), "digits")
        for step in steps:
            1 / step
    steps.close()
    assert drawn[-1] == "cleared"


@pytest.mark.parametrize("request_of", UNWATCHED)
def test_nobody_waits_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch, drawn: list[str], request_of: tuple
) -> None:
    use(monkeypatch, Shell(*request_of))
    written = io.StringIO()
    with contextlib.redirect_stderr(written), contextlib.redirect_stdout(written):
        assert list(progress(range(3), "digits")) == [0, 1, 2]
    assert drawn == []
    assert written.getvalue() == ""


def test_without_ipython_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch, drawn: list[str]
) -> None:
    use(monkeypatch, None)
    assert list(progress([5, 6], "x")) == [5, 6]
    assert list(progress(iter([5]), "no length")) == [5]
    assert drawn == []

"""What the exercises of chapter 01 promise about their own cases."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from drawn import Claims, bars, lines
from torch import Tensor

from attention_course.author.exercise import Exercise, load_exercises
from attention_course.learn import photos
from attention_course.learn.scenes import make_scenes

CHAPTER = Path(__file__).parents[1] / "chapters" / "01_context" / "exercises.py"


@pytest.fixture(scope="module")
def exercises() -> dict[str, Exercise]:
    return load_exercises(CHAPTER)


def two_nearest(patches: Tensor) -> Tensor:
    """(N, 2): each patch's distances to its two nearest others."""
    patches = patches.double()
    distances = (patches[:, None] - patches).norm(dim=-1).fill_diagonal_(torch.inf)
    return distances.sort(dim=1).values[:, :2]


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_patch_is_never_a_matter_of_rounding(exercises, seed):
    for sample in exercises["nearest_patch"].samples(seed):
        nearest = two_nearest(sample.arguments["args"][0])
        if nearest.shape[0] > 2:
            gap = nearest[:, 1] - nearest[:, 0]
            assert (gap > 1e-7).all(), sample.name


@pytest.mark.parametrize("seed", range(20))
def test_close_calls_are_beyond_float32(exercises, seed):
    samples = {s.name: s for s in exercises["nearest_patch"].samples(seed)}
    patches = samples["close calls"].arguments["args"][0]
    reference = exercises["nearest_patch"].reference_answer
    assert not torch.equal(reference(patches), reference(patches.float()))


def test_sizes_differ_within_the_main_cases(exercises):
    image, patch = exercises["patchify"].samples(0)[0].arguments["args"]
    batch, channels, height, width = image.shape
    sizes = [batch, channels, height // patch, width // patch, patch]
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("seed", range(5))
def test_padding_cases_hold_an_empty_row_and_huge_numbers(exercises, seed):
    arguments = [s.arguments["args"] for s in exercises["context_mean"].samples(seed)]
    assert any(is_padding.all(dim=1).any() for _, is_padding in arguments)
    assert any(not is_padding.any() for _, is_padding in arguments)
    for tokens, is_padding in arguments:
        assert tokens.isfinite().all()
        if (tokens.abs() > 1e6).any():  # then the padding alone is huge
            assert (tokens[~is_padding].abs() < 100).all()
    assert any((t[~p].abs() > 1000).any() for t, p in arguments)  # no bound on tokens
    assert max(tokens.abs().max().item() for tokens, _ in arguments) > 1e29


# --- the figures ----------------------------------------------------------------------

claims = Claims("01_context")


@claims("Two balls, and no pixel to tell them apart")
def _(data):
    assert data["patch A"] == data["patch B"]
    ball = two_scenes().images[0, :, 24:32, 24:32]
    assert torch.allclose(torch.tensor(data["patch A"]), ball, atol=1e-5)
    for axes in data["axes"]:
        drawn = torch.tensor(axes["images"][0]["values"])
        assert torch.allclose(drawn.permute(2, 0, 1), ball, atol=1e-5)


@claims("The same ball, seen with all that is around it")
def _(data):
    scenes = two_scenes()
    for axes, image in zip(data["axes"], scenes.images, strict=True):
        [shown] = axes["images"]
        assert shown["values"]["shape"] == [56, 56, 3]
        assert shown["values"]["mean"] == pytest.approx(image.mean().item(), abs=1e-4)
    assert not torch.equal(*scenes.images)


@claims("What the ball is, two players far away from it decide")
def _(data):
    scenes = two_scenes()
    assert [axes["title"] for axes in data["axes"]] == [
        "scene A: a shot",
        "scene B: a back pass",
    ]
    for axes, markers in zip(data["axes"], scenes.marker_patches.tolist(), strict=True):
        framed = {(int(x + 0.5), int(y + 0.5)) for x, y, _, _ in axes["rectangles"]}
        assert framed == {(8 * (m % 7), 8 * (m // 7)) for m in markers}
        assert all(max(abs(x - 24), abs(y - 24)) > 8 for x, y in framed)  # far away


@claims("What a model receives: 36 patches, one after the other")
def _(data):
    china = photos.photographs(192)["china"]
    assert len(data["axes"]) == 36
    for place, axes in enumerate(data["axes"]):
        row, column = divmod(place, 6)
        patch = china[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        [shown] = axes["images"]
        assert shown["values"]["mean"] == pytest.approx(patch.mean().item(), abs=1e-4)


@claims("Every patch is still there; the scene is gone")
def _(data):
    before, after = (axes["images"][0]["values"] for axes in data["axes"])
    assert before == after  # shape, smallest, largest and mean: the same pixels
    china = photos.photographs(192)["china"]
    assert before["mean"] == pytest.approx(china.mean().item(), abs=1e-4)
    order = torch.randperm(144, generator=torch.Generator().manual_seed(1))
    assert (order == torch.arange(144)).sum() < 5


@claims("About one patch in five is most like a patch of a different photograph")
def _(data):
    [shares] = bars(data).values()
    assert 0.15 < shares["all ten"] < 0.25
    others = [share for name, share in shares.items() if name != "all ten"]
    assert len(others) == 10
    assert sum(others) / 10 == pytest.approx(shares["all ten"], abs=1e-5)


@claims("Twins: dark, with a light corner")
def _(data):
    for axes in data["axes"]:
        pixels = torch.tensor(axes["images"][0]["values"])[..., 0]
        assert pixels.shape == (8, 8)
        assert pixels.min() >= 0
        assert pixels[-2:, -2:].mean() > 3 * pixels[:4, :4].mean()


@claims("One is the edge of a coat, the other the edge of a coin")
def _(data):
    names = [axes["title"] for axes in data["axes"]]
    assert names == ["camera", "coins"]
    twins = photos.patch_twins(photos.photographs(192), patch=8)
    pair = photos.striking_pairs(twins, 1)[0]
    for axes, index in zip(data["axes"], pair, strict=True):
        top, left = twins.corner[index].tolist()
        assert [left - 0.5, top - 0.5, 8, 8] in axes["rectangles"]


@claims("Larger patches do not settle it: more of them have their twin elsewhere")
def _(data):
    [shares] = bars(data).values()
    assert list(shares) == ["8 pixels", "16 pixels", "24 pixels"]
    assert list(shares.values()) == sorted(shares.values())
    assert shares["24 pixels"] > shares["8 pixels"] + 0.05


@claims("With the mean of their photograph beside them, patches lose their false twins")
def _(data):
    weights, shares = lines(data)["patch and context"]
    assert weights[0] == 0
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.15
    assert shares[-1] < 0.02


@claims("Only attention brings the right context to the ball")
def _(data):
    [accuracies] = bars(data).values()
    assert accuracies.pop("attention") > 0.95
    assert len(accuracies) == 3
    assert max(accuracies.values()) < 0.6


@claims("The ball looks at the kicker and at the keeper")
def _(data):
    weights = torch.tensor(data["axes"][1]["images"][0]["values"])
    assert weights.sum().item() == pytest.approx(1, abs=1e-4)
    assert weights.flatten().topk(2).values.sum() > 0.6


def two_scenes():
    """The scenes that the chapter shows: the first shot, and the first back pass."""
    scenes = make_scenes(40, seed=3)
    shown = [int((scenes.labels == label).int().argmax()) for label in (0, 1)]
    return replace(
        scenes,
        images=scenes.images[shown],
        labels=scenes.labels[shown],
        marker_patches=scenes.marker_patches[shown],
    )


test_the_figures = claims.test()

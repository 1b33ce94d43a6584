"""What the exercises of chapter 01 promise about their own cases."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from attention_course.author.exercise import Exercise, load_exercises

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

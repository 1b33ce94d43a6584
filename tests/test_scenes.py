"""The scenes are what their docstring claims, and the classifiers behave on them."""

import pytest
import torch

from attention_course.learn import experiments, scenes
from attention_course.learn.scenes import PATCH, Scenes, make_scenes


@pytest.fixture(scope="module")
def batch() -> Scenes:
    return make_scenes(600, seed=3)


def patch_at(batch: Scenes, index: int) -> torch.Tensor:
    """Patch ``index`` of every scene: (B, 3, patch, patch)."""
    row, column = divmod(index, batch.grid)
    top, left = row * batch.patch, column * batch.patch
    return batch.images[:, :, top : top + batch.patch, left : left + batch.patch]


def tile_numbers(batch: Scenes) -> torch.Tensor:
    """Which tile lies on each patch, read from the pixels: (B, N)."""
    tiles = scenes._tiles().flatten(1)
    columns = []
    for index in range(batch.grid**2):
        pixels = patch_at(batch, index).flatten(1)
        equal = (pixels[:, None] == tiles).all(dim=2)
        assert (equal.sum(dim=1) == 1).all(), "a patch is not exactly one tile"
        columns.append(equal.int().argmax(dim=1))
    return torch.stack(columns, dim=1)


@pytest.fixture(scope="module")
def layout(batch: Scenes) -> torch.Tensor:
    return tile_numbers(batch)


def marker_tiles(batch: Scenes, layout: torch.Tensor) -> torch.Tensor:
    return layout.gather(1, batch.marker_patches)


def test_shapes_types_and_range(batch):
    side = batch.grid * batch.patch
    assert batch.images.shape == (600, 3, side, side)
    assert batch.images.dtype == torch.float32
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    assert batch.labels.shape == (600,)
    assert batch.labels.dtype == torch.int64
    assert batch.marker_patches.shape == (600, 2)
    assert batch.marker_patches.dtype == torch.int64
    assert len(batch) == 600
    assert len(batch.label_names) == 2
    assert batch.patch == PATCH


def test_centre_patch_is_equal_bit_for_bit(batch):
    centre = patch_at(batch, batch.centre_patch)
    assert torch.equal(centre, centre[:1].expand_as(centre))
    assert batch.centre_patch * 2 + 1 == batch.grid**2


@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_labels_are_balanced(number):
    ones = int(make_scenes(number, seed=5).labels.sum())
    assert ones == number // 2


def test_label_says_whether_the_markers_wear_the_same_shirt(batch, layout):
    kinds = len(scenes._SHIRTS)
    markers = marker_tiles(batch, layout)
    pose, shirt = markers // kinds, markers % kinds
    assert (pose == torch.tensor([0, 1])).all(), "markers are kicker and keeper"
    assert torch.equal((shirt[:, 0] == shirt[:, 1]).long(), batch.labels)
    # Nobody else kicks or keeps, so the two markers can be found.
    assert ((layout < 2 * kinds).sum(dim=1) == 2).all()


def test_one_marker_alone_does_not_tell(batch, layout):
    shirts = marker_tiles(batch, layout) % len(scenes._SHIRTS)
    for marker in range(2):
        for kind in range(len(scenes._SHIRTS)):
            wears = shirts[:, marker] == kind
            rates = [wears[batch.labels == label].float().mean() for label in (0, 1)]
            # One third each; 300 draws per label: standard error 0.027.
            assert abs(rates[0] - 1 / 3) < 0.1
            assert abs(rates[1] - 1 / 3) < 0.1


def test_mean_patch_is_the_same_in_all_scenes(batch):
    mean = torch.stack([patch_at(batch, i) for i in range(batch.grid**2)]).sum(dim=0)
    assert torch.equal(mean, mean[:1].expand_as(mean))


def test_positions_do_not_depend_on_the_label():
    many = make_scenes(2000, seed=8)
    num_patches = many.grid**2
    for marker in range(2):
        for label in (0, 1):
            places = many.marker_patches[many.labels == label, marker]
            counts = places.bincount(minlength=num_patches).double()
            assert counts[many.centre_patch] == 0
            counts = counts[torch.arange(num_patches) != many.centre_patch]
            expected = 1000 / (num_patches - 1)
            chi_square = ((counts - expected) ** 2 / expected).sum()
            assert chi_square < 47 + 5 * (2 * 47) ** 0.5  # 47 degrees of freedom
    assert (many.marker_patches[:, 0] != many.marker_patches[:, 1]).all()


def test_seed_decides():
    first, again, other = (make_scenes(20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.marker_patches, again.marker_patches)
    assert not torch.equal(first.images, other.images)


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    small = make_scenes(8, seed=0)
    models = experiments.context_models(small)
    experiments.fit(models["attention"], small.images, small.labels, steps=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_larger_grid_keeps_the_promises():
    large = make_scenes(40, seed=2, grid=9)
    assert large.images.shape == (40, 3, 72, 72)
    centre = patch_at(large, large.centre_patch)
    assert torch.equal(centre, centre[:1].expand_as(centre))


@pytest.mark.parametrize(
    ("number", "grid", "message"),
    [(0, 7, "number must be at least 1"), (4, 5, "at least 7"), (4, 8, "odd")],
)
def test_refuses_what_cannot_be_drawn(number, grid, message):
    with pytest.raises(ValueError, match=message):
        make_scenes(number, seed=0, grid=grid)


@pytest.fixture(scope="module")
def models(batch):
    models = experiments.context_models(batch, seed=4)
    for model in models.values():
        model.eval()
    return models


@torch.no_grad()
def test_each_model_sees_only_what_its_name_says(batch, models):
    images = batch.images[:2].clone()
    patch, centre = batch.patch, batch.grid // 2
    for name, radius in ((experiments.LOCAL, 0), (experiments.WINDOW, 1)):
        inside = slice((centre - radius) * patch, (centre + radius + 1) * patch)
        outside_changed = torch.zeros_like(images)
        outside_changed[:, :, inside, inside] = images[:, :, inside, inside]
        assert torch.equal(models[name](outside_changed), models[name](images))
        just_inside = images.clone()
        just_inside[:, :, inside.start, inside.start] += 0.5
        assert not torch.equal(models[name](just_inside), models[name](images))
    far = images.clone()
    far[:, :, :patch, :patch] += 0.5
    for name in (experiments.MEAN, experiments.ATTENTION):
        assert not torch.equal(models[name](far), models[name](images))


@torch.no_grad()
def test_local_and_mean_classifiers_cannot_tell_scenes_apart(batch, models):
    for name in (experiments.LOCAL, experiments.MEAN):
        logits = models[name](batch.images)
        torch.testing.assert_close(logits, logits[:1].expand_as(logits))
    logits = models[experiments.ATTENTION](batch.images)
    assert (logits - logits[:1]).abs().max() > 1e-4


@torch.no_grad()
def test_attention_weights_are_a_distribution(batch, models):
    model = models[experiments.ATTENTION]
    context, weights = model.look(batch.images[:3])
    assert context.shape[0] == 3
    assert weights.shape == (3, model.attention.num_heads, batch.grid**2)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(weights.shape[:2]))


def test_models_are_drawn_from_the_seed(batch):
    first, again, other = (
        experiments.context_models(batch, seed=seed)["attention"].state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


def test_marker_share():
    weights = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]])  # one scene, 2 heads
    assert experiments.marker_share(weights, torch.tensor([[0, 2]])) == 0.625


def test_fit_learns_and_repeats():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, 8, 8, generator=generator)
    labels = (images.mean(dim=(1, 2, 3)) > images.mean()).long()
    runs = []
    for _ in range(2):
        small = Scenes(images, labels, torch.zeros(64, 2).long(), patch=8, grid=1)
        model = experiments.context_models(small, seed=0)[experiments.LOCAL]
        losses = experiments.fit(
            model, images, labels, steps=60, lr=1e-2, dropout=0.1, seed=1
        )
        runs.append(losses)
        assert experiments.accuracy(model, images, labels) > 0.8
    assert runs[0] == runs[1]
    assert len(runs[0]) == 60
    assert sum(runs[0][-5:]) < sum(runs[0][:5])


def test_fit_forgets_the_gradient_of_the_step_before():
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    gradients = []
    for steps in (1, 3):
        experiments.fit(model, image, torch.tensor([1]), steps=steps, lr=0.0)
        gradients.append(model[1].weight.grad.clone())
        model.zero_grad()
    torch.testing.assert_close(*gradients)


def test_dropout_only_drops_while_training():
    dropout = experiments.SeededDropout()
    dropout.p = 0.5
    ones = torch.ones(40, 50)
    dropped = dropout(ones)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    dropout.eval()
    assert torch.equal(dropout(ones), ones)


def test_accuracy_leaves_dropout_out(batch, models):
    model = models[experiments.ATTENTION]
    model.dropout.p = 0.9
    model.train()
    images, labels = batch.images[:50], batch.labels[:50]
    values = {experiments.accuracy(model, images, labels) for _ in range(3)}
    assert len(values) == 1
    assert not model.training
    model.dropout.p = 0.0


def test_experiment_reports_every_model():
    result = experiments.context_experiment(1, num_train=40, num_test=30, steps=3)
    names = {
        experiments.LOCAL,
        experiments.WINDOW,
        experiments.MEAN,
        experiments.ATTENTION,
    }
    assert set(result.accuracies) == set(result.losses) == names
    assert result.accuracies[experiments.LOCAL] == 0.5
    assert all(len(losses) == 3 for losses in result.losses.values())
    assert result.attn_weights.shape[0] == len(result.scenes) == 30
    assert 0 <= result.marker_share <= 1
    # Test scenes are fresh, also against the neighbouring seeds' training scenes.
    assert not torch.equal(result.scenes.images, make_scenes(30, seed=2).images)

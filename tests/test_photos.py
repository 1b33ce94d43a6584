"""The photographs load without a network, are credited, and have honest twins."""

import socket
import subprocess
import sys

import pytest
import torch

from attention_course.learn import photos
from attention_course.learn.photos import (
    CREDITS,
    PatchTwins,
    patch_twins,
    photograph,
    photographs,
    striking_pairs,
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a photograph was looked for on the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", CREDITS)
def test_photograph_loads_offline(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SKIMAGE_DATADIR", str(tmp_path))  # no cache to fall back on
    image = photograph(name)
    assert image.shape[0] == 3
    assert min(image.shape[1:]) >= 200
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert 0 <= image.min() < 0.4
    assert 0.7 < image.max() <= 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CREDITS)
def test_every_photograph_is_credited(name):
    credit = CREDITS[name]
    assert all(credit)
    assert credit.source in {"scikit-image", "scikit-learn"}
    assert credit.licence in {
        "CC0",
        "CC BY 2.0",
        "public domain",
        "no known copyright restrictions",
    }


def test_every_file_has_a_credit():
    assert set(photos._FILES) == set(CREDITS)


@pytest.mark.parametrize(
    ("name", "author"), [("china", "danielbuechele"), ("flower", "vultilion")]
)
def test_credits_agree_with_the_readme_beside_the_photographs(name, author):
    readme = photos._path(name).with_name("README.txt").read_text()
    account = f"flickr.com/photos/{author}/"
    assert account in readme
    assert CREDITS[name].author == author
    assert CREDITS[name].title.removeprefix("flickr.com/photos/") in readme
    assert "creativecommons.org/licenses/by/2.0" in readme


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("astronaut", "astronaut"),
        ("camera", "camera"),
        ("chelsea", "chelsea"),
        ("clock", "clock"),
        ("coffee", "coffee"),
        ("coins", "coins"),
        ("hubble", "hubble_deep_field"),
        ("rocket", "rocket"),
    ],
)
def test_credits_agree_with_skimage(name, function):
    from skimage import data

    text = " ".join(getattr(data, function).__doc__.split())
    credit = CREDITS[name]
    assert credit.author in text
    assert credit.licence.lower() in text.lower()


def test_unknown_photograph():
    with pytest.raises(ValueError, match=r"no photograph is called 'dog'.*chelsea"):
        photograph("dog")


def test_missing_file_is_named(monkeypatch):
    monkeypatch.setitem(photos._FILES, "coffee", "tea.png")
    with pytest.raises(FileNotFoundError, match=r"tea\.png.*scikit-image"):
        photograph("coffee")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="install scikit-learn"):
        photograph("china")


def test_photographs_have_one_size():
    images = photographs(size=40)
    assert list(images) == list(CREDITS)
    assert all(image.shape == (3, 40, 40) for image in images.values())
    assert all(image.dtype == torch.float32 for image in images.values())
    assert all(0 <= image.min() <= image.max() <= 1 for image in images.values())


def test_photographs_are_cropped_in_the_centre():
    full = photograph("rocket")
    left = (full.shape[2] - full.shape[1]) // 2
    square = full[:, :, left : left + full.shape[1]]
    expected = square.mean(dim=(1, 2))
    small = photographs(size=40)["rocket"].mean(dim=(1, 2))
    torch.testing.assert_close(small, expected, atol=5e-3, rtol=0)


def test_import_loads_no_image_library():
    code = (
        "import sys, attention_course.learn.photos; "
        "print(sorted({'skimage', 'sklearn', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def pictures() -> dict[str, torch.Tensor]:
    """Pictures of 2 × 3 and 1 × 2 patches of 4 pixels; number 7 is a twin of 4."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3, 8, 12, generator=generator)
    second = torch.rand(3, 4, 8, generator=generator)
    second[:, :, 4:] = first[:, 4:, 4:8]
    return {"first": first, "second": second}


def test_twins_by_hand(pictures):
    twins = patch_twins(pictures, patch=4)
    patches = [
        pictures[twins.names[photo]][:, row : row + 4, column : column + 4].flatten()
        for photo, (row, column) in zip(
            twins.photo.tolist(), twins.corner.tolist(), strict=True
        )
    ]
    distances = torch.stack(
        [torch.stack([(a - b).norm() for b in patches]) for a in patches]
    )
    distances.fill_diagonal_(float("inf"))
    nearest, expected = distances.min(dim=1)
    assert torch.equal(twins.twin, expected)
    torch.testing.assert_close(twins.distance, nearest, atol=1e-4, rtol=0)
    assert twins.photo.tolist() == [0] * 6 + [1] * 2
    assert twins.corner[5].tolist() == [4, 8]
    assert twins.twin[7] == 4
    assert twins.twin[4] == 7
    contrast = torch.stack([patch.view(3, -1).mean(dim=0) for patch in patches])
    torch.testing.assert_close(twins.contrast, contrast.std(dim=1, correction=0))


def test_share_elsewhere(pictures):
    twins = patch_twins(pictures, patch=4)
    expected = [int(twins.photo[i] != twins.photo[t]) for i, t in enumerate(twins.twin)]
    assert twins.elsewhere.tolist() == [bool(value) for value in expected]
    assert twins.share_elsewhere == sum(expected) / len(expected)


def test_striking_pairs_by_hand():
    twins = PatchTwins(
        names=("a", "b", "c"),
        patch=4,
        photo=torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]),
        corner=torch.zeros(8, 2, dtype=torch.int64),
        twin=torch.tensor([3, 4, 5, 0, 1, 2, 7, 6]),
        distance=torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.1, 0.1]),
        contrast=torch.tensor([9.0, 9.0, 9.0, 8.0, 9.0, 9.0, 9.0, 9.0]) / 10,
    )
    # 6 and 7 lie in one photograph; 0-3 and 1-4 join the same two photographs, and
    # patch 3 has less contrast than three patches in four.
    assert striking_pairs(twins) == [(1, 4), (2, 5)]
    assert striking_pairs(twins, number=1) == [(1, 4)]


def test_real_twins_are_elsewhere_and_look_alike():
    twins = patch_twins(photographs(size=64), patch=8)
    assert (twins.twin != torch.arange(len(twins.twin))).all()
    assert 0.1 < twins.share_elsewhere < 0.4
    pairs = striking_pairs(twins, number=3)
    assert len(pairs) == 3
    for first, second in pairs:
        assert twins.photo[first] != twins.photo[second]
        assert twins.twin[first] == second

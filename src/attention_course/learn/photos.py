"""Real photographs, and pairs of patches that only their context tells apart.

The photographs ship inside the scikit-image and scikit-learn packages. They are read
from there as files, so nothing is ever downloaded. See ``CREDITS`` for their authors
and licences.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Credit(NamedTuple):
    """Who made a photograph, under which licence, and which package ships it."""

    title: str
    author: str
    licence: str
    source: str


# From the docstrings of skimage.data and sklearn/datasets/images/README.txt. That
# README names danielbuechele under both of its photographs, but for flower.jpg it links
# to the account and the picture of vultilion.
CREDITS = {
    "astronaut": Credit(
        "Eileen Collins, NASA Great Images database",
        "NASA",
        "public domain",
        "scikit-image",
    ),
    "camera": Credit("Camera", "Lav Varshney", "CC0", "scikit-image"),
    "chelsea": Credit("Chelsea the cat", "Stefan van der Walt", "CC0", "scikit-image"),
    "china": Credit(
        "flickr.com/photos/danielbuechele/6061409035",
        "danielbuechele",
        "CC BY 2.0",
        "scikit-learn",
    ),
    "clock": Credit(
        "Motion blurred clock", "Stefan van der Walt", "public domain", "scikit-image"
    ),
    "coffee": Credit("Coffee cup", "Rachel Michetti", "CC0", "scikit-image"),
    "coins": Credit(
        "Greek coins from Pompeii",
        "Brooklyn Museum Collection",
        "no known copyright restrictions",
        "scikit-image",
    ),
    "flower": Credit(
        "flickr.com/photos/vultilion/6056698931",
        "vultilion",
        "CC BY 2.0",
        "scikit-learn",
    ),
    "hubble": Credit(
        "Hubble eXtreme Deep Field", "NASA", "public domain", "scikit-image"
    ),
    "rocket": Credit(
        "Launch of DSCOVR on Falcon 9", "SpaceX", "public domain", "scikit-image"
    ),
}

_FILES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "china": "china.jpg",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "flower": "flower.jpg",
    "hubble": "hubble_deep_field.jpg",
    "rocket": "rocket.jpg",
}
_FOLDERS = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
}


def _path(name: str) -> Path:
    """Find a photograph's file without importing the package that holds it."""
    if name not in CREDITS:
        known = ", ".join(sorted(CREDITS))
        raise ValueError(f"no photograph is called {name!r}; there are: {known}")
    source = CREDITS[name].source
    package, folder = _FOLDERS[source]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the photograph {name!r} ships with {source}: install {source}"
        )
    path = Path(spec.origin).parent / folder / _FILES[name]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: this version of {source} does not ship {name!r}"
        )
    return path


def photograph(name: str) -> Tensor:
    """Load one of the photographs in ``CREDITS``.

    Returns
    -------
    Tensor
        (3, H, W) float32 in 0..1, at its full size, which differs between
        photographs; a grey photograph has three equal channels.

    Raises
    ------
    ValueError
        If there is no such photograph.
    FileNotFoundError, ModuleNotFoundError
        If the package that ships it lacks the file, or is not installed.
    """
    import numpy as np
    from PIL import Image

    with Image.open(_path(name)) as image:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).contiguous()


def photographs(size: int = 192) -> dict[str, Tensor]:
    """Load all photographs as squares of one size, in the order of ``CREDITS``.

    The largest central square is resized, with antialiasing, to ``size`` pixels.

    Returns
    -------
    dict
        For each name a (3, size, size) float32 tensor in 0..1.
    """
    squares = {}
    for name in CREDITS:
        full = photograph(name)
        height, width = full.shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = full[:, top : top + side, left : left + side]
        resized = F.interpolate(
            square[None], (size, size), mode="bilinear", antialias=True
        )
        squares[name] = resized[0].clamp(0, 1)
    return squares


@dataclass(frozen=True)
class PatchTwins:
    """For every patch of some photographs, the most similar other patch.

    Patches are numbered photograph after photograph, row by row; N is their number.

    Attributes
    ----------
    names:
        The photographs, in order.
    patch:
        Side of a patch in pixels.
    photo:
        (N,) int64, the photograph each patch comes from.
    corner:
        (N, 2) int64, row and column of its upper left pixel.
    twin:
        (N,) int64, the nearest other patch.
    distance:
        (N,) float32, the Euclidean distance to it, pixel values in 0..1.
    contrast:
        (N,) float32, how much there is to see in the patch: the standard deviation of
        its brightness from pixel to pixel.
    """

    names: tuple[str, ...]
    patch: int
    photo: Tensor
    corner: Tensor
    twin: Tensor
    distance: Tensor
    contrast: Tensor

    @property
    def elsewhere(self) -> Tensor:
        """(N,) bool, whether a patch's twin lies in a different photograph."""
        return self.photo != self.photo[self.twin]

    @property
    def share_elsewhere(self) -> float:
        """The share of patches whose twin lies in a different photograph."""
        return self.elsewhere.double().mean().item()


def patch_twins(photos: dict[str, Tensor], patch: int = 8) -> PatchTwins:
    """Cut photographs into patches and find each patch's nearest other patch.

    Parameters
    ----------
    photos:
        For each name a (3, H, W) image; ``patch`` divides H and W.
    patch:
        Side of a patch in pixels.
    """
    import numpy as np
    from skimage.util import view_as_blocks
    from sklearn.neighbors import NearestNeighbors

    patches, photo, corner = [], [], []
    for number, image in enumerate(photos.values()):
        blocks = view_as_blocks(image.numpy(), (3, patch, patch))[0]
        rows, columns = blocks.shape[:2]
        patches.append(blocks.reshape(rows * columns, -1))
        photo.append(np.full(rows * columns, number))
        corner.append(np.indices((rows, columns)).reshape(2, -1).T * patch)
    pixels = np.concatenate(patches)

    # kneighbors() without points asks for each patch's neighbour other than itself.
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pixels)
    distance, twin = neighbours.kneighbors()
    brightness = pixels.reshape(len(pixels), 3, -1).mean(axis=1)
    return PatchTwins(
        names=tuple(photos),
        patch=patch,
        photo=torch.from_numpy(np.concatenate(photo)),
        corner=torch.from_numpy(np.concatenate(corner)),
        twin=torch.from_numpy(twin[:, 0]),
        distance=torch.from_numpy(distance[:, 0]).float(),
        contrast=torch.from_numpy(brightness.std(axis=1)).float(),
    )


def striking_pairs(twins: PatchTwins, number: int = 4) -> list[tuple[int, int]]:
    """Choose pairs of patches that look alike but lie in different photographs.

    A pair counts for more the more there is to see in its patches and the less the two
    differ: ``contrast / distance``, with the smaller of the two contrasts. Patches with
    less contrast than three patches in four are left out. Each pair of photographs is
    used once, so that the examples differ.

    Returns
    -------
    list of (int, int)
        Numbers of the two patches, the most striking pair first; fewer than
        ``number`` if there are no more.
    """
    contrast = torch.minimum(twins.contrast, twins.contrast[twins.twin])
    textured = contrast >= twins.contrast.quantile(0.75)
    score = torch.where(
        twins.elsewhere & textured,
        contrast / twins.distance.clamp(min=1e-6),
        torch.tensor(-1.0),
    )
    pairs: list[tuple[int, int]] = []
    used = set()
    for first in score.argsort(descending=True, stable=True).tolist():
        if len(pairs) == number or score[first] < 0:
            break
        second = int(twins.twin[first])
        photos = frozenset((int(twins.photo[first]), int(twins.photo[second])))
        if photos not in used:
            used.add(photos)
            pairs.append((first, second))
    return pairs

"""Generated scenes in which one and the same patch means different things.

A ball lies in the centre of a lawn. On a spot of sand one player kicks; in a goal
another one keeps. If the two wear the same shirt, the ball is a *back pass*; if their
shirts differ, the same ball is a *shot*. Seven more players only watch. Players,
trees, cones and flowers stand at random places.

The ball's patch is the same in every scene, so what the ball *is* can only be read
from its context, and from the right part of it. Torralba (2003) measured how much of
an object's identity the rest of a photograph predicts; Oliva and Torralba (2007)
review the evidence from human vision.

Why no short cut works, by construction and not by luck:

- **The centre patch** is one fixed tile: its pixels are equal bit for bit.
- **Any one patch**: each shirt (hooped, striped, plain) is equally frequent on the
  kicker, and on the keeper, under both labels. Only the two together tell.
- **The mean of all patches**: every scene holds the same tiles, except that the shirts
  change backs: always three hooped, three striped and three plain ones. All players
  show the shirt on the same pixels, so the sum over patches does not know *who* wears
  which shirt, and that is the label. The mean patch is the same in all scenes, bit for
  bit; so is the mean of any linear patch embedding, up to rounding.
- **A window around the centre** sees both markers in one scene of forty (3×3 patches
  on a 7×7 lawn: 8 · 7 / (48 · 47)). Watchers' shirts tell only if most are seen.

Shirts differ in their pattern as well as in colour, kicker and keeper in what is around
them, so the scenes can be read without colour vision and in grey print.

References
----------
Torralba, A. (2003). Contextual priming for object detection. International Journal of
Computer Vision 53(2), 169-191.
Oliva, A. and Torralba, A. (2007). The role of context in object recognition. Trends in
Cognitive Sciences 11(12), 520-527.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PATCH = 8  # pixels: the side of a tile
LABEL_NAMES = ("shot", "back pass")

# Colours are multiples of 1/256: sums of patches are then exact in float32, and the
# mean patch is equal bit for bit, whatever the order of summation.
_COLOURS = {
    ".": (160, 196, 120),  # lawn
    ",": (136, 176, 98),  # blade of grass
    "s": (148, 88, 56),  # skin
    "h": (40, 26, 22),  # hair
    "k": (32, 32, 40),  # shorts, boots, dark parts
    "w": (250, 250, 246),  # white
    "b": (0, 84, 160),  # hooped shirt
    "r": (196, 60, 20),  # striped shirt
    "o": (240, 130, 20),  # cone
    "t": (44, 104, 56),  # leaves
    "l": (72, 136, 72),  # leaves in the light
    "n": (104, 72, 44),  # wood
    "d": (222, 190, 128),  # sand
    "g": (196, 206, 200),  # net
    "y": (250, 216, 60),  # flower
}

_BALL = """
..kkkk..
.kwwwwk.
kwwkkwwk
kwkkkkwk
kwwkkwwk
kwwwwwwk
.kwwwwk.
..kkkk..
"""

# In a pose, # marks the shirt's pixels.
_KICKS = """
dddhhdds
dddssdsd
ds####sd
sd####dd
sd####dd
dd####kk
ddkddkkk
dkkddddd
"""
_KEEPS = """
wwwwwwww
wsghhgsw
ws####sw
wg####gw
wg####gw
wg####gw
wgkggkgw
wkggggkw
"""
_WATCHES = """
...hh...
...ss...
.s####s.
.s####s.
.s####s.
..####..
..k..k..
..k..k..
"""
_POSES = (_KICKS, _KEEPS, _WATCHES)
_SHIRTS = (
    "bbbb wwww bbbb wwww",  # hoops
    "rwrw rwrw rwrw rwrw",  # stripes
    "yyyy yyyy yyyy yyyy",  # plain
)

_LAWN = "\n".join(["........"] * 8)
_GRASS = """
........
.,......
.,.,....
..,,....
......,.
....,.,.
....,,..
........
"""
_FLOWER = """
........
..y.....
.ywy....
..y...y.
..,..ywy
..,...y.
......,.
......,.
"""
_TREE = """
..tttt..
.tllttt.
ttlltttt
ttttlttt
.tttttt.
...nn...
...nn...
..,nn,..
"""
_CONE = """
........
...oo...
...oo...
..wwww..
..oooo..
.wwwwww.
.oooooo.
oooooooo
"""
# How many of each decoration there are in every scene; plain lawn fills the rest.
_DECORATION = ((_TREE, 3), (_CONE, 2), (_FLOWER, 3), (_GRASS, 8))

_SHIRTS_OF_A_KIND = 3
_NUM_PLAYERS = _SHIRTS_OF_A_KIND * len(_SHIRTS)


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Attributes
    ----------
    images:
        (B, 3, H, W) float32 in 0..1, H = W = grid · patch pixels.
    labels:
        (B,) int64, indices into ``label_names``: 0 shot, 1 back pass.
    marker_patches:
        (B, 2) int64, the row-major patch indices of the kicker and of the keeper.
    patch:
        Side of a patch in pixels.
    grid:
        Patches per side; the image has grid · grid patches.
    label_names:
        The names of the labels.
    """

    images: Tensor
    labels: Tensor
    marker_patches: Tensor
    patch: int
    grid: int
    label_names: tuple[str, ...] = LABEL_NAMES

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def centre_patch(self) -> int:
        """Row-major index of the patch with the ball."""
        return self.grid * self.grid // 2


def _paint(drawing: str, shirt: str = "") -> Tensor:
    """Turn a drawing into a (3, patch, patch) float32 tile; # takes shirt pixels."""
    shirt_pixels = iter(shirt.replace(" ", ""))
    rows = [
        [_COLOURS[next(shirt_pixels) if pixel == "#" else pixel] for pixel in line]
        for line in drawing.split()
    ]
    return torch.tensor(rows).permute(2, 0, 1) / 256


def _tiles() -> Tensor:
    """All tiles, (number of tiles, 3, patch, patch).

    In order: the players (pose by pose, shirt by shirt), ball, lawn, decoration.
    """
    players = [_paint(pose, shirt) for pose in _POSES for shirt in _SHIRTS]
    others = [_BALL, _LAWN, *(drawing for drawing, _ in _DECORATION)]
    return torch.stack(players + [_paint(drawing) for drawing in others])


def make_scenes(number: int, seed: int, *, grid: int = 7) -> Scenes:
    """Draw scenes at random; the labels are balanced, to within one scene.

    Parameters
    ----------
    number:
        How many scenes, at least 1.
    seed:
        Seed of the CPU generator: the same seed gives the same scenes everywhere.
    grid:
        Patches per side, odd, at least 7: only then is there room for everything.

    Returns
    -------
    Scenes
        With patches of 8 pixels, on the CPU.

    Raises
    ------
    ValueError
        If ``number`` or ``grid`` is not as described.
    """
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    if grid < 7 or grid % 2 == 0:
        raise ValueError(f"grid must be odd and at least 7, got {grid}")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(number, generator=generator) % 2

    # The kicker's shirt is any; the keeper's is the same or one of the others. The
    # watchers wear what is left of three shirts of each kind.
    kinds = len(_SHIRTS)
    kicker = torch.randint(kinds, (number,), generator=generator)
    step = torch.randint(1, kinds, (number,), generator=generator)
    keeper = torch.where(labels == 1, kicker, (kicker + step) % kinds)
    shirts = torch.arange(kinds).repeat(number, _SHIRTS_OF_A_KIND)
    for taken in (kicker, keeper):
        first = (shirts == taken[:, None]).int().argmax(dim=1, keepdim=True)
        shirts.scatter_(1, first, kinds)
    watchers = shirts[shirts < kinds].view(number, -1)
    players = torch.cat(
        [kicker[:, None], kinds + keeper[:, None], 2 * kinds + watchers], dim=1
    )

    num_patches = grid * grid
    ball, lawn, decoration = (len(_POSES) * kinds + extra for extra in range(3))
    others = torch.full((num_patches - 1 - _NUM_PLAYERS,), lawn)
    start = 0
    for tile, (_, count) in enumerate(_DECORATION, start=decoration):
        others[start : start + count] = tile
        start += count
    contents = torch.cat([players, others.expand(number, -1)], dim=1)

    # Each scene puts its contents on the patches around the ball, in random order.
    order = torch.rand(number, num_patches - 1, generator=generator)
    places = order.argsort(dim=1, stable=True)
    places = places + (places >= num_patches // 2)  # step over the centre
    layout = torch.full((number, num_patches), ball).scatter(1, places, contents)

    tiles = _tiles()
    images = torch.empty(number, 3, grid * PATCH, grid * PATCH)
    for row in range(grid):
        for column in range(grid):
            top, left = row * PATCH, column * PATCH
            here = tiles[layout[:, row * grid + column]]
            images[:, :, top : top + PATCH, left : left + PATCH] = here
    return Scenes(images, labels, places[:, :2].contiguous(), PATCH, grid)

"""Chapter 01: cut an image into patches, compare patches, gather context."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_course.author.exercise import (
    Draw,
    Exercise,
    Sample,
    call,
    noncontiguous,
)

# ------------------------------------------------------------------------- patchify

patchify = Exercise("patchify")


@patchify.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("wide, all sizes different", draw.normal(6, 3, 8, 10), 2)
    yield call("same sizes again", draw.normal(6, 3, 8, 10), 2)
    yield call(
        "tall, two channels",
        draw.normal(4, 2, 15, 9),
        3,
        note="two channels, and the image is taller than wide",
    )
    yield call(
        "wide, one channel",
        draw.normal(3, 1, 10, 20),
        5,
        note="one channel, and the image is wider than tall",
    )
    yield call(
        "square image",
        draw.normal(2, 4, 9, 9, scale=300.0),
        3,
        note="a square image, with numbers of a thousand and more",
    )
    yield call("one item", draw.normal(1, 5, 4, 6), 2, note="a batch of one")
    yield call(
        "one patch",
        draw.normal(11, 2, 7, 7),
        7,
        note="the image is a single patch",
    )
    yield call(
        "one patch of one item",
        draw.normal(1, 2, 9, 9),
        9,
        note="a batch of one, and the image is a single patch",
    )
    yield call("patch of one pixel", draw.normal(2, 17, 3, 5), 1, note="patch = 1")
    yield call(
        "one row of patches",
        draw.normal(2, 5, 2, 34),
        2,
        note="a single row of patches",
    )
    yield call(
        "one column of patches",
        draw.normal(3, 2, 34, 2),
        2,
        note="a single column of patches",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 3, 8, 20)),
        4,
        aspect="robustness",
        note="the image is a transposed view",
    )
    yield call(
        "float32",
        draw.normal(2, 3, 6, 4).float(),
        2,
        aspect="robustness",
    )
    yield call(
        "float16",
        draw.normal(3, 2, 6, 9).half(),
        3,
        aspect="robustness",
        gradients=False,
    )


def grid_of(image: Tensor, patch: int) -> tuple[int, int]:
    """Rows and columns of patches."""
    return image.shape[2] // patch, image.shape[3] // patch


@patchify.reference
def patchify_reference(image: Tensor, patch: int) -> Tensor:
    height, width = image.shape[2:]
    patches = [
        image[:, :, top : top + patch, left : left + patch].flatten(1)
        for top in range(0, height, patch)
        for left in range(0, width, patch)
    ]
    return torch.stack(patches, dim=1)


@patchify.alternative
def by_unfold(image: Tensor, patch: int) -> Tensor:
    return F.unfold(image, kernel_size=patch, stride=patch).transpose(1, 2)


@patchify.alternative
def by_tensor_unfold(image: Tensor, patch: int) -> Tensor:
    tiles = image.unfold(2, patch, patch).unfold(3, patch, patch)  # B C gh gw p p
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


@patchify.alternative
def by_reshape_and_permute(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, -1)


@patchify.alternative
def by_pixel_unshuffle(image: Tensor, patch: int) -> Tensor:
    return F.pixel_unshuffle(image, patch).flatten(2).mT


@patchify.alternative
def by_chunks(image: Tensor, patch: int) -> Tensor:
    patches = []
    for band in image.split(patch, dim=2):
        patches += [tile.flatten(1) for tile in band.split(patch, dim=3)]
    return torch.cat([tile[:, None] for tile in patches], dim=1)


@patchify.mistake("""The order of your patches is wrong: you go down the columns.
Patches are numbered like words on a page, along each row first.""")
def column_major_patches(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 4, 2, 1, 3, 5).reshape(b, rows * columns, -1)


@patchify.mistake("""Inside each patch rows and columns have changed places: every
patch is mirrored at its diagonal. Keep the row of a pixel before its column.""")
def patches_transposed(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 2, 4, 1, 5, 3).reshape(b, rows * columns, -1)


@patchify.mistake("""You swapped height and width all through: patches run down the
columns and each is mirrored. Dimension 2 is H, dimension 3 is W.""")
def height_and_width_swapped(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image.transpose(2, 3), patch)


@patchify.mistake("""You use the number of rows of patches where the number of
columns belongs (or H for W). In a square image nobody would notice; here it cuts the
wrong pixels.""")
def grid_sizes_swapped(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, columns, patch, rows, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, -1)


@patchify.mistake("""You use H for both sides: that is right for square images alone.
The number of patches in a row is W // patch.""")
def square_images_only(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    side = image.shape[2] // patch
    tiles = image.reshape(b, c, side, patch, side, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(b, side * side, -1)


@patchify.mistake("""You reshape without `permute`. The shape is right, but `reshape`
cuts the image as one long line of pixels: a "patch" is then a piece of some rows.""")
def reshape_without_permute(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    return image.reshape(b, rows * columns, c * patch * patch)


@patchify.mistake("""You split H into (rows, patch) and W into (columns, patch), but
you do not bring rows and columns together before the last reshape: `permute`
first.""")
def reshape_channels_outermost(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.transpose(3, 4).reshape(b, rows * columns, c * patch * patch)


@patchify.mistake("""Your patches are channel-last: red, green and blue of one pixel
stand side by side. A convolution sees all of channel 0 first, then channel 1, and so
on.""")
def channel_last(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 2, 4, 3, 5, 1).reshape(b, rows * columns, -1)


@patchify.mistake("""You split H into (patch, rows): each of your "patches" takes
every n-th pixel from all over the image. Neighbouring pixels belong together: (rows,
patch).""")
def interleaved_pixels(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, patch, rows, patch, columns)
    return tiles.permute(0, 3, 5, 1, 2, 4).reshape(b, rows * columns, -1)


@patchify.mistake("""`F.unfold` returns (B, C*patch*patch, N): the patches stand in
its columns. Swap the last two dimensions.""")
def unfold_not_transposed(image: Tensor, patch: int) -> Tensor:
    return F.unfold(image, kernel_size=patch, stride=patch)


@patchify.mistake("""The shape is right, but you got it by `reshape` where two
dimensions have to change places. `F.unfold` gives (B, C*patch*patch, N): use
`transpose(1, 2)`.""")
def unfold_reshaped(image: Tensor, patch: int) -> Tensor:
    columns = F.unfold(image, kernel_size=patch, stride=patch)
    return columns.reshape(len(image), -1, columns.shape[1])


@patchify.mistake("""Your windows overlap: they move one pixel at a time. Patches lie
side by side, so the stride is the patch size.""")
def stride_one(image: Tensor, patch: int) -> Tensor:
    return F.unfold(image, kernel_size=patch).transpose(1, 2)


@patchify.mistake("""Your loops end one patch too early: the last row and the last
column of patches are missing. `range(0, H, patch)` already stops at the last one.""")
def loops_end_early(image: Tensor, patch: int) -> Tensor:
    height, width = image.shape[2:]
    tiles = [
        image[:, :, top : top + patch, left : left + patch].flatten(1)
        for top in range(0, height - patch, patch)
        for left in range(0, width - patch, patch)
    ]
    return torch.stack(tiles, dim=1)


@patchify.mistake("""You stacked the patches in front of the batch, (N, B, ...). The
batch comes first: `torch.stack(patches, dim=1)`.""")
def patches_before_batch(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image, patch).transpose(0, 1)


@patchify.mistake("""You stacked the patches in front of the batch, and then forced the
shape with `reshape`: patches of different images are mixed. Stack with `dim=1`.""")
def patches_before_batch_reshaped(image: Tensor, patch: int) -> Tensor:
    patches = patchify_reference(image, patch)
    return patches.transpose(0, 1).reshape(patches.shape)


@patchify.mistake("""You treat each channel as an image of its own: a patch must hold
the pixels of all channels, (B, N, C*patch*patch).""")
def channels_as_patches(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 1, 2, 4, 3, 5).reshape(b, -1, patch * patch)


@patchify.mistake("""You mix the channels (a mean or a sum): a patch holds the pixels
of each channel, C*patch*patch numbers.""")
def grey(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image.mean(dim=1, keepdim=True), patch)


@patchify.mistake("""You assume three channels. Read their number from the image:
`image.shape[1]`.""")
def three_channels_only(image: Tensor, patch: int) -> Tensor:
    b = len(image)
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, 3, rows, patch, columns, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, 3 * patch * patch)


@patchify.mistake("""Your patches are still pictures, (B, N, C, patch, patch). Make
each one a vector: flatten the last three dimensions.""")
def not_flattened(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    return patchify_reference(image, patch).reshape(b, -1, c, patch, patch)


@patchify.mistake("""You keep the grid, (B, rows, columns, C*patch*patch). Tokens are
one list: flatten rows and columns into N.""")
def grid_not_flattened(image: Tensor, patch: int) -> Tensor:
    rows, columns = grid_of(image, patch)
    return patchify_reference(image, patch).unflatten(1, (rows, columns))


@patchify.mistake("""After `permute` the numbers no longer lie in order in memory,
and `.view` refuses. Use `.reshape`, which copies when it has to.""")
def view_after_permute(image: Tensor, patch: int) -> Tensor:
    b, c = image.shape[:2]
    rows, columns = grid_of(image, patch)
    tiles = image.reshape(b, c, rows, patch, columns, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).view(b, rows * columns, -1)


@patchify.mistake("""Every item of your batch has the patches of the first image.""")
def first_image_for_all(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image[:1].expand_as(image), patch)


@patchify.mistake("""You `squeeze` away a dimension of size 1: a batch of one, or an
image of one patch, still has that dimension.""")
def squeezed(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image, patch).squeeze()


@patchify.mistake("""Your result is cut off from the image: with `detach`, `.data` or
numpy no gradient can flow back.""")
def detached(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image.detach(), patch)


@patchify.mistake("""Your patches are float32 whatever the image is. A result made by
`torch.zeros(...)` needs `dtype=image.dtype`.""")
def cast_to_float32(image: Tensor, patch: int) -> Tensor:
    return patchify_reference(image.float(), patch)


# ----------------------------------------------------------------------- unpatchify

unpatchify = Exercise("unpatchify")


@unpatchify.cases
def _(draw: Draw) -> Iterator[Sample]:
    def patches(b: int, c: int, rows: int, columns: int, patch: int) -> tuple:
        tokens = draw.normal(b, rows * columns, c * patch * patch)
        return tokens, patch, rows * patch, columns * patch

    yield call("wide, all sizes different", *patches(6, 3, 4, 5, 2))
    yield call("same sizes again", *patches(6, 3, 4, 5, 2))
    yield call(
        "tall, two channels",
        *patches(4, 2, 5, 3, 3),
        note="two channels, and the image is taller than wide",
    )
    yield call(
        "wide, one channel",
        *patches(3, 1, 2, 4, 5),
        note="one channel, and the image is wider than tall",
    )
    yield call(
        "same number of patches, taller",
        *patches(2, 4, 6, 2, 3),
        note="12 patches as 6 rows of 2",
    )
    yield call(
        "same number of patches, wider",
        *patches(2, 4, 3, 4, 3),
        note="12 patches as 3 rows of 4",
    )
    tokens, *sizes = patches(2, 4, 3, 3, 3)
    yield call(
        "square image",
        300 * tokens,
        *sizes,
        note="a square image, with numbers of a thousand and more",
    )
    yield call("one item", *patches(1, 1, 2, 3, 9), note="a batch of one")
    yield call(
        "one patch", *patches(11, 2, 1, 1, 7), note="the image is a single patch"
    )
    yield call(
        "patch of one pixel",
        *patches(2, 17, 3, 5, 1),
        note="patch = 1",
    )
    yield call(
        "one row of patches",
        *patches(2, 5, 1, 17, 2),
        note="a single row of patches",
    )
    yield call(
        "one column of patches",
        *patches(3, 2, 17, 1, 2),
        note="a single column of patches",
    )
    tokens, patch, height, width = patches(2, 3, 2, 5, 4)
    yield call(
        "not contiguous",
        noncontiguous(tokens),
        patch,
        height,
        width,
        aspect="robustness",
        note="the patches are a transposed view",
    )
    tokens, *sizes = patches(2, 3, 3, 2, 2)
    yield call("float32", tokens.float(), *sizes, aspect="robustness")
    tokens, *sizes = patches(3, 2, 2, 3, 3)
    yield call("float16", tokens.half(), *sizes, aspect="robustness", gradients=False)


@unpatchify.reference
def unpatchify_reference(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    b, _, size = patches.shape
    tiles = patches.reshape(b, -1, size // patch**2, patch, patch).unbind(dim=1)
    columns = width // patch
    bands = [
        torch.cat(tiles[start : start + columns], dim=3)
        for start in range(0, len(tiles), columns)
    ]
    image = torch.cat(bands, dim=2)
    assert image.shape[2:] == (height, width)
    return image


@unpatchify.alternative
def by_fold(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return F.fold(patches.mT, (height, width), kernel_size=patch, stride=patch)


@unpatchify.alternative
def by_six_dimensions(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, -1, patch, patch)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, height, width)


@unpatchify.alternative
def by_pixel_shuffle(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    grid = (height // patch, width // patch)
    return F.pixel_shuffle(patches.transpose(1, 2).unflatten(2, grid), patch)


@unpatchify.alternative
def into_an_empty_image(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b, number, size = patches.shape
    image = patches.new_empty(b, size // (patch * patch), height, width)
    for i in range(number):
        row, column = divmod(i, width // patch)
        top, left = row * patch, column * patch
        tile = patches[:, i].reshape(b, -1, patch, patch)
        image[:, :, top : top + patch, left : left + patch] = tile
    return image


@unpatchify.mistake("""You reshape without `permute`. The shape is right, but the
pixels of one patch end up in one long row of the image. Split into six dimensions
first.""")
def joined_without_permute(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    return patches.reshape(len(patches), -1, height, width)


@unpatchify.mistake("""You read the patches down the columns of the image. They are
numbered along each row first.""")
def placed_by_columns(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, columns, rows, -1, patch, patch)
    return tiles.permute(0, 3, 2, 4, 1, 5).reshape(b, -1, height, width)


@unpatchify.mistake("""Height and width are swapped: your image comes out (B, C, W,
H). There are height // patch rows of width // patch patches.""")
def sides_swapped(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return unpatchify_reference(patches, patch, width, height)


@unpatchify.mistake("""You unpack the patches as a grid of (columns, rows), then
return the shape of the right image. Rows first: height // patch, then width //
patch.""")
def grid_swapped_shape_kept(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    return sides_swapped(patches, patch, height, width).reshape(
        len(patches), -1, height, width
    )


@unpatchify.mistake("""You take the square root of N for the grid, or height for both
sides: that works for square images alone. Rows are height // patch, columns width //
patch.""")
def square_grid_only(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b, number, _ = patches.shape
    side = math.isqrt(number)
    tiles = patches.reshape(b, side, side, -1, patch, patch)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, side * patch, side * patch)


@unpatchify.mistake("""You read each patch channel-last. Its vector holds all pixels
of channel 0 first: unpack it as (C, patch, patch).""")
def read_channel_last(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, patch, patch, -1)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, height, width)


@unpatchify.mistake("""Every patch comes out mirrored at its diagonal: its rows and
columns have changed places.""")
def tiles_transposed(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, -1, patch, patch)
    return tiles.permute(0, 3, 1, 5, 2, 4).reshape(b, -1, height, width)


@unpatchify.mistake("""Your `permute` keeps rows and columns together and joins them
with the wrong partners. Each side of the image is one pair: rows with the y inside a
patch, columns with the x inside.""")
def sides_not_paired(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, -1, patch, patch)
    return tiles.permute(0, 3, 1, 2, 4, 5).reshape(b, -1, height, width)


@unpatchify.mistake("""You join (patch, rows) where (rows, patch) belongs: the pixels
of one patch are strewn all over the image. In `permute`, `patch` follows its
`rows`.""")
def strewn_pixels(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, -1, patch, patch)
    return tiles.permute(0, 3, 4, 1, 5, 2).reshape(b, -1, height, width)


@unpatchify.mistake("""You assume three channels. Their number follows from the last
dimension: `patches.shape[-1] // patch**2`.""")
def always_three_channels(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    b = len(patches)
    rows, columns = height // patch, width // patch
    tiles = patches.reshape(b, rows, columns, 3, patch, patch)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(b, 3, height, width)


@unpatchify.mistake("""`F.fold` expects (B, C*patch*patch, N). `reshape` gives that
shape, but the wrong numbers: two dimensions have to change places, `transpose(1,
2)`.""")
def folded_after_reshape(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    b, number, size = patches.shape
    columns = patches.reshape(b, size, number)
    return F.fold(columns, (height, width), kernel_size=patch, stride=patch)


@unpatchify.mistake("""`F.fold` expects (B, C*patch*patch, N), and you pass (B, N,
...). Swap the last two dimensions first.""")
def folded_not_transposed(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    return F.fold(patches, (height, width), kernel_size=patch, stride=patch)


@unpatchify.mistake("""Your image is channel-last, (B, H, W, C). Torch's images are
(B, C, H, W).""")
def image_channel_last(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return unpatchify_reference(patches, patch, height, width).permute(0, 2, 3, 1)


@unpatchify.mistake("""After `permute` the numbers no longer lie in order in memory,
and `.view` refuses. Use `.reshape`, which copies when it has to.""")
def image_by_view(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    b = len(patches)
    tiles = patches.reshape(b, height // patch, width // patch, -1, patch, patch)
    return tiles.permute(0, 3, 1, 4, 2, 5).view(b, -1, height, width)


@unpatchify.mistake("""Every item of your batch is the first image.""")
def first_image_repeated(
    patches: Tensor, patch: int, height: int, width: int
) -> Tensor:
    return unpatchify_reference(patches[:1].expand_as(patches), patch, height, width)


@unpatchify.mistake("""A batch of one, or a single channel, is still a dimension: you
`squeeze` it away.""")
def squeezed_image(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return unpatchify_reference(patches, patch, height, width).squeeze()


@unpatchify.mistake("""Your image is cut off from the patches: with `detach`, `.data`
or numpy no gradient can flow back.""")
def detached_image(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return unpatchify_reference(patches.detach(), patch, height, width)


@unpatchify.mistake("""Your image is float32 whatever the patches are. An empty image
made by `torch.zeros(...)` needs `dtype=patches.dtype`.""")
def image_in_float32(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    return unpatchify_reference(patches.float(), patch, height, width)


# -------------------------------------------------------------------- nearest_patch

nearest_patch = Exercise("nearest_patch")


def apart(
    draw: Draw, number: int, width: int, gap: float, scale: float = 1.0
) -> Tensor:
    """Random patches; for each, the two nearest others differ clearly in distance."""
    while True:
        patches = draw.normal(number, width, scale=scale)
        distances = direct_distances(patches).fill_diagonal_(math.inf)
        nearest = distances.sort(dim=1).values
        if number < 3 or bool((nearest[:, 1] > (1 + gap) * nearest[:, 0]).all()):
            return patches


def with_twins(draw: Draw, twins: int, loners: int) -> Tensor:
    """`twins` patches that occur twice and `loners` that occur once, in random order.

    The nearest of a loner is never one of two twins: that would be a tie.
    """
    while True:
        patches = draw.normal(twins + loners, 4)
        patches[twins:] = patches[twins:] * 0.2 + 3.0
        patches = torch.cat([patches, patches[:twins]])
        distances = direct_distances(patches).fill_diagonal_(math.inf)
        nearest = distances.sort(dim=1).values
        if bool((nearest[:, 1] > nearest[:, 0] * 1.001 + 0.01).all()):
            return patches[draw.permutation(len(patches))]


def close_calls(draw: Draw, groups: int) -> Tensor:
    """Threes in a line, the outer two at almost equal distance from the middle.

    The difference, 2e-7 at coordinates up to 50, is lost in float32 and is far above
    what float64 loses in any formula.
    """
    triples = []
    for number in range(groups):
        centre = draw.normal(3) + torch.tensor([50.0, 6.0 * number, -20.0])
        arm = F.normalize(draw.normal(3), dim=0)
        longer = -(1 + 2e-7) * arm
        both = [arm, longer] if draw.integer(0, 2) else [longer, arm]
        triples += [centre, centre + both[0], centre + both[1]]
    return torch.stack(triples)[draw.permutation(3 * groups)]


@nearest_patch.cases
def _(draw: Draw) -> Iterator[Sample]:
    def nearest(name: str, patches: Tensor, **options) -> Sample:
        return call(name, patches, gradients=False, **options)

    yield nearest("nine patches", apart(draw, 9, 4, 1e-3))
    yield nearest("same sizes again", apart(draw, 9, 4, 1e-3))
    yield nearest("more numbers than patches", apart(draw, 7, 12, 1e-3))
    yield nearest("many patches", apart(draw, 40, 6, 1e-4))
    yield nearest("two patches", apart(draw, 2, 5, 0), note="only two patches")
    yield nearest(
        "patches of one number", apart(draw, 8, 1, 1e-2), note="one pixel, one channel"
    )
    yield nearest(
        "identical twins",
        with_twins(draw, 6, 4),
        note="some patches occur twice: their distance is 0",
    )
    yield nearest(
        "everybody has a twin",
        with_twins(draw, 5, 0),
        note="every patch occurs twice",
    )
    yield nearest(
        "bright patches",
        apart(draw, 12, 6, 1e-2) + 20.0,
        note="all numbers lie near 20, as in a bright photograph",
    )
    yield nearest(
        "dark patches",
        apart(draw, 10, 3, 1e-2) - 20.0,
        note="all numbers lie near -20",
    )
    outlier = apart(draw, 6, 3, 1e-2)
    outlier[2] += 170.0
    yield nearest(
        "one far away",
        outlier,
        note="one patch is about 300 away from all others",
    )
    yield nearest(
        "large numbers",
        apart(draw, 6, 40, 1e-3, scale=2000.0),
        note="numbers in the thousands: every distance is above ten thousand",
    )
    yield nearest(
        "close calls",
        close_calls(draw, 10),
        aspect="robustness",
        note="two candidates are almost equally near; float64 can tell, float32 cannot",
    )
    yield nearest(
        "not contiguous",
        noncontiguous(apart(draw, 11, 5, 1e-3)),
        aspect="robustness",
        note="the patches are a transposed view",
    )
    yield nearest(
        "float32",
        apart(draw, 8, 3, 2e-2).float(),
        aspect="robustness",
        note="float32",
    )


def direct_distances(patches: Tensor) -> Tensor:
    """Euclidean distances, (N, N)."""
    return (patches[:, None] - patches).square().sum(dim=-1).sqrt()


def nearest_by(distances: Tensor) -> Tensor:
    """For each row the column of its smallest number, the diagonal excepted."""
    return distances.clone().fill_diagonal_(math.inf).argmin(dim=1)


@nearest_patch.reference
def nearest_reference(patches: Tensor) -> Tensor:
    return nearest_by(direct_distances(patches))


@nearest_patch.alternative
def by_cdist(patches: Tensor) -> Tensor:
    distances = torch.cdist(patches, patches)
    distances.fill_diagonal_(float("inf"))
    return distances.min(dim=1).indices


@nearest_patch.alternative
def by_expanded_square(patches: Tensor) -> Tensor:
    squares = patches.square().sum(dim=1)
    distances = squares[:, None] + squares[None] - 2 * patches @ patches.T
    itself = torch.eye(len(patches), dtype=torch.bool, device=patches.device)
    return distances.masked_fill(itself, torch.inf).argmin(dim=-1)


@nearest_patch.alternative
def one_by_one(patches: Tensor) -> Tensor:
    found = []
    for i, own in enumerate(patches):
        distances = [
            (math.inf if i == j else torch.dist(own, other).item(), j)
            for j, other in enumerate(patches)
        ]
        found.append(min(distances)[1])
    return torch.tensor(found, device=patches.device)


@nearest_patch.alternative
def without_itself_then_shifted(patches: Tensor) -> Tensor:
    found = []
    for i in range(len(patches)):
        others = torch.cat([patches[:i], patches[i + 1 :]])
        j = torch.linalg.vector_norm(others - patches[i], dim=1).argmin()
        found.append(j + (j >= i))
    return torch.stack(found)


@nearest_patch.mistake("""Each patch finds itself: its distance to itself is 0, the
smallest there is. Rule out the diagonal before you take the minimum.""")
def itself(patches: Tensor) -> Tensor:
    return torch.arange(len(patches), device=patches.device)


@nearest_patch.mistake("""You left the diagonal in: each patch finds itself, at
distance 0, or the first of two twins. Rule out the diagonal before you take the
minimum.""")
def diagonal_left_in(patches: Tensor) -> Tensor:
    return direct_distances(patches).argmin(dim=1)


@nearest_patch.mistake("""You take the second of the two smallest distances. A patch
with an identical twin has two distances of 0, and which of them `topk` puts second
is chance: it may be the patch itself. Rule out the diagonal instead.""")
def second_by_topk(patches: Tensor) -> Tensor:
    return direct_distances(patches).topk(2, largest=False).indices[:, 1]


@nearest_patch.mistake("""You take the patch that is farthest away: `argmin`, not
`argmax`.""")
def farthest(patches: Tensor) -> Tensor:
    return direct_distances(patches).argmax(dim=1)


@nearest_patch.mistake("""You take the second smallest distance. A patch with an
identical twin has two distances of 0, and which of the two stands second is chance:
it may be itself. Rule out the diagonal instead.""")
def second_of_the_sorted(patches: Tensor) -> Tensor:
    return direct_distances(patches).sort(dim=1, stable=True).indices[:, 1]


@nearest_patch.mistake("""You rule out every distance of 0. That hides identical
twins, which are the nearest of all: rule out the diagonal alone.""")
def zeros_ruled_out(patches: Tensor) -> Tensor:
    distances = direct_distances(patches)
    return distances.masked_fill(distances == 0, math.inf).argmin(dim=1)


@nearest_patch.mistake("""You add up absolute differences (Manhattan). Euclidean
distance adds up squares.""")
def manhattan(patches: Tensor) -> Tensor:
    return nearest_by((patches[:, None] - patches).abs().sum(dim=-1))


@nearest_patch.mistake("""You take the largest difference of any pixel. Euclidean
distance adds up the squares of all of them.""")
def chebyshev(patches: Tensor) -> Tensor:
    return nearest_by((patches[:, None] - patches).abs().amax(dim=-1))


@nearest_patch.mistake("""You add up the differences without squaring them: positive
and negative ones cancel, and two very different patches seem equal.""")
def differences_not_squared(patches: Tensor) -> Tensor:
    return nearest_by((patches[:, None] - patches).sum(dim=-1).abs())


@nearest_patch.mistake("""You take the smallest signed sum of differences, which says
who is brightest, not who is near. Square the differences.""")
def signed_differences(patches: Tensor) -> Tensor:
    return nearest_by((patches[:, None] - patches).sum(dim=-1))


@nearest_patch.mistake("""You look for the largest dot product. It prefers long
vectors: a bright patch is then near to everybody.""")
def largest_dot(patches: Tensor) -> Tensor:
    return nearest_by(-(patches @ patches.T))


@nearest_patch.mistake("""You look for the smallest dot product, which is no distance
at all.""")
def smallest_dot(patches: Tensor) -> Tensor:
    return nearest_by(patches @ patches.T)


@nearest_patch.mistake("""You compare directions (cosine similarity). Then a dark and
a bright copy of a patch are the same; their Euclidean distance is not 0.""")
def cosine(patches: Tensor) -> Tensor:
    unit = F.normalize(patches, dim=1)
    return nearest_by(-(unit @ unit.T))


@nearest_patch.mistake("""You compare the lengths of the vectors. Two patches of the
same length may differ in every pixel: take the length of the difference.""")
def difference_of_norms(patches: Tensor) -> Tensor:
    norms = patches.norm(dim=1)
    return nearest_by((norms[:, None] - norms).abs())


@nearest_patch.mistake("""In the expanded square, |a - b|² = |a|² + |b|² - 2 a·b, you
lost the factor 2.""")
def factor_two_lost(patches: Tensor) -> Tensor:
    squares = patches.square().sum(dim=1)
    return nearest_by(squares[:, None] + squares - patches @ patches.T)


@nearest_patch.mistake("""You compare each patch only with those after it. The
nearest may come before.""")
def only_later_ones(patches: Tensor) -> Tensor:
    distances = direct_distances(patches)
    seen = torch.ones_like(distances, dtype=torch.bool).triu(diagonal=1)
    return distances.masked_fill(~seen, math.inf).argmin(dim=1)


@nearest_patch.mistake("""You drop the patch itself from the list and then forget to
count it: from there on every index is one too small.""")
def index_not_shifted(patches: Tensor) -> Tensor:
    distances = direct_distances(patches)
    number = len(patches)
    others = ~torch.eye(number, dtype=torch.bool, device=patches.device)
    return distances[others].reshape(number, number - 1).argmin(dim=1)


@nearest_patch.mistake("""You took the patch itself out of the list and shifted the
indices after it, but not at its own place: an index j >= i, not only j > i, means
patch j + 1.""")
def index_shifted_too_late(patches: Tensor) -> Tensor:
    number = len(patches)
    places = torch.arange(number, device=patches.device)
    index = index_not_shifted(patches)
    return index + (index > places)


@nearest_patch.mistake("""You put the largest distance on the diagonal. With two
patches that is a tie with the only other one: put `inf` there.""")
def diagonal_of_the_maximum(patches: Tensor) -> Tensor:
    distances = direct_distances(patches)
    return distances.fill_diagonal_(distances.max().item()).argmin(dim=1)


@nearest_patch.mistake("""You put a fixed number on the diagonal. It has to be larger
than every distance there may be: put `inf` there.""")
def diagonal_too_small(patches: Tensor) -> Tensor:
    return direct_distances(patches).fill_diagonal_(100.0).argmin(dim=1)


@nearest_patch.mistake("""You return the distances. The question is *which* patch is
the nearest: return its index.""")
def distances_returned(patches: Tensor) -> Tensor:
    return direct_distances(patches).fill_diagonal_(math.inf).amin(dim=1)


@nearest_patch.mistake("""You return the nearest patches themselves. Return their
indices, (N,) int64.""")
def patches_returned(patches: Tensor) -> Tensor:
    return patches[nearest_reference(patches)]


@nearest_patch.mistake("""You return a column, (N, 1). Return one dimension, (N,):
leave out `keepdim`.""")
def a_column(patches: Tensor) -> Tensor:
    return nearest_reference(patches)[:, None]


@nearest_patch.mistake("""You look for one nearest pair of all. Each of the N patches
has a nearest one of its own.""")
def one_pair_of_all(patches: Tensor) -> Tensor:
    return direct_distances(patches).fill_diagonal_(math.inf).argmin()


@nearest_patch.mistake("""Your indices are not int64. What `argmin` returns is right
as it is; `torch.zeros` needs `dtype=torch.int64`.""")
def indices_as_floats(patches: Tensor) -> Tensor:
    return nearest_reference(patches).to(patches.dtype)


@nearest_patch.mistake("""Your indices are float32. What `argmin` returns is right as
it is; `torch.zeros` needs `dtype=torch.int64`.""")
def indices_as_float32(patches: Tensor) -> Tensor:
    return nearest_reference(patches).float()


@nearest_patch.mistake("""You return what `min` returns, the distances and the
indices. Return the indices alone: `.indices`, or `argmin`.""")
def distances_and_indices(patches: Tensor) -> tuple:
    return tuple(direct_distances(patches).fill_diagonal_(math.inf).min(dim=1))


@nearest_patch.mistake("""You subtract each patch's own mean first (or compare by
correlation). Then a dark and a bright copy of a patch are the same; their Euclidean
distance is not 0.""")
def brightness_removed(patches: Tensor) -> Tensor:
    return nearest_reference(patches - patches.mean(dim=1, keepdim=True))


@nearest_patch.mistake("""Your indices are int32. Torch's indices are int64: leave
out the cast.""")
def indices_as_int32(patches: Tensor) -> Tensor:
    return nearest_reference(patches).int()


@nearest_patch.mistake("""You compute in float32. Two candidates that float64 tells
apart may be equal there.""")
def computed_in_float32(patches: Tensor) -> Tensor:
    return nearest_reference(patches.float())


@nearest_patch.mistake("""Your function changes `patches` in place. Whoever called it
still needs the old numbers.""")
def patches_in_place(patches: Tensor) -> Tensor:
    result = nearest_reference(patches)
    patches -= patches.mean(dim=0)
    return result


# --------------------------------------------------------------------- context_mean

context_mean = Exercise("context_mean")


@context_mean.cases
def _(draw: Draw) -> Iterator[Sample]:
    def tokens(b: int, n: int, d: int, padding: float = 1.0) -> tuple[Tensor, Tensor]:
        """Tokens and a mask; what stands in the padding is `padding` times larger."""
        is_padding = draw.mask(b, n)
        x = draw.normal(b, n, d) + 0.5
        return x + is_padding[..., None] * padding * draw.normal(b, n, d), is_padding

    x = draw.normal(2, 4, 3) + 1.0
    yield call(
        "no padding", x, torch.zeros(2, 4, dtype=torch.bool), note="no padding at all"
    )
    yield call("all sizes different", *tokens(2, 7, 5), aspect="masks")
    yield call("same sizes again", *tokens(2, 7, 5), aspect="masks")
    lengths = torch.tensor([5, 2, 4])
    yield call(
        "padding at the end",
        draw.normal(3, 5, 4, scale=5000.0),
        torch.arange(5) >= lengths[:, None],
        aspect="masks",
        note="padding at the end, as usual, and tokens of large numbers",
    )
    yield call(
        "padding at the front",
        draw.normal(3, 6, 34),
        torch.arange(6) < torch.tensor([[4], [1], [3]]),
        aspect="masks",
        note="padding at the front",
    )
    yield call(
        "as many tokens as channels",
        *tokens(2, 4, 4),
        aspect="masks",
        note="as many tokens as channels, where a mask fits both ways",
    )
    yield call(
        "as many items as tokens",
        *tokens(11, 11, 3),
        aspect="masks",
        note="as many batch items as tokens, where a mask fits both ways",
    )
    yield call("one item", *tokens(1, 6, 3), aspect="masks", note="a batch of one")
    # What the gradient is where all is padding is left free.
    x, is_padding = draw.normal(4, 3, 5), draw.mask(4, 3)
    is_padding[1] = True
    is_padding[3] = False
    yield call(
        "a row that is all padding",
        x,
        is_padding,
        aspect="masks",
        gradients=False,
        note="one row is all padding",
    )
    yield call(
        "nothing but padding",
        draw.normal(1, 4, 6),
        torch.ones(1, 4, dtype=torch.bool),
        aspect="masks",
        gradients=False,
        note="a batch of one, all padding",
    )
    yield call(
        "one token, real or padding",
        draw.normal(2, 1, 3),
        torch.tensor([[True], [False]]),
        aspect="masks",
        gradients=False,
        note="one token in each row; in the first row it is padding",
    )
    x, is_padding = draw.normal(3, 20, 2), draw.mask(3, 20)
    first_real = (~is_padding).int().argmax(dim=1)
    x[torch.arange(3), first_real] = 0.0
    yield call(
        "a real token of zeros",
        x,
        is_padding,
        aspect="masks",
        note="a real token holds zeros, and counts",
    )
    x, is_padding = draw.normal(2, 5, 4), draw.mask(2, 5)
    yield call(
        "padding of zeros",
        x.masked_fill(is_padding[..., None], 0.0),
        is_padding,
        aspect="masks",
        note="the padding holds zeros",
    )
    yield call(
        "huge padding",
        *tokens(3, 6, 4, padding=1e30),
        aspect="masks",
        note="the padding holds numbers around 1e30",
    )
    x, is_padding = tokens(3, 5, 2, padding=1e30)
    is_padding[0] = True
    yield call(
        "huge numbers in a row that is all padding",
        x,
        is_padding,
        aspect="masks",
        gradients=False,
        note="one row is all padding, with numbers around 1e30",
    )
    x, is_padding = tokens(2, 6, 5)
    yield call(
        "not contiguous",
        noncontiguous(x),
        noncontiguous(is_padding),
        aspect="robustness",
        note="tokens and mask are transposed views",
    )
    x, is_padding = tokens(2, 5, 3)
    yield call("float32", x.float(), is_padding, aspect="robustness")
    yield call(
        "float16",
        draw.uniform(3, 4, 2).half(),
        draw.mask(3, 4),
        aspect="robustness",
        gradients=False,
    )


def kept(is_padding: Tensor, tokens: Tensor) -> Tensor:
    """1 for real tokens and 0 for padding, (B, N, 1)."""
    return (~is_padding)[..., None].to(tokens.dtype)


@context_mean.reference
def context_mean_reference(tokens: Tensor, is_padding: Tensor) -> Tensor:
    means = []
    for x, padding in zip(tokens, is_padding, strict=True):
        real = x[~padding]
        means.append(real.mean(dim=0) if len(real) else 0 * real.sum(dim=0))
    return torch.stack(means)


@context_mean.alternative
def masked_sum_over_count(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1)


@context_mean.alternative
def filled_with_zeros(tokens: Tensor, is_padding: Tensor) -> Tensor:
    total = tokens.masked_fill(is_padding.unsqueeze(-1), 0).sum(1)
    count = (~is_padding).sum(dim=1, keepdim=True)
    return torch.where(count > 0, total / torch.clamp(count, min=1), 0.0)


@context_mean.alternative
def weights_times_tokens(tokens: Tensor, is_padding: Tensor) -> Tensor:
    weights = (~is_padding).to(tokens.dtype)
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-9)
    return torch.einsum("bn,bnd->bd", weights, tokens)


@context_mean.alternative
def by_nanmean(tokens: Tensor, is_padding: Tensor) -> Tensor:
    marked = tokens.masked_fill(is_padding[:, :, None], math.nan)
    return marked.nanmean(dim=1).nan_to_num()


@context_mean.alternative
def token_by_token(tokens: Tensor, is_padding: Tensor) -> Tensor:
    result = []
    for b in range(tokens.size(0)):
        total, count = torch.zeros_like(tokens[b, 0]), 0
        for n in range(tokens.size(1)):
            if not is_padding[b, n]:
                total, count = total + tokens[b, n], count + 1
        result.append(total / max(count, 1))
    return torch.stack(result)


@context_mean.alternative
def zeros_put_in_afterwards(tokens: Tensor, is_padding: Tensor) -> Tensor:
    """Its gradient at a row that is all padding is NaN, which is left free."""
    keep = kept(is_padding, tokens)
    count = keep.sum(dim=1)
    mean = (tokens * keep).sum(dim=1) / count
    return torch.where(count > 0, mean, torch.zeros_like(mean))


@context_mean.mistake("""You average over the padding too. Only the tokens whose
`is_padding` is False count.""")
def mean_over_padding(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return tokens.mean(dim=1)


@context_mean.mistake("""You set the padding to zero, but still divide by N. Divide
by the number of real tokens in the row.""")
def divided_by_n(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return (tokens * kept(is_padding, tokens)).mean(dim=1)


@context_mean.mistake("""You divide by the number of padding tokens. Count the tokens
that are *not* padding: `(~is_padding).sum(dim=1)`.""")
def divided_by_the_padding(tokens: Tensor, is_padding: Tensor) -> Tensor:
    count = is_padding.sum(dim=1, keepdim=True).clamp(min=1)
    return (tokens * kept(is_padding, tokens)).sum(dim=1) / count


@context_mean.mistake("""You return the sum of the real tokens. Divide by how many
they are.""")
def sum_of_real(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return (tokens * kept(is_padding, tokens)).sum(dim=1)


@context_mean.mistake("""Your mask is inverted: you average the padding. `is_padding`
is True where a token does *not* count.""")
def mask_inverted(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens, ~is_padding)


@context_mean.mistake("""A row that is all padding gives NaN: 0 / 0, or the mean of
nothing. It should give zeros, so its count must not be 0: `clamp(min=1)`.""")
def nan_row(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / keep.sum(dim=1)


@context_mean.mistake("""A row that is all padding gets the mean of its padding. It
should be zeros.""")
def empty_row_averaged(tokens: Tensor, is_padding: Tensor) -> Tensor:
    empty = is_padding.all(dim=1, keepdim=True)
    return context_mean_reference(tokens, is_padding & ~empty)


@context_mean.mistake("""You add a small number to the count to avoid 0 / 0. That
changes every mean a little: use `clamp(min=1)`, which changes none.""")
def epsilon_in_the_count(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / (keep.sum(dim=1) + 1e-6)


@context_mean.mistake("""You add 1 to every count to avoid 0 / 0: all other means
come out too small. Use `clamp(min=1)`.""")
def one_added_to_the_count(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / (keep.sum(dim=1) + 1)


@context_mean.mistake("""You divide by the number of real tokens in the whole batch.
Each row has a count of its own: `sum(dim=1)`.""")
def count_of_the_batch(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / keep.sum().clamp(min=1)


@context_mean.mistake("""You divide every row by the same number, the count of the
fullest row. Each row has a count of its own.""")
def count_of_the_fullest_row(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    return (tokens * keep).sum(dim=1) / keep.sum(dim=1).amax().clamp(min=1)


@context_mean.mistake("""You use the first row's mask for all rows. Each row has its
own padding.""")
def first_mask_for_all(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens, is_padding[:1].expand_as(is_padding))


@context_mean.mistake("""You pool the real tokens of the whole batch into one mean.
Each row has a mean of its own.""")
def one_mean_for_all(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    mean = (tokens * keep).sum(dim=(0, 1)) / keep.sum().clamp(min=1)
    return mean.expand(len(tokens), -1)


@context_mean.mistake("""You only count the padding and take that many tokens from
the front. But padding may stand anywhere: use the mask itself.""")
def prefix_of_that_length(tokens: Tensor, is_padding: Tensor) -> Tensor:
    count = (~is_padding).sum(dim=1, keepdim=True)
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return context_mean_reference(tokens, places >= count)


@context_mean.mistake("""You find the padding by its zeros. Padding may hold any
numbers, and a real token may be zero: use the mask.""")
def zeros_as_padding(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens, (tokens == 0).all(dim=-1))


@context_mean.mistake("""You count the tokens that are not zero. A real token may
hold zeros and still counts: count the mask.""")
def nonzero_counted(tokens: Tensor, is_padding: Tensor) -> Tensor:
    real = tokens.masked_fill(is_padding[..., None], 0.0)
    count = (real != 0).any(dim=-1).sum(dim=1, keepdim=True)
    return real.sum(dim=1) / count.clamp(min=1)


@context_mean.mistake("""You sum over everything and subtract the padding. If that is
huge, all digits of the real tokens are lost: leave it out from the start.""")
def padding_subtracted(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = kept(is_padding, tokens)
    real = tokens.sum(dim=1) - (tokens * (1 - keep)).sum(dim=1)
    return real / keep.sum(dim=1).clamp(min=1)


@context_mean.mistake("""You mask along the channels: (B, N) was made (B, 1, N).
Tokens are dimension 1, so the mask has to be (B, N, 1).""")
def mask_on_channels(tokens: Tensor, is_padding: Tensor) -> Tensor:
    keep = (~is_padding)[:, None].to(tokens.dtype)
    return (tokens * keep).sum(dim=1) / keep.sum(dim=-1).clamp(min=1)


@context_mean.mistake("""You average over the channels: the result has one number for
each token. The mean runs over the tokens, dim=1.""")
def mean_over_channels(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return (tokens * kept(is_padding, tokens)).mean(dim=2)


@context_mean.mistake("""You take the largest real number of each channel. Asked for
is the mean.""")
def maximum_of_real(tokens: Tensor, is_padding: Tensor) -> Tensor:
    low = tokens.masked_fill(is_padding[..., None], -math.inf).amax(dim=1)
    return torch.where(is_padding.all(dim=1, keepdim=True), 0.0, low)


@context_mean.mistake("""You keep the token dimension: (B, 1, D). Return (B, D),
without `keepdim`.""")
def token_dimension_kept(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens, is_padding)[:, None]


@context_mean.mistake("""You drop the rows that are all padding. The result keeps one
row for each item: zeros for those.""")
def empty_rows_dropped(tokens: Tensor, is_padding: Tensor) -> Tensor:
    means = context_mean_reference(tokens, is_padding)
    return means[~is_padding.all(dim=1)]


@context_mean.mistake("""You compute in float32 and cast back: half the digits of a
float64 input are lost on the way.""")
def through_float32(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens.float(), is_padding).to(tokens.dtype)


@context_mean.mistake("""A batch of one is still a batch: you `squeeze` it away.""")
def batch_squeezed(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens, is_padding).squeeze(0)


@context_mean.mistake("""You write zeros into `tokens` in place. Whoever called your
function still needs what was there: use `masked_fill`, which makes a new tensor.""")
def padding_zeroed_in_place(tokens: Tensor, is_padding: Tensor) -> Tensor:
    tokens[is_padding] = 0
    return tokens.sum(dim=1) / kept(is_padding, tokens).sum(dim=1).clamp(min=1)


@context_mean.mistake("""Your result is cut off from the tokens: with `detach`,
`.data` or `torch.tensor(...)` no gradient can flow back.""")
def mean_detached(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens.detach(), is_padding)


@context_mean.mistake("""You compute in float32, or start from `torch.zeros(...)`
without a dtype: the result should have the dtype of `tokens`.""")
def mean_in_float32(tokens: Tensor, is_padding: Tensor) -> Tensor:
    return context_mean_reference(tokens.float(), is_padding)

"""Grids of pictures with crisp pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .style import (
    HAIRLINE,
    PALETTE,
    Values,
    columns_for,
    set_title,
    small_multiples,
    style,
    to_numpy,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box: TypeAlias = tuple[float, float, float, float]

BOX_COLOURS = tuple(PALETTE[place] for place in (4, 0, 1, 3))


def images(
    images: Sequence[Values] | Values,
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int | None = None,
    highlight: Sequence[Sequence[Box] | None] | None = None,
    *,
    size: float | None = None,
) -> "Figure":
    """Draw pictures in a grid: photographs, scenes, patches.

    Args:
        images: each (channel, height, width) with 1 or 3 channels, or (height, width);
            float from 0 to 1, or uint8. A batch is fine.
        titles: one for each picture.
        title: the finding.
        columns: pictures in a row.
        highlight: for each picture None, or boxes (row, column, height, width) in
            pixels, outlined in vermilion, then blue, orange and teal.
        size: width of one picture, inches; by default the row fills the notebook.

    Raises:
        ValueError: no picture, a shape or range that is not a picture's, or a number
            of titles or highlights that differs from the number of pictures.
    """
    pictures = [picture_of(image, f"images[{i}]") for i, image in enumerate(images)]  # type: ignore[arg-type]
    number = len(pictures)
    if not number:
        raise ValueError("images is empty: pass at least one picture")
    for name, given in (("titles", titles), ("highlight", highlight)):
        if given is not None and len(given) != number:
            raise ValueError(
                f"{name} has {len(given)} entries for {number} pictures: pass one for "
                "each"
            )
    columns = columns or columns_for(number, 4 if number <= 8 else 8)
    if size is None:
        size = min(3.0 if number < 3 else 2.2, 7.6 / columns)
    tall = size * max(picture.shape[0] / picture.shape[1] for picture in pictures)
    names = [
        wrap(name, size - 0.1, fontsize=_size(size)) for name in titles or [""] * number
    ]
    extra = 0.2 * max(name.count("\n") + 1 for name in names) if titles else 0.05
    figure, all_axes = small_multiples(number, columns, size + 0.1, tall + extra)
    with style():
        for place, (axes, picture) in enumerate(zip(all_axes, pictures, strict=True)):
            draw_image(axes, picture, f"image {place}")
            axes.set_title(names[place], fontsize=_size(size))
            for rank, box in enumerate((highlight[place] if highlight else None) or ()):
                _draw_box(axes, box, BOX_COLOURS[rank % len(BOX_COLOURS)])
    if title:
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width, 4.2), height)
        set_title(figure, title)
    return figure


def _size(width: float) -> float:
    return 10 if width >= 1.4 else 9


def picture_of(image: Values, name: str) -> npt.NDArray[np.float64]:
    """Return a picture as (height, width, 3), from 0 to 1.

    Raises:
        ValueError: the shape or the range is not a picture's.
    """
    array = to_numpy(image)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3) or 0 in array.shape:
        hint = ""
        if array.ndim == 3 and array.shape[-1] in (1, 3):
            hint = "; channels come first: image.permute(2, 0, 1)"
        raise ValueError(
            f"{name} has the shape {array.shape}; a picture is (channel, height, "
            f"width) with 1 or 3 channels, or (height, width){hint}"
        )
    array = array / 255 if array.dtype == np.uint8 else array.astype(float)
    low, high = array.min(), array.max()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"{name} has values from {low:.4g} to {high:.4g}; a float picture goes "
            "from 0 to 1: scale it, or undo its normalisation"
        )
    return np.broadcast_to(array, (3, *array.shape[1:])).transpose(1, 2, 0).clip(0, 1)


def draw_image(axes: "Axes", picture: npt.NDArray[np.float64], label: str) -> None:
    """Draw a picture (height, width, 3) without scales, in a thin frame."""
    image = axes.imshow(picture, interpolation="nearest")
    image.set_label(label)
    axes.set_anchor("NW")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=HAIRLINE)


def _draw_box(axes: "Axes", box: Box, colour: str) -> None:
    from matplotlib.patches import Rectangle

    row, column, height, width = (float(edge) for edge in box)
    for edge_colour, line_width in (("white", 4.0), (colour, 2.2)):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                width,
                height,
                fill=False,
                color=edge_colour,
                linewidth=line_width,
                clip_on=False,
            )
        )

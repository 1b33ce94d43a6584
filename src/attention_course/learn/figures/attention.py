"""Heat maps of attention: one map, several maps, maps on an image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .pictures import draw_image, picture_of
from .style import (
    HAIRLINE,
    PALETTE,
    Values,
    colour_bar,
    columns_for,
    diverging_map,
    empty_figure,
    sequential_map,
    set_title,
    small_multiples,
    style,
    text_on,
    text_width,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels: TypeAlias = Sequence[str] | None
Maximum: TypeAlias = float | Literal["largest"] | None


def attention_map(
    weights: Values,
    query_labels: Labels = None,
    key_labels: Labels = None,
    title: str = "",
    annotate: bool | None = None,
    *,
    signed: bool = False,
    maximum: Maximum = None,
    label: str | None = None,
) -> "Figure":
    """Draw attention weights or scores as a heat map: rows query, columns key.

    Args:
        weights: (query, key). Cells that are NaN or infinite are grey; -inf, a masked
            score, is written as such.
        query_labels: a name for each row; by default its number.
        key_labels: a name for each column; by default its number.
        title: the finding.
        annotate: write the numbers in the cells; by default up to 12 rows and columns.
        signed: raw scores, on a scale with white at zero, instead of weights.
        maximum: the end of the colour scale; "largest" means the largest value. By
            default 1 for weights, the largest magnitude for scores.
        label: of the colour scale; by default "attention weight" or "score".

    Raises:
        ValueError: ``weights`` is not a matrix, the number of labels is wrong, or
            weights leave the range from 0 to ``maximum``.
    """
    matrix = _matrix(weights, "weights")
    limits = _limits([matrix], signed, maximum)
    rows, columns = matrix.shape
    cell = min(0.56, max(0.42, 4.6 / columns) if columns <= 12 else 4.6 / columns)
    cell = min(cell, 4.6 / rows)
    width, height = columns * cell, rows * cell
    left = max((text_width(name) for name in query_labels or []), default=0.2)
    figure = empty_figure(max(left + width + 1.6, 4.2), height + 0.75)
    with style():
        axes = figure.subplots()
        image = _heat(axes, matrix, limits, signed, annotate, cell)
        _name_axes(axes, matrix.shape, query_labels, key_labels, cell)
        axes.set(xlabel="key", ylabel="query")
        colour_bar(axes, image, label or _scale_name(signed), width)
    if title:
        set_title(figure, title)
    return figure


def attention_maps(
    panels: Mapping[str, Values] | Values,
    query_labels: Labels = None,
    key_labels: Labels = None,
    title: str = "",
    annotate: bool | None = None,
    *,
    columns: int | None = None,
    signed: bool = False,
    maximum: Maximum = None,
    label: str | None = None,
    axis_names: tuple[str, str] = ("query", "key"),
) -> "Figure":
    """Draw several attention maps side by side, on one colour scale.

    Args:
        panels: (query, key) by name, or (head, query, key).
        query_labels: a name for each row of every map.
        key_labels: a name for each column of every map.
        title: the finding.
        annotate: write the numbers in the cells; by default up to 5 rows and columns.
        columns: maps in one row; by default at most 4.
        signed: raw scores instead of weights.
        maximum: the end of the colour scale, as in ``attention_map``.
        label: of the colour scale.
        axis_names: of the rows and of the columns.

    Raises:
        ValueError: there is no panel, or one that ``attention_map`` would refuse.
    """
    if not isinstance(panels, Mapping):
        heads = to_numpy(panels)
        if heads.ndim != 3:
            raise ValueError(
                "panels has to be (head, query, key), or a dict of (query, key) by "
                f"name; its shape is {heads.shape}"
            )
        panels = {f"head {number}": head for number, head in enumerate(heads)}
    matrices = {
        name: _matrix(values, f"panels[{name!r}]") for name, values in panels.items()
    }
    if not matrices:
        raise ValueError("panels is empty: pass at least one map")
    limits = _limits(list(matrices.values()), signed, maximum)
    most = max(max(matrix.shape) for matrix in matrices.values())
    number = len(matrices)
    columns = columns or columns_for(number)
    side = min(2.3, max(7.4 / columns, 1.5) - 0.3, most * 0.5)
    side = max(side, 1.3)
    if annotate is None:
        annotate = side / most >= 0.38
    figure, all_axes = small_multiples(number, columns, side + 0.3, side + 0.5)
    with style():
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width + 1.4, 4.2), height + 0.3)
        pairs = zip(all_axes, matrices.items(), strict=True)
        for place, (axes, (name, matrix)) in enumerate(pairs):
            cell = side / max(matrix.shape)
            image = _heat(axes, matrix, limits, signed, annotate, cell)
            outer = place % columns == 0, place + columns >= number
            _name_axes(axes, matrix.shape, query_labels, key_labels, cell, outer)
            axes.set_title(name)
            axes.set_ylabel(axis_names[0] if outer[0] else "")
            axes.set_xlabel(axis_names[1] if outer[1] else "")
            if place == min(columns, number) - 1:
                shown = side * matrix.shape[1] / max(matrix.shape)
                colour_bar(axes, image, label or _scale_name(signed), shown)
    if title:
        set_title(figure, title)
    return figure


def attention_on_image(
    image: Values,
    weights: Values | Mapping[str, Values],
    patch: int,
    query: int | Mapping[str, int] | None = None,
    title: str = "",
    *,
    maximum: Maximum = "largest",
    columns: int | None = None,
) -> "Figure":
    """Draw an image with its patches, and beside it the weight of each patch.

    Args:
        image: (channel, height, width) with 1 or 3 channels, or (height, width);
            float from 0 to 1, or uint8.
        weights: (patch,) in reading order, or several by name.
        patch: side of a patch, pixels.
        query: number of the patch that asks, outlined; or one for each name.
        title: the finding.
        maximum: the end of the colour scale; by default the largest weight of all.
        columns: panels in one row, the image included; by default at most 4.

    Raises:
        ValueError: the image does not divide into patches, or the number of weights is
            not the number of patches.
    """
    picture = picture_of(image, "image")
    height, width = picture.shape[:2]
    rows, across = _patches(picture, patch)
    named = weights if isinstance(weights, Mapping) else {"attention": weights}
    if not named:
        raise ValueError("weights is empty: pass the weights of at least one query")
    grids = {name: _grid(values, name, rows, across) for name, values in named.items()}
    limits = _limits(list(grids.values()), False, maximum)
    queries = query if isinstance(query, Mapping) else dict.fromkeys(grids, query)
    for name, asked in queries.items():
        _refuse_query(asked, name, rows * across)
    side = 2.3 if len(grids) < 3 else 1.9
    shape = (side, side * height / width)
    number = len(grids) + 1
    figure, all_axes = small_multiples(number, columns, shape[0] + 0.15, shape[1] + 0.3)
    with style():
        full, tall = figure.get_size_inches()
        figure.set_size_inches(full + 1.0, tall)
        first, *others = all_axes
        draw_image(first, picture, "image")
        _draw_patches(first, height, width, patch)
        first.set_title("image")
        for asked in dict.fromkeys(queries.values()):
            _outline(first, asked, across, patch)
        for axes, (name, grid) in zip(others, grids.items(), strict=True):
            heat = _over_picture(axes, picture, grid, limits, patch, queries.get(name))
            axes.set_title(name)
        last = all_axes[min(columns or columns_for(number), number) - 1]
        colour_bar(last, heat, "attention weight", side)
    if title:
        set_title(figure, title)
    return figure


def draw_map(
    axes: "Axes",
    weights: Values,
    query_labels: Labels = None,
    key_labels: Labels = None,
    *,
    annotate: bool | None = None,
    signed: bool = False,
    maximum: Maximum = None,
) -> None:
    """Draw one attention map on axes of a drawing of your own.

    Args:
        axes: of the figure; the map fills them.
        weights: (query, key), as in ``attention_map``.
        query_labels: a name for each row; by default its number.
        key_labels: a name for each column; by default its number.
        annotate: write the numbers in the cells; by default where there is room.
        signed: raw scores instead of weights.
        maximum: the end of the colour scale, as in ``attention_map``.

    Raises:
        ValueError: as ``attention_map``.
    """
    matrix = _matrix(weights, "weights")
    limits = _limits([matrix], signed, maximum)
    with style():
        box = axes.get_window_extent()
        dpi = axes.figure.dpi
        cell = min(box.width / matrix.shape[1], box.height / matrix.shape[0]) / dpi
        _heat(axes, matrix, limits, signed, annotate, cell)
        _name_axes(axes, matrix.shape, query_labels, key_labels, cell)
        axes.set(xlabel="key", ylabel="query")


def draw_on_image(
    axes: "Axes",
    image: Values,
    weights: Values,
    patch: int,
    query: int | None = None,
    *,
    maximum: Maximum = "largest",
) -> None:
    """Draw the weight of each patch over an image, on axes of a drawing of your own.

    Args:
        axes: of the figure.
        image: as in ``attention_on_image``.
        weights: (patch,) in reading order, or (row, column).
        patch: side of a patch, pixels.
        query: number of the patch that asks, outlined.
        maximum: the end of the colour scale; by default the largest weight.

    Raises:
        ValueError: as ``attention_on_image``.
    """
    picture = picture_of(image, "image")
    rows, across = _patches(picture, patch)
    grid = _grid(weights, "weights", rows, across)
    limits = _limits([grid], False, maximum)
    _refuse_query(query, "query", rows * across)
    with style():
        _over_picture(axes, picture, grid, limits, patch, query)


def _patches(picture: npt.NDArray[Any], patch: int) -> tuple[int, int]:
    """Return how many patches there are from top to bottom and from left to right."""
    height, width = picture.shape[:2]
    if patch < 1 or height % patch or width % patch:
        raise ValueError(
            f"an image of {height} x {width} does not divide into patches of side "
            f"{patch}"
        )
    return height // patch, width // patch


def _refuse_query(query: int | None, name: str, number: int) -> None:
    if query is not None and not 0 <= query < number:
        raise ValueError(
            f"query {query} ({name!r}) is not a patch: they are numbered from 0 to "
            f"{number - 1}"
        )


def _over_picture(
    axes: "Axes",
    picture: npt.NDArray[Any],
    grid: npt.NDArray[np.float64],
    limits: tuple[float, float],
    patch: int,
    query: int | None,
) -> Any:
    """Draw weights in colour under a shadow of the picture; returns the colours."""
    height, width = picture.shape[:2]
    grey = picture.mean(axis=2)
    contrast = max(float(np.ptp(grey)), 1e-6)
    shadow = np.zeros((height, width, 4))
    shadow[..., 3] = 0.25 * (grey.max() - grey) / contrast
    heat = axes.imshow(
        grid,
        cmap=sequential_map(),
        vmin=limits[0],
        vmax=limits[1],
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    heat.set_label("weights")
    draw_image(axes, shadow, "shadow of the image")
    _draw_patches(axes, height, width, patch)
    _outline(axes, query, width // patch, patch)
    return heat


def _matrix(values: Values, name: str) -> npt.NDArray[np.float64]:
    matrix = to_numpy(values)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"{name} has to be a matrix (query, key); its shape is {matrix.shape}: "
            "pick one batch item and one head"
        )
    return matrix.astype(float)


def _grid(values: Values, name: str, rows: int, columns: int) -> Any:
    array = to_numpy(values).astype(float)
    if array.shape == (rows, columns):
        return array
    if array.shape != (rows * columns,):
        hint = ""
        if array.shape == (rows * columns + 1,):
            hint = "; if the first one is a class token, leave it out: weights[1:]"
        raise ValueError(
            f"weights ({name!r}) have the shape {array.shape}, the image has {rows} x "
            f"{columns} = {rows * columns} patches{hint}"
        )
    return array.reshape(rows, columns)


def _scale_name(signed: bool) -> str:
    return "score" if signed else "attention weight"


def _limits(
    matrices: list[npt.NDArray[np.float64]], signed: bool, maximum: Maximum
) -> tuple[float, float]:
    """Return the ends of the colour scale."""
    finite = np.concatenate([matrix[np.isfinite(matrix)] for matrix in matrices])
    largest = float(np.abs(finite).max(initial=0.0))
    if not signed and finite.min(initial=0.0) < 0:
        raise ValueError(
            f"the smallest weight is {finite.min():.4g}, below 0: for raw scores pass "
            "signed=True"
        )
    if maximum == "largest" or (signed and maximum is None):
        end = largest or 1.0
    else:
        end = 1.0 if maximum is None else float(maximum)
    if largest > end + 1e-6:
        raise ValueError(
            f"the largest value is {largest:.4g}, beyond the end {end:.4g} of the "
            "colour scale: pass maximum='largest', or signed=True for raw scores"
        )
    return (-end if signed else 0.0), end


def _heat(
    axes: "Axes",
    matrix: npt.NDArray[np.float64],
    limits: tuple[float, float],
    signed: bool,
    annotate: bool | None,
    cell: float,
) -> Any:
    colours = diverging_map() if signed else sequential_map()
    image = axes.imshow(matrix, cmap=colours, vmin=limits[0], vmax=limits[1])
    rows, columns = matrix.shape
    axes.set_anchor("NW")
    for spine in axes.spines.values():
        spine.set(visible=True, color=HAIRLINE)
    if cell >= 0.14:
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=HAIRLINE, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    if annotate is None:
        annotate = max(rows, columns) <= 12 and cell >= 0.36
    if signed and not annotate and cell >= 0.14:
        _mark_negative(axes, matrix, limits[1], image, cell)
    if annotate:
        size = min(9.5, max(6.5, cell * 19))
        for (row, column), value in np.ndenumerate(matrix):
            background = image.to_rgba(np.ma.masked_invalid([value]))[0]
            axes.text(
                column,
                row,
                _cell_text(value, limits[1]),
                ha="center",
                va="center",
                fontsize=size,
                color=text_on(background[:3]),
                gid="cell",
            )
    return image


def _mark_negative(
    axes: "Axes",
    matrix: npt.NDArray[np.float64],
    largest: float,
    image: Any,
    cell: float,
) -> None:
    """Write a minus on negative cells: in grey print colours do not tell the sign."""
    for row, column in np.argwhere(matrix < -0.04 * largest):
        background = image.to_rgba(np.ma.masked_invalid([matrix[row, column]]))[0]
        axes.text(
            column,
            row,
            "\N{MINUS SIGN}",
            ha="center",
            va="center",
            fontsize=min(9.5, cell * 28),
            color=text_on(background[:3]),
            gid="cell",
        )


def _cell_text(value: float, largest: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "\N{MINUS SIGN}∞" if value < 0 else "∞"
    if value == 0:
        return "0"
    digits = 2 if largest < 10 else 1 if largest < 100 else 0
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _name_axes(
    axes: "Axes",
    shape: tuple[int, ...],
    query_labels: Labels,
    key_labels: Labels,
    cell: float,
    written: tuple[bool, bool] = (True, True),
) -> None:
    pairs = (
        (axes.yaxis, query_labels, shape[0], "query", written[0]),
        (axes.xaxis, key_labels, shape[1], "key", written[1]),
    )
    for axis, labels, number, name, visible in pairs:
        if labels is not None and len(labels) != number:
            raise ValueError(
                f"{name}_labels has {len(labels)} names, the map has {number} "
                f"{'rows' if name == 'query' else 'columns'}"
            )
        if labels is None:
            room = 0.2 if name == "query" else text_width(str(number)) + 0.08
            step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 500) if s * cell >= room)
            axis.set_ticks(range(0, number, step))
        else:
            size = 9.5 if cell >= 0.2 else 8
            axis.set_ticks(range(number), [str(text) for text in labels], fontsize=size)
            wide = max(text_width(str(text), fontsize=size) for text in labels)
            if name == "key" and wide > cell - 0.06:
                for text in axis.get_ticklabels():
                    text.set(rotation=45, ha="right", rotation_mode="anchor")
        if not visible:
            axis.set_tick_params(labelleft=False, labelbottom=False)


def _draw_patches(axes: "Axes", height: int, width: int, patch: int) -> None:
    axes.set_xticks(np.arange(0, width + 1, patch) - 0.5, minor=True)
    axes.set_yticks(np.arange(0, height + 1, patch) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.7, alpha=0.7)
    axes.set_axisbelow(False)
    axes.tick_params(which="both", length=0)


def _outline(axes: "Axes", query: int | None, columns: int, patch: int) -> None:
    if query is None:
        return
    from matplotlib.patches import Rectangle

    corner = (query % columns * patch - 0.5, query // columns * patch - 0.5)
    for colour, width in (("white", 4.0), (PALETTE[4], 2.2)):
        axes.add_patch(
            Rectangle(
                corner,
                patch,
                patch,
                fill=False,
                color=colour,
                linewidth=width,
                clip_on=False,
                zorder=4,
            )
        )

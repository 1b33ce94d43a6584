"""Shape-flow diagrams, drawn from live tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .style import (
    INK,
    MUTED,
    PALETTE,
    empty_figure,
    set_title,
    style,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Step: TypeAlias = tuple[str, Any, str] | tuple[str, Any, str, str]

MAX_WIDTH = 8.4
BOX_HEIGHT = 0.62
LABEL_HEIGHT = 0.3
ROW_GAP = 0.42
INDENT = 0.45
MARGIN = 0.08


@dataclass
class _Box:
    label: str
    sizes: list[str]
    names: list[str]
    operation: str

    def __post_init__(self) -> None:
        self.cells = [
            max(
                text_width(size, fontsize=13, fontweight="bold"),
                text_width(name, fontsize=9.5),
            )
            + 0.24
            for size, name in zip(self.sizes, self.names, strict=True)
        ]
        self.width = max(sum(self.cells), text_width(self.label, fontsize=10.5) + 0.1)
        self.gap = max(0.5, text_width(self.operation, fontsize=9.5) + 0.28)


def shape_flow(steps: Sequence[Step], title: str) -> "Figure":
    """Draw how shapes change from step to step, read from the tensors themselves.

    An axis has the same tint wherever its name occurs.

    Args:
        steps: (label, tensor, names) or (label, tensor, names, operation): ``names``
            has a word for each axis, as in ``"batch token d_model"``; ``operation``
            is what leads to this step, written over its arrow.
        title: the finding.

    Raises:
        ValueError: no steps, or names that do not match a tensor's number of axes.
    """
    if not steps:
        raise ValueError("steps is empty: pass (label, tensor, names) at least once")
    boxes = [_box(*step) for step in steps]
    rows = _rows(boxes)
    indents = [0.0] + [INDENT] * (len(rows) - 1)
    width = 2 * MARGIN + max(
        indent + _row_width(row) for indent, row in zip(indents, rows, strict=True)
    )
    width = max(width, 4.2)
    row_height = LABEL_HEIGHT + BOX_HEIGHT
    height = len(rows) * row_height + (len(rows) - 1) * ROW_GAP + 2 * MARGIN
    figure = empty_figure(width, height, layout="none")
    names = list(dict.fromkeys(name for box in boxes for name in box.names))
    tints = {name: _tint(place) for place, name in enumerate(names)}
    if title:
        set_title(figure, title)
    full = float(figure.get_size_inches()[1])
    with style():
        axes = figure.add_axes((0, 0, 1, height / full))
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        top = height - MARGIN
        end: tuple[float, float] | None = None
        for row in rows:
            left = MARGIN
            middle = top - LABEL_HEIGHT - BOX_HEIGHT / 2
            for place, box in enumerate(row):
                if place:
                    _arrow(axes, left, left + box.gap, middle, box.operation)
                    left += box.gap
                elif end is not None:
                    _elbow(axes, end, middle, box.operation)
                    left += INDENT
                _draw(axes, box, left, middle, tints)
                left += box.width
                end = (left - min(box.width / 2, 0.4), middle - BOX_HEIGHT / 2)
            top -= row_height + ROW_GAP
    return figure


def _box(label: str, tensor: Any, names: str, operation: str = "") -> _Box:
    shape = tuple(tensor.shape)
    words = names.split()
    if len(words) != len(shape):
        raise ValueError(
            f"step {label!r} has the shape {shape}, {len(shape)} axes, but "
            f"{len(words)} names: {names!r}"
        )
    sizes = [str(size) for size in shape]
    return _Box(label, sizes or ["scalar"], words or [""], operation)


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    """Break the boxes into as few rows as fit, of about equal width."""
    fewest = _fill(boxes, MAX_WIDTH)
    widest = max(box.width for box in boxes)
    limit = MAX_WIDTH
    while limit > widest and len(_fill(boxes, limit - 0.1)) == len(fewest):
        limit -= 0.1
    return _fill(boxes, limit)


def _fill(boxes: list[_Box], limit: float) -> list[list[_Box]]:
    rows = [[boxes[0]]]
    for box in boxes[1:]:
        if _row_width([*rows[-1], box]) <= limit:
            rows[-1].append(box)
        else:
            rows.append([box])
    return rows


def _row_width(row: list[_Box]) -> float:
    return sum(box.width for box in row) + sum(box.gap for box in row[1:])


def _tint(place: int) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    order = (0, 1, 3, 4, 2, 5)
    red, green, blue = to_rgb(PALETTE[order[place % len(order)]])
    weight = 0.20 if place < len(order) else 0.10
    return tuple(1 - weight * (1 - part) for part in (red, green, blue))  # type: ignore[return-value]


def _draw(
    axes: "Axes",
    box: _Box,
    left: float,
    middle: float,
    tints: dict[str, tuple[float, float, float]],
) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    bottom = middle - BOX_HEIGHT / 2
    wide = sum(box.cells)
    axes.text(
        left, bottom + BOX_HEIGHT + 0.07, box.label, fontsize=10.5, fontweight="bold"
    )
    frame = FancyBboxPatch(
        (left, bottom),
        wide,
        BOX_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="none",
        edgecolor=INK,
        linewidth=1.2,
        zorder=3,
        gid=f"{box.label}: ({', '.join(box.sizes)})",
    )
    axes.add_patch(frame)
    for size, name, cell in zip(box.sizes, box.names, box.cells, strict=True):
        tint = tints.get(name, (1.0, 1.0, 1.0))
        area = Rectangle((left, bottom), cell, BOX_HEIGHT, facecolor=tint)
        area.set(edgecolor="white", linewidth=1.0)
        axes.add_patch(area)
        area.set_clip_path(frame)
        centre = left + cell / 2
        axes.text(
            centre,
            middle + (0.1 if name else 0.0),
            size,
            ha="center",
            va="center",
            fontsize=13,
            fontweight="bold",
            zorder=4,
        )
        axes.text(
            centre,
            middle - 0.16,
            name,
            ha="center",
            va="center",
            fontsize=9.5,
            zorder=4,
        )
        left += cell


def _arrow(
    axes: "Axes", start: float, end: float, height: float, operation: str
) -> None:
    _head(axes, (start + 0.07, height), (end - 0.05, height))
    axes.text(
        (start + end) / 2,
        height + 0.07,
        operation,
        ha="center",
        va="bottom",
        fontsize=9.5,
        color=INK,
    )


def _elbow(
    axes: "Axes", start: tuple[float, float], middle: float, operation: str
) -> None:
    """Lead from below the end of one row to the left of the next."""
    x, y = start
    turn = y - ROW_GAP * 0.75
    left = MARGIN + 0.06
    axes.plot(
        [x, x, left, left, left + 0.1],
        [y - 0.04, turn, turn, middle, middle],
        color=MUTED,
        linestyle="-",
        linewidth=1.4,
    )
    _head(axes, (left, middle), (MARGIN + INDENT - 0.05, middle))
    axes.text(
        (x + left) / 2, turn + 0.05, operation, ha="center", va="bottom", fontsize=9.5
    )


def _head(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": MUTED,
            "linewidth": 1.4,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 11,
        },
    )

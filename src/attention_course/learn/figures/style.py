"""Colours, fonts and empty figures in the style of the course."""

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Values: TypeAlias = npt.ArrayLike | Tensor

DPI = 100

INK = "#222222"
"""Text and whatever must be read."""

MUTED = "#6b6b6b"
"""References, leaders and the bars that are not the point."""

HAIRLINE = "#d4d4d4"
"""Grids and cell borders."""

PALETTE = ("#0561a4", "#fb9e2e", "#602369", "#27a58b", "#da3d2e", "#261d37")
"""Blue, orange, plum, teal, vermilion, ink.

No two have the same lightness (CIE L* 40, 73, 26, 61, 50, 13), so they stay apart in
grey print, and no two meet under deuteranopia or protanopia.
"""

LINE_STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "", "//", "..", "xx", "--")
"""Of bars side by side: two lightnesses are enough for two, more need a pattern."""

MARKERS = ("o", "s", "^", "D", "v", "P")

SEQUENTIAL = (
    "#ffffff",
    "#d7ebe7",
    "#aed6d5",
    "#83c1c6",
    "#5faabe",
    "#3692b8",
    "#2479ae",
    "#1b60a2",
    "#2e4688",
    "#2f2f6b",
    "#231d48",
)
"""White (nothing) to dark blue (all), in equal steps of lightness."""

DIVERGING = (
    "#823308",
    "#a94a13",
    "#ce6525",
    "#e48a4c",
    "#f5b07e",
    "#fed7bd",
    "#ffffff",
    "#cce2f1",
    "#97c5e2",
    "#67a7d3",
    "#3889c4",
    "#2469aa",
    "#1b4a8e",
)
"""Brown (negative), white (zero), blue (positive), in equal steps of lightness."""

UNDEFINED = "#e9e6e1"
"""Cells without a finite value."""


def to_numpy(values: Values) -> npt.NDArray[Any]:
    """Return ``values`` as an array; floating-point tensors become float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    if isinstance(values, list | tuple):
        return np.asarray([to_numpy(value) for value in values])
    return np.asarray(values)


def _settings() -> Any:
    from cycler import cycler

    names = [LINE_STYLES[i % len(LINE_STYLES)] for i in range(len(PALETTE))]
    return {
        "figure.dpi": DPI,
        "figure.facecolor": "white",
        "figure.titlesize": 12.5,
        "figure.titleweight": "bold",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "text.color": INK,
        "axes.prop_cycle": cycler(color=PALETTE, linestyle=names, linewidth=[2.0] * 6),
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.labelsize": 10,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": False,
        "grid.color": HAIRLINE,
        "grid.linewidth": 0.7,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "lines.linewidth": 2.0,
        "lines.markersize": 6.5,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "image.cmap": "cividis",
        "image.interpolation": "nearest",
        "savefig.facecolor": "white",
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the course inside the ``with`` block."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings())
        yield


def sequential_map() -> "Colormap":
    """Return the colour map for amounts: white is none, dark blue is most."""
    return _colour_map("course_sequential", SEQUENTIAL)


def diverging_map() -> "Colormap":
    """Return the colour map for signed values: brown below zero, blue above.

    Give it symmetric limits, so that white is zero.
    """
    return _colour_map("course_diverging", DIVERGING)


def _colour_map(name: str, colours: Sequence[str]) -> "Colormap":
    from matplotlib.colors import LinearSegmentedColormap

    colour_map = LinearSegmentedColormap.from_list(name, colours)
    return colour_map.with_extremes(bad=UNDEFINED)


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour (WCAG 2): 0 is black, 1 is white."""
    from matplotlib.colors import to_rgb

    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def text_on(background: Any) -> str:
    """Return the text colour, ink or white, that reads better on a background."""
    light = luminance(background)
    against_ink = (light + 0.05) / (luminance(INK) + 0.05)
    against_white = 1.05 / (light + 0.05)
    return INK if against_ink >= against_white else "white"


def text_shade(colour: str) -> str:
    """Return a colour, darkened until it can be read as text on white (4.5 : 1)."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.asarray(to_rgb(colour))
    while 1.05 / (luminance(rgb) + 0.05) < 4.55:
        rgb = rgb * 0.95
    return to_hex(tuple(rgb))


def empty_figure(width: float, height: float, layout: Any = "constrained") -> "Figure":
    """Return a figure of the size in inches, without axes, unknown to pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def new_figure(
    width: float = 6.4, height: float = 3.6, title: str = ""
) -> tuple["Figure", "Axes"]:
    """Return a figure and its one axes, for a drawing of your own.

    Args:
        width: of the figure, inches; a notebook shows about 8.
        height: of the figure, inches; a title adds what it needs.
        title: the finding; left-aligned, wrapped to the width.
    """
    figure, axes = small_multiples(1, 1, width, height, title)
    return figure, axes[0]


def small_multiples(
    number: int,
    columns: int | None = None,
    width: float = 2.4,
    height: float = 2.2,
    title: str = "",
    share: bool = False,
    titles: Sequence[str] | None = None,
) -> tuple["Figure", list["Axes"]]:
    """Return a figure and a list of ``number`` axes, filled row by row.

    Args:
        number: of panels, at least 1.
        columns: panels in a row; by default at most 4, in rows of equal length where
            that is possible.
        width: of one panel, inches.
        height: of one panel, inches.
        title: the finding of the whole figure.
        share: panels have the same x and y limits, and only the outer ones numbers.
        titles: one for each panel.

    Raises:
        ValueError: ``number`` or ``columns`` is below 1, or ``titles`` has another
            length.
    """
    if number < 1 or (columns is not None and columns < 1):
        raise ValueError(
            f"a figure needs at least one panel and one column, "
            f"not number={number}, columns={columns}"
        )
    if titles is not None and len(titles) != number:
        raise ValueError(
            f"titles has {len(titles)} entries for {number} panels: pass one for each"
        )
    columns = columns or columns_for(number)
    rows = -(-number // columns)
    figure = empty_figure(columns * width, rows * height)
    with style():
        grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
        axes = list(grid.flat)
        for unused in axes[number:]:
            unused.remove()
        for panel, text in zip(axes, titles or (), strict=False):
            panel.set_title(wrap(text, width - 0.1, fontsize=10.5))
    if title:
        set_title(figure, title)
    return figure, axes[:number]


def columns_for(number: int, most: int = 4) -> int:
    """Return how many panels go in a row, so that rows are about equally long."""
    return -(-number // -(-number // most))


def set_title(figure: "Figure", title: str) -> None:
    """Write the finding over the figure: left-aligned, wrapped; the figure grows."""
    with style():
        width, height = figure.get_size_inches()
        text = _balanced(title, width - 0.15, fontsize=12.5, fontweight="bold")
        figure.suptitle(text, x=0.06 / width, ha="left")
        figure.set_size_inches(width, height + title_height(text))


def title_height(wrapped: str) -> float:
    """Return the height in inches of a title that has been wrapped."""
    return 0.12 + 0.215 * (wrapped.count("\n") + 1) if wrapped else 0.0


def text_width(text: str, **font: Any) -> float:
    """Return the width in inches of a text on one or several lines."""
    size, weight = font.get("fontsize", 10), font.get("fontweight", "normal")
    lines = [line for line in text.split("\n") if line.strip()]
    return max((_line_width(line, size, weight) for line in lines), default=0.0)


@functools.lru_cache(maxsize=4096)
def _line_width(line: str, size: float, weight: str) -> float:
    """Return the width in inches of one line; measuring it is slow."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    with style():
        properties = FontProperties(size=size, weight=weight)
        return float(TextPath((0, 0), line, prop=properties).get_extents().x1) / 72


def wrap(text: str, width: float, **font: Any) -> str:
    """Break a text into lines no wider than ``width`` inches; formulas stay whole."""
    lines: list[str] = []
    for word in re.findall(r"(?:\$[^$]*\$|\S)+", text):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, **font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _balanced(text: str, width: float, **font: Any) -> str:
    """Break a text like ``wrap``, with lines of about equal length."""
    best = wrap(text, width, **font)
    while "\n" in best:
        width -= 0.15
        narrower = wrap(text, width, **font)
        too_wide = text_width(narrower, **font) > width
        if too_wide or narrower.count("\n") > best.count("\n"):
            break
        best = narrower
    return best


def colour_bar(
    axes: "Axes", image: Any, label: str, width: float, place: float = 0.12
) -> None:
    """Draw a colour bar right of ``axes``, as tall as they are.

    Args:
        axes: a picture ``width`` inches wide.
        image: what the colours stand for.
        label: of the scale.
        width: of the axes, inches.
        place: distance from the axes, inches.
    """
    bar_axes = axes.inset_axes((1 + place / width, 0, 0.14 / width, 1))
    bar = axes.figure.colorbar(image, cax=bar_axes)
    bar_axes.set_label("<colorbar>")
    bar.outline.set_visible(False)
    bar.set_label(label)
    bar.ax.tick_params(length=2)

"""Curves and bars."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .style import (
    DPI,
    HAIRLINE,
    HATCHES,
    INK,
    LINE_STYLES,
    MARKERS,
    MUTED,
    PALETTE,
    Values,
    new_figure,
    style,
    text_shade,
    text_width,
    to_numpy,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers: TypeAlias = npt.NDArray[np.float64]


class _End(NamedTuple):
    """Where a line ends; x is NaN for a line across the whole axes."""

    name: str
    colour: str
    x: float
    y: float


def curves(
    series: Mapping[str, Values | tuple[Values, Values]],
    xlabel: str,
    ylabel: str,
    title: str,
    logx: bool = False,
    logy: bool = False,
    reference: Mapping[str, float] | None = None,
    *,
    percent: bool = False,
    width: float = 7.0,
    height: float = 3.4,
) -> "Figure":
    """Draw lines, each with its name at its end.

    Args:
        series: by name y (point,), over 0, 1, 2, ..., or the tuple (x, y).
        xlabel: the quantity and its unit.
        ylabel: the quantity and its unit.
        title: the finding.
        logx: logarithmic x axis.
        logy: logarithmic y axis.
        reference: horizontal lines by name, for example ``{"chance": 0.25}``.
        percent: y is a fraction, written as a percentage.
        width: of the figure, inches.
        height: of the figure, inches.

    Raises:
        ValueError: no series, x and y differ in length, or a logarithmic axis has no
            positive value to show.
    """
    points = {name: _points(name, values) for name, values in series.items()}
    if not points:
        raise ValueError("series is empty: pass at least one line by name")
    for name, pair in points.items():
        for log, axis, values in ((logx, "x", pair[0]), (logy, "y", pair[1])):
            if log and not (values > 0).any():
                raise ValueError(
                    f"{name!r} has no positive {axis}: a logarithmic axis cannot show "
                    f"it; leave log{axis} out"
                )
    figure, axes = new_figure(width, height, title)
    with style():
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if logx:
            axes.set_xscale("log")
        if logy:
            axes.set_yscale("log")
        axes.margins(x=0.02)
        axes.grid(axis="y")
        ends = []
        for place, (name, (x, y)) in enumerate(points.items()):
            colour = PALETTE[place % len(PALETTE)]
            round_ = place // len(PALETTE)
            every = max(1, -(-len(x) // 8))
            axes.plot(
                x,
                y,
                label=name,
                color=colour,
                linestyle=LINE_STYLES[(place + round_) % len(LINE_STYLES)],
                marker=MARKERS[(place + 2 * round_) % len(MARKERS)],
                markevery=every if every == 1 else (every * (place % 4) // 4, every),
                markeredgecolor="white",
                markeredgewidth=0.8,
            )
            finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            if finite.size:
                last = finite[-1]
                ends.append(
                    _End(name, text_shade(colour), float(x[last]), float(y[last]))
                )
        _percent(axes, percent, "y")
        ends += _references(axes, reference, horizontal=True)
        _write_at_right(axes, ends, height - 0.7)
    return figure


def bars(
    values: Mapping[str, Any],
    ylabel: str,
    title: str,
    reference: Mapping[str, float] | None = None,
    percent: bool = False,
    *,
    highlight: str | Collection[str] | None = None,
    width: float = 6.4,
) -> "Figure":
    """Draw a bar for each value, with the value written at its end.

    Bars stand, or lie if their names need the room.

    Args:
        values: numbers by name; NaN is written as "n/a".
        ylabel: the quantity and its unit.
        title: the finding.
        reference: lines across by name, for example ``{"chance": 0.25}``.
        percent: the values are fractions, written as percentages.
        highlight: name or names to stand out; the others become grey.
        width: of the figure, inches.

    Raises:
        ValueError: no values, or ``highlight`` names none of them.
    """
    numbers = {name: _number(name, value) for name, value in values.items()}
    if not numbers:
        raise ValueError("values is empty: pass at least one number by name")
    chosen = {highlight} if isinstance(highlight, str) else set(highlight or numbers)
    if not chosen <= set(numbers):
        raise ValueError(
            f"highlight has {sorted(chosen - set(numbers))}, the bars are "
            f"{list(numbers)}"
        )
    slot = (width - 1.2) / len(numbers)
    names = [wrap(name, slot - 0.12) for name in numbers]
    crowded = any(
        text_width(name) > slot - 0.08 or name.count("\n") > 1 for name in names
    )
    lying = crowded or len(numbers) > 7
    height = 0.9 + 0.36 * len(numbers) if lying else 3.2
    figure, axes = new_figure(width, height, title)
    colours = [PALETTE[0] if name in chosen else "#b9b9b9" for name in numbers]
    heights = np.array(list(numbers.values()))
    places = np.arange(len(numbers))
    with style():
        draw = axes.barh if lying else axes.bar
        thick = min(0.66, 0.9 / slot) if not lying else 0.66
        drawn = draw(places, np.nan_to_num(heights), thick, color=colours)
        for bar, value in zip(drawn.patches, heights, strict=True):
            (bar.set_width if lying else bar.set_height)(value)
        _write_values(axes, places, heights, lying, percent)
        if lying:
            axes.margins(x=0.12)
            axes.set_yticks(places, [wrap(name, 2.6) for name in numbers])
            axes.invert_yaxis()
            axes.set_xlabel(ylabel)
        else:
            axes.margins(y=0.12)
            axes.set_xticks(places, names)
            axes.set_ylabel(ylabel)
            axes.set_xlim(-0.6, len(numbers) - 0.4)
        _value_axis(axes, lying, percent)
        ends = _references(axes, reference, horizontal=not lying)
        if lying:
            _write_at_top(axes, ends)
        else:
            _write_at_right(axes, ends, height - 0.7)
    return figure


def grouped_bars(
    groups: Mapping[str, Mapping[str, Any]],
    ylabel: str,
    title: str,
    reference: Mapping[str, float] | None = None,
    percent: bool = False,
    *,
    width: float = 7.0,
    height: float = 3.4,
) -> "Figure":
    """Draw bars side by side in groups: the same names in each group.

    Values are written on the bars where there is room for all of them.

    Args:
        groups: numbers by name, by group; NaN is written as "n/a".
        ylabel: the quantity and its unit.
        title: the finding.
        reference: horizontal lines by name.
        percent: the values are fractions, written as percentages.
        width: of the figure, inches.
        height: of the figure, inches.

    Raises:
        ValueError: no groups, more than six names, or groups with different names.
    """
    if not groups or not next(iter(groups.values())):
        raise ValueError("groups is empty: pass {group: {name: number}}")
    names = list(next(iter(groups.values())))
    for group, values in groups.items():
        if set(values) != set(names):
            raise ValueError(
                f"group {group!r} has the names {list(values)}, the first one has "
                f"{names}: give every group the same, with NaN where a value is missing"
            )
    if len(names) > len(PALETTE):
        raise ValueError(
            f"{len(names)} names are more than the {len(PALETTE)} colours that can be "
            "told apart: use small_multiples"
        )
    figure, axes = new_figure(width, height, title)
    places = np.arange(len(groups))
    thick = 0.8 / len(names)
    room = (width - 1.0) / len(groups) * thick
    with style():
        everywhere: list[float] = []
        all_heights: list[float] = []
        for rank, name in enumerate(names):
            heights = np.array(
                [_number(name, group[name]) for group in groups.values()]
            )
            at = places + (rank - (len(names) - 1) / 2) * thick
            axes.bar(
                at,
                heights,
                thick * 0.92,
                label=name,
                color=PALETTE[rank],
                edgecolor="white",
                linewidth=0,
                hatch=HATCHES[rank],
            )
            everywhere.extend(at)
            all_heights.extend(heights)
        _write_values(
            axes, np.array(everywhere), np.array(all_heights), False, percent, room
        )
        slot = (width - 1.2) / len(groups)
        axes.set_xticks(places, [wrap(group, slot - 0.1) for group in groups])
        axes.set_ylabel(ylabel)
        axes.margins(y=0.12)
        _value_axis(axes, False, percent)
        _write_at_right(axes, _references(axes, reference, True), height - 1.0)
        axes.legend(
            handles=axes.containers,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=len(names),
            borderpad=0.2,
            handlelength=1.0,
            handleheight=1.0,
            columnspacing=1.4,
        )
    return figure


def _points(name: str, values: Any) -> tuple[Numbers, Numbers]:
    if isinstance(values, tuple):
        if len(values) != 2:
            raise ValueError(
                f"{name!r} is a tuple of {len(values)}: pass (x, y), or y as a list"
            )
        x, y = (to_numpy(part).astype(float) for part in values)
    else:
        y = to_numpy(values).astype(float)
        x = np.arange(y.size, dtype=float)
    if y.ndim != 1 or x.shape != y.shape or not y.size:
        raise ValueError(
            f"{name!r} has x of shape {x.shape} and y of shape {y.shape}: both have to "
            "be (point,), at least one point"
        )
    return x, y


def _number(name: str, value: Any) -> float:
    array = to_numpy(value)
    if array.size != 1:
        raise ValueError(
            f"{name!r} has the shape {array.shape}: a bar is one number; take a mean "
            "or draw several bars"
        )
    return float(array.reshape(()))


def _percent(axes: "Axes", percent: bool, name: str) -> None:
    if percent:
        from matplotlib.ticker import PercentFormatter

        formatter = PercentFormatter(1.0, symbol=" %")
        (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(formatter)


def _value_axis(axes: "Axes", lying: bool, percent: bool) -> None:
    _percent(axes, percent, "x" if lying else "y")
    axes.grid(axis="x" if lying else "y")
    axes.spines["bottom" if lying else "left"].set_visible(False)
    axes.spines["left" if lying else "bottom"].set_visible(False)
    zero = axes.spines["right" if lying else "top"]  # no ticks hang on these
    zero.set(visible=True, color=INK)
    zero.set_position(("data", 0.0))
    axes.tick_params(length=0)


def _write_values(
    axes: "Axes",
    places: npt.NDArray[Any],
    values: Numbers,
    lying: bool,
    percent: bool,
    room: float = 9.0,
) -> None:
    texts = [_value_text(value, percent) for value in values]
    widest = max(texts, key=len)
    size = 9.5 if text_width(widest, fontsize=9.5) <= room else 8
    if text_width(widest, fontsize=size) > room:
        return
    for place, value, text in zip(places, values, texts, strict=True):
        end = 0.0 if np.isnan(value) else value
        below = end < 0
        axes.annotate(
            text,
            (end, place) if lying else (place, end),
            xytext=((-4 if below else 4), 0) if lying else (0, -3 if below else 3),
            textcoords="offset points",
            ha=("right" if below else "left") if lying else "center",
            va="center" if lying else ("top" if below else "bottom"),
            fontsize=size,
        )


def _value_text(value: float, percent: bool) -> str:
    if np.isnan(value):
        return "n/a"
    if percent:
        digits = 0 if abs(value) >= 0.1 or value == 0 else 1
        text = f"{100 * value:.{digits}f} %"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _references(
    axes: "Axes", reference: Mapping[str, float] | None, horizontal: bool
) -> list[_End]:
    """Draw lines across; return where they end."""
    ends = []
    for name, value in (reference or {}).items():
        number = _number(name, value)
        draw = axes.axhline if horizontal else axes.axvline
        draw(number, label=name, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
        ends.append(_End(name, MUTED, float("nan"), number))
    return ends


def label_lines(axes: "Axes") -> None:
    """Write each labelled line's name at its end, in place of a legend.

    Args:
        axes: of ``new_figure`` or ``small_multiples``, with every line drawn.
    """
    from matplotlib.colors import to_hex

    ends = []
    for line in axes.lines:
        x, y = (np.asarray(part, dtype=float) for part in line.get_data(orig=False))
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        name = str(line.get_label())
        if finite.size and not name.startswith("_"):
            shade = text_shade(to_hex(line.get_color()))
            ends.append(_End(name, shade, float(x[finite[-1]]), float(y[finite[-1]])))
    height = axes.get_window_extent().height / DPI
    with style():
        _write_at_right(axes, ends, height)


def _write_at_right(axes: "Axes", ends: list[_End], height: float) -> None:
    """Write names right of the axes, at the heights of the ends but not overlapping.

    Args:
        axes: with everything drawn.
        ends: of the lines to be named.
        height: of the axes, inches.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    axes.autoscale_view()
    right = axes.get_xlim()[1]
    spots = []
    for end in ends:
        x = right if np.isnan(end.x) else end.x
        spots.append((float(to_axes.transform((x, end.y))[1]), x, end))
    spots.sort(key=lambda spot: spot[0])
    names = [wrap(end.name, 1.7) for _, _, end in spots]
    tall = [0.175 * (name.count("\n") + 1) / height for name in names]
    centres = _spread([spot[0] for spot in spots], tall)
    for centre, name, (_, x, end) in zip(centres, names, spots, strict=True):
        axes.annotate(
            name,
            xy=(x, end.y),
            xytext=(1.03, centre),
            textcoords="axes fraction",
            va="center",
            color=end.colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": HAIRLINE if end.colour == MUTED else end.colour,
                "linewidth": 0.8,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def _spread(centres: list[float], tall: list[float]) -> list[float]:
    """Move sorted centres apart, as little as needed, until texts do not overlap."""
    moved = list(centres)
    for _ in range(200):
        clash = False
        for i in range(len(moved) - 1):
            need = (tall[i] + tall[i + 1]) / 2 - (moved[i + 1] - moved[i])
            if need > 1e-4:
                moved[i] -= need / 2
                moved[i + 1] += need / 2
                clash = True
        if not clash:
            break
    return moved


def _write_at_top(axes: "Axes", ends: list[_End]) -> None:
    for end in ends:
        axes.annotate(
            end.name,
            (end.y, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=end.colour,
            annotation_clip=False,
        )

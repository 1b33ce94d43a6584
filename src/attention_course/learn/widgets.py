"""One cell for a reader with a keyboard and for one on paper: sliders, and panels.

``explore`` draws the same picture for several values. Everywhere, it shows them side by
side as one figure: that is what is stored and compared. In a notebook that somebody
runs, it adds a control for each value beneath, and draws again as it moves.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .figures.publish import png, show
from .figures.style import colour_bar, small_multiples, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Choices: TypeAlias = Sequence[Any] | Mapping[str, Any]

MOST_PANELS = 16
STEPS = 60
"""About how many places a control for numbers has, the panels' own values included."""

VIEW = "application/vnd.jupyter.widget-view+json"


def explore(
    draw: Callable[..., None],
    *,
    title: str,
    alt: str,
    columns: int | None = None,
    width: float = 2.6,
    height: float = 2.2,
    share: bool = False,
    scale: str = "",
    legend: str = "",
    data: Mapping[str, Any] | None = None,
    **choices: Choices,
) -> None:
    """Show what changes with one or two values: panels everywhere, controls in Lab.

    The panels are one figure, published by ``figures.show``, the same on every machine.
    Where somebody runs the cell in a notebook, and ipywidgets is there, a control for
    each value follows. It goes through the panels' values, and for numbers through
    others between them: in equal steps, in equal ratios if all are positive and the
    largest is 30 times the smallest, and through every integer if all are integers.

    Args:
        draw: called as ``draw(axes, name=value, ...)`` for each panel; draws on the
            axes and labels them.
        title: the finding that the panels show together.
        alt: what a reader sees in the panels, for those who cannot see them.
        columns: panels in a row; by default one row for each of the first of two
            values, and at most 4 panels for one.
        width: of one panel, inches.
        height: of one panel, inches.
        share: all panels, and the picture under the control, have the same limits.
        scale: draws a colour bar of this name, for panels with a map.
        legend: names the lines in the first panel, at this place ("lower left").
        data: further facts for the figure's metadata.
        choices: by name, the values of the panels: a list, or a dict by label.

    Raises:
        ValueError: there is no value, more than two names, more than 16 panels, or
            what ``figures.show`` refuses.

    >>> explore(draw_curve, title="...", alt="...", temperature=[0.01, 0.1, 1.0])
    """
    named = {name: _labelled(name, values) for name, values in choices.items()}
    _refuse(named)
    values = {name: list(by_label.values()) for name, by_label in named.items()}
    if columns is None and len(named) == 2:
        columns = len(list(values.values())[1])
    combinations = [
        dict(zip(values, chosen, strict=True))
        for chosen in itertools.product(*values.values())
    ]
    labels = [", ".join(chosen) for chosen in itertools.product(*named.values())]
    figure, panels = small_multiples(
        len(labels), columns, width, height, title, share, labels
    )
    with style():
        for axes, chosen in zip(panels, combinations, strict=True):
            draw(axes, **chosen)
            if share:
                axes.label_outer()
        across = columns or len(panels)
        _add_bar(panels[min(across, len(panels)) - 1], scale, width)
        _add_legend(panels[0], legend)
    limits = (panels[0].get_xlim(), panels[0].get_ylim()) if share else None
    facts = {**(data or {}), "choices": {n: list(by) for n, by in named.items()}}
    show(figure, alt, facts)
    if somebody_is_there() and importlib.util.find_spec("ipywidgets"):
        _show_controls(_Redrawing(draw, alt, scale, legend, limits), named)


def somebody_is_there() -> bool:
    """Whether a person in a notebook's frontend asked for the cell that runs.

    A notebook's frontend names the cell in its request (``cellId``) and offers to ask
    its user for input (``allow_stdin``). nbclient, nbval and nbgrader do neither, and
    a shell without a kernel gets no request.
    """
    module = sys.modules.get("IPython")
    kernel = getattr(module.get_ipython() if module else None, "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent() or {}
    named = request.get("metadata", {}).get("cellId")
    return bool(named and request.get("content", {}).get("allow_stdin"))


def stops(name: str, by_label: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the places of a control, (label, value): the given ones and between."""
    values = list(by_label.values())
    if not all(type(value) in (int, float) for value in values) or len(values) < 2:
        return list(by_label.items())
    low, high = min(values), max(values)
    if all(type(value) is int for value in values):
        between: list[Any] = list(range(low, high, max(1, (high - low) // STEPS)))
    elif low > 0 and high >= 30 * low:
        ratio = math.log(high / low) / STEPS
        between = [low * math.exp(ratio * step) for step in range(STEPS)]
    else:
        between = [low + (high - low) * step / STEPS for step in range(STEPS)]
    given = {value: label for label, value in by_label.items()}
    rounded = {float(f"{v:.3g}") if type(v) is float else v for v in between}
    inside = {value for value in rounded if low < value < high}
    return [
        (given.get(value) or _label(name, value), value)
        for value in sorted(inside | set(given))
    ]


def _labelled(name: str, values: Choices) -> dict[str, Any]:
    """Return the values of one choice by what is written over their panels."""
    if isinstance(values, Mapping):
        return dict(values)
    return {_label(name, value): value for value in values}


def _label(name: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {shown}"


def _refuse(named: Mapping[str, Mapping[str, Any]]) -> None:
    if not 1 <= len(named) <= 2:
        raise ValueError(
            f"explore shows what changes with one or two values, not {len(named)}: "
            "pass them by name, as in temperature=[0.1, 1.0]"
        )
    number = math.prod(len(by_label) for by_label in named.values())
    if not 1 <= number <= MOST_PANELS:
        raise ValueError(
            f"{number} panels: pass values for 1 to {MOST_PANELS}; a control finds "
            "those between them by itself"
        )


def _add_bar(axes: Axes, scale: str, width: float) -> None:
    if scale and axes.images:
        colour_bar(axes, axes.images[0], scale, width)


def _add_legend(axes: Any, place: str) -> None:
    if place:
        axes.legend(loc=place, fontsize=8)


class _Redrawing:
    """The picture under the controls: one panel, a little larger."""

    def __init__(
        self,
        draw: Callable[..., None],
        alt: str,
        scale: str,
        legend: str,
        limits: tuple[Any, Any] | None,
    ) -> None:
        self.draw = draw
        self.alt = alt
        self.scale = scale
        self.legend = legend
        self.limits = limits

    def figure(self, label: str, chosen: Mapping[str, Any]) -> Figure:
        """One panel for the chosen values; ``label`` is written over it."""
        figure, [axes] = small_multiples(1, 1, 4.6, 3.4, titles=[label])
        with style():
            self.draw(axes, **chosen)
            if self.limits is not None:
                axes.set(xlim=self.limits[0], ylim=self.limits[1])
            _add_bar(axes, self.scale, 4.0)
            _add_legend(axes, self.legend)
        return figure

    def html(self, label: str, chosen: Mapping[str, Any]) -> str:
        """The same as an HTML picture with its description."""
        picture = base64.b64encode(png(self.figure(label, chosen))).decode("ascii")
        words = html.escape(f"{label}. {' '.join(self.alt.split())}", quote=True)
        return f'<img alt="{words}" src="data:image/png;base64,{picture}">'


def _show_controls(
    redrawing: _Redrawing, named: Mapping[str, Mapping[str, Any]]
) -> None:
    """Display a named control for each value, and the picture that follows them."""
    import ipywidgets
    from IPython.display import display

    lists, rows, places = {}, [], {}
    for name, by_label in named.items():
        places[name] = stops(name, by_label)
        lists[name], row = _control(name.replace("_", " "), places[name], by_label)
        rows.append(row)
    picture = ipywidgets.HTML()

    def redraw(_change: Any = None) -> None:
        chosen = {name: places[name][control.index] for name, control in lists.items()}
        label = ", ".join(words for words, _ in chosen.values())
        values = {name: value for name, (_, value) in chosen.items()}
        picture.value = redrawing.html(label, values)

    redraw()
    for control in lists.values():
        control.observe(redraw, "index")
    box = ipywidgets.VBox([*rows, picture])
    words = " and ".join(control.description for control in lists.values())
    display(
        {
            "text/plain": f"While the notebook runs in Lab, you choose {words} here.",
            VIEW: {"version_major": 2, "version_minor": 0, "model_id": box.model_id},
        },
        raw=True,
    )


def _control(
    words: str, places: list[tuple[str, Any]], by_label: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return a list with a name, and the row it stands in; numbers get a slider too.

    The list is a plain HTML one: a screen reader says its name, and the arrow keys go
    through it. The slider moves the list; alone it would not do, since ipywidgets
    gives its handle no name.
    """
    import ipywidgets

    first = next(iter(by_label))
    index = [label for label, _ in places].index(first)
    options = [label for label, _ in places]
    chosen = ipywidgets.Dropdown(
        options=options,
        index=index,
        description=words,
        tooltip=words,
        style={"description_width": "initial"},
        layout={"width": "20em"},
    )
    if not all(type(value) in (int, float) for _, value in places):
        return chosen, chosen
    slider = ipywidgets.IntSlider(
        value=index,
        max=len(places) - 1,
        readout=False,
        tooltip=words,
        layout={"width": "18em"},
    )
    ipywidgets.link((slider, "value"), (chosen, "index"))
    return chosen, ipywidgets.HBox([chosen, slider])

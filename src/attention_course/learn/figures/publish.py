"""Publish a figure: a small picture, words, and the data that was drawn."""

import base64
import io
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .style import DPI, style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NUMBERS = 1000
"""Arrays with more numbers are stored as shape, min, max and mean."""

MAX_PNG_BYTES = 100_000
"""Larger pictures are reduced to 256 colours."""


def show(figure: "Figure", alt: str, data: Mapping[str, Any] | None = None) -> None:
    """Publish a figure in the notebook as one output: picture, text and data.

    The output's text is ``Figure: <title>. <alt>``. Its metadata hold the alt text
    and, under ``attention_course``, the title and what ``figure_data`` reads from the
    axes. Outside IPython the text is printed.

    Args:
        figure: it has a title, drawn data, and labelled axes.
        alt: what a reader sees in the figure, for those who cannot see it. It is
            compared on every machine: no measured numbers.
        data: further facts for the metadata; tensors, arrays, numbers, strings and
            mappings or lists of them.

    Raises:
        ValueError: the alt text, the title, the data or an axis label is missing.
    """
    if not alt.strip():
        raise ValueError(
            "the figure has no alt text: pass alt='...', one or two sentences that "
            "say what a reader sees"
        )
    title = figure_title(figure)
    if not title:
        raise ValueError(
            "the figure has no title: pass title='...' where you make it, or call "
            "set_title(figure, '...'); a title states the finding"
        )
    axes_data = figure_data(figure)
    _refuse_empty(figure, axes_data)
    _refuse_unlabelled(figure)
    if data and "axes" in data:
        raise ValueError(
            "data has a key 'axes', which is kept for what is read from the figure: "
            "rename it"
        )
    facts = {"axes": axes_data, **{str(k): _plain(v) for k, v in (data or {}).items()}}
    _finish(figure)
    alt = " ".join(alt.split())
    text = f"Figure: {title}{'' if title[-1] in '.?!' else '.'} {alt}"
    _publish(figure, text, alt, {"title": title, "data": facts})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)


def _finish(figure: "Figure") -> None:
    """Give what was drawn outside ``style()`` the last touches."""
    for axes in _all_axes(figure):
        legend = axes.get_legend()
        if legend is not None:
            legend.set_frame_on(False)
        centred = axes.get_title("center")
        if centred:
            axes.set_title("", loc="center")
            axes.set_title(centred, loc="left", fontsize=10.5)


def figure_title(figure: "Figure") -> str:
    """Return the title on one line: the figure's, or those of its axes."""
    titles = [figure.get_suptitle()]
    if not titles[0].strip():
        titles = [_axes_title(axes) for axes in _all_axes(figure)]
    return "; ".join(" ".join(title.split()) for title in titles if title.strip())


def figure_data(figure: "Figure") -> list[dict[str, Any]]:
    """Return what is drawn in each axes of a figure, as plain JSON values.

    Each entry has ``title``, ``xlabel``, ``ylabel`` and those of these that occur:

    - ``lines``: label, x, y
    - ``bars``: label, positions, values (heights, or widths of horizontal bars)
    - ``scatter``: label, offsets ``[[x, y], ...]``, and values where colours show them
    - ``images``: label, values (rows of pixels or cells)
    - ``arrows``: ``[x, y, dx, dy]`` each
    - ``areas``: label, vertices; ``segments``: label, points
    - ``rectangles``: ``[x, y, width, height]`` each; ``shapes``: names of others
    - ``xticks``, ``yticks``: names written along an axis; ``texts``: written inside

    Arrays of at most 1000 numbers are lists, rounded to 6 digits; larger ones are
    ``{"shape", "min", "max", "mean"}``. Values that are not finite are the strings
    ``"nan"``, ``"inf"`` and ``"-inf"``, which ``float`` reads.
    """
    return [
        {
            "title": " ".join(_axes_title(axes).split()),
            "xlabel": axes.get_xlabel(),
            "ylabel": axes.get_ylabel(),
        }
        | _names(axes)
        | {kind: _plain(items) for kind, items in _drawn(axes).items()}
        for axes in _all_axes(figure)
    ]


def _all_axes(figure: "Figure") -> Iterator["Axes"]:
    for axes in figure.axes:
        for found in (axes, *axes.child_axes):
            if found.get_label() != "<colorbar>":
                yield found  # type: ignore[misc]


def _axes_title(axes: "Axes") -> str:
    titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
    return " ".join(title for title in titles if title)


def _label(artist: Any) -> str:
    label = str(artist.get_label())
    return "" if label.startswith("_") else label


def _names(axes: "Axes") -> dict[str, list[str]]:
    names = {}
    for key, axis in (("xticks", axes.xaxis), ("yticks", axes.yaxis)):
        texts = _written_names(axis)
        if texts:
            names[key] = texts
    texts = [text.get_text() for text in axes.texts if text.get_gid() != "cell"]
    if any(texts):
        names["texts"] = [" ".join(text.split()) for text in texts if text]
    return names


def _written_names(axis: Any) -> list[str]:
    """Return the names set by hand along an axis, none for a numeric scale."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

    formatter, locator = axis.get_major_formatter(), axis.get_major_locator()
    by_hand = isinstance(locator, FixedLocator)
    if by_hand and isinstance(formatter, FixedFormatter | FuncFormatter):
        names = formatter.format_ticks(locator.locs)
    elif isinstance(formatter, StrCategoryFormatter):
        names = [text.get_text() for text in axis.get_ticklabels()]
    else:
        names = []
    return [" ".join(name.split()) for name in names]


def _drawn(axes: "Axes") -> dict[str, list[Any]]:
    from matplotlib.collections import LineCollection, PathCollection, QuadMesh
    from matplotlib.container import BarContainer
    from matplotlib.patches import Rectangle
    from matplotlib.quiver import Quiver

    found: dict[str, list[Any]] = {}

    def add(kind: str, item: Any) -> None:
        found.setdefault(kind, []).append(item)

    for line in axes.lines:
        x, y = line.get_data(orig=False)
        add("lines", {"label": _label(line), "x": np.asarray(x), "y": np.asarray(y)})
    for image in axes.images:
        add("images", {"label": _label(image), "values": _array(image.get_array())})
    in_bars = set()
    for container in axes.containers:
        if isinstance(container, BarContainer):
            in_bars.update(container.patches)
            add("bars", _bars(container))
    for patch in axes.patches:
        if patch in in_bars:
            continue
        if isinstance(patch, Rectangle):
            add("rectangles", np.asarray(patch.get_bbox().bounds))
        else:
            add("shapes", {"name": patch.get_gid() or _label(patch)})
    for collection in axes.collections:
        item: dict[str, Any] = {"label": _label(collection)}
        if isinstance(collection, Quiver):
            parts = (collection.X, collection.Y, collection.U, collection.V)
            for arrow in np.stack([_array(part).ravel() for part in parts], axis=-1):
                add("arrows", arrow)
        elif isinstance(collection, QuadMesh):
            add("images", item | {"values": _array(collection.get_array())})
        elif isinstance(collection, PathCollection):
            item["offsets"] = _array(collection.get_offsets())
            if collection.get_array() is not None:
                item["values"] = _array(collection.get_array())
            add("scatter", item)
        else:
            kind = "segments" if isinstance(collection, LineCollection) else "areas"
            vertices = [np.asarray(path.vertices) for path in collection.get_paths()]
            points = np.concatenate(vertices) if vertices else np.empty((0, 2))
            key = "points" if kind == "segments" else "vertices"
            add(kind, item | {key: points})
    for text in axes.texts:
        arrow_patch = getattr(text, "arrow_patch", None)
        if arrow_patch is not None and getattr(text, "anncoords", "") == "data":
            head, tail = np.asarray(text.xy), np.asarray(text.xyann)  # type: ignore[attr-defined]
            add("arrows", np.concatenate([tail, head - tail]))
    return found


def _bars(container: Any) -> dict[str, Any]:
    boxes = np.array([bar.get_bbox().bounds for bar in container.patches])
    boxes = boxes.reshape(-1, 4)
    along, across = (2, 1) if container.orientation == "horizontal" else (3, 0)
    return {
        "label": _label(container),
        "positions": boxes[:, across] + boxes[:, 2 if across == 0 else 3] / 2,
        "values": boxes[:, along],
    }


def _array(values: Any) -> npt.NDArray[Any]:
    """Return an artist's numbers; finite ones that are masked were not drawn: NaN."""
    mask = np.ma.getmaskarray(values)
    array = np.asarray(np.ma.getdata(values))
    if mask.any():
        array = np.where(mask & np.isfinite(array), np.nan, array)
    return array


def _refuse_empty(figure: "Figure", axes_data: list[dict[str, Any]]) -> None:
    anything = False
    for number, (axes, entry) in enumerate(
        zip(_all_axes(figure), axes_data, strict=True)
    ):
        drawn = _drawn(axes)
        for kind, items in drawn.items():
            for item in items:
                label = item.get("label", "") if isinstance(item, dict) else ""
                numbers = _values(item)
                anything = anything or kind == "shapes" or numbers.size > 0
                if numbers.size and not np.isfinite(numbers).any():
                    where = entry["title"] or f"axes {number}"
                    raise ValueError(
                        f"no finite number in the {kind} {label!r} of {where!r}: they "
                        "are all NaN or infinite; draw what was computed, not what "
                        "failed"
                    )
    if not anything:
        raise ValueError(
            "the figure shows no data: draw a line, bars, points, an image or a shape "
            "before show(...)"
        )


def _values(item: Any) -> npt.NDArray[Any]:
    """Return the numbers of an item that carry its meaning."""
    if isinstance(item, dict):
        for key in ("y", "values", "offsets", "vertices", "points"):
            if key in item:
                return np.asarray(item[key], dtype=float)
        return np.empty(0)
    return np.asarray(item, dtype=float)


def _refuse_unlabelled(figure: "Figure") -> None:
    for number, axes in enumerate(_all_axes(figure)):
        drawn = _drawn(axes)
        if not axes.axison or drawn.get("images"):
            continue
        if not any(drawn.get(kind) for kind in ("lines", "scatter", "bars")):
            continue
        shared = (
            ("x", axes.xaxis, axes.get_shared_x_axes(), figure.get_supxlabel()),
            ("y", axes.yaxis, axes.get_shared_y_axes(), figure.get_supylabel()),
        )
        for name, axis, group, common in shared:
            labels = [common, getattr(axes, f"get_{name}label")()]
            for sibling in group.get_siblings(axes):
                if sibling in figure.axes:
                    labels.append(getattr(sibling, f"get_{name}label")())
            if not any(label.strip() for label in labels) and not _written_names(axis):
                where = _axes_title(axes) or f"axes {number}"
                raise ValueError(
                    f"the {name} axis of {where!r} has no label: call "
                    f"axes.set_{name}label('...') with the quantity and its unit, or "
                    "axes.set_axis_off() if it is a drawing without scales"
                )


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Tensor | np.ndarray | np.generic | int | float):
        return _numbers(to_numpy(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise ValueError(
        f"data holds a {type(value).__name__}: pass tensors, arrays, numbers, strings, "
        "or mappings and lists of them"
    )


def _numbers(array: npt.NDArray[Any]) -> Any:
    if array.size <= MAX_NUMBERS:
        return _rounded(array.tolist())
    numbers = array[np.isfinite(array)]
    summary: dict[str, Any] = {"shape": list(array.shape)}
    if numbers.size:
        for name in ("min", "max", "mean"):
            summary[name] = _rounded(float(getattr(numbers, name)()))
    return summary


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else str(value)
    return value


def _publish(figure: "Figure", text: str, alt: str, facts: dict[str, Any]) -> None:
    module = sys.modules.get("IPython")
    if module is None or module.get_ipython() is None:
        print(text)
        return
    from IPython.display import display

    picture = base64.b64encode(png(figure)).decode("ascii")
    display(
        {"image/png": picture, "text/plain": text},
        raw=True,
        metadata={"image/png": {"alt": alt}, "attention_course": facts},
    )


def png(figure: "Figure") -> bytes:
    """Return the figure as a small PNG, 100 pixels to the inch."""
    from PIL import Image

    raw = io.BytesIO()
    with style():
        figure.savefig(raw, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    picture = Image.open(raw).convert("RGB")
    packed = _packed(picture)
    if len(packed) > MAX_PNG_BYTES:
        packed = min(_packed(_reduced(picture)), packed, key=len)
    return packed


def _reduced(picture: Any) -> Any:
    """Return a picture in 256 colours, dithered, on a background that stays white."""
    from PIL.Image import Dither

    palette = picture.quantize(256)
    reduced = picture.quantize(palette=palette, dither=Dither.FLOYDSTEINBERG)
    colours = np.asarray(reduced.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) >= 248] = 255
    reduced.putpalette(colours.ravel().tolist())
    return reduced


def _packed(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

"""The figures draw what they are given, and say in words and data what they show."""

import base64
import io
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from attention_course.learn import figures
from attention_course.learn.figures import publish

ALT = "A line that falls from left to right."

# Viénot, Brettel & Mollon 1999 and Machado et al. 2009: linear RGB as seen with one
# kind of cone missing.
DICHROMATS = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def linear(colour):
    rgb = np.asarray(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb_linear):
    """CIE L*a*b* of a linear RGB colour, white point D65."""
    matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(matrix) @ np.clip(rgb_linear, 0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lightness(colour):
    return lab(linear(colour))[0]


def smallest_distance(points):
    pairs = itertools.combinations(points, 2)
    return min(float(np.linalg.norm(np.atleast_1d(a - b))) for a, b in pairs)


def one_line():
    figure, axes = figures.new_figure(4, 3, "The loss falls")
    axes.plot([3.0, 2.0, 1.0], label="loss")
    axes.set(xlabel="step", ylabel="loss (nats)")
    return figure


class Notebook:
    """Stands in for the running IPython, and keeps what was published."""

    def __init__(self, monkeypatch):
        import IPython
        import IPython.display

        self.outputs = []
        monkeypatch.setattr(IPython, "get_ipython", lambda: self)
        monkeypatch.setattr(
            IPython.display,
            "display",
            lambda data, raw, metadata: self.outputs.append((data, metadata)),
        )


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


def decoded(output):
    return Image.open(io.BytesIO(base64.b64decode(output["image/png"])))


# --- importing -----------------------------------------------------------------------


def test_importing_the_package_does_not_import_matplotlib():
    code = (
        "import sys, attention_course.learn.figures as figures; "
        "assert figures.attention_map; "
        "print(sorted(m for m in ('matplotlib', 'IPython', 'PIL') if m in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_drawing_does_not_need_pyplot_nor_change_its_settings():
    code = (
        "import matplotlib, sys; before = matplotlib.rcParams.copy(); "
        "from attention_course.learn.figures import attention_map, show; "
        "show(attention_map([[1.0]], title='One'), 'One cell.'); "
        "assert matplotlib.rcParams.copy() == before; "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout == "Figure: One. One cell.\n"
    assert run.stderr == ""


# --- publishing ----------------------------------------------------------------------


def test_show_publishes_one_picture_with_words_and_data(notebook):
    figures.show(one_line(), ALT, {"final": torch.tensor(1.0), "seeds": (1, 2)})
    [(output, metadata)] = notebook.outputs
    assert set(output) == {"image/png", "text/plain"}
    assert output["text/plain"] == f"Figure: The loss falls. {ALT}"
    assert metadata["image/png"] == {"alt": ALT}
    course = metadata["attention_course"]
    assert course["title"] == "The loss falls"
    assert course["data"]["final"] == 1.0
    assert course["data"]["seeds"] == [1, 2]
    [axes] = course["data"]["axes"]
    assert axes["xlabel"] == "step"
    assert axes["ylabel"] == "loss (nats)"
    assert axes["lines"] == [{"label": "loss", "x": [0, 1, 2], "y": [3.0, 2.0, 1.0]}]
    json.dumps(metadata, allow_nan=False)
    picture = decoded(output)
    assert abs(picture.width - 400) < 40


def test_show_prints_the_text_outside_ipython(capsys):
    figures.show(one_line(), "  Falls\n  steadily.  ")
    assert capsys.readouterr().out == "Figure: The loss falls. Falls steadily.\n"


def test_a_title_that_ends_a_sentence_gets_no_second_full_stop(capsys):
    figure = one_line()
    figures.set_title(figure, "Does the loss fall?")
    figures.show(figure, ALT)
    assert capsys.readouterr().out == f"Figure: Does the loss fall? {ALT}\n"


def test_a_wrapped_title_is_one_line_of_text(capsys):
    figure = one_line()
    figures.set_title(figure, "a title of many words " * 6)
    assert "\n" in figure.get_suptitle()
    figures.show(figure, ALT)
    assert capsys.readouterr().out.count("\n") == 1


def test_the_titles_of_axes_are_a_title_too(capsys):
    figure, panels = figures.small_multiples(2)
    for panel, name in zip(panels, ("left", "right"), strict=True):
        panel.plot([1, 2])
        panel.set(title=name, xlabel="x", ylabel="y")
    figures.show(figure, ALT)
    assert capsys.readouterr().out.startswith("Figure: left; right. ")


def test_a_pyplot_figure_is_closed(monkeypatch):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    axes.set(title="A line", xlabel="x", ylabel="y")
    assert plt.fignum_exists(figure.number)
    notebook = Notebook(monkeypatch)
    figures.show(figure, ALT)
    assert not plt.fignum_exists(figure.number)
    assert len(notebook.outputs) == 1


def test_a_photograph_stays_small(notebook):
    noise = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    figure = figures.images([noise] * 4, title="Noise does not compress")
    figures.show(figure, ALT)
    picture = decoded(notebook.outputs[0][0])
    assert picture.mode == "P"
    assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_a_small_figure_keeps_all_its_colours(notebook):
    figures.show(one_line(), ALT)
    assert decoded(notebook.outputs[0][0]).mode == "RGB"


def test_the_same_figure_is_the_same_bytes(notebook):
    for _ in range(2):
        figures.show(one_line(), ALT)
    first, second = notebook.outputs
    assert first == second


# --- refusals ------------------------------------------------------------------------


def refused(figure, match, alt=ALT, data=None):
    with pytest.raises(ValueError, match=match):
        figures.show(figure, alt, data)


@pytest.mark.parametrize("alt", ["", " \n "])
def test_no_alt_text_is_refused(alt):
    refused(one_line(), "no alt text: pass alt=", alt)


def test_no_title_is_refused():
    figure = one_line()
    figure.suptitle("")
    refused(figure, "no title: pass title=")


def test_no_data_is_refused():
    figure, axes = figures.new_figure(title="Empty")
    refused(figure, "shows no data: draw")
    axes.set(xlabel="x", ylabel="y")
    axes.plot([], [])
    axes.text(0, 0, "words are not data")
    refused(figure, "shows no data: draw")


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_data_without_a_finite_number_is_refused(bad):
    refused(
        figures.curves({"good": [1, 2], "bad": [bad, bad]}, "x", "y", "Lines"),
        "no finite number in the lines 'bad'",
    )
    refused(
        figures.attention_map([[bad, bad]], title="Map"), "no finite number in the imag"
    )
    figure, axes = figures.new_figure(title="Points")
    axes.set(xlabel="x", ylabel="y")
    axes.scatter([bad, bad], [bad, bad])
    refused(figure, "no finite number in the scatter")
    refused(figures.bars({"a": np.nan}, "y", "Bars"), "no finite number in the bars")


def test_some_nan_is_shown():
    values = [[0.5, 0.5], [float("nan")] * 2]
    figures.show(figures.attention_map(values, title="A row without keys is NaN"), ALT)


@pytest.mark.parametrize("kind", ["plot", "scatter", "bar"])
@pytest.mark.parametrize("missing", ["x", "y"])
def test_axes_without_labels_are_refused(kind, missing):
    figure, axes = figures.new_figure(title="Unlabelled")
    getattr(axes, kind)([0, 1], [1, 2])
    axes.set(**{f"{'y' if missing == 'x' else 'x'}label": "there"})
    refused(figure, rf"the {missing} axis .* axes.set_{missing}label\('\.\.\.'\)")
    axes.set(**{f"{missing}label": "now there too"})
    figures.show(figure, ALT)


def test_names_along_an_axis_a_shared_label_or_no_scale_stand_for_a_label():
    named, axes = figures.new_figure(title="Named")
    axes.bar(["a", "b"], [1, 2])
    axes.set_ylabel("y")
    figures.show(named, ALT)
    shared, panels = figures.small_multiples(2, title="Shared", share=True)
    for panel in panels:
        panel.plot([1, 2])
        panel.set_xlabel("x")
    refused(shared, "the y axis")
    panels[0].set_ylabel("y")
    figures.show(shared, ALT)
    drawing, axes = figures.new_figure(title="Drawing")
    axes.plot([1, 2])
    axes.set_axis_off()
    figures.show(drawing, ALT)


def test_data_that_json_cannot_hold_is_refused():
    refused(one_line(), "data holds a set", data={"tokens": {1, 2}})
    refused(one_line(), "key 'axes'", data={"axes": 1})


# --- reading data --------------------------------------------------------------------


def test_small_arrays_are_stored_whole_and_large_ones_in_short(notebook):
    values = torch.arange(1001, dtype=torch.float64)
    figures.show(one_line(), ALT, {"small": values[:1000] / 3, "large": values})
    data = notebook.outputs[0][1]["attention_course"]["data"]
    assert data["small"][:3] == [0.0, 0.333333, 0.666667]
    assert len(data["small"]) == 1000
    assert data["large"] == {"shape": [1001], "min": 0.0, "max": 1000.0, "mean": 500.0}


def test_numbers_that_are_not_finite_are_words():
    figure = figures.attention_map(
        [[1.0, float("-inf")], [float("nan"), 2.0]], title="Scores", signed=True
    )
    [axes] = figures.figure_data(figure)
    assert axes["images"][0]["values"] == [[1.0, "-inf"], ["nan", 2.0]]


def test_every_kind_of_artist_is_read():
    figure, axes = figures.new_figure(title="All kinds")
    axes.scatter([1, 2], [3, 4], label="points", c=[0.1, 0.2])
    axes.quiver([0], [1], [2], [3])
    axes.annotate("", (3, 5), (1, 2), arrowprops={"arrowstyle": "->"})
    axes.fill_between([0, 1], [0, 0], [1, 2], label="area")
    axes.vlines([1], 0, 2, label="segment")
    axes.barh([0, 1], [5, 6], label="lying")
    axes.bar([0, 1], [7, 8], bottom=[1, 1], label="standing")
    axes.pcolormesh([[1.0, 2.0]], label="mesh")
    axes.text(0, 0, "words")
    axes.set_xticks([0, 1], ["zero", "one"])
    [data] = figures.figure_data(figure)
    assert data["scatter"] == [
        {"label": "points", "offsets": [[1, 3], [2, 4]], "values": [0.1, 0.2]}
    ]
    assert data["arrows"] == [[0, 1, 2, 3], [1, 2, 2, 3]]
    assert data["areas"][0]["label"] == "area"
    assert [1.0, 2.0] in data["areas"][0]["vertices"]
    assert data["segments"] == [{"label": "segment", "points": [[1, 0], [1, 2]]}]
    assert data["bars"] == [
        {"label": "lying", "positions": [0, 1], "values": [5, 6]},
        {"label": "standing", "positions": [0, 1], "values": [7, 8]},
    ]
    assert data["images"] == [{"label": "mesh", "values": [[1.0, 2.0]]}]
    assert data["texts"] == ["words"]
    assert data["xticks"] == ["zero", "one"]
    assert "yticks" not in data


# --- what is drawn -------------------------------------------------------------------

WEIGHTS = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "values",
    [
        WEIGHTS.clone().requires_grad_(),
        WEIGHTS.to(torch.bfloat16),
        WEIGHTS.numpy(),
        WEIGHTS.tolist(),
        list(WEIGHTS),
    ],
    ids=["with gradient", "bfloat16", "numpy", "lists", "list of tensors"],
)
def test_attention_map_draws_the_weights(values):
    figure = figures.attention_map(values, ["q0", "q1"], ["k0", "k1", "k2"], "Map")
    [axes] = figures.figure_data(figure)
    assert axes["images"][0]["values"] == WEIGHTS.tolist()
    assert axes["xlabel"] == "key"
    assert axes["ylabel"] == "query"
    assert axes["xticks"] == ["k0", "k1", "k2"]
    assert axes["yticks"] == ["q0", "q1"]
    [image] = figure.axes[0].images
    assert image.get_clim() == (0, 1)
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["0.50", "0.25", "0.25", "0", "1.00", "0"]


def test_scores_have_a_symmetric_scale_with_white_in_the_middle():
    figure = figures.attention_map([[-3.0, 1.0]], signed=True)
    [image] = figure.axes[0].images
    assert image.get_clim() == (-3, 3)
    assert image.to_rgba(0.0)[:3] == pytest.approx((1, 1, 1), abs=0.01)
    assert [text.get_text() for text in figure.axes[0].texts] == ["−3.00", "1.00"]


def test_numbers_are_left_out_of_large_maps():
    assert not figures.attention_map(torch.eye(13)).axes[0].texts
    assert figures.attention_map(torch.eye(12)).axes[0].texts
    assert not figures.attention_map(torch.eye(3), annotate=False).axes[0].texts


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weights": torch.rand(1, 2, 3)}, r"shape is \(1, 2, 3\): pick one"),
        ({"weights": [[-0.1, 1.0]]}, "below 0: for raw scores pass signed=True"),
        ({"weights": [[1.5, 0.0]]}, "beyond the end 1 .*maximum='largest'"),
        ({"weights": [[1.0]], "query_labels": ["a", "b"]}, "2 names, the map has 1 ro"),
        ({"weights": [[1.0]], "key_labels": []}, "0 names, the map has 1 columns"),
    ],
)
def test_attention_map_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        figures.attention_map(**arguments)


def test_attention_maps_share_one_scale():
    heads = torch.stack([WEIGHTS, WEIGHTS.flip(0) / 2])
    figure = figures.attention_maps(heads, title="Heads", maximum="largest")
    panels = figures.figure_data(figure)
    assert [panel["title"] for panel in panels] == ["head 0", "head 1"]
    drawn = [panel["images"][0]["values"] for panel in panels]
    assert drawn == heads.tolist()
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 1)] * 2
    bars = [
        child
        for axes in figure.axes
        for child in axes.child_axes
        if child.get_label() == "<colorbar>"
    ]
    assert len(bars) == 1
    named = figures.attention_maps({"soft": WEIGHTS}, title="By name")
    assert figures.figure_data(named)[0]["title"] == "soft"


def test_attention_maps_refuse():
    with pytest.raises(ValueError, match="panels is empty"):
        figures.attention_maps({})
    with pytest.raises(ValueError, match=r"\(head, query, key\)"):
        figures.attention_maps(WEIGHTS)


def test_attention_on_image_puts_weights_and_query_in_their_patches():
    scene = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0, 0.0])
    figure = figures.attention_on_image(scene, {"a": weights}, 2, 5, "On it")
    picture, heat = figures.figure_data(figure)
    drawn = np.array(picture["images"][0]["values"])
    assert drawn == pytest.approx(scene.permute(1, 2, 0).numpy(), abs=1e-5)
    assert heat["images"][0] == {
        "label": "weights",
        "values": [[0.1, 0.2, 0.3], [0.4, 0.0, 0.0]],
    }
    assert figure.axes[1].images[0].get_clim() == pytest.approx((0, 0.4))
    assert heat["rectangles"][-1] == [3.5, 1.5, 2, 2]
    assert picture["rectangles"][-1] == [3.5, 1.5, 2, 2]


def test_attention_on_image_accepts_a_query_for_each_map():
    figure = figures.attention_on_image(
        torch.rand(4, 4), {"a": [1, 0, 0, 0], "b": [0, 0, 0, 1]}, 2, {"a": 0, "b": 3}
    )
    corners = [axes["rectangles"][-1][:2] for axes in figures.figure_data(figure)[1:]]
    assert corners == [[-0.5, -0.5], [1.5, 1.5]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"patch": 3}, "4 x 4 does not divide into patches of side 3"),
        ({"weights": [0.2] * 5}, r"leave it out: weights\[1:\]"),
        ({"weights": [0.2] * 3}, "2 x 2 = 4 patches"),
        ({"weights": {}}, "weights is empty"),
        ({"query": 4}, "numbered from 0 to 3"),
        ({"image": torch.rand(4, 4, 3)}, r"image.permute\(2, 0, 1\)"),
        ({"image": torch.full((4, 4), 2.0)}, "from 2 to 2"),
    ],
)
def test_attention_on_image_refuses(change, match):
    arguments = {"image": torch.rand(4, 4), "weights": [0.25] * 4, "patch": 2}
    with pytest.raises(ValueError, match=match):
        figures.attention_on_image(**(arguments | change))


def test_images_are_drawn_crisp_with_their_boxes():
    pictures = [torch.eye(3), np.full((3, 2, 4), 51, dtype=np.uint8)]
    figure = figures.images(
        pictures, ["eye", "grey"], "Two", highlight=[None, [(1, 2, 1, 2)]]
    )
    first, second = figures.figure_data(figure)
    assert np.array(first["images"][0]["values"])[..., 0].tolist() == np.eye(3).tolist()
    assert np.array(second["images"][0]["values"]) == pytest.approx(0.2)
    assert "rectangles" not in first
    assert second["rectangles"][-1] == [1.5, 0.5, 2, 1]
    assert [first["title"], second["title"]] == ["eye", "grey"]
    assert {axes.images[0].get_interpolation() for axes in figure.axes} == {"nearest"}


def test_a_sign_can_be_read_without_colours():
    scores = [[1.0, -1.0], [-0.5, 0.01]]
    figure = figures.attention_maps({"a": scores}, annotate=False, signed=True)
    marked = [(*t.get_position(), t.get_text()) for t in figure.axes[0].texts]
    assert marked == [(1, 0, "\N{MINUS SIGN}"), (0, 1, "\N{MINUS SIGN}")]


def test_bars_side_by_side_differ_in_more_than_colour():
    values = {str(i): i for i in range(1, 7)}
    bars = figures.grouped_bars({"a": values}, "y", "Six").axes[0].containers
    patterns = [bar.patches[0].get_hatch() for bar in bars]
    assert not any(patterns[:2])
    assert len(set(patterns)) == 5


def test_a_map_on_axes_of_ones_own_is_the_map():
    axes = figures.new_figure(title="Mine")[1]
    figures.draw_map(axes, torch.eye(2), ["a", "b"], ["c", "d"], maximum=2)
    [drawn] = figures.figure_data(axes.figure)
    assert drawn["images"][0]["values"] == [[1, 0], [0, 1]]
    assert (drawn["yticks"], drawn["xticks"]) == (["a", "b"], ["c", "d"])
    assert axes.images[0].get_clim() == (0, 2)
    with pytest.raises(ValueError, match="has to be a matrix"):
        figures.draw_map(axes, torch.ones(2))


def test_weights_over_an_image_on_axes_of_ones_own():
    axes = figures.new_figure(title="Mine")[1]
    picture = torch.rand(3, 4, 8, generator=torch.Generator().manual_seed(0))
    figures.draw_on_image(axes, picture, torch.arange(8.0) / 28, 2, query=5)
    [drawn] = figures.figure_data(axes.figure)
    expected = (torch.arange(8.0).reshape(2, 4) / 28).tolist()
    assert drawn["images"][0]["values"] == pytest.approx(np.array(expected), abs=1e-5)
    assert drawn["rectangles"][0] == [1.5, 1.5, 2, 2]
    with pytest.raises(ValueError, match="does not divide into patches"):
        figures.draw_on_image(axes, picture, torch.ones(8), 3)
    with pytest.raises(ValueError, match=r"query 8 .* is not a patch"):
        figures.draw_on_image(axes, picture, torch.ones(8), 2, query=8)


def test_images_refuse():
    with pytest.raises(ValueError, match="images is empty"):
        figures.images([])
    with pytest.raises(ValueError, match="titles has 1 entries for 2 pictures"):
        figures.images(torch.rand(2, 4, 4), ["one"])
    with pytest.raises(ValueError, match=r"images\[1\] has the shape \(2, 4, 4\)"):
        figures.images([torch.rand(4, 4), torch.rand(2, 4, 4)])


def test_curves_draw_points_and_names_in_any_order_without_overlap():
    series = {"a": torch.tensor([1.0, 2.0]), "b": ([5, 7], [2.0, 2.0]), "c": [3, 2.0]}
    figure = figures.curves(series, "x", "y", "Lines", reference={"chance": 2.0})
    [axes] = figures.figure_data(figure)
    lines = {line["label"]: (line["x"], line["y"]) for line in axes["lines"]}
    assert lines["a"] == ([0, 1], [1, 2])
    assert lines["b"] == ([5, 7], [2, 2])
    assert lines["c"] == ([0, 1], [3, 2])
    assert lines["chance"][1] == [2, 2]
    assert sorted(axes["texts"]) == ["a", "b", "c", "chance"]
    publish.png(figure)
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    for one, other in itertools.combinations(boxes, 2):
        assert one.y0 >= other.y1 or other.y0 >= one.y1


def test_lines_differ_in_more_than_colour():
    series = {str(i): [0, i] for i in range(12)}
    lines = figures.curves(series, "x", "y", "Twelve").axes[0].lines
    looks = {(line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == 12


@pytest.mark.parametrize(
    ("series", "options", "match"),
    [
        ({}, {}, "series is empty"),
        ({"a": ([1, 2], [1, 2, 3])}, {}, r"x of shape \(2,\) and y of shape \(3,\)"),
        ({"a": ([1], [1], [1])}, {}, "tuple of 3"),
        ({"a": []}, {}, "at least one point"),
        ({"a": ([0.0], [1.0])}, {"logx": True}, "leave logx out"),
        ({"a": [-1.0]}, {"logy": True}, "leave logy out"),
    ],
)
def test_curves_refuse(series, options, match):
    with pytest.raises(ValueError, match=match):
        figures.curves(series, "x", "y", "Lines", **options)


def test_bars_draw_and_write_their_values():
    values = {"a": torch.tensor(0.25), "b": 1, "c": -0.5, "d": float("nan")}
    figure = figures.bars(values, "score", "Bars", {"chance": 0.5}, highlight="b")
    [axes] = figures.figure_data(figure)
    assert axes["bars"][0]["values"] == [0.25, 1.0, -0.5, "nan"]
    assert axes["xticks"] == ["a", "b", "c", "d"]
    assert axes["texts"] == ["0.25", "1", "−0.5", "n/a", "chance"]
    colours = [patch.get_facecolor()[:3] for patch in figure.axes[0].patches]
    assert colours[1] == pytest.approx(to_rgb(figures.PALETTE[0]))
    assert colours[0] == colours[2] != colours[1]


def test_bars_lie_when_their_names_are_long_and_write_percentages():
    values = {f"a name that needs a lot of room, {i}": i / 8 for i in range(1, 9)}
    figure = figures.bars(values, "accuracy", "Lying", percent=True)
    [axes] = figures.figure_data(figure)
    assert axes["bars"][0]["values"] == [i / 8 for i in range(1, 9)]
    assert axes["xlabel"] == "accuracy"
    assert axes["yticks"] == list(values)
    assert axes["texts"][0] == "12 %"


def test_bars_refuse():
    with pytest.raises(ValueError, match="values is empty"):
        figures.bars({}, "y", "Bars")
    with pytest.raises(ValueError, match="highlight has"):
        figures.bars({"a": 1}, "y", "Bars", highlight="b")
    with pytest.raises(ValueError, match="a bar is one number"):
        figures.bars({"a": [1, 2]}, "y", "Bars")


def test_grouped_bars_draw_each_value_in_its_group():
    groups = {"sort": {"one": 0.1, "two": 0.2}, "copy": {"two": 0.4, "one": 0.3}}
    figure = figures.grouped_bars(groups, "accuracy", "Groups", {"chance": 0.5})
    [axes] = figures.figure_data(figure)
    drawn = {bars["label"]: bars["values"] for bars in axes["bars"]}
    assert drawn == {"one": [0.1, 0.3], "two": [0.2, 0.4]}
    assert axes["xticks"] == ["sort", "copy"]
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_grouped_bars_refuse():
    with pytest.raises(ValueError, match="groups is empty"):
        figures.grouped_bars({}, "y", "Bars")
    with pytest.raises(ValueError, match="group 'b' has the names"):
        figures.grouped_bars({"a": {"x": 1}, "b": {"y": 1}}, "y", "Bars")
    with pytest.raises(ValueError, match="7 names are more than the 6 colours"):
        figures.grouped_bars({"a": {str(i): i for i in range(7)}}, "y", "Bars")


def test_shape_flow_reads_the_shapes_from_the_tensors():
    x = torch.zeros(2, 5, 16)
    q = x.view(2, 5, 4, 4).transpose(1, 2)
    figure = figures.shape_flow(
        [
            ("x", x, "batch token d_model"),
            ("q", q, "batch head token d_k", "split heads"),
            ("loss", x.sum(), ""),
        ],
        "Splitting adds an axis",
    )
    [axes] = figures.figure_data(figure)
    names = [shape["name"] for shape in axes["shapes"]]
    assert names == ["x: (2, 5, 16)", "q: (2, 4, 5, 4)", "loss: (scalar)"]
    assert "split heads" in axes["texts"]
    figures.show(figure, ALT)


@pytest.mark.parametrize("number", [1, 3, 7, 12])
def test_shape_flow_stays_inside_the_figure(number):
    step = (
        "a label",
        torch.zeros(2, 3, 4, 5),
        "batch head query d_model",
        "operate on",
    )
    figure = figures.shape_flow([step] * number, "Many steps")
    publish.png(figure)
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 1000
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def test_shape_flow_refuses():
    with pytest.raises(ValueError, match="steps is empty"):
        figures.shape_flow([], "None")
    with pytest.raises(ValueError, match=r"'x' has the shape .* 2 axes, but 1 names"):
        figures.shape_flow([("x", torch.zeros(2, 3), "batch")], "Names")


def test_small_multiples_give_the_panels_asked_for():
    figure, panels = figures.small_multiples(5, 3, titles=list("abcde"))
    assert len(panels) == len(figure.axes) == 5
    assert [panel.get_title("left") for panel in panels] == list("abcde")
    with pytest.raises(ValueError, match="at least one panel"):
        figures.small_multiples(0)
    with pytest.raises(ValueError, match="titles has 1 entries for 2"):
        figures.small_multiples(2, titles=["a"])


def test_label_lines_names_the_lines_of_a_drawing_of_ones_own():
    axes = figures.new_figure(title="Mine")[1]
    axes.plot([1, 2], label="rising")
    axes.plot([2, 1], label="falling")
    axes.plot([0, 0])
    figures.label_lines(axes)
    assert sorted(text.get_text() for text in axes.texts) == ["falling", "rising"]


def test_show_gives_a_drawing_of_ones_own_the_same_look(capsys):
    figure, axes = figures.new_figure()
    axes.plot([1, 2], label="line")
    axes.set(title="In the middle", xlabel="x", ylabel="y")
    axes.legend()
    figures.show(figure, ALT)
    assert axes.get_title("center") == ""
    assert axes.get_title("left") == "In the middle"
    assert not axes.get_legend().get_frame_on()


# --- colours -------------------------------------------------------------------------


def test_the_palette_is_separable_in_grey():
    assert smallest_distance([lightness(c) for c in figures.PALETTE]) > 9


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_palette_is_separable_without_one_kind_of_cone(kind):
    seen = [lab(np.array(DICHROMATS[kind]) @ linear(c)) for c in figures.PALETTE]
    assert smallest_distance(seen) > 15


def test_a_common_palette_would_fail_these_tests():
    common = [f"C{i}" for i in range(6)]
    assert smallest_distance([lightness(c) for c in common]) < 3
    matrix = np.array(DICHROMATS["deuteranopia"])
    assert smallest_distance([lab(matrix @ linear(c)) for c in common]) < 15


def test_small_weights_are_white_and_lightness_falls_evenly():
    colours = figures.sequential_map()(np.linspace(0, 1, 33))
    assert colours[0][:3] == pytest.approx((1, 1, 1))
    steps = -np.diff([lightness(colour) for colour in colours])
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()


def test_the_diverging_map_is_even_handed():
    colours = figures.diverging_map()(np.linspace(0, 1, 33))
    light = np.array([lightness(colour) for colour in colours])
    assert light[16] == pytest.approx(100, abs=0.5)
    assert light == pytest.approx(light[::-1], abs=2)
    assert (np.diff(light[:17]) > 0).all()


def test_names_at_line_ends_can_be_read_on_white():
    series = {str(i): [0, i] for i in range(6)}
    texts = figures.curves(series, "x", "y", "Six").axes[0].texts
    for text in texts:
        luminance = linear(text.get_color()) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 4.5

"""`explore`: the same panels everywhere, and controls where somebody can move them."""

from __future__ import annotations

import itertools
import json
import textwrap

import nbclient
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from attention_course.learn import figures, widgets

ALT = "Panels of lines, steeper from one to the next."
CELL = """
from attention_course.learn import figures, widgets

def draw(axes, slope):
    axes.plot([0, 1], [0, slope])
    axes.set(xlabel="x", ylabel="y")

widgets.explore(draw, title="It gets steeper", alt="Lines.", slope=[1.0, 2.0, 4.0])
"""


def draw(axes, slope):
    axes.plot([0, 1], [0, slope])
    axes.set(xlabel="x", ylabel="y")


@pytest.fixture
def published(monkeypatch):
    """What `explore` hands to `figures.show`."""
    shown = []

    def keep(figure, alt, data):
        shown.append((figure, alt, data))

    monkeypatch.setattr(widgets, "show", keep)
    return shown


def lines(figure):
    return [axes["lines"][0]["y"] for axes in figures.figure_data(figure)]


# --- the panels -----------------------------------------------------------------------


def test_one_panel_for_each_value(published):
    widgets.explore(draw, title="Steeper", alt=ALT, slope=[1.0, 2.5, 4.0])
    [(figure, alt, data)] = published
    assert lines(figure) == [[0, 1], [0, 2.5], [0, 4]]
    titles = [axes["title"] for axes in figures.figure_data(figure)]
    assert titles == ["slope 1", "slope 2.5", "slope 4"]
    assert alt == ALT
    assert data == {"choices": {"slope": ["slope 1", "slope 2.5", "slope 4"]}}


def test_two_values_make_a_table_row_by_row(published):
    def cell(axes, layer, head):
        figures.draw_map(axes, [[layer / 10, head / 10]])

    widgets.explore(
        cell, title="Maps", alt=ALT, scale="weight", layer=[1, 2], head=[0, 3, 5]
    )
    [(figure, _, _)] = published
    drawn = [axes["images"][0]["values"][0] for axes in figures.figure_data(figure)]
    assert drawn == [[i / 10, j / 10] for i in (1, 2) for j in (0, 3, 5)]
    titles = [axes["title"] for axes in figures.figure_data(figure)]
    assert titles[:2] == ["layer 1, head 0", "layer 1, head 3"]
    bars = [a for axes in figure.axes for a in axes.child_axes]
    assert [bar.get_ylabel() for bar in bars] == ["weight"]
    rows = {round(axes.get_position().y0, 2) for axes in figure.axes[:6]}
    assert len(rows) == 2


def test_a_mapping_names_the_panels(published):
    named = {"flat": 0.5, "steep": 9.0}
    widgets.explore(draw, title="Steeper", alt=ALT, slope=named)
    [(figure, _, _)] = published
    assert [a["title"] for a in figures.figure_data(figure)] == ["flat", "steep"]


def test_shared_panels_have_the_same_limits(published):
    widgets.explore(draw, title="Steeper", alt=ALT, share=True, slope=[1.0, 4.0])
    [(figure, _, _)] = published
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_a_legend_names_the_lines_once(published):
    def named(axes, slope):
        axes.plot([0, slope], label="line")
        axes.set(xlabel="x", ylabel="y")

    widgets.explore(named, title="S", alt=ALT, legend="upper left", slope=[1.0, 4.0])
    [(figure, _, _)] = published
    assert [axes.get_legend() is not None for axes in figure.axes] == [True, False]


def test_the_alt_text_and_the_data_are_published(capsys):
    widgets.explore(draw, title="Steeper", alt=ALT, slope=[1.0, 4.0])
    assert capsys.readouterr().out == f"Figure: Steeper. {ALT}\n"


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        ({}, "one or two values, not 0"),
        ({"a": [1], "b": [1], "c": [1]}, "one or two values, not 3"),
        ({"a": []}, "0 panels"),
        ({"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4]}, "20 panels"),
    ],
)
def test_explore_refuses(choices, match):
    with pytest.raises(ValueError, match=match):
        widgets.explore(draw, title="Steeper", alt=ALT, **choices)


# --- the controls ---------------------------------------------------------------------


def test_a_control_stops_at_the_panels_values_and_between():
    places = dict(widgets.stops("t", {"cold": 0.01, "t 0.1": 0.1, "hot": 10.0}))
    assert places["cold"] == 0.01
    assert places["t 0.1"] == 0.1
    assert places["hot"] == 10.0
    values = list(places.values())
    assert values == sorted(values)
    assert 50 <= len(values) <= 64
    ratios = [b / a for a, b in itertools.pairwise(values)]
    assert max(ratios) < 1.2  # equal ratios, for values over three decades
    assert "t 0.0112" in places


def test_a_control_goes_through_every_integer():
    assert widgets.stops("head", {"head 0": 0, "head 3": 3}) == [
        ("head 0", 0),
        ("head 1", 1),
        ("head 2", 2),
        ("head 3", 3),
    ]


def test_a_control_goes_in_equal_steps_where_ratios_make_no_sense():
    values = [value for _, value in widgets.stops("x", {"a": -1.0, "b": 1.0})]
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert max(steps) < 0.05
    assert (values[0], values[-1]) == (-1.0, 1.0)


def test_what_is_no_number_has_no_between():
    kinds = {"relu": "relu", "gelu": "gelu"}
    assert widgets.stops("kind", kinds) == [("relu", "relu"), ("gelu", "gelu")]
    flags = {"with": True, "without": False}
    assert widgets.stops("flag", flags) == [("with", True), ("without", False)]


def test_executed_without_a_browser_the_panels_are_all_there_is():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    [output] = notebook.cells[0].outputs
    assert output["data"]["text/plain"] == "Figure: It gets steeper. Lines."
    assert set(output["data"]) == {"image/png", "text/plain"}
    facts = output["metadata"]["attention_course"]["data"]
    assert [axes["lines"][0]["y"][1] for axes in facts["axes"]] == [1, 2, 4]
    assert facts["choices"] == {"slope": ["slope 1", "slope 2", "slope 4"]}


class Frontend:
    """A kernel, and requests as a notebook's frontend makes them."""

    def __init__(self):
        self.manager, self.client = start_new_kernel()

    def run(self, code, cell_id="a1b2", allow_stdin=True):
        """Outputs of the code: media types with their data, and printed text."""
        content = {
            "code": textwrap.dedent(code),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        outputs = []
        while True:
            reply = self.client.get_iopub_msg(timeout=120)
            if reply["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            kind, body = reply["msg_type"], reply["content"]
            if kind == "error":
                raise AssertionError("\n".join(body["traceback"]))
            if kind == "display_data":
                outputs.append(body["data"])
            if kind == "stream":
                outputs.append({"stream": body["text"]})
            if kind == "status" and body["execution_state"] == "idle":
                return outputs


@pytest.fixture(scope="module")
def frontend():
    frontend = Frontend()
    yield frontend
    frontend.client.stop_channels()
    frontend.manager.shutdown_kernel(now=True)


def test_where_somebody_runs_the_cell_controls_follow_the_same_panels(frontend):
    panels, control = frontend.run(CELL)
    assert panels["text/plain"] == "Figure: It gets steeper. Lines."
    assert widgets.VIEW in control
    assert control["text/plain"].endswith("you choose slope here.")


@pytest.mark.parametrize(("cell_id", "allow_stdin"), [("", True), ("a1b2", False)])
def test_controls_need_a_cell_and_a_person(frontend, cell_id, allow_stdin):
    outputs = frontend.run(CELL, cell_id, allow_stdin)
    assert [set(output) for output in outputs] == [{"image/png", "text/plain"}]


def test_without_ipywidgets_the_panels_are_all_there_is(frontend):
    hidden = "import importlib.util as util; found, util.find_spec = util.find_spec, "
    outputs = frontend.run(hidden + "lambda name: None\n" + CELL)
    frontend.run("util.find_spec = found")
    assert [set(output) for output in outputs] == [{"image/png", "text/plain"}]


def test_a_moved_control_draws_again_and_says_so_in_words(frontend):
    frontend.run(
        """
        import ipywidgets

        boxes = []

        class VBox(ipywidgets.VBox):
            def __init__(self, children):
                super().__init__(children)
                boxes.append(self)

        ipywidgets.VBox = VBox
        """
    )
    frontend.run(CELL)
    [moved] = frontend.run(
        """
        import json

        [row, picture] = boxes[-1].children
        [chosen, slider] = row.children
        before = picture.value
        slider.value = len(chosen.options) - 1
        print(json.dumps({
            "chosen": chosen.value,
            "name": chosen.description,
            "kind": type(chosen).__name__,
            "moved": picture.value != before,
            "picture": picture.value[:80],
        }))
        """
    )
    seen = json.loads(moved["stream"])
    assert seen["moved"]
    assert (seen["chosen"], seen["name"]) == ("slope 4", "slope")
    assert seen["kind"] == "Dropdown"  # a list with a label, for screen readers
    assert seen["picture"].startswith('<img alt="slope 4. Lines." src="data:image/png')


def test_the_picture_under_the_control_keeps_the_panels_limits():
    redrawing = widgets._Redrawing(draw, ALT, "", "", ((0.0, 2.0), (-1.0, 7.0)))
    [axes] = redrawing.figure("slope 3", {"slope": 3}).axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.0, 2.0), (-1.0, 7.0))
    assert axes.lines[0].get_ydata()[1] == 3

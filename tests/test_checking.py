"""`check` in a notebook: what it shows, what it returns, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from conftest import EXERCISES
from nbclient import NotebookClient
from nbformat import NotebookNode

from attention_course.author.exercise import load_exercises
from attention_course.author.keys import make_key
from attention_course.learn.checking import KEY_VARIABLE, check
from attention_course.learn.report import VERDICT_TYPE

IMPORT = "from attention_course.learn import check"
RIGHT = "def double(x):\n    return x + x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chapter's folder with its answer key, as a student has it."""
    work = tmp_path_factory.mktemp("90_tiny")
    (work / "exercises.py").write_text(EXERCISES)
    exercises = load_exercises(work / "exercises.py")
    key = make_key("90_tiny", exercises, {"double": 2, "negate": 1})
    (work / "checks.safetensors").write_bytes(key.to_bytes())
    return work


def run(folder: Path, *cells: str) -> list[NotebookNode]:
    """The last cell's outputs in a fresh kernel."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in (IMPORT, *cells)]
    )
    client = NotebookClient(
        notebook, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook.cells[-1].outputs


def test_a_complete_answer_shows_one_line_and_returns_nothing(folder: Path) -> None:
    (output,) = run(folder, RIGHT, "check(double)")
    assert output.data["text/plain"] == "✓ double: complete, 2 of 2 points"
    assert 'role="status"' in output.data["text/html"]
    assert output.data[VERDICT_TYPE]["earned"] == 2


def test_a_wrong_answer_shows_the_hint_and_returns_its_points(folder: Path) -> None:
    shown, points = run(folder, RIGHT.replace("+", "*"), "check(double)")
    assert "You squared it." in shown.data["text/plain"]
    assert points.output_type == "execute_result"
    assert float(points.data["text/plain"]) == 0.0


def test_partial_credit_is_a_number_that_nbgrader_reads(folder: Path) -> None:
    _, points = run(
        folder, "def double(x):\n    return (2 * x).detach()", "check(double)"
    )
    assert float(points.data["text/plain"]) == 1.5


def test_an_undefined_answer_is_one_kind_sentence(folder: Path) -> None:
    (error,) = run(folder, "check(double)")
    assert error.output_type == "error"
    assert error.traceback == [
        "`double` is not defined yet: run the cell above that defines it, without an "
        "error, then this one again."
    ]


def test_other_name_errors_keep_their_traceback(folder: Path) -> None:
    (error,) = run(folder, "print(duoble)")
    assert "Traceback" in error.traceback[0] or len(error.traceback) > 1


def test_another_name_is_told_what_can_be_checked(folder: Path) -> None:
    (error,) = run(folder, "def triple(x):\n    return 3 * x", "check(triple)")
    assert error.ename == "ValueError"
    assert "of 90_tiny: double, negate" in error.evalue
    (error,) = run(folder, "check(3)")
    assert "Got 'int'" in error.evalue


def test_a_missing_key_is_told_with_the_cure(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="keep it in the same folder"):
        check(print)


def test_outside_a_notebook_it_prints(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(folder / "checks.safetensors"))

    def double(x):
        return x + x

    assert check(double) is None
    assert capsys.readouterr().out == "✓ double: complete, 2 of 2 points\n"

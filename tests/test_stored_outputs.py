"""nbval's guards: what must fail does fail, and nothing proves nothing."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

from attention_course.author.build import build, edition_paths, is_current
from attention_course.author.chapter import (
    BEGIN,
    END,
    Chapter,
    find_chapters,
    read_chapter,
)
from attention_course.author.replay import compare
from attention_course.author.revalidate import revalidate
from attention_course.author.stored import executed_notebooks, problems, read, refuse

FOLDERS = find_chapters(ROOT)


@pytest.fixture(scope="module")
def notebook() -> dict:
    """A stored notebook with text, a result, and a picture with its data."""
    new = nbformat.v4
    text = new.new_code_cell("print('two')", execution_count=1)
    text.outputs = [new.new_output("stream", name="stdout", text="two\n")]
    value = new.new_code_cell("1 + 1", execution_count=2)
    value.outputs = [
        new.new_output("execute_result", {"text/plain": "2"}, execution_count=2)
    ]
    code = (
        "from attention_course.learn import figures\n"
        "figures.show(figures.bars({'a': 1.0}, 'height', 'One bar'), alt='One bar.')"
    )
    picture = new.new_code_cell(code, execution_count=3)
    picture.outputs = [
        new.new_output(
            "display_data",
            {"image/png": "AAAA", "text/plain": "Figure: One bar. One bar."},
            metadata={
                "image/png": {"alt": "One bar."},
                "attention_course": {
                    "title": "One bar",
                    "data": {
                        "axes": [{"title": "One bar", "bars": [{"heights": [1]}]}]
                    },
                },
            },
        )
    ]
    return json.loads(nbformat.writes(new.new_notebook(cells=[text, value, picture])))


def broken(notebook: dict, change) -> dict:
    changed = copy.deepcopy(notebook)
    change(changed["cells"])
    return changed


BREAK = {
    "a cell that never ran": (
        lambda cells: cells[0].update(execution_count=None, outputs=[]),
        "cell 0 was never executed",
    ),
    "a stripped notebook": (
        lambda cells: [c.update(outputs=[]) for c in cells],
        "the notebook is stripped",
    ),
    "a comment that opts out": (
        lambda cells: cells[0].update(source="# NBVAL_IGNORE_OUTPUT\nprint('two')"),
        "cell 0 opts out",
    ),
    "a tag that opts out": (
        lambda cells: cells[0].update(metadata={"tags": ["nbval-skip"]}),
        "cell 0 opts out",
    ),
    "a picture without data": (
        lambda cells: cells[2]["outputs"][0]["metadata"]["attention_course"][
            "data"
        ].update(axes=[{"title": "One bar", "xlabel": "", "ylabel": ""}]),
        "cell 2 stores a picture without the data",
    ),
    "a picture without description": (
        lambda cells: cells[2]["outputs"][0]["metadata"].pop("image/png"),
        "cell 2 stores a picture without a description",
    ),
    "stderr": (
        lambda cells: cells[0]["outputs"][0].update(name="stderr"),
        "cell 0 writes to stderr",
    ),
    "an address": (
        lambda cells: cells[0]["outputs"][0].update(
            text="<object at 0x7f12ab34cd56>\n"
        ),
        "differs from run to run",
    ),
    "a device": (
        lambda cells: cells[1]["outputs"][0]["data"].update(
            {"text/plain": "tensor([1.], device='cuda:0')"}
        ),
        "differs from run to run",
    ),
    "an error": (
        lambda cells: cells[0]["outputs"].append(
            {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
        ),
        "cell 0 stores an error",
    ),
}


def test_a_sound_notebook_has_no_problem(notebook: dict) -> None:
    assert list(problems(notebook)) == []


@pytest.mark.parametrize("fault", BREAK)
def test_a_notebook_that_proves_nothing_is_refused(
    notebook: dict, fault: str, tmp_path: Path, capsys
) -> None:
    change, told = BREAK[fault]
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps(broken(notebook, change)))
    assert any(told in p for p in problems(read(path)))
    assert revalidate(tmp_path, paths=[path]) == 1
    assert told in capsys.readouterr().out


MUST_FAIL = {
    "another text": lambda cells: cells[0]["outputs"][0].update(text="three\n"),
    "another value": lambda cells: cells[1]["outputs"][0]["data"].update(
        {"text/plain": "3"}
    ),
    "a missing output": lambda cells: cells[0].update(outputs=[]),
    "another figure": lambda cells: cells[2]["outputs"][0]["data"].update(
        {"text/plain": "Figure: Two bars."}
    ),
    "a warning": lambda cells: cells[0].update(
        source="import sys\nprint('two')\nprint('w', file=sys.stderr)"
    ),
}


def nbval(path: Path) -> int:
    return revalidate(path.parent, jobs=1, paths=[path])


def replay(path: Path) -> int:
    return subprocess.run(
        [
            sys.executable, "-m", "attention_course.author.replay", "--device", "cpu",
            str(path),
        ],
        capture_output=True,
        check=False,
    ).returncode  # fmt: skip


@pytest.mark.parametrize("runner", [nbval, replay])
def test_a_notebook_that_agrees_passes(notebook: dict, tmp_path: Path, runner) -> None:
    path = tmp_path / "agrees.ipynb"
    path.write_text(json.dumps(notebook))
    assert runner(path) == 0


@pytest.mark.parametrize("fault", MUST_FAIL)
@pytest.mark.parametrize("runner", [nbval, replay])
def test_a_notebook_that_must_fail_does_fail(
    notebook: dict, tmp_path: Path, runner, fault: str
) -> None:
    path = tmp_path / "differs.ipynb"
    path.write_text(json.dumps(broken(notebook, MUST_FAIL[fault])))
    assert runner(path) == 1


def test_the_comparison_ignores_pictures_and_sees_text() -> None:
    stored = [
        {
            "output_type": "display_data",
            "data": {"text/plain": ["a\n", "b"], "image/png": "x"},
        }
    ]
    assert compare(stored, "", [{"text/plain": "a\nb", "image/png": "y"}]) == ""
    assert compare(stored, "", [{"text/plain": "a\nc"}])
    assert compare(stored, "printed", [{"text/plain": "a\nb"}])


def test_without_a_gpu_that_half_says_so(capsys, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert revalidate(ROOT, device="cuda", if_present=True) == 0
    assert "GPU half was not run" in capsys.readouterr().out
    assert revalidate(ROOT, device="cuda") == 2


# ------------------------------------------------------------ the course's own editions


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_the_editions_are_current(folder: Path) -> None:
    assert is_current(ROOT, folder), f"run `attention-course build {folder.name}`"


def test_the_stored_notebooks_prove_something() -> None:
    paths = executed_notebooks(ROOT)
    assert len(paths) == 2 * len(FOLDERS) > 0
    assert refuse(paths) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_source_and_release_are_what_a_build_makes(
    folder: Path, tmp_path: Path
) -> None:
    """Byte for byte, the answer keys up to the last digit; nothing is executed."""
    from attention_course.author import making

    slug = folder.name
    chapter = making.read_chapter(folder)
    exercises = making.load_exercises(folder / "exercises.py")
    key = making.make_key(slug, exercises, chapter.points).to_bytes()
    source = making.dump(making.source_notebook(chapter))
    paths = {name: ROOT / path for name, path in edition_paths(slug).items()}
    assert paths["source"].read_bytes() == source
    for name in ("source_key", "release_key", "solution_key"):
        assert making.same_key(paths[name].read_bytes(), key), name
    course = tmp_path / "course"
    (course / "source" / slug).mkdir(parents=True)
    (course / "source" / slug / f"{slug}.ipynb").write_bytes(source)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nbgrader", "generate_assignment", slug],
        cwd=course,
        env=os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    made = (course / "release" / slug / f"{slug}.ipynb").read_bytes()
    assert paths["release"].read_bytes() == made


def hidden_lines(chapter: Chapter, at_least: int) -> set[str]:
    """The answers' lines between the markers, without comments, of some length."""
    found = set()
    for cell in chapter.cells:
        inside = False
        for row in cell.source.splitlines():
            if row.strip() in (BEGIN, END):
                inside = row.strip() == BEGIN
            elif inside and len(code_of(row)) >= at_least:
                found.add(code_of(row))
    return found


def code_of(row: str) -> str:
    return row.split("  #")[0].strip()


def handed_over(chapter: Chapter) -> set[str]:
    """Hidden lines that stand word for word in a demo. Short idioms are nobody's."""
    demos = {
        code_of(row)
        for cell in chapter.cells
        if cell.role == "demo"
        for row in cell.source.splitlines()
    }
    return hidden_lines(chapter, at_least=30) & demos


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_no_demo_hands_over_a_line_of_an_answer(folder: Path) -> None:
    assert handed_over(read_chapter(folder)) == set()


def test_a_line_that_is_handed_over_is_seen(tiny: Path) -> None:
    path = tiny / "chapters" / "90_tiny" / "chapter.py"
    line = "thirty_characters_of_answer = x + x  # twice"
    text = path.read_text(encoding="utf-8").replace("twice_the_input = x + x", line)
    path.write_text(text, encoding="utf-8")
    assert handed_over(read_chapter(path.parent)) == set()
    demo = f"x = 1\n{line}"
    path.write_text(text.replace('print("two:", 1 + 1)', demo), encoding="utf-8")
    assert handed_over(read_chapter(path.parent)) == {code_of(line)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_no_hidden_line_reaches_a_student(folder: Path) -> None:
    """No line of an answer is in release or lesson, unless a demo shows that idiom."""
    chapter = read_chapter(folder)
    shown = "\n".join(c.source for c in chapter.cells if c.role != "answer")
    hidden = {row for row in hidden_lines(chapter, at_least=13) if row not in shown}
    assert hidden
    released = [
        "\n".join("".join(c["source"]) for c in read(ROOT / path)["cells"])
        for name, path in edition_paths(folder.name).items()
        if name in ("release", "lesson")
    ]
    assert [row for row in hidden for text in released if row in text] == []


def test_a_changed_source_is_seen(tmp_path: Path) -> None:
    """The comparison above would see a stale edition: build says that it is stale."""
    folder = FOLDERS[0]
    copied = tmp_path / "chapters" / folder.name
    copied.mkdir(parents=True)
    for name in ("chapter.py", "exercises.py"):
        (copied / name).write_bytes((folder / name).read_bytes())
    (copied / "chapter.py").write_text("# broken")
    report = build(tmp_path, [copied], jobs=1, tell=lambda text: None)
    assert list(report.failed) == [folder.name]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_what_a_cell_prints_is_stored_in_one_piece(folder: Path) -> None:
    """However the kernel cut it: a reader would see a line break in two."""
    for edition in ("notebooks", "solutions"):
        for path in (ROOT / edition).rglob(f"{folder.name}.ipynb"):
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                names = [o.get("name") for o in cell.get("outputs", [])]
                for before, after in itertools.pairwise(names):
                    assert after is None or before != after, cell["source"]

"""Editions: built from one source, only when stale, all or nothing, without answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from attention_course.author.build import build, edition_paths, is_current, strangers
from attention_course.author.chapter import find_chapters
from attention_course.author.making import same_key
from attention_course.learn.answer_key import AnswerKey


def snapshot(root: Path) -> dict[str, bytes]:
    paths = edition_paths("90_tiny").values()
    return {str(p): (root / p).read_bytes() for p in paths if (root / p).exists()}


def run(root: Path, **options):
    said: list[str] = []
    options = {"jobs": 1, "tell": said.append, **options}
    return build(root, find_chapters(root), **options), said


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny course, built once. Tests that change it build a copy."""
    from conftest import CHAPTER, EXERCISES

    root = tmp_path_factory.mktemp("course")
    folder = root / "chapters" / "90_tiny"
    folder.mkdir(parents=True)
    (folder / "chapter.py").write_text(CHAPTER.lstrip(), encoding="utf-8")
    (folder / "exercises.py").write_text(EXERCISES, encoding="utf-8")
    report, said = run(root)
    assert report.built == ["90_tiny"], said
    return root


def copy(built: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(built, target / "copy"))


def test_every_edition_is_there(built: Path) -> None:
    assert len(snapshot(built)) == len(edition_paths("90_tiny"))


def test_the_lesson_has_no_exercises_and_is_executed(built: Path) -> None:
    lesson = nbformat.read(built / "notebooks/90_tiny.ipynb", as_version=4)
    text = "\n".join(c.source for c in lesson.cells)
    assert "double" not in text
    assert lesson.cells[1].outputs[0].text == "two: 2\n"


def test_the_release_has_no_answer(built: Path) -> None:
    release = (built / "release/90_tiny/90_tiny.ipynb").read_text()
    assert "twice_the_input" not in release
    assert "raise NotImplementedError()" in release
    files = {p.name for p in (built / "release/90_tiny").iterdir()}
    assert files == {"90_tiny.ipynb", "checks.safetensors"}


def test_the_solution_is_executed_and_without_markers(built: Path) -> None:
    text = (built / "solutions/90_tiny/90_tiny.ipynb").read_text()
    assert "twice_the_input" in text
    assert "SOLUTION" not in text
    assert "double: complete, 2 of 2 points" in text


def test_cells_have_the_six_nbgrader_flags_and_stable_ids(built: Path) -> None:
    source = nbformat.read(built / "source/90_tiny/90_tiny.ipynb", as_version=4)
    checks = [c for c in source.cells if c.id == "check-double"]
    assert checks[0].metadata["nbgrader"] == {
        "grade": True, "grade_id": "check_double", "locked": True, "points": 2,
        "schema_version": 3, "solution": False, "task": False,
    }  # fmt: skip
    assert not any(c.get("outputs") for c in source.cells)


def test_nothing_changed_builds_nothing(built: Path) -> None:
    before = snapshot(built)
    report, _ = run(built)
    assert (report.built, report.current) == ([], ["90_tiny"])
    assert snapshot(built) == before


def test_rebuilding_changes_nothing(built: Path, tmp_path: Path) -> None:
    root = copy(built, tmp_path)
    before = snapshot(root)
    report, _ = run(root, force=True)
    assert report.built == ["90_tiny"]
    assert snapshot(root) == before


@pytest.mark.parametrize("edition", edition_paths("90_tiny"))
def test_a_touched_edition_is_stale(built: Path, tmp_path: Path, edition: str) -> None:
    root = copy(built, tmp_path)
    path = root / edition_paths("90_tiny")[edition]
    if path.suffix == ".ipynb":
        notebook = json.loads(path.read_text())
        notebook["cells"][0]["source"] = "# changed by hand"
        path.write_text(json.dumps(notebook))
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    assert not is_current(root, root / "chapters/90_tiny")


def test_a_changed_chapter_is_stale(built: Path, tmp_path: Path) -> None:
    root = copy(built, tmp_path)
    chapter = root / "chapters/90_tiny/chapter.py"
    chapter.write_text(chapter.read_text().replace("tiny chapter", "small chapter"))
    assert not is_current(root, root / "chapters/90_tiny")


FAILS = {
    "a demo raises": ('print("two:", 1 + 1)', "1 / 0", "ZeroDivisionError"),
    "a demo warns": (
        'print("two:", 1 + 1)', "import sys; print(1, file=sys.stderr)", "stderr"
    ),
    "a demo shows an address": (
        'print("two:", 1 + 1)', "object()", "differs from run to run"
    ),
    "the answer is wrong": ("= x + x", "= x + 1", "does not earn all points"),
    "a role is unknown": ('answer="double"', 'anwser="double"', "unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAILS)
def test_a_build_that_fails_leaves_the_editions_whole(
    built: Path, tmp_path: Path, fault: str
) -> None:
    old, new, told = FAILS[fault]
    root = copy(built, tmp_path)
    before = snapshot(root)
    chapter = root / "chapters/90_tiny/chapter.py"
    assert old in chapter.read_text()
    chapter.write_text(chapter.read_text().replace(old, new))
    report, said = run(root)
    assert "90_tiny" in report.failed
    assert told in "\n".join(said)
    assert "chapter.py:" in "\n".join(said)
    assert snapshot(root) == before


def test_editions_of_a_gone_chapter_are_strangers(built: Path, tmp_path: Path) -> None:
    root = copy(built, tmp_path)
    (root / "chapters/90_tiny").rename(root / "chapters/91_tiny")
    found = {str(p.relative_to(root)) for p in strangers(root)}
    assert found == {
        "notebooks/90_tiny.ipynb",
        "source/90_tiny",
        "release/90_tiny",
        "solutions/90_tiny",
    }


def test_a_key_is_the_same_up_to_rounding_only(built: Path) -> None:
    data = (built / "release/90_tiny/checks.safetensors").read_bytes()
    key = AnswerKey.from_bytes(data)
    expected = key.exercises["double"].expected["vector"]
    expected["output"] += 1e-14
    assert same_key(data, key.to_bytes())
    expected["output"] += 1e-6
    assert not same_key(data, key.to_bytes())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
def test_ctrl_c_ends_a_build_at_once_and_changes_nothing(
    built: Path, tmp_path: Path
) -> None:
    root = copy(built, tmp_path)
    before = snapshot(root)
    chapter = root / "chapters" / "90_tiny" / "chapter.py"
    text = chapter.read_text(encoding="utf-8")
    begun = tmp_path / "begun"
    slow = f"# %%\nimport time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(300)\n"
    chapter.write_text(f"{text}\n{slow}", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "attention_course.cli", "build", "--jobs", "2"],
        cwd=root,
        env=os.environ | {"MARKER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "attention-course: stopped\n")
    assert snapshot(root) == before
    while left := _running(f"MARKER={tmp_path}"):  # a kernel looks every second
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _running(marker: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in place.read_bytes():
                found.append(place.parent.name)
        except OSError:
            continue  # it has just ended
    return found

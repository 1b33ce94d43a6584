"""Malformed chapters are refused with file, line and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from attention_course.author.chapter import ChapterError, find_chapters, read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.author.making import refuse_unmatched


def line_of(path: Path, text: str) -> int:
    rows = path.read_text(encoding="utf-8").splitlines()
    return next(i for i, row in enumerate(rows, 1) if row.startswith(text))


def edit(tiny: Path, old: str, new: str) -> Path:
    folder = tiny / "chapters" / "90_tiny"
    path = folder / "chapter.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


def test_a_good_chapter_is_read(tiny: Path) -> None:
    chapter = read_chapter(tiny / "chapters" / "90_tiny")
    assert chapter.title == "90 · Doubling"
    assert chapter.points == {"double": 2.0, "negate": 1.5}
    assert [c.role for c in chapter.cells] == [
        "prose", "demo", "exercise", "answer", "check", "prose", "answer", "check",
    ]  # fmt: skip
    assert [c.role for c in chapter.lesson()] == ["prose", "demo", "prose"]


REFUSED = {
    "unknown role": ('# %% check="double"', '# %% chekc="double"', "unknown key"),
    "unknown key": ("points=2", "points=2 weight=3", "unknown key weight"),
    "no points": (' points=2', "", "needs points="),
    "points of zero": ("points=2", "points=0", "needs points="),
    "no markers": ("    ### BEGIN SOLUTION\n", "", "### BEGIN SOLUTION"),
    "markers in a demo": (
        'print("two:", 1 + 1)', "### BEGIN SOLUTION\n### END SOLUTION", "outside"
    ),
    "markers in prose": ("# A tiny chapter.", "# ### BEGIN SOLUTION", "outside"),
    "two answers": ('answer="negate"', 'answer="double"', "a second answer='double'"),
    "two checks": ('check="negate"', 'check="double"', "a second check='double'"),
    "answer without check": (
        '# %% check="negate" points=1.5\ncheck(negate)\n', "", "has no check='negate'"
    ),
    "check without answer": (
        'answer="double"', 'answer="other"', "has no answer='double'"
    ),
    "check of another": ("check(double)", "check(negate)", "a check is `check(double"),
    "answer in prose": (
        '[markdown] exercise="double"', '[markdown] answer="double"', "must be"
    ),
    "exercise in code": (
        '[markdown] exercise="double"\n# ###', 'exercise="double"\n#', "must be"
    ),
    "not Python": ("    twice_the_input = x + x", "    twice = (x +", "not Python"),
    "demo uses an answer": (
        'print("two:", 1 + 1)', 'print("two:", double(1))', "demo uses the answer"
    ),
    "answer uses another": ("return -x", "return x - double(x)", "uses the answer"),
    "empty cell": ('print("two:", 1 + 1)', "\n# %%\n", "empty cell"),
    "no title": ("# # 90 · Doubling", "# Doubling", "must be the title"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_malformed_chapters_are_refused(tiny: Path, fault: str) -> None:
    old, new, told = REFUSED[fault]
    folder = edit(tiny, old, new)
    with pytest.raises(ChapterError) as error:
        read_chapter(folder)
    text = str(error.value)
    assert told in text
    assert text.startswith(f"{folder / 'chapter.py'}:")
    assert int(text.removeprefix(f"{folder / 'chapter.py'}:").split(":")[0]) >= 1


def test_the_line_is_that_of_the_cell(tiny: Path) -> None:
    folder = edit(tiny, "points=1.5", "points=-1")
    line = line_of(folder / "chapter.py", '# %% check="negate"')
    with pytest.raises(ChapterError, match=rf"chapter\.py:{line}: "):
        read_chapter(folder)


def test_a_folder_needs_a_number(tiny: Path) -> None:
    folder = (tiny / "chapters" / "90_tiny").rename(tiny / "chapters" / "tiny")
    with pytest.raises(ChapterError, match="must be called NN_name"):
        read_chapter(folder)


def test_an_answer_needs_a_specification(tiny: Path) -> None:
    folder = tiny / "chapters" / "90_tiny"
    exercises = load_exercises(folder / "exercises.py")
    del exercises["negate"]
    with pytest.raises(ChapterError, match="'negate' has no Exercise"):
        refuse_unmatched(read_chapter(folder), exercises)


def test_a_specification_needs_an_answer(tiny: Path) -> None:
    folder = tiny / "chapters" / "90_tiny"
    exercises = load_exercises(folder / "exercises.py")
    exercises["extra"] = exercises["double"]
    with pytest.raises(ChapterError, match="specifies extra"):
        refuse_unmatched(read_chapter(folder), exercises)


def test_chapters_are_found_by_number_and_name(tiny: Path) -> None:
    folder = tiny / "chapters" / "90_tiny"
    assert find_chapters(tiny) == [folder]
    assert find_chapters(tiny, ["90"]) == find_chapters(tiny, ["90_tiny"]) == [folder]
    with pytest.raises(
        ValueError, match="there is no chapter '91'; there are: 90_tiny"
    ):
        find_chapters(tiny, ["91"])

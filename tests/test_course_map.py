"""The map says what the chapters say, and cannot drift from them."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from attention_course import cli
from attention_course.author import course_map
from attention_course.author.chapter import ChapterError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def course() -> list[course_map.Entry]:
    return course_map.entries(ROOT)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the course's chapters and of its map."""
    for folder in ("chapters", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def change(root: Path, slug: str, old: str, new: str) -> None:
    path = root / "chapters" / slug / "chapter.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_map_is_current() -> None:
    stale = course_map.stale(ROOT)
    assert not stale, "run `attention-course map`"


def test_every_chapter_is_on_the_map(course: list[course_map.Entry]) -> None:
    folders = sorted(p.parent.name for p in (ROOT / "chapters").glob("*/chapter.py"))
    assert [entry.slug for entry in course] == folders
    assert [entry.number for entry in course] == [slug[:2] for slug in folders]


def test_needs_are_what_a_chapter_states(course: list[course_map.Entry]) -> None:
    needs = {entry.number: entry.needs for entry in course}
    assert needs["00"] == ()
    assert needs["06"] == ("04", "05")
    assert needs["08"] == ("05", "06")
    by_number = {entry.number: entry for entry in course}
    assert by_number["06"].title == "Multi-head attention"
    assert by_number["06"].minutes == 110
    assert by_number["06"].exercises == 5
    assert by_number["06"].question.endswith("without blurring them?")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("**You need** chapter 04: scores", "**You need** chapter 02: scores"),
        ("about 80 minutes", "about 95 minutes"),
        ("# # 05 · Masks", "# # 05 · Veils"),
        ("lying right there in\n# its input?", "lying right there?"),
    ],
)
def test_a_chapter_that_changes_makes_the_map_stale(
    copy: Path, old: str, new: str
) -> None:
    assert course_map.stale(copy) == []
    change(copy, "05_masks", old, new)
    assert course_map.PAGE in course_map.stale(copy)
    assert course_map.write(copy)
    assert course_map.stale(copy) == []


def test_a_new_chapter_is_taken_up(copy: Path) -> None:
    shutil.copytree(copy / "chapters/05_masks", copy / "chapters/42_new")
    change(copy, "42_new", "# # 05 · Masks", "# # 42 · New")
    course_map.write(copy)
    assert "42 · New" in (copy / course_map.PICTURE).read_text(encoding="utf-8")
    assert "(../notebooks/42_new.ipynb)" in (copy / course_map.PAGE).read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("**You need** chapter 04", "You should know chapter 04", "say `"),
        ("**You need** chapter 04", "**You need** chapter 06", "does not come before"),
        ("**How can a model learn", "How can a model** learn", "a question in bold"),
    ],
)
def test_a_chapter_that_does_not_say_is_refused(
    copy: Path, old: str, new: str, match: str
) -> None:
    change(copy, "05_masks", old, new)
    if "bold" in match:
        change(copy, "05_masks", "its input?**", "its input?")
        change(copy, "05_masks", "a **mask**", "a mask")
        change(copy, "05_masks", "a model** learn", "a model learn")
    with pytest.raises(ChapterError, match=match):
        course_map.entries(copy)


def drawn(course: list[course_map.Entry]) -> ElementTree.Element:
    return ElementTree.fromstring(course_map.draw(course))


def boxes(svg: ElementTree.Element) -> dict[str, tuple[float, float, float, float]]:
    """x, y, width and height of each chapter's box, by number."""
    found = {}
    rectangles = svg.findall(f"{SVG}rect")[1:]  # the first one is the background
    titles = [t for t in svg.findall(f"{SVG}text") if " · " in (t.text or "")]
    for rectangle, title in zip(rectangles, titles, strict=True):
        numbers = [float(rectangle.get(n, "")) for n in ("x", "y", "width", "height")]
        found[(title.text or "")[:2]] = (numbers[0], numbers[1], numbers[2], numbers[3])
    return found


def arrows(svg: ElementTree.Element) -> set[tuple[str, str]]:
    """From which box to which each arrow leads, found by where it starts and ends."""
    places = boxes(svg)
    found = set()
    for path in svg.iter(f"{SVG}path"):
        if path.get("fill"):
            continue  # the head of an arrow
        ends = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
        start, end = ends[:2], ends[-2:]
        [above] = [n for n, b in places.items() if near(start, b, b[1] + b[3])]
        [below] = [n for n, b in places.items() if near(end, b, b[1])]
        found.add((above, below))
    return found


def near(point: list[float], box: tuple[float, float, float, float], y: float) -> bool:
    return abs(point[0] - box[0] - box[2] / 2) < 1 and abs(point[1] - y) < 1


def reached(edges: set[tuple[str, str]], start: str) -> set[str]:
    found: set[str] = set()
    for one, two in edges:
        if two == start:
            found |= {one} | reached(edges, one)
    return found


def test_the_arrows_lead_to_everything_that_is_needed(
    course: list[course_map.Entry],
) -> None:
    edges = arrows(drawn(course))
    stated = {(n, entry.number) for entry in course for n in entry.needs}
    assert edges <= stated
    for entry in course:
        assert set(entry.needs) <= reached(edges, entry.number)


def test_boxes_do_not_overlap_and_needs_stand_above(
    course: list[course_map.Entry],
) -> None:
    more = [
        replace(course[-1], number="10", needs=("01", "07", "08", "09")),
        replace(course[-1], number="11", needs=("04", "05", "06")),
    ]
    for chapters in (course, course[:10] + more):
        svg = drawn(chapters)
        places = boxes(svg)
        assert len(places) == len(chapters)
        width, height = (float(svg.get(n, "")) for n in ("width", "height"))
        for number, (x, y, wide, tall) in places.items():
            assert x >= 0
            assert x + wide <= width
            assert y + tall <= height
            for other, (x2, y2, _, _) in places.items():
                if number != other:
                    assert abs(x - x2) >= wide or abs(y - y2) >= tall
        for entry in chapters:
            for needed in entry.needs:
                assert places[needed][1] < places[entry.number][1]


def test_the_map_can_be_read_without_seeing_it(course: list[course_map.Entry]) -> None:
    svg = drawn(course)
    words = svg.findtext(f"{SVG}desc") or ""
    assert "06 Multi-head attention needs 04 and 05" in words
    assert svg.get("role") == "img"
    assert f"![{words}](images/map.svg)" in (ROOT / course_map.PAGE).read_text(
        encoding="utf-8"
    )


def test_the_commands(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy)
    assert cli.main(["map", "--check"]) == 0
    change(copy, "05_masks", "about 80 minutes", "about 95 minutes")
    assert cli.main(["map", "--check"]) == 1
    assert "run `attention-course map`" in capsys.readouterr().out
    assert cli.main(["map"]) == 0
    assert "wrote docs/map.md" in capsys.readouterr().out
    assert cli.main(["map", "--check"]) == 0

"""The map of the course: which chapter needs which, from what each of them states.

Everything is read from the chapters: number and title from the first heading, the
question in bold under it, minutes and needs from the line `**Time**: about 75 minutes.
**You need** chapters 00 (…) and 02 (…)`. So the map cannot drift from the course.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

import networkx

from attention_course.author.chapter import (
    Chapter,
    ChapterError,
    find_chapters,
    read_chapter,
)

PAGE, PICTURE = Path("docs/map.md"), Path("docs/images/map.svg")

BOX_WIDTH, BOX_HEIGHT = 250, 72
ACROSS, DOWN = 274, 106
MARGIN = 16


@dataclass(frozen=True)
class Entry:
    """What the map says of one chapter; ``needs`` holds numbers of earlier chapters."""

    slug: str
    number: str
    title: str
    question: str
    minutes: int
    exercises: int
    needs: tuple[str, ...]


def entries(root: Path) -> list[Entry]:
    """The chapters of a course, in order.

    Raises `ChapterError` for a chapter that does not state its question, its time or
    its needs, or that needs a chapter which does not come before it.
    """
    found: list[Entry] = []
    for folder in find_chapters(root):
        entry = _entry(read_chapter(folder))
        for needed in entry.needs:
            if needed not in {earlier.number for earlier in found}:
                raise ChapterError(
                    folder / "chapter.py",
                    1,
                    f"needs chapter {needed}, which does not come before it",
                )
        found.append(entry)
    return found


def _entry(chapter: Chapter) -> Entry:
    first, *others = [cell for cell in chapter.cells if cell.role == "prose"]
    number, _, title = chapter.title.partition(" · ")
    question = re.search(r"\*\*(.+?)\*\*", first.source, flags=re.DOTALL)
    if question is None:
        raise ChapterError(
            chapter.path, first.line, "open with a question in bold, under the title"
        )
    for cell in others:
        stated = re.search(
            r"\*\*Time\*\*: about (\d+) minutes\.\s+\*\*You need\*\*(.+?)(?:\n\n|\Z)",
            cell.source,
            flags=re.DOTALL,
        )
        if stated:
            return Entry(
                slug=chapter.slug,
                number=number,
                title=title,
                question=" ".join(question.group(1).split()),
                minutes=int(stated.group(1)),
                exercises=len(chapter.points),
                needs=tuple(sorted(set(re.findall(r"\b\d\d\b", stated.group(2))))),
            )
    raise ChapterError(
        chapter.path,
        1,
        "say `**Time**: about 75 minutes. **You need** …`, with the chapters' numbers",
    )


def graph_of(course: list[Entry]) -> networkx.DiGraph:
    """The chapters' numbers, with an edge from what is needed to what needs it."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(entry.number for entry in course)
    graph.add_edges_from((n, entry.number) for entry in course for n in entry.needs)
    return graph


def places(graph: networkx.DiGraph) -> dict[str, tuple[float, int]]:
    """Where each chapter stands: column (0 is the middle) and row.

    A chapter stands a row below the last one that it needs, as near under the chapters
    it needs most closely as its neighbours in the row allow.
    """
    closest = networkx.transitive_reduction(graph)
    found: dict[str, tuple[float, int]] = {}
    for row, numbers in enumerate(networkx.topological_generations(graph)):
        wished = {}
        for number in numbers:
            above = [found[n][0] for n in closest.predecessors(number)]
            wished[number] = sum(above) / len(above) if above else 0.0
        ordered = sorted(numbers, key=lambda n: (wished[n], n))
        middle = sum(wished.values()) / len(wished)
        for place, number in enumerate(ordered):
            spread = place - (len(ordered) - 1) / 2
            column = middle + spread if len(ordered) > 1 else wished[number]
            found[number] = column, row
    return found


def describe(course: list[Entry]) -> str:
    """The picture in words, for those who cannot see it."""
    parts = [
        f"{entry.number} {entry.title} "
        + (f"needs {_listed(entry.needs)}" if entry.needs else "needs none")
        for entry in course
    ]
    return (
        f"{len(course)} boxes, one for each chapter, with arrows from top to bottom, "
        "from what is needed to what needs it: " + "; ".join(parts) + "."
    )


def _listed(names: tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def draw(course: list[Entry]) -> str:
    """The map as an SVG. Each box names all that its chapter needs.

    Arrows are drawn for the closest needs alone: a way along them leads to the others.
    """
    graph = graph_of(course)
    at = places(graph)
    left = min(column for column, _ in at.values())
    right = max(column for column, _ in at.values())
    middles = {
        number: (MARGIN + BOX_WIDTH / 2 + (column - left) * ACROSS, row)
        for number, (column, row) in at.items()
    }
    wide = 2 * MARGIN + BOX_WIDTH + (right - left) * ACROSS
    tall = 2 * MARGIN + BOX_HEIGHT + max(row for _, row in at.values()) * DOWN
    arrows = [
        _arrow(middles[start], middles[end])
        for start, end in sorted(networkx.transitive_reduction(graph).edges)
    ]
    boxes = [_box(entry, *middles[entry.number]) for entry in course]
    words = html.escape(describe(course), quote=True)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {tall:g}" '
            f'width="{wide:g}" height="{tall:g}" role="img" '
            'aria-labelledby="title desc" font-family="DejaVu Sans, sans-serif">',
            '<title id="title">The map of the course</title>',
            f'<desc id="desc">{words}</desc>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" '
            'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#222222"/></marker></defs>',
            f'<rect width="{wide:g}" height="{tall:g}" fill="#ffffff"/>',
            '<g fill="none" stroke="#222222" stroke-width="2" marker-end="url(#head)">',
            *arrows,
            "</g>",
            *boxes,
            "</svg>",
            "",
        ]
    )


def _top(row: int) -> float:
    return MARGIN + row * DOWN


def _arrow(start: tuple[float, int], end: tuple[float, int]) -> str:
    (x, row), (to_x, to_row) = start, end
    y, to_y = _top(row) + BOX_HEIGHT, _top(to_row)
    bend = (to_y - y) / 2
    return (
        f'<path d="M{x:g},{y:g} C{x:g},{y + bend:g} {to_x:g},{to_y - bend:g} '
        f'{to_x:g},{to_y:g}"/>'
    )


def _box(entry: Entry, x: float, row: int) -> str:
    y = _top(row)
    title = html.escape(f"{entry.number} · {entry.title}")
    length = f"{entry.minutes} minutes, {entry.exercises} exercises"
    needs = f"needs {_listed(entry.needs)}" if entry.needs else "needs Python"
    lines = [
        f'<text x="{x:g}" y="{y + down:g}" text-anchor="middle" fill="#222222" '
        f'font-size="{size}"{weight}>{text}</text>'
        for down, size, weight, text in (
            (24, 14, ' font-weight="bold"', title),
            (43, 12, "", length),
            (60, 12, "", needs),
        )
    ]
    box = (
        f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y:g}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="8" fill="#eaf1f8" stroke="#0561a4" '
        'stroke-width="1.5"/>'
    )
    return "\n".join([box, *lines])


def page(course: list[Entry]) -> str:
    """The page around the picture, in Markdown: a row for each chapter."""
    leads: dict[str, list[str]] = {entry.number: [] for entry in course}
    for entry in course:
        for needed in entry.needs:
            leads[needed].append(entry.number)
    hours = round(sum(entry.minutes for entry in course) / 60)
    rows = [
        f"| [{entry.number}](../notebooks/{entry.slug}.ipynb) | **{entry.title}**: "
        f"{entry.question} | {entry.minutes} | {entry.exercises} | "
        f"{', '.join(entry.needs) or '–'} | {', '.join(leads[entry.number]) or '–'} |"
        for entry in course
    ]
    return "\n".join(
        [
            "<!-- Written by `attention-course map` from the chapters: edit those. -->",
            "",
            "# The map of the course",
            "",
            f"{len(course)} chapters, about {hours} hours. Read from top to bottom; or "
            "start at the chapter you want, and go back along its arrows to what it "
            "needs. Words that you don't know stand in the [glossary](glossary.md).",
            "",
            f"![{describe(course)}](images/map.svg)",
            "",
            "| | the question it answers | minutes | exercises | needs | leads to |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def files(root: Path) -> dict[Path, str]:
    """What the map's files have to hold, by path relative to the course's folder."""
    course = entries(root)
    return {PAGE: page(course), PICTURE: draw(course)}


def stale(root: Path) -> list[Path]:
    """The map's files that are not what the chapters say now."""
    return [path for path, text in files(root).items() if _read(root / path) != text]


def write(root: Path) -> list[Path]:
    """Write those of the map's files that are stale; returns their paths."""
    found = stale(root)
    texts = files(root)
    for path in found:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(texts[path], encoding="utf-8")
    return found


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None

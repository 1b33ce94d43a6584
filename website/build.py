"""Build the site from the built notebooks: stage the pages, then run Sphinx.

`python website/build.py [FOLDER]` writes the site to FOLDER (default:
build/website/html). Everything comes from the repository and the environment: no
network, no kernel.
"""

from __future__ import annotations

import argparse
import base64
import html
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx.cmd.build import build_main

from attention_course.author.published import binder_url, colab_url, repository
from attention_course.grade.bundle import write_bundle

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "website"
ARCHIVE = "attention-course.zip"
OPENING = "01"
"""The chapter whose question and first two figures open the site."""
HINT = "images/hint.png"
WIDGET = "application/vnd.jupyter.widget-view+json"
MATHJAX = ("tex-chtml.js", "output/chtml", "input/tex/extensions", "a11y", "sre", "ui")
"""The parts of MathJax that the pages load."""

MENDED = (
    (
        r'<aside class="sidebar-drawer">',
        '<aside class="sidebar-drawer" aria-label="Course">',
    ),
    (r'<aside class="toc-drawer', '<aside aria-label="This page" class="toc-drawer'),
    (r'(class="caption" role="heading")>', r'\1 aria-level="2">'),
    (r'(<a href="#" class="back-to-top.*?</a>)', r'<nav aria-label="Top">\1</nav>'),
    (r'<th class="head"><p></p></th>', "<td></td>"),
    (r'<div id="search-results">', '<h1>Search</h1><div id="search-results">'),
)
"""Patterns in the theme's pages, and what stands in their place."""


@dataclass(frozen=True)
class Figure:
    """A picture from a lesson's outputs."""

    data: bytes
    title: str
    alt: str


@dataclass(frozen=True)
class Lesson:
    """One chapter as the site shows it."""

    slug: str
    cells: list[dict[str, Any]]
    release: list[dict[str, Any]]

    @property
    def number(self) -> str:
        """Like "04"."""
        return self.slug.split("_")[0]

    @property
    def title(self) -> str:
        """Like "Scaling"."""
        first = text(self.cells[0]).splitlines()[0]
        return first.lstrip("# ").split("·", 1)[-1].strip()

    @property
    def question(self) -> str:
        """The bold sentence with which the chapter opens, or an empty string."""
        found = re.search(r"\*\*(.+?)\*\*", text(self.cells[0]), re.DOTALL)
        return " ".join(found.group(1).split()) if found else ""

    @property
    def figures(self) -> list[Figure]:
        """The lesson's pictures, in order."""
        found = []
        for cell in self.cells:
            for output in cell.get("outputs", []):
                picture = output.get("data", {}).get("image/png")
                if picture:
                    meta = output["metadata"]
                    found.append(
                        Figure(
                            base64.b64decode("".join(picture)),
                            meta.get("attention_course", {}).get("title", ""),
                            meta.get("image/png", {}).get("alt", ""),
                        )
                    )
        return found

    @property
    def exercises(self) -> list[str]:
        """The names of its exercises."""
        ids = (grade_id(cell) for cell in self.release)
        return [i.removeprefix("check_") for i in ids if i.startswith("check_")]


def text(cell: dict[str, Any]) -> str:
    """A cell's source as one string."""
    return "".join(cell["source"])


def grade_id(cell: dict[str, Any]) -> str:
    """nbgrader's name of a cell, or an empty string."""
    return cell.get("metadata", {}).get("nbgrader", {}).get("grade_id", "")


def read_lessons(root: Path) -> list[Lesson]:
    """Every chapter that is built."""
    lessons = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        release = root / "release" / path.stem / path.name
        cells = [json.loads(p.read_text("utf-8"))["cells"] for p in (path, release)]
        lessons.append(Lesson(path.stem, *cells))
    return lessons


def stage(root: Path, target: Path) -> None:
    """Write everything that Sphinx reads to the folder `target`."""
    shutil.rmtree(target, ignore_errors=True)
    lessons, address = read_lessons(root), repository(root)
    shutil.copytree(HERE / "static", target / "_static")
    shutil.copy(HERE / "conf.py", target)
    _stage_mathjax(target / "_static" / "mathjax")
    (target / "_extra").mkdir()
    write_bundle(root, target / "_extra" / ARCHIVE)
    (target / "_extra" / ".nojekyll").touch()  # GitHub Pages: keep _static
    for lesson in lessons:
        _write(target / f"lessons/{lesson.slug}.ipynb", lesson_page(lesson, address))
        _write(target / f"exercises/{lesson.slug}.md", exercise_page(lesson, address))
    figures = target / "_static" / "figures"
    figures.mkdir()
    for lesson in lessons:
        if lesson.figures:
            (figures / f"{lesson.slug}.png").write_bytes(lesson.figures[-1].data)
    opening = next((le for le in lessons if le.number == OPENING), None)
    if opening:
        for name, figure in zip(("near", "far"), opening.figures, strict=False):
            (figures / f"opening-{name}.png").write_bytes(figure.data)
    if (root / "docs" / HINT).exists():
        shutil.copy(root / "docs" / HINT, figures)
    docs = copy_docs(root / "docs", target)
    _write(target / "index.md", landing_page(lessons, opening, docs))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _stage_mathjax(target: Path) -> None:
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("sphinx-mathjax-offline is missing: run `make setup`")
    origin = Path(found.submodule_search_locations[0]) / "static" / "mathjax"
    for part in MATHJAX:
        if (origin / part).is_dir():
            shutil.copytree(origin / part, target / part)
        elif (origin / part).exists():
            target.mkdir(exist_ok=True)
            shutil.copy(origin / part, target / part)


def copy_docs(docs: Path, target: Path) -> list[str]:
    """Copy the pages and pictures of docs/; returns the pages' names."""
    for path in sorted(docs.rglob("*")):
        if path.is_file():
            copied = target / path.relative_to(docs)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copied)
    pages = sorted(docs.rglob("*.md"))
    return [p.relative_to(docs).with_suffix("").as_posix() for p in pages]


def lesson_page(lesson: Lesson, address: str | None) -> str:
    """The lesson as a notebook: alt texts where MyST-NB looks for them, and links."""
    cells = [json.loads(json.dumps(cell)) for cell in lesson.cells]
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(WIDGET, None)
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    count = len(lesson.exercises)
    here = f"../exercises/{lesson.slug}.md"
    bar = [f"[{count} exercises]({here})", *_open_links(lesson.slug, address)]
    download = f'<a href="../{ARCHIVE}" download>download the course</a>'
    end = (
        f"## Your turn\n\nThis chapter has {count} exercises. Each has a check that "
        f"tells you which mistake you made. [Read them here]({here}), and do them in "
        f"the chapter's notebook: {download}, or open it "
        f"{_open_sentence(lesson.slug, address)}.\n\n"
        f"```{{toctree}}\n:hidden:\n\nExercises of {lesson.number} <{here}>\n```"
    )
    cells.insert(1, _markdown(f"{{.chapter-links}}\n{' · '.join(bar)}", "site-links"))
    cells.append(_markdown(end, "site-end"))
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook)


def _markdown(source: str, identity: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": source}


def _open_links(slug: str, address: str | None) -> list[str]:
    if address is None:
        return []
    return [
        f"[Open in Colab]({colab_url(address, slug)})",
        f"[Open on Binder]({binder_url(address, slug)})",
    ]


def _open_sentence(slug: str, address: str | None) -> str:
    links = _open_links(slug, address)
    return "on your computer" if not links else " or ".join(links).replace("Open ", "")


def exercise_page(lesson: Lesson, address: str | None) -> str:
    """The chapter's exercises as a student receives them: text, signature, points."""
    parts = [
        f"# Exercises of {lesson.number} · {lesson.title}",
        "{.chapter-links}\n"
        + " · ".join(
            [
                f"[The lesson](../lessons/{lesson.slug}.ipynb)",
                *_open_links(lesson.slug, address),
            ]
        ),
        "Each stands in the chapter's notebook, with the text that leads to it and a "
        "check below it.",
    ]
    for cell in lesson.release:
        kind, _, _ = grade_id(cell).partition("_")
        if cell["id"].startswith("exercise-"):
            parts.append(re.sub(r"(?m)^###(?= )", "##", text(cell)))
        elif kind == "answer":
            parts.append(f"```python\n{text(cell).strip()}\n```")
        elif kind == "check":
            points = cell["metadata"]["nbgrader"]["points"]
            unit = "point" if points == 1 else "points"
            parts.append(f"`{text(cell).strip()}` is worth {points:g} {unit}.")
    return "\n\n".join(parts) + "\n"


def landing_page(lessons: list[Lesson], opening: Lesson | None, docs: list[str]) -> str:
    """The first page: the question, the map, and a card for each chapter."""
    parts = [
        "---\nhide-toc: true\n---\n\n# Attention in Context",
        "```{raw} html\n" + "\n".join(_landing(lessons, opening, docs)) + "\n```",
    ]
    if "map" in docs:
        parts.append("```{include} map.md\n:start-line: 1\n:heading-offset: 1\n```")
    trees = {
        "": [d for d in ("student",) if d in docs],
        "Lessons": [f"lessons/{lesson.slug}" for lesson in lessons],
        "Reference": [d for d in ("glossary", "map") if d in docs],
        "For instructors": [d for d in docs if d.startswith("instructor/")],
    }
    for caption, pages in trees.items():
        if pages:
            option = f":caption: {caption}\n" if caption else ""
            listed = "\n".join(pages)
            parts.append(f"```{{toctree}}\n:hidden:\n{option}\n{listed}\n```")
    return "\n\n".join(parts) + "\n"


def _landing(
    lessons: list[Lesson], opening: Lesson | None, docs: list[str]
) -> Iterator[str]:
    first = lessons[0].slug
    yield '<div class="landing">'
    yield (
        '<p class="lead">A course on attention that you do with your hands: read a '
        "little, predict, run, write the next piece yourself, and press "
        "<strong>check</strong>. When you are wrong, you are told which mistake you "
        "made.</p>"
    )
    yield '<p class="actions">'
    yield f'<a class="action primary" href="lessons/{first}.html">Start reading</a>'
    yield f'<a class="action" href="{ARCHIVE}" download>Download the course</a>'
    if "student" in docs:
        yield '<a class="action" href="student.html">How to install it</a>'
    yield "</p>"
    if opening:
        near, far = opening.figures[:2]
        yield '<div class="panel">'
        yield f'<p class="kicker">{_inline(opening.question)}</p>'
        yield f'<div class="side">{_picture("opening-near", near)}<p>'
        yield (
            "In which of these two scenes was the ball passed to a friend, and in "
            "which was it shot at the goal? You can’t tell. Nobody can: the pixels are "
            "the same.</p></div>"
        )
        yield "<details><summary>Take a step back</summary>"
        yield f'<div class="side">{_picture("opening-far", far)}<p>'
        yield (
            "What the ball is, two players far away from it decide. A model that sees "
            "patches one by one has to learn where to look: that is attention. "
            f'<a href="lessons/{opening.slug}.html">Chapter {opening.number}</a> '
            "begins here.</p></div></details></div>"
        )
    if (ROOT / "docs" / HINT).exists():
        yield '<div class="panel">'
        yield '<p class="kicker">A check that names your mistake</p>'
        yield '<div class="side"><p>'
        yield (
            "It runs your answer on batches, on one item, on unequal lengths, on large "
            "scores; sends gradients back through it; and compares what comes out with "
            "the right answer and with every known wrong one. You earn points for each "
            "aspect that is right.</p>"
        )
        yield (
            '<img src="_static/figures/hint.png" alt="A check in JupyterLab. The '
            "answer forgets to divide by the square root of d_k, and the check says: "
            "your scores are not divided by √d_k; they grow with the width of the "
            'vectors, and softmax saturates."></div></div>'
        )
    yield "<h2>The chapters</h2>"
    yield '<ul class="cards">'
    for lesson in lessons:
        yield _card(lesson)
    yield "</ul></div>"


def _picture(name: str, figure: Figure) -> str:
    return (
        f'<img src="_static/figures/{name}.png" '
        f'alt="{html.escape(figure.title)}. {html.escape(figure.alt)}">'
    )


def _card(lesson: Lesson) -> str:
    count = len(lesson.exercises)
    picture = ""
    if lesson.figures:  # the words beside it say what the chapter is about
        source = f"_static/figures/{lesson.slug}.png"
        picture = f'<img src="{source}" alt="">'
    return (
        f'<li class="card"><h3><a href="lessons/{lesson.slug}.html">'
        f'<span class="number">{lesson.number}</span>{html.escape(lesson.title)}</a>'
        f"</h3>{picture}<p>{_inline(lesson.question)}</p>"
        f'<p class="count"><a href="exercises/{lesson.slug}.html">'
        f'{count} exercises<span class="visually-hidden"> of chapter '
        f"{lesson.number}</span></a></p></li>"
    )


def _inline(markdown: str) -> str:
    """Escaped text with `code`, *emphasis* and formulas."""
    escaped = html.escape(markdown, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escaped)
    formula = r'<span class="math notranslate nohighlight">\\(\1\\)</span>'
    return re.sub(r"\$([^$]+)\$", formula, escaped)


def polish(folder: Path) -> None:
    """Mend in the finished pages what the theme leaves unclear to a screen reader."""
    for path in folder.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for pattern, better in MENDED:
            page = re.sub(pattern, better, page, flags=re.DOTALL)
        path.write_text(page, encoding="utf-8")


def main() -> int:
    """Build; returns Sphinx's exit code: 0, or 1 for an error or a warning."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "build" / "website" / "html"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder.resolve()
    source = ROOT / "build" / "website" / "source"
    stage(ROOT, source)
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["-b", "html", "-q", "-W", "--keep-going", "-j", "auto"]
    arguments += ["-d", str(source.parent / "doctrees")]
    code = build_main([*arguments, str(source), str(folder)])
    if code == 0:
        polish(folder)
        print(f"wrote {folder}: open index.html in a browser")
    return code


if __name__ == "__main__":
    sys.exit(main())

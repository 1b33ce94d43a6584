"""The first page: the question, a card for each chapter, the map."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from lessons import Figure, Lesson
from pages import ARCHIVE

HINT = "images/hint.png"
MAP = "images/map.svg"
OPENING = "01"
"""The chapter whose question and first two figures open the site."""


def opening_of(lessons: list[Lesson]) -> Lesson | None:
    """The chapter that opens the site, if it has the two figures for it."""
    found = [lesson for lesson in lessons if lesson.number == OPENING]
    return found[0] if found and len(found[0].figures) > 1 else None


def landing_page(root: Path, lessons: list[Lesson], docs: list[str]) -> str:
    """The first page: the question, the map, and a card for each chapter."""
    content = "\n".join(_landing(root, lessons, docs))
    parts = [
        "---\nhide-toc: true\n---\n\n# Attention in Context",
        f"```{{raw}} html\n{content}\n```",
    ]
    instructors = [d for d in docs if d.startswith("instructor/")]
    trees = {
        "": [d for d in docs if d == "student"],
        "Lessons": [f"lessons/{lesson.slug}" for lesson in lessons],
        "Reference": [d for d in docs if d != "student" and d not in instructors],
        "For instructors": instructors,
    }
    for caption, pages in trees.items():
        if pages:
            option = f":caption: {caption}\n" if caption else ""
            listed = "\n".join(pages)
            parts.append(f"```{{toctree}}\n:hidden:\n{option}\n{listed}\n```")
    return "\n\n".join(parts) + "\n"


def _landing(root: Path, lessons: list[Lesson], docs: list[str]) -> Iterator[str]:
    first, opening = lessons[0].slug, opening_of(lessons)
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
    if (root / "docs" / HINT).exists():
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
    yield "</ul>"
    if map_alt := _map_alt(root):
        yield "<h2>How they hang together</h2>"
        words = ""
        if "glossary" in docs:
            words = ', <a href="glossary.html">the glossary</a> what each word means'
        yield (
            "<p>An arrow leads from what is needed to what needs it. "
            f'<a href="map.html">The map</a> says how long each chapter takes{words}.'
            '</p><p class="map"><img src="_static/figures/map.svg" '
            f'alt="{html.escape(map_alt)}"></p>'
        )
    yield "</div>"


def _map_alt(root: Path) -> str:
    """What the map's picture shows, in the words of docs/map.md."""
    page = root / "docs" / "map.md"
    if not page.exists():
        return ""
    found = re.search(rf"!\[([^]]*)\]\({MAP}\)", page.read_text(encoding="utf-8"))
    return " ".join(found[1].split()) if found else ""


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

"""Pages of a chapter, and of docs/, as Sphinx reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lessons import Lesson, grade_id, text

from attention_course.author.published import BRANCH, binder_url, colab_url

ARCHIVE = "attention-course.zip"
"""The students' archive, which lies beside the first page."""

WIDGET = "application/vnd.jupyter.widget-view+json"


def relinked(text: str, path: Path, root: Path, address: str | None) -> str:
    """A page of docs/ with its links into the repository turned to the site's pages.

    A notebook becomes its lesson, a release its exercises; what the site does not show
    is linked where the repository is published.
    """
    up = "../" * (len(path.relative_to(root).parts) - 2)

    def better(found: re.Match[str]) -> str:
        link, _, place = found[1].partition("#")
        if not link or "://" in link or link.startswith("mailto:"):
            return found[0]
        file = (path.parent / link).resolve()
        if file.is_relative_to(root / "docs") or not file.is_relative_to(root):
            return found[0]
        part = file.relative_to(root)
        if part.parts[0] == "notebooks":
            link = f"{up}lessons/{file.name}"
        elif part.parts[0] == "release" and file.suffix == ".ipynb":
            link = f"{up}exercises/{file.stem}.md"
        elif address and file.exists():
            kind = "tree" if file.is_dir() else "blob"
            link = f"{address}/{kind}/{BRANCH}/{part.as_posix()}"
        return f"]({link}#{place})" if place else f"]({link})"

    return re.sub(r"\]\(([^()\s]+)\)", better, text)


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

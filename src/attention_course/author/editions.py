"""Turn a chapter into notebooks: nbgrader's instructor version, and the lesson."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from attention_course.author.chapter import BEGIN, END, Cell, Chapter
from attention_course.author.published import first_cell

KERNEL = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def source_notebook(chapter: Chapter) -> NotebookNode:
    """nbgrader's instructor version: every cell, no outputs.

    Before its first code stands a cell of the build's own, which installs the course
    on Google Colab. It stands here, and not in the release alone, so that nbgrader's
    `generate_assignment` gives the release; the lesson has none.
    """
    notebook = _notebook(chapter, list(chapter.cells))
    source = first_cell(chapter.path.parents[2], chapter.slug)
    if source is not None:
        node = nbformat.v4.new_code_cell(source, id="colab")
        node["metadata"] = {"jupyter": {"source_hidden": True}}
        kinds = [cell.cell_type for cell in notebook.cells]
        notebook.cells.insert(kinds.index("code"), node)
    return notebook


def lesson_notebook(chapter: Chapter) -> NotebookNode:
    """The lesson: no exercises, answers or checks; not executed yet."""
    return _notebook(chapter, chapter.lesson())


def _notebook(chapter: Chapter, cells: list[Cell]) -> NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.update(json.loads(json.dumps(KERNEL)))
    counts: Counter[str] = Counter()
    for cell in cells:
        make = (
            nbformat.v4.new_code_cell if cell.is_code else nbformat.v4.new_markdown_cell
        )
        node = make(cell.source)
        node["id"] = _cell_id(chapter, cell, counts)
        node["metadata"] = _metadata(cell)
        notebook.cells.append(node)
    return notebook


def _cell_id(chapter: Chapter, cell: Cell, counts: Counter[str]) -> str:
    """A role's name, or a hash of the text: the same cell keeps its id."""
    if cell.exercise:
        return f"{cell.role}-{cell.exercise}".replace("_", "-")[:64]
    digest = hashlib.sha256(f"{chapter.slug}\n{cell.source}".encode()).hexdigest()[:12]
    counts[digest] += 1
    return digest if counts[digest] == 1 else f"{digest}-{counts[digest]}"


def _metadata(cell: Cell) -> dict[str, Any]:
    if cell.role not in ("answer", "check"):
        return {}
    is_check = cell.role == "check"
    nbgrader = {
        "grade": is_check,
        "grade_id": f"{cell.role}_{cell.exercise}",
        "locked": is_check,
        "schema_version": 3,
        "solution": not is_check,
        "task": False,
    }
    if is_check:
        points = cell.points or 0
        nbgrader["points"] = int(points) if points == int(points) else points
    return {"nbgrader": nbgrader}


def without_markers(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the solution markers' lines taken out."""
    for cell in notebook.cells:
        rows = cell.source.splitlines()
        cell.source = "\n".join(r for r in rows if r.strip() not in (BEGIN, END))
    return notebook


def normalised(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs from machine to machine, and run to run.

    What a cell prints is one output, however the kernel happened to send it.
    """
    notebook, _ = CoalesceStreamsPreprocessor(enabled=True).preprocess(notebook, {})
    notebook.metadata.update(json.loads(json.dumps(KERNEL)))
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def dump(notebook: NotebookNode) -> bytes:
    """The notebook as the bytes that are committed: those that nbgrader writes."""
    nbformat.validate(notebook)
    return (nbformat.writes(notebook) + "\n").encode()

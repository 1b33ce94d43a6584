"""A pytest plugin for nbval: refuse what nbval lets pass.

nbval compares nothing for a cell that was never executed, and it skips cells by comment
or tag. Here each code cell must have been executed, may not opt out, and every stored
picture must carry the data that it draws and a description.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

OPT_OUTS = ("NBVAL_", "PYTEST_VALIDATE_IGNORE_OUTPUT")


def problems(notebook: NotebookNode) -> Iterator[str]:
    """What makes a stored notebook unable to prove anything, cell by cell."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            yield f"cell {index} was never executed: its output is missing"
        tags = [str(tag) for tag in cell.metadata.get("tags", [])]
        if any(o in cell.source for o in OPT_OUTS) or any(
            t.startswith("nbval") or t == "raises-exception" for t in tags
        ):
            yield f"cell {index} opts out of the comparison"
        for output in cell.outputs:
            yield from _output_problems(index, output)
    if not any(c.cell_type == "code" and c.outputs for c in notebook.cells):
        yield "no cell has an output: the notebook is stripped"


def _output_problems(index: int, output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"cell {index} stores an error: {output.ename}"
    if "image/png" not in output.get("data", {}):
        return
    metadata = output.get("metadata", {})
    if not metadata.get("image/png", {}).get("alt"):
        yield f"cell {index} stores a picture without a description"
    if not _has_data(metadata.get("attention_course", {}).get("data", {})):
        yield f"cell {index} stores a picture without the data that it draws"


def _has_data(data: Any) -> bool:
    """Whether a figure's record holds at least one drawn thing."""
    drawn = ("lines", "images", "bars", "scatter", "points", "patches", "texts")
    axes = data.get("axes", []) if isinstance(data, dict) else []
    return any(panel.get(kind) for panel in axes for kind in drawn)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Fail the whole run if a collected notebook cannot prove anything."""
    found = []
    for path in sorted({Path(i.path) for i in items if i.path.suffix == ".ipynb"}):
        notebook = nbformat.read(path, as_version=4)
        found += [f"{path}: {problem}" for problem in problems(notebook)]
    if found:
        raise pytest.UsageError("notebooks that prove nothing:\n  " + "\n  ".join(found))

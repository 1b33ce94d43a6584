"""Stored notebooks: read them, and refuse those that could not prove anything.

nbval compares nothing for a cell that was never executed, and skips cells by comment or
tag: a stripped notebook is green. Here each code cell must have been executed, may not
opt out, and every stored picture must carry the data that it draws, and a description.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPT_OUTS = ("NBVAL_", "PYTEST_VALIDATE_IGNORE_OUTPUT")
OPT_OUT_TAGS = ("nbval-", "raises-exception", "pytest-validate")
WORDS = {"title", "xlabel", "ylabel"}
"""What a picture's record says about its axes; everything else in it was drawn."""

FLEETING = re.compile(r" at 0x[0-9a-f]{6,}|device='?cuda")
"""What differs from run to run or from machine to machine: addresses, devices."""

Notebook = dict[str, Any]


def executed_notebooks(root: Path) -> list[Path]:
    """The notebooks whose stored outputs are compared: lessons and solutions."""
    return [
        *sorted((root / "notebooks").glob("*.ipynb")),
        *sorted((root / "solutions").glob("*/*.ipynb")),
    ]


def read(path: Path) -> Notebook:
    """A notebook as plain JSON data."""
    return json.loads(path.read_text(encoding="utf-8"))


def text_of(value: str | list[str]) -> str:
    """Multi-line text, which notebooks store whole or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def problems(notebook: Notebook) -> Iterator[str]:
    """What makes a stored notebook unable to prove anything, cell by cell."""
    code = [(i, c) for i, c in enumerate(notebook["cells"]) if c["cell_type"] == "code"]
    for index, cell in code:
        if cell.get("execution_count") is None:
            yield f"cell {index} was never executed: its output is missing"
        tags = cell.get("metadata", {}).get("tags", [])
        if any(o in text_of(cell["source"]) for o in OPT_OUTS) or any(
            str(tag).startswith(OPT_OUT_TAGS) for tag in tags
        ):
            yield f"cell {index} opts out of the comparison"
        for output in cell["outputs"]:
            yield from _output_problems(index, output)
    if not any(cell["outputs"] for _, cell in code):
        yield "no cell has an output: the notebook is stripped"


def _output_problems(index: int, output: dict[str, Any]) -> Iterator[str]:
    if output["output_type"] == "error":
        yield f"cell {index} stores an error: {output['ename']}"
    if output.get("name") == "stderr":
        yield f"cell {index} writes to stderr"
    if found := fleeting(output):
        yield f"cell {index} shows {found!r}, which differs from run to run"
    if "image/png" not in output.get("data", {}):
        return
    metadata = output.get("metadata", {})
    if not metadata.get("image/png", {}).get("alt"):
        yield f"cell {index} stores a picture without a description"
    data = metadata.get("attention_course", {}).get("data", {})
    if not any(set(axes) - WORDS for axes in data.get("axes", [])):
        yield f"cell {index} stores a picture without the data that it draws"


def fleeting(output: dict[str, Any]) -> str:
    """An address or a device in what an output shows as text, or an empty string."""
    data = output.get("data", {})
    texts = [
        output.get("text", ""),
        data.get("text/plain", ""),
        data.get("text/html", ""),
    ]
    found = FLEETING.search("\n".join(map(text_of, texts)))
    return found.group().strip() if found else ""


def refuse(paths: list[Path]) -> list[str]:
    """All problems of the given notebooks, each with its path."""
    return [f"{path}: {problem}" for path in paths for problem in problems(read(path))]

"""The chapters as the site reads them: a lesson's cells, its release, its figures."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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

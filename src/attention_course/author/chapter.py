"""Read a chapter: a percent script whose cells have one-word roles.

Refuses, with file, line and cure, everything that would make an edition wrong.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
MARKER = re.compile(r"^# %%")
KEYS = {"answer": {"answer"}, "check": {"check", "points"}, "exercise": {"exercise"}}
LAYOUT = ("lines_to_next_cell", "lines_to_end_of_cell_marker")  # jupytext's own
SLUG = re.compile(r"^\d\d_[a-z][a-z0-9_]*$")


class ChapterError(ValueError):
    """A chapter that cannot be built: names file, line and cure."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        """`line` counts from 1."""
        super().__init__(f"{path}:{line}: {problem}")


@dataclass(frozen=True)
class Cell:
    """One cell. `role` is demo, answer, check (code), prose or exercise (markdown)."""

    role: str
    source: str
    line: int
    exercise: str | None = None
    points: float | None = None

    @property
    def is_code(self) -> bool:
        """Whether the cell holds code."""
        return self.role in ("demo", "answer", "check")


@dataclass(frozen=True)
class Chapter:
    """A chapter as it was written. `slug` is the folder's name, NN_slug."""

    slug: str
    path: Path
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """The first heading, without its marks."""
        return self.cells[0].source.splitlines()[0].lstrip("# ")

    @property
    def points(self) -> dict[str, float]:
        """Points by exercise, in the order of the chapter."""
        return {
            c.exercise: c.points
            for c in self.cells
            if c.exercise and c.points is not None
        }

    def lesson(self) -> list[Cell]:
        """The cells that stand on their own: no exercises, answers or checks."""
        return [c for c in self.cells if c.role in ("prose", "demo")]


def read_chapter(folder: Path) -> Chapter:
    """Read `folder/chapter.py`. Raises `ChapterError` for anything malformed."""
    path = folder / "chapter.py"
    if not SLUG.match(folder.name):
        raise ChapterError(
            path, 1, f"the folder {folder.name!r} must be called NN_name, like 03_masks"
        )
    if not path.exists():
        raise ChapterError(path, 1, "missing; a chapter is chapter.py and exercises.py")
    text = path.read_text(encoding="utf-8")
    lines = [i for i, row in enumerate(text.splitlines(), 1) if MARKER.match(row)]
    if not lines or (text.splitlines()[0:1] and lines[0] != 1):
        raise ChapterError(
            path, 1, "the file must begin with a cell: `# %% [markdown]`"
        )
    import jupytext  # a second that finding a chapter need not take

    parsed = jupytext.reads(text, fmt="py:percent").cells
    if len(parsed) != len(lines):
        raise ChapterError(
            path, 1, "a `# %%` stands inside a string; cells are unclear"
        )
    cells = tuple(_cell(path, n, line) for n, line in zip(parsed, lines, strict=True))
    chapter = Chapter(folder.name, path, cells)
    _refuse_malformed(chapter)
    return chapter


def _cell(path: Path, node: Any, line: int) -> Cell:
    keys = {k: v for k, v in node.metadata.items() if k not in LAYOUT}
    if node.cell_type not in ("code", "markdown"):
        raise ChapterError(
            path, line, f"a cell of type {node.cell_type!r}: use markdown"
        )
    if not node.source.strip():
        raise ChapterError(path, line, "an empty cell: fill or remove it")
    if not keys:
        role = "demo" if node.cell_type == "code" else "prose"
        return Cell(role, node.source, line)
    role = next((r for r in KEYS if r in keys), "")
    if not role or set(keys) - KEYS[role]:
        unknown = ", ".join(sorted(set(keys) - KEYS.get(role, set())))
        raise ChapterError(
            path,
            line,
            f"unknown key {unknown}: a cell may have answer=, exercise=, or check= "
            "with points=",
        )
    if (role == "exercise") != (node.cell_type == "markdown"):
        kind = "markdown" if role == "exercise" else "code"
        raise ChapterError(path, line, f"a cell with {role}= must be {kind}")
    points = keys.get("points")
    if role == "check" and not (isinstance(points, int | float) and points > 0):
        raise ChapterError(
            path, line, f"check={keys['check']!r} needs points=, a number above 0"
        )
    name = keys[role]
    if not (isinstance(name, str) and name.isidentifier()):
        raise ChapterError(path, line, f"{role}={name!r} must be a Python name")
    return Cell(
        role, node.source, line, name, None if points is None else float(points)
    )


def _refuse_malformed(chapter: Chapter) -> None:
    path = chapter.path
    if not chapter.cells[0].source.startswith("# "):
        raise ChapterError(path, 1, "the first cell must be the title: `# NN · Title`")
    _refuse_unpaired(chapter)
    names = set(chapter.points)
    for cell in chapter.cells:
        if cell.is_code:
            _refuse_bad_code(path, cell, names)
        elif BEGIN in cell.source or END in cell.source:
            raise ChapterError(
                path, cell.line, "solution markers outside an answer cell"
            )


def _refuse_unpaired(chapter: Chapter) -> None:
    seen: dict[str, list[Cell]] = {"exercise": [], "answer": [], "check": []}
    for cell in chapter.cells:
        if cell.role in seen:
            seen[cell.role].append(cell)
    for role, cells in seen.items():
        for name, count in Counter(c.exercise for c in cells).items():
            if count > 1:
                last = [c for c in cells if c.exercise == name][-1]
                raise ChapterError(
                    chapter.path,
                    last.line,
                    f"a second {role}={name!r}: names are unique",
                )
    order = {c.exercise: chapter.cells.index(c) for c in seen["answer"]}
    checked = {c.exercise for c in seen["check"]}
    for cell in seen["check"] + seen["exercise"]:
        if cell.exercise not in order:
            problem = f"{cell.role}={cell.exercise!r} has no answer={cell.exercise!r}"
            raise ChapterError(chapter.path, cell.line, problem)
    for cell in seen["answer"]:
        if cell.exercise not in checked:
            problem = f"answer={cell.exercise!r} has no check={cell.exercise!r}"
            raise ChapterError(chapter.path, cell.line, problem)
    for cell in seen["check"]:
        if chapter.cells.index(cell) < order[cell.exercise]:
            problem = f"check={cell.exercise!r} stands before its answer"
            raise ChapterError(chapter.path, cell.line, problem)


def _refuse_bad_code(path: Path, cell: Cell, names: set[str]) -> None:
    begins, ends = cell.source.count(BEGIN), cell.source.count(END)
    if cell.role == "answer":
        if not begins or begins != ends:
            raise ChapterError(
                path,
                cell.line,
                f"an answer needs {BEGIN} … {END} around what is hidden",
            )
    elif begins or ends:
        raise ChapterError(path, cell.line, "solution markers outside an answer cell")
    try:
        tree = ast.parse(_without_magics(cell.source))
    except SyntaxError as error:
        line = cell.line + (error.lineno or 0)
        raise ChapterError(path, line, f"not Python: {error.msg}") from error
    own = _defined(tree)
    if cell.role == "answer" and cell.exercise not in own:
        raise ChapterError(
            path, cell.line, f"answer={cell.exercise!r} does not define {cell.exercise}"
        )
    if cell.role == "check":
        if cell.source.strip() != f"check({cell.exercise})":
            raise ChapterError(path, cell.line, f"a check is `check({cell.exercise})`")
        return
    for used, line in _names_used(tree):
        if used in names and used != cell.exercise and used not in own:
            raise ChapterError(
                path,
                cell.line + line,
                f"{cell.role} uses the answer `{used}`: the lesson and the other "
                "exercises must work while it is blank; use torch's own operation",
            )


def _without_magics(source: str) -> str:
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def _defined(tree: ast.Module) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    return names | {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _names_used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno


def find_chapters(root: Path, wanted: list[str] | None = None) -> list[Path]:
    """The chapters' folders, in order. Raises ValueError for one that is not there.

    A chapter may be named by its number, its slug or its folder's path.
    """
    folders = sorted(p.parent for p in (root / "chapters").glob("*/chapter.py"))
    if not wanted:
        return folders
    return [_find(folders, name) for name in wanted]


def _find(folders: list[Path], name: str) -> Path:
    stem = Path(name).name
    found = [f for f in folders if f.name == stem or f.name.split("_")[0] == stem]
    if not found:
        raise ValueError(
            f"there is no chapter {name!r}; there are: "
            + ", ".join(f.name for f in folders)
        )
    return found[0]

"""Which cells an answer needs: found by reading them, without running any.

A cell *gives* the names that it defines or may change at its top level, and *needs*
every name that occurs in it. What an answer needs is found by going back from its own
cells. Where reading cannot tell (`exec`, `globals()`, `import *`, magics that run
code), everything is run instead.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DYNAMIC = frozenset(
    "globals locals vars exec eval __import__ get_ipython delattr setattr "
    "importlib runpy inspect gc ctypes __main__ __builtins__ builtins".split()
)
"""Names whose use means that reading a cell does not tell what it does."""

DYNAMIC_ATTRIBUTES = frozenset({"modules", "__dict__", "_getframe", "user_ns"})

PLAIN_MAGICS = frozenset(
    "matplotlib pip conda config load_ext autoreload who whos pdb pwd ls cd precision "
    "alias_magic env lsmagic magic pinfo pinfo2 xmode colors".split()
)
"""Line magics that define nothing that an answer could need."""

TIMING_MAGICS = frozenset({"time", "timeit", "prun"})

_HARMLESS_CALLS = frozenset({"print", "display", "show", "check", "len", "repr", "str"})
_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Reading:
    """What reading one cell tells. `words` are names, attributes and strings in it."""

    gives: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    dynamic: bool = False


NOTHING = Reading()


def read_cell(source: str, transform: Any) -> Reading:
    """Read one cell. `transform` turns IPython's syntax into Python's.

    A cell that is not Python gives nothing: running it raises.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(transform(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return NOTHING
    reader = _Reader()
    try:
        for statement in tree.body:
            reader.top(statement)
    except RecursionError:
        return Reading(dynamic=True)
    return Reading(
        frozenset(reader.gives),
        frozenset(reader.needs - _BUILTINS | (reader.needs & reader.gives)),
        frozenset(reader.words),
        reader.dynamic,
    )


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.gives: set[str] = set()
        self.needs: set[str] = set()
        self.words: set[str] = set()
        self.dynamic = False
        self._depth = 0

    def top(self, statement: ast.stmt) -> None:
        """Read a statement of the cell itself."""
        if isinstance(statement, ast.Expr):
            self._touch_call(statement.value)
        self.visit(statement)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not self._depth:
            self._touch_call(node.value)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.words.add(node.id)
        if node.id in DYNAMIC:
            self.dynamic = True
        if isinstance(node.ctx, ast.Load):
            self.needs.add(node.id)
        elif not self._depth:
            self.gives.add(node.id)
        if isinstance(node.ctx, ast.Del):
            self.gives.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.words.add(node.attr)
        if node.attr in DYNAMIC_ATTRIBUTES:
            self.dynamic = True
        if not isinstance(node.ctx, ast.Load):
            self._touch(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._touch(node)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 100:
            self.words.add(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._touch(node.target)
        if isinstance(node.target, ast.Name):
            self.needs.add(node.target.id)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._bind((alias.asname or alias.name).partition(".")[0])
            self._look_at(alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._look_at((node.module or "").partition(".")[0])
        for alias in node.names:
            if alias.name == "*":
                self.dynamic = True
            self._bind(alias.asname or alias.name)

    def visit_Global(self, node: ast.Global) -> None:
        # A function that changes a global does so wherever it is called.
        self.gives.update(node.names)
        self.needs.update(node.names)
        self.words.update(node.names)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._bind(node.name)
        self._inner(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self._inner(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inner(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        magic = _magic(node)
        if magic is None:
            # A method that ends in "_" changes its object; others may, where what
            # they return is not used (see `_touch_call`).
            if isinstance(node.func, ast.Attribute) and _in_place(node.func.attr):
                self._touch(node.func)
            self.generic_visit(node)
            return
        kind, name, texts = magic
        if kind == "system" or name in PLAIN_MAGICS:
            return
        if name in TIMING_MAGICS:
            for text in texts:
                self._timed(text)
            return
        self.dynamic = True

    def _timed(self, text: str) -> None:
        while text.startswith("-"):
            text = text.partition(" ")[2].lstrip()
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.dynamic = True
            return
        for statement in tree.body:
            self.top(statement)

    def _inner(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def _bind(self, name: str) -> None:
        self.words.add(name)
        if not self._depth:
            self.gives.add(name)

    def _look_at(self, module: str) -> None:
        if module in DYNAMIC:
            self.dynamic = True

    def _touch_call(self, value: ast.expr) -> None:
        """A call whose result is dropped is there for what it changes."""
        if isinstance(value, ast.Await):
            value = value.value
        if not isinstance(value, ast.Call) or _magic(value) is not None:
            return
        if isinstance(value.func, ast.Name) and value.func.id in _HARMLESS_CALLS:
            return
        self._touch(value.func)
        for argument in (*value.args, *(k.value for k in value.keywords)):
            self._touch(argument)

    def _touch(self, node: ast.AST) -> None:
        """The object behind `node` changes: its root name is given by this cell."""
        if isinstance(node, ast.List | ast.Tuple):
            for item in node.elts:
                self._touch(item)
            return
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
            node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Name):
            self.gives.add(node.id)
            self.needs.add(node.id)


def _in_place(name: str) -> bool:
    changing = ("set_", "manual_seed", "append", "extend", "update", "pop", "clear")
    return (name.endswith("_") and not name.endswith("__")) or name.startswith(changing)


def _magic(node: ast.Call) -> tuple[str, str, list[str]] | None:
    """What IPython makes of a magic or a shell command: kind, name, texts."""
    function = node.func
    if not (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        return None
    texts = [
        a.value
        for a in node.args
        if isinstance(a, ast.Constant) and isinstance(a.value, str)
    ]
    if function.attr in ("system", "getoutput"):
        return "system", "", texts
    if function.attr in ("run_line_magic", "run_cell_magic") and texts:
        return "magic", texts[0], texts[1:]
    return "magic", "", texts


@dataclass(frozen=True)
class Choice:
    """Which cells to run, by index; `left` are those that reading found unneeded."""

    run: tuple[int, ...]
    left: tuple[int, ...]
    full: bool


def choose(
    cells: Sequence[Mapping[str, Any]],
    readings: Mapping[int, Reading],
    targets: Iterable[int],
    names: Iterable[str],
    end: int,
) -> Choice:
    """The cells before `end` that the cells `targets` and the `names` need.

    `readings` has an entry for each cell that may run at all.
    """
    candidates = [i for i in readings if i < end]
    if any(readings[i].dynamic for i in readings if cells[i]["kind"] != "demo"):
        return Choice(tuple(candidates), (), True)
    needed = set(names)
    chosen = {i for i in targets if i in readings and i < end}
    for index in chosen:
        needed |= readings[index].needs
    changed = True
    while changed:
        changed = False
        for index in candidates:
            if index not in chosen and readings[index].gives & needed:
                chosen.add(index)
                needed |= readings[index].needs
                changed = True
    left = tuple(i for i in candidates if i not in chosen)
    return Choice(tuple(sorted(chosen)), left, not left)

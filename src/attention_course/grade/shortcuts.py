"""Find, in an answer's text, a function of torch that the exercise is about.

Found here or by the sandbox's count, a shortcut is flagged for a person to look at. It
costs no point: whether it was allowed, a program cannot tell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from attention_course.grade.contract import RunCell
from attention_course.grade.intake import syntax_tree


def find_shortcuts(cells: Iterable[RunCell], watched: Iterable[str]) -> set[str]:
    """The watched functions, like "torch.nn.functional.softmax", that answers name.

    Understands `import a.b as c`, `from a.b import c as d` and `c = a.b.c` in any cell;
    a name that only an answer's cell uses counts.
    """
    watched = tuple(watched)
    if not watched:
        return set()
    aliases: dict[str, str] = {}
    used: set[str] = set()
    for cell in cells:
        if cell.kind in ("markdown", "check"):
            continue
        tree = syntax_tree(cell.source)
        if tree is None:
            used |= {w for w in watched if w.rpartition(".")[2] in cell.source}
            continue
        _collect_aliases(tree, aliases)
        if cell.kind in ("answer", "student"):
            used |= _used(tree, aliases)
    return {w for w in watched if w in used}


def _collect_aliases(tree: ast.Module, aliases: dict[str, str]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                whole = name.name if name.asname else name.name.partition(".")[0]
                aliases[name.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                aliases[name.asname or name.name] = f"{node.module}.{name.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], _dotted(node.value, aliases)
            if isinstance(target, ast.Name) and value:
                aliases[target.id] = value


def _used(tree: ast.Module, aliases: dict[str, str]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node, aliases)
            if name:
                found.add(name)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "getattr"
            and len(node.args) > 1
            and isinstance(node.args[1], ast.Constant)
            and isinstance(node.args[1].value, str)
        ):
            owner = _dotted(node.args[0], aliases)
            if owner:
                found.add(f"{owner}.{node.args[1].value}")
    return found


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str | None:
    """A chain of attributes as the dotted name that it stands for."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases:
        return None
    return ".".join([aliases[node.id], *reversed(parts)])

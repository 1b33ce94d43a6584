"""Find, in an answer's text, what it should have been written without.

That is a function of torch that the exercise is about, or the course's own code: its
stand-ins for answers, and what observes an answer; or a way around who observes: other
frames, threads, code that Python does not run. Found here or by the sandbox's count, it
is flagged for a person to look at. It costs no point: whether it was allowed, a program
cannot tell.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attention_course.grade.contract import RunCell
from attention_course.grade.intake import SHORT, syntax_tree

COURSE = "attention_course"
OFFERED = frozenset(
    f"{COURSE}.learn.{name}"
    for name in ("check", "device", "figures", "photos", "scenes", "seed", "widgets")
)
"""What any notebook may use. A chapter's own demos may import more."""
DEEPEST = 8
"""Parts of a dotted name that are told."""


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
        parsed = _parsed(cell.source)
        if parsed is None:
            used |= {w for w in watched if _written(w, cell.source)}
            continue
        _collect_aliases(parsed, aliases)
        if cell.kind in ("answer", "student"):
            used |= _used(parsed.nodes, aliases)
    plain = {_kernel(name) for name in used if name.startswith("torch.")}
    return {w for w in watched if w in used or _kernel(w) in plain}


def _kernel(name: str) -> str:
    """What a function of torch computes, under whichever of its names.

    `torch.layer_norm`, `torch.native_layer_norm` and `torch.ops.aten.layer_norm` are
    `torch.nn.functional.layer_norm`.
    """
    parts = name.split(".")
    found = next((p for p in reversed(parts) if p not in ("default", "out")), "")
    return found.strip("_").removeprefix("native_")


INSIDE_THE_INTERPRETER = frozenset(
    (
        "__closure__",
        "__code__",
        "__globals__",
        "__subclasses__",
        "__wrapped__",
        "_current_frames",
        "_getframe",
        "cr_frame",
        "currentframe",
        "f_back",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "get_objects",
        "get_referents",
        "get_referrers",
        "gi_frame",
        "setprofile",
        "settrace",
        "tb_frame",
    )
)
OTHER_WAYS_TO_RUN = frozenset(
    (
        "_thread",
        "concurrent.futures",
        "ctypes",
        "multiprocessing",
        "threading",
        "torch.compiler",
        "torch.fx",
        "torch.jit",
        "torch.multiprocessing",
        "torch.ops",
        "torch.utils.cpp_extension",
    )
)
UNREADABLE = frozenset({"__import__", "compile", "eval", "exec"})


def find_tricks(cells: Iterable[RunCell]) -> set[str]:
    """What answers use that no exercise asks for, and that can deceive an observer.

    That is a look at other frames, threads and code that Python does not run itself.
    """
    found: set[str] = set()
    for nodes, names in _own_cells(cells, {}):
        found |= {name.rpartition(".")[2] for name in names} & INSIDE_THE_INTERPRETER
        for node in nodes:
            if isinstance(node, ast.Attribute) and node.attr in INSIDE_THE_INTERPRETER:
                found.add(node.attr)
            if isinstance(node, ast.Name) and node.id in UNREADABLE:
                found.add(node.id)
        for way in OTHER_WAYS_TO_RUN:
            if any(name == way or _longer(name, way) for name in names):
                found.add(way)
    return found


def _own_cells(
    cells: Iterable[RunCell], aliases: dict[str, str]
) -> Iterator[tuple[tuple[ast.AST, ...], set[str]]]:
    """What each cell of the student's consists of, and the full names it tells.

    `aliases` grows by what all cells import. A name may also be told by a string.
    """
    for cell in cells:
        code = cell.kind not in ("markdown", "check")
        parsed = _parsed(cell.source) if code else None
        if parsed is None:
            continue
        imported: dict[str, str] = {}
        _collect_aliases(parsed, imported)
        aliases |= imported
        if cell.kind != "demo":
            nodes = parsed.nodes
            names = {*_used(nodes, aliases), *imported.values(), *_strings(nodes)}
            yield nodes, names


@dataclass(frozen=True)
class _Parsed:
    """A cell's syntax: all its nodes, outermost first, and those that give names."""

    nodes: tuple[ast.AST, ...]
    bindings: tuple[ast.Import | ast.ImportFrom | ast.Assign, ...]


def _parsed(source: str) -> _Parsed | None:
    """A cell's syntax, None if it is no Python. What is short is kept."""
    return _kept(source) if len(source) <= SHORT else _parse(source)


def _parse(source: str) -> _Parsed | None:
    tree = syntax_tree(source)
    if tree is None:
        return None
    nodes = tuple(ast.walk(tree))
    kinds = ast.Import | ast.ImportFrom | ast.Assign
    return _Parsed(nodes, tuple(n for n in nodes if isinstance(n, kinds)))


_kept = functools.lru_cache(maxsize=256)(_parse)


def _written(function: str, text: str) -> bool:
    """Whether a text that is no Python takes the function from a module."""
    name = re.escape(function.rpartition(".")[2])
    if re.search(rf"\.[ \t]*{name}\b", text):
        return True
    word = re.compile(rf"\b{name}\b")
    rows = (line.partition("import") for line in text.splitlines())
    return any(word.search(after) for _, found, after in rows if found)


def find_course_code(
    cells: Iterable[RunCell], demos: Iterable[str], exercises: Iterable[str]
) -> set[str]:
    """What the students' cells use of the course's package, and of torch's inside.

    `demos` are the released demos' texts. What they import may be used, but not be the
    answer itself or its base class.
    """
    told: dict[str, str] = {}
    for text in demos:
        if parsed := _parsed(text):
            _collect_aliases(parsed, told)
    offered = OFFERED | {name for name in told.values() if _is_inside(name)}
    aliases = dict(told)
    found: set[str] = set()
    for nodes, names in _own_cells(cells, aliases):
        found |= {n for n in names if _is_inside(n) and not _among(n, offered)}
        found |= {n for n in _stand_ins(nodes, aliases, exercises) if _is_inside(n)}
    found = {".".join(name.split(".")[:DEEPEST]) for name in found}
    owners = {n for name in found for n in _owners(name)}
    return found - owners


def _owners(name: str) -> Iterator[str]:
    """`a.b` and `a` of `a.b.c`."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _is_inside(name: str) -> bool:
    return name.startswith((f"{COURSE}.", "torch._C."))


def _among(name: str, offered: Iterable[str]) -> bool:
    whole = (f"{COURSE}.learn", f"{COURSE}.learn.*")
    return name in whole or any(name == o or _longer(name, o) for o in offered)


def _longer(name: str, start: str) -> bool:
    return name.startswith(f"{start}.")


def _strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Strings that are a module's name, as `import_module` and `sys.modules` take."""
    for node in nodes:
        told = node.value if isinstance(node, ast.Constant) else None
        if isinstance(told, str) and re.fullmatch(r"[\w.]{1,200}", told):
            yield told


def _stand_ins(
    nodes: Iterable[ast.AST], aliases: dict[str, str], exercises: Iterable[str]
) -> Iterator[str]:
    """What an exercise's name stands for, or what its class is made from."""
    wanted = set(exercises)
    for node in nodes:
        if isinstance(node, ast.ClassDef) and node.name in wanted:
            yield from filter(None, (_dotted(base, aliases) for base in node.bases))
        elif isinstance(node, ast.Assign):
            targets = {t.id for t in node.targets if isinstance(t, ast.Name)}
            if targets & wanted and (name := _dotted(node.value, aliases)):
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) in wanted:
                    yield f"{node.module}.{alias.name}"


def _collect_aliases(parsed: _Parsed, aliases: dict[str, str]) -> None:
    for node in parsed.bindings:
        if isinstance(node, ast.Import):
            for name in node.names:
                whole = name.name if name.asname else name.name.partition(".")[0]
                aliases[name.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                continue
            for name in node.names:
                aliases[name.asname or name.name] = f"{node.module}.{name.name}"
        elif len(node.targets) == 1:
            target, value = node.targets[0], _dotted(node.value, aliases)
            if isinstance(target, ast.Name) and value:
                aliases[target.id] = value


def _used(nodes: Iterable[ast.AST], aliases: dict[str, str]) -> set[str]:
    found = set()
    for node in nodes:
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

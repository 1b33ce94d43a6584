"""What one cell defines, changes and needs: found by reading it, without running it."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

DYNAMIC = frozenset(
    [
        "globals",
        "locals",
        "vars",
        "exec",
        "eval",
        "__import__",
        "get_ipython",
        "delattr",
        "setattr",
        "importlib",
        "runpy",
        "inspect",
        "gc",
        "ctypes",
        "__main__",
        "__builtins__",
        "builtins",
    ]
)
"""Names whose use means that reading a cell does not tell what it does."""

DYNAMIC_ATTRIBUTES = frozenset({"modules", "__dict__", "_getframe", "user_ns"})

PLAIN_MAGICS = frozenset(
    [
        "matplotlib",
        "pip",
        "conda",
        "config",
        "load_ext",
        "autoreload",
        "who",
        "whos",
        "pdb",
        "pwd",
        "ls",
        "cd",
        "precision",
        "alias_magic",
        "env",
        "lsmagic",
        "magic",
        "pinfo",
        "pinfo2",
        "xmode",
        "colors",
    ]
)
"""Line magics that define nothing that an answer could need."""

TIMING_MAGICS = frozenset({"time", "timeit", "prun"})

THROUGH_CALL = "()"
"""Ends a name in `changes` whose call's result is changed: `x.view(3)[0] = 1`. That may
be a part of `x`; what a module's function returns is none of the module."""

_HARMLESS_CALLS = frozenset({"print", "display", "show", "check", "len", "repr", "str"})
_IN_PLACE = (
    *("set_", "manual_seed", "seed", "append", "extend", "insert", "update", "pop"),
    *("use_", "enable", "disable", "filter", "simplefilter", "register", "chdir"),
)
_BUILTINS = frozenset(dir(builtins))
_CANNOT_BE_READ = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Function:
    """What a function or class looks up and changes outside itself when it is used.

    `arguments` says whether it may change what it is given, `itself` whether (as a
    method) its object.
    """

    needs: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    arguments: bool = False


@dataclass(frozen=True)
class Reading:
    """What reading one cell tells.

    `now`: names needed while it runs. `late`: names that what it defines looks up when
    it is used. `sets`: names it certainly defines. `changes`: names it perhaps defines,
    or whose objects it changes. `calls`: what is called, with the names it is given.
    `same`: pairs of names that may share an object. `dropped`: calls whose result is
    not used: the name at their root and their last. `imports`: names it imports.
    `words`: all names, attributes and short strings in it.
    """

    now: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    calls: frozenset[tuple[str, frozenset[str]]] = frozenset()
    same: frozenset[tuple[str, str]] = frozenset()
    dropped: frozenset[tuple[str, str]] = frozenset()
    imports: frozenset[str] = frozenset()
    functions: tuple[tuple[str, Function], ...] = ()
    words: frozenset[str] = frozenset()
    dynamic: bool = False


NOTHING = Reading()


def read_cell(source: str, transform: Callable[[str], str]) -> Reading:
    """Read one cell. `transform` turns IPython's syntax into Python's.

    A cell that is not Python gives nothing: running it raises.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(transform(source))
    except _CANNOT_BE_READ:
        return NOTHING
    reader = _Reader()
    try:
        reader.statements(tree.body)
    except RecursionError:
        return Reading(dynamic=True)
    return reader.reading()


@dataclass
class _Scope:
    """Names of one function's body, or of the cell itself (`is_cell`)."""

    is_cell: bool = False
    parameters: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.scope = _Scope(is_cell=True)
        self.perhaps = 0  # inside of how many branches and loops of the cell itself
        self.sets: set[str] = set()
        self.calls: set[tuple[str, frozenset[str]]] = set()
        self.same: set[tuple[str, str]] = set()
        self.dropped: set[tuple[str, str]] = set()
        self.imports: set[str] = set()
        self.functions: dict[str, list[Function]] = {}
        self.words: set[str] = set()
        self.dynamic = False

    def reading(self) -> Reading:
        scope = self.scope
        known = _BUILTINS - self.sets - scope.changes
        return Reading(
            now=frozenset(scope.needs - known),
            late=frozenset(scope.late - known),
            sets=frozenset(self.sets),
            changes=frozenset(_without(scope.changes, known)),
            calls=frozenset(self.calls),
            same=frozenset(self.same),
            dropped=frozenset(self.dropped),
            imports=frozenset(self.imports),
            functions=tuple((n, f) for n, fs in self.functions.items() for f in fs),
            words=frozenset(self.words),
            dynamic=self.dynamic,
        )

    def statements(self, body: Sequence[ast.AST]) -> None:
        for statement in body:
            self.visit(statement)

    # -- names

    def _need(self, name: str) -> None:
        if self.scope.is_cell and name in self.scope.bound:
            return
        self.scope.needs.add(name)

    def _bind(self, name: str) -> None:
        self.words.add(name)
        if not self.scope.is_cell:
            self.scope.bound.add(name)
        elif self.perhaps:
            self.scope.changes.add(name)
        else:
            self.scope.bound.add(name)
            self.sets.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        self.words.add(node.id)
        if node.id in DYNAMIC:
            self.dynamic = True
        if isinstance(node.ctx, ast.Load):
            self._need(node.id)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id)
        elif self.scope.is_cell:
            self.scope.changes.add(node.id)
            self.scope.bound.discard(node.id)
            self.sets.discard(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self.words.update(node.names)
        self.scope.outer.update(node.names)

    visit_Nonlocal = visit_Global  # type: ignore[assignment]

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import((alias.asname or alias.name).partition(".")[0])
            self._look_at(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._look_at(node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self.dynamic = True
            self._import(alias.asname or alias.name)

    def _import(self, name: str) -> None:
        self._bind(name)
        if self.scope.is_cell:
            self.imports.add(name)

    def _look_at(self, module: str) -> None:
        if module.partition(".")[0] in DYNAMIC:
            self.dynamic = True

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

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 100:
            self.words.add(node.value)

    # -- changes

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.words.add(node.attr)
        if node.attr in DYNAMIC_ATTRIBUTES:
            self.dynamic = True
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._share(target, node.value)
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._share(node.target, node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self._need(node.target.id)
            self.words.add(node.target.id)
        self._change(node.target)
        if not isinstance(node.target, ast.Name):
            self.visit(node.target)
        elif not self.scope.is_cell:
            self.scope.bound.add(node.target.id)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call whose result is dropped is there for what it changes."""
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call) and _magic(value) is None:
            name = value.func.id if isinstance(value.func, ast.Name) else ""
            if name not in _HARMLESS_CALLS:
                root = _root(value.func)
                if isinstance(value.func, ast.Attribute) and root:
                    if self.scope.is_cell:
                        self.dropped.add((root, value.func.attr))
                    else:
                        self.scope.changes.add(root)
                for argument in _arguments(value):
                    self._change(argument)
        self.visit(node.value)

    def _change(self, node: ast.AST) -> None:
        """The object behind `node` may change: that of the name at its root."""
        if isinstance(node, ast.List | ast.Tuple):
            for item in node.elts:
                self._change(item)
        elif root := _root(node):
            self.scope.changes.add(root + THROUGH_CALL * _has_call(node))
            self._need(root)

    def _share(self, target: ast.expr, value: ast.expr) -> None:
        if not self.scope.is_cell:
            return
        if isinstance(value, ast.Tuple | ast.List):
            sources = [_root(item) for item in value.elts]
        else:
            sources = [_root(value, calls=isinstance(value, ast.Call))]
        targets = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        for name in map(_root, targets):
            for source in sources:
                if name and source and name != source:
                    self.same.add((name, source))

    def visit_Call(self, node: ast.Call) -> None:
        magic = _magic(node)
        if magic is not None:
            self._magic(*magic)
            return
        function = node.func
        if isinstance(function, ast.Attribute):
            if in_place(function.attr):
                self._change(function)
            called = f".{function.attr}"
        else:
            called = function.id if isinstance(function, ast.Name) else ""
        if called and self.scope.is_cell:
            given = {_root(a) for a in (*_arguments(node), function)}
            self.calls.add((called, frozenset(g for g in given if g)))
        self.generic_visit(node)

    def _magic(self, kind: str, name: str, texts: list[str]) -> None:
        if kind == "system" or name in PLAIN_MAGICS:
            return
        if name not in TIMING_MAGICS:
            self.dynamic = True
            return
        for text in texts:
            try:
                tree = ast.parse(re.sub(r"^(-[a-zA-Z]\s*\d*\s+)+", "", text))
            except _CANNOT_BE_READ:
                self.dynamic = True
                return
            self.statements(tree.body)

    # -- branches and loops of the cell itself: what they define may not be

    def _maybe(self, node: ast.AST) -> None:
        self.perhaps += self.scope.is_cell
        self.generic_visit(node)
        self.perhaps -= self.scope.is_cell

    visit_If = visit_For = visit_While = visit_Try = visit_Match = _maybe
    visit_AsyncFor = visit_TryStar = visit_BoolOp = visit_IfExp = _maybe

    # -- scopes

    @contextmanager
    def _inside(self) -> Iterator[_Scope]:
        outer, perhaps = self.scope, self.perhaps
        self.scope, self.perhaps = _Scope(), 0
        yield self.scope
        self.scope, self.perhaps = outer, perhaps

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *_defaults(node.args)):
            self.visit(part)
        for hint in (*_hints(node.args), node.returns):
            if hint is not None:
                self.visit(hint)
        found = self._function(node.args, node.body)
        self._bind(node.name)
        self.functions.setdefault(node.name, []).append(found)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in _defaults(node.args):
            self.visit(part)
        self._function(node.args, [node.body])

    def _function(self, args: ast.arguments, body: Sequence[ast.AST]) -> Function:
        with self._inside() as inner:
            inner.parameters = set(_names(args))
            inner.bound |= inner.parameters
            self.statements(body)
        local = inner.bound - inner.outer
        needs = (inner.needs | inner.late | inner.outer) - local
        changes = _without(inner.changes, local) | (inner.outer & inner.bound)
        self.scope.late |= needs
        if not self.scope.is_cell:
            self.scope.changes |= changes
        return Function(
            frozenset(needs),
            frozenset(changes),
            len(_without(inner.changes, inner.parameters)) < len(inner.changes),
        )

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        methods = {}
        before = {n: list(fs) for n, fs in self.functions.items()}
        with self._inside() as inner:
            self.statements(node.body)
        for name, found in self.functions.items():
            if new := found[len(before.get(name, [])) :]:
                methods[name] = new
        self.functions = before
        for name in inner.needs - inner.bound:
            self._need(name)
        for name in inner.needs & inner.bound:  # perhaps before it was bound
            self._need(name)
        self.scope.late |= inner.late
        if not self.scope.is_cell:
            self.scope.changes |= _without(inner.changes, inner.bound)
        every = [f for found in methods.values() for f in found]
        whole = Function(
            frozenset(inner.late).union(*(f.needs for f in every)),
            frozenset(_without(inner.changes, inner.bound)).union(
                *(f.changes for f in every)
            ),
        )
        self._bind(node.name)
        self.functions.setdefault(node.name, []).append(whole)
        for name, found in methods.items():
            self.functions.setdefault(f".{name}", []).extend(found)

    def _comprehension(self, node: ast.AST) -> None:
        generators = node.generators  # type: ignore[attr-defined]
        self.visit(generators[0].iter)
        with self._inside() as inner:
            for index, generator in enumerate(generators):
                self.visit(generator.target)
                if index:
                    self.visit(generator.iter)
                for condition in generator.ifs:
                    self.visit(condition)
            for part in ("elt", "key", "value"):
                if hasattr(node, part):
                    self.visit(getattr(node, part))
        for name in inner.needs - inner.bound:
            self._need(name)
        self.scope.late |= inner.late - inner.bound
        self.scope.changes |= _without(inner.changes, inner.bound)
        for walrus in ast.walk(node):
            if isinstance(walrus, ast.NamedExpr):
                self._bind(walrus.target.id)

    visit_ListComp = visit_SetComp = visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension


def _without(changes: set[str], names: set[str] | frozenset[str]) -> set[str]:
    return {c for c in changes if c.removesuffix(THROUGH_CALL) not in names}


def _has_call(node: ast.AST) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return isinstance(node, ast.Call)


def _root(node: ast.AST, calls: bool = True) -> str | None:
    """The name at the root of `a.b[c].d(...)`; None if there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        if isinstance(node, ast.Call):
            if not calls or not isinstance(node.func, ast.Attribute):
                return None
            node = node.func
        else:
            node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _defaults(args: ast.arguments) -> list[ast.expr]:
    return [d for d in (*args.defaults, *args.kw_defaults) if d is not None]


def _every(args: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *extra]


def _names(args: ast.arguments) -> list[str]:
    return [a.arg for a in _every(args)]


def _hints(args: ast.arguments) -> list[ast.expr | None]:
    return [a.annotation for a in _every(args)]


def in_place(name: str) -> bool:
    """Whether a method or function of that name is there for what it changes."""
    return (name.endswith("_") and not name.endswith("__")) or name.startswith(
        _IN_PLACE
    )


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

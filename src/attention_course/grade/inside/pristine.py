"""The course's own code as it was before any cell ran.

What an answer's process says is a student's word, and is judged as one. Most exercises
have one right result on inputs never seen before; there a word alone is worth nothing.
A class whose inner names are free has none: it is judged by what it does, and whoever
replaced the code that looks at it could make things up. So that code is put back before
it looks. This undoes patches of functions, classes and tables. It does not stop code
that rewrites the interpreter's memory or that goes on in a thread of its own.
"""

from __future__ import annotations

import builtins
import sys
from types import FunctionType
from typing import Any

OBSERVING = tuple(
    f"attention_course.{name}"
    for name in (
        "grade.inside",
        "learn.answer_key",
        "learn.encoding",
        "learn.limits",
        "learn.observation",
        "learn.probes",
        "learn.protocols",
    )
)
"""The modules that observe an answer; of packages, all that is in them."""


class Pristine:
    """Remembers the observing modules, and puts them back."""

    __slots__ = ("_builtins", "_classes", "_functions", "_tables")

    def __init__(self) -> None:
        """Remember them as they are now."""
        modules = [m for name, m in sys.modules.items() if name.startswith(OBSERVING)]
        own = {m.__name__ for m in modules}
        tables: list[dict[Any, Any]] = []
        functions: dict[int, FunctionType] = {}
        classes: dict[int, type] = {}
        for module in modules:
            tables.append(module.__dict__)
            for name, value in module.__dict__.items():
                if type(value) is dict and not name.startswith("__"):
                    tables.append(value)
                elif isinstance(value, type) and value.__module__ in own:
                    classes[id(value)] = value
                elif isinstance(value, FunctionType):
                    functions[id(value)] = value
        for table in [*tables, *(vars(cls) for cls in classes.values())]:
            for value in list(table.values()):
                inner = getattr(value, "__func__", getattr(value, "fget", value))
                if isinstance(inner, FunctionType) and inner.__module__ in own:
                    functions[id(inner)] = inner
        self._builtins = dict(vars(builtins))
        self._tables = tuple((table, dict(table)) for table in tables)
        self._classes = tuple((cls, dict(vars(cls))) for cls in classes.values())
        self._functions = tuple(
            (f, f.__code__, f.__defaults__, f.__kwdefaults__)
            for f in functions.values()
        )

    def put_back(self) -> None:
        """Undo what was changed since."""
        for name, value in self._builtins.items():
            vars(builtins)[name] = value  # what was added is a student's to add
        for table, before in self._tables:
            for name in [n for n in table if n not in before]:
                del table[name]  # it could stand before a builtin
            for name, value in before.items():
                if table.get(name) is not value:
                    table[name] = value
        for cls, attributes in self._classes:
            for name in [n for n in vars(cls) if n not in attributes]:
                type.__delattr__(cls, name)
            for name, value in attributes.items():
                if vars(cls).get(name) is not value:
                    type.__setattr__(cls, name, value)
        for function, code, defaults, named in self._functions:
            if function.__code__ is not code:
                function.__code__ = code
            if function.__defaults__ is not defaults:
                function.__defaults__ = defaults
            if function.__kwdefaults__ is not named:
                function.__kwdefaults__ = named

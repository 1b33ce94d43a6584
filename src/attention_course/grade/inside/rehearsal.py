"""What the warm process does ahead of its forks, so that none of them has to.

A fork copies each page that it writes to, and Python writes wherever it reads: to the
counts of references, and to the code that it runs for the first time. So the warm
process imports what the released cells import, and runs once over what every notebook
process runs. It does so with the course's own code alone.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from attention_course.grade.inside import wire
from attention_course.grade.inside.notebook import pack_seen, read_cases
from attention_course.grade.inside.reading import read_cell
from attention_course.grade.inside.shell import Shell
from attention_course.learn.answer_key import Case
from attention_course.learn.encoding import encode
from attention_course.learn.observation import observe
from attention_course.learn.runner import pack_plan

OWN = "attention_course.learn"
TIMES = 12
"""CPython 3.11 makes code quicker after 8 runs; what comes later changes little."""

CELL = """
import math

import torch
from torch import Tensor, nn


def answer(x: Tensor, scale: float = 2.0) -> Tensor:
    \"\"\"As an answer's cell may look.\"\"\"
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}")
    return torch.softmax(x @ x.mT / math.sqrt(scale), dim=-1) @ x


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, size, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)
"""


def modules_of(source: str, transform: Callable[[str], str]) -> set[str]:
    """What a released cell imports; of the course's modules, what they do when called.

    `transform` turns IPython's syntax into Python's. A cell that is no Python, as one
    that shows an error may be, imports nothing.
    """
    try:
        found = _imported(ast.parse(transform(source)))
    except (SyntaxError, ValueError, RecursionError):
        return set()
    for name in [n for n in found if n.startswith(OWN)]:
        import_all([name])
        if name in sys.modules:
            found |= _imported(ast.parse(inspect.getsource(sys.modules[name])))
    return found


def _imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def import_all(names: Iterable[str]) -> None:
    """Import those of the names that are modules, and leave out what cannot be."""
    for name in sorted(names):
        with contextlib.suppress(Exception):  # a function of a module, mostly
            importlib.import_module(name)


def _cases() -> Iterator[Case]:
    x = torch.linspace(0, 1, 6, dtype=torch.float64).reshape(2, 3)
    given: dict[str, Any] = {"kwargs": {}, "names": ["x"], "upstream": x}
    function = {"right": (x,), "raises": (x[0],), "float32": (x.float(),)}
    for name, args in function.items():
        yield _case(name, "function", given | {"args": args})
    weights = {"project.weight": x.mT @ x, "project.bias": x[0]}
    built = {"init": (3,), "parameters": weights}
    yield _case("module", "module", given | built | {"args": (x,)})


def _case(name: str, protocol: str, given: Mapping[str, Any]) -> Case:
    tensors: dict[str, torch.Tensor] = {}
    return Case(name, "value", protocol, encode(given, tensors, "x"), tensors)


def rehearse(shell: Shell) -> None:
    """Do what a notebook process does, on an answer of the course's own.

    Nothing of it is left in the shell or in torch's generators.
    """
    names, given = dict(shell.user_ns), set(shell.user_ns_hidden)
    streams = sys.stdout, sys.stderr
    with torch.random.fork_rng(devices=[]):
        plan = wire.frame(b"p", pack_plan({"answer": tuple(_cases())}))
        for _ in range(TIMES):
            read_cell(CELL, shell.transform_cell)
            shell.run_cell(CELL, store_history=False).raise_error()
            torch.manual_seed(0)
            for case in read_cases(plan)["answer"]:
                answer = "Layer" if case.protocol == "module" else "answer"
                seen = observe(shell.user_ns[answer], [case])[case.name]
                pack_seen("answer", case.name, seen)
        x = torch.zeros(3, 1, 4)
        torch.nn.functional.scaled_dot_product_attention(x, x, x)
        torch.nn.MultiheadAttention(4, 2)(x, x, x)
    sys.stdout, sys.stderr = streams
    for name in set(shell.user_ns) - set(names):
        del shell.user_ns[name]
    shell.user_ns.update(names)
    shell.user_ns_hidden.clear()
    shell.user_ns_hidden.update(dict.fromkeys(given))
    shell.last_execution_succeeded, shell.last_execution_result = True, None

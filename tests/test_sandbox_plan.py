"""Which cells are chosen for an answer, by reading alone."""

from __future__ import annotations

import pytest

from attention_course.grade.inside.plan import choose
from attention_course.grade.inside.reading import read_cell


def chosen(*sources: str, kind: str = "demo") -> list[int]:
    """What is run for the last cell, which defines `f`; the others are of `kind`."""
    cells = [{"kind": kind} for _ in sources[:-1]] + [{"kind": "answer"}]
    readings = {i: read_cell(s, lambda text: text) for i, s in enumerate(sources)}
    last = len(sources) - 1
    return list(choose(cells, readings, [last], ["f"], len(sources)).run)


@pytest.mark.parametrize(
    ("cells", "run"),
    [
        (("import torch", "y = 1", "def f(): return torch.e"), [0, 2]),
        (("x = 1", "def g(): return x", "def f(): return g()"), [0, 1, 2]),
        (("x = 1", "x = 2", "def f(): return x"), [1, 2]),
        (("x = 1", "x += 1", "def f(): return x"), [0, 1, 2]),
        (("x = 1", "if y: x = 2", "def f(): return x"), [0, 1, 2]),
        (("x = []", "x.append(1)", "def f(): return x"), [0, 1, 2]),
        (("x = []", "y = x\ny[0] = 1", "def f(): return x"), [0, 1, 2]),
        (("x = []", "y = x", "y[0] = 1", "def f(): return x"), [0, 1, 2, 3]),
        (("x = []", "def g(a): a[0] = 1", "z = g(x)", "f = x"), [0, 1, 2, 3]),
        (("x = 0", "def g():\n  global x\n  x = 1", "z = g()", "f = x"), [0, 1, 2, 3]),
        (("x = 1", "y = [x for x in range(3)]", "def f(): return x"), [0, 2]),
        (("x = 1", "def g(x): return x", "def f(x): return x"), [2]),
        (("import torch", "torch.manual_seed(0)", "def f(): torch"), [0, 1, 2]),
        (("import torch", "torch.zeros(3)", "def f(): torch"), [0, 2]),
        (("import torch", "torch.x = 1", "def f(): torch"), [0, 1, 2]),
        (("import torch", "g = torch.Generator().manual_seed(0)", "f = torch"), [0, 2]),
        (("class A: pass", "A.x = 1", "def f(): return A.x"), [0, 1, 2]),
        (("x = 1", "def f(a=x): return a"), [0, 1]),
        (("x = 1", "class f:\n  y = x"), [0, 1]),
        (("x = 1", "@x\ndef f(): pass"), [0, 1]),
        (("x = 1", "f = lambda: x"), [0, 1]),
        (("x = 1", "del x", "def f(): return x"), [0, 1, 2]),
        (("for x in range(3): pass", "def f(): return x"), [0, 1]),
        (("with open('a') as x: pass", "def f(): return x"), [0, 1]),
        (("x = 1", "print(f'{x}')", "def f(): return f'{x}'"), [0, 2]),
        (("(x := 1)", "def f(): return x"), [0, 1]),
        (("a, (b, *x) = 1, (2, 3)", "def f(): return x"), [0, 1]),
    ],
)
def test_what_an_answer_needs_is_chosen(cells, run):
    assert chosen(*cells) == run


@pytest.mark.parametrize(
    "cell",
    [
        "exec('x = 1')",
        "globals()['x'] = 1",
        "from math import *",
        "import sys; sys.modules['x'] = 1",
        "setattr(a, 'b', 1)",
        "get_ipython().run_cell_magic('capture', '', 'x = 1')",
        "import importlib",
    ],
)
def test_where_reading_cannot_tell_everything_runs(cell):
    assert chosen("y = 1", cell, "def f(): pass", kind="student") == [0, 1, 2]


@pytest.mark.parametrize(
    "cell",
    [
        "get_ipython().run_line_magic('matplotlib', 'inline')",
        "get_ipython().system('pip list')",
        "get_ipython().run_line_magic('timeit', '-n 3 y + 1')",
    ],
)
def test_harmless_magics_are_no_reason_to_run_everything(cell):
    assert chosen("y = 1", cell, "def f(): pass", kind="student") == [2]


@pytest.mark.parametrize("source", ["def f(:", "(" * 500, "-" * 100_000 + "1", "\0"])
def test_a_cell_that_is_not_python_is_read_as_nothing(source):
    reading = read_cell(source, lambda text: text)
    assert not reading.sets
    assert not reading.now

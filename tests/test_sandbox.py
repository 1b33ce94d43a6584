"""Real submissions, good and bad, in the real sandbox."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from attention_course.grade.contract import Limits, Ran, Run, RunCell
from attention_course.grade.sandbox import (
    Sandbox,
    SandboxUnavailable,
    Walls,
    self_test,
)
from attention_course.learn.answer_key import Case
from attention_course.learn.encoding import encode
from attention_course.learn.runner import write_plan

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("bwrap") is None,
    reason="needs Linux and bubblewrap (sudo apt-get install bubblewrap)",
)

SHORT = Limits(
    seconds=60.0,
    cell_seconds=1.0,
    memory=512 * 2**20,
    processes=24,
    file_size=8 * 2**20,
    disk=16 * 2**20,
    output=20_000,
    outputs=60_000,
    observed=4 * 2**20,
)
NUMBERS = [torch.arange(3.0) + n for n in range(3)]
FACTOR = {"double": 2, "triple": 3}


def plan(tmp: Path, name: str) -> bytes:
    """Three cases for the exercise `name`, as the grader packs them."""
    cases = []
    for number, x in enumerate(NUMBERS):
        tensors: dict[str, torch.Tensor] = {}
        arguments = encode({"args": (x,), "kwargs": {}}, tensors, "in")
        cases.append(
            Case(f"c{number}", "", "function", arguments, tensors, seconds=1.0)
        )
    path = tmp / f"{name}.plan"
    write_plan(path, {name: tuple(cases)})
    return path.read_bytes()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    tmp = tmp_path_factory.mktemp("plans")
    return {name: plan(tmp, name) for name in FACTOR}


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


RIGHT = {
    name: f"def {name}(x):\n    return {factor} * x" for name, factor in FACTOR.items()
}


def notebook(first: str = RIGHT["double"], extra: str = "", last: str = "") -> tuple:
    """Cells: an import, two exercises, and a student's own cells between and after."""
    cells = [
        RunCell("import", "demo", "import torch"),
        RunCell("answer-1", "answer", textwrap.dedent(first), "double"),
        RunCell("check-1", "check", "check(double)", "double"),
        RunCell("answer-2", "answer", RIGHT["triple"], "triple"),
        RunCell("check-2", "check", "check(triple)", "triple"),
    ]
    if extra:
        cells.insert(1, RunCell("own", "student", textwrap.dedent(extra)))
    if last:
        cells.append(RunCell("last", "student", textwrap.dedent(last)))
    return tuple(cells)


def is_right(ran: Ran, name: str) -> bool:
    """Whether every case of an exercise showed the right numbers."""
    return _all_right(name, ran.seen[name])


def _all_right(name: str, seen) -> bool:
    return len(seen) == len(NUMBERS) and all(
        isinstance(o := seen[f"c{n}"].get("output"), torch.Tensor)
        and torch.equal(o, FACTOR[name] * x)
        for n, x in enumerate(NUMBERS)
    )


def text(ran: Ran, cell: str) -> str:
    return "".join(o.get("text", "") for o in ran.outputs[cell])


WAYS = {"apart": None, "together": lambda name, seen: _all_right(name, seen)}


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All holds for answers that are observed together, and for each apart."""
    monkeypatch.setattr(sys.modules[__name__], "accept", WAYS[request.param])
    return request.param


accept = None


def submit(box: Sandbox, cases, *cells, limits=SHORT, **more) -> Ran:
    return box.run(Run(cells, cases, limits=limits, **more), accept)


def test_right_answers_are_observed(box, cases):
    ran = submit(box, cases, *notebook(extra="print('mine')"))
    assert is_right(ran, "double")
    assert is_right(ran, "triple")
    assert ran.ends == {"double": "observed", "triple": "observed"}
    assert text(ran, "own") == "mine\n"
    assert ran.killed == {}
    assert ran.layers["network"] == "no network"
    assert ran.resources["full_run"] == 0


def test_two_runs_show_the_same_bits(box, cases):
    cells = notebook(
        "import random, numpy\ndef double(x): return x * hash('a') * 2.0 ** -40 * "
        "random.random() * numpy.random.rand() * torch.rand(1)"
    )
    one, two = (submit(box, cases, *cells).seen["double"] for _ in range(2))
    assert all(torch.equal(one[c]["output"], two[c]["output"]) for c in one)


ENDS_ITS_PROCESS = {
    "exits": "import os; os._exit(0)",
    "kills itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "kills all": "import os; os.kill(-1, 9); os.kill(0, 9)",
    "kills its parent": "import os\nfor p in (os.getppid(), 1): os.kill(p, 9)\n1 / 0",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "aborts": "import os; os.abort()",
    "recurses": "def f(): return f()\nimport sys; sys.setrecursionlimit(10**9); f()",
    "closes all": "import os; os.closerange(0, 10000)",
    "stops": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "swallows": "while True:\n    try:\n        while True: pass\n"
    "    except BaseException: pass",
    "sleeps": "import time; time.sleep(1000)",
    "forks": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "eats memory": "x = []\nwhile True: x.append(bytearray(2**24))",
    "maps memory": "import mmap\nx = []\nwhile 1:\n    x.append(mmap.mmap(-1, 2**26))\n"
    "    x[-1].write(b'x' * 2**26)",
    "exit": "raise SystemExit",
}


@pytest.mark.parametrize("what", ENDS_ITS_PROCESS)
def test_a_cell_that_ends_its_process_costs_its_exercise_alone(box, cases, what):
    """At the top of an answer's cell, before the answer is defined."""
    cells = notebook(ENDS_ITS_PROCESS[what] + "\n" + RIGHT["double"])
    ran = submit(box, cases, *cells)
    assert is_right(ran, "triple"), ran
    assert not is_right(ran, "double") or what == "kills all"
    assert box.starts == 1, "the warm process died"


@pytest.mark.parametrize("what", ENDS_ITS_PROCESS)
def test_an_answer_that_ends_its_process_costs_its_exercise_alone(box, cases, what):
    """Within the answer, while it is observed."""
    body = textwrap.indent(ENDS_ITS_PROCESS[what], "    ")
    ran = submit(box, cases, *notebook(f"def double(x):\n{body}\n    return 2 * x"))
    assert is_right(ran, "triple"), ran
    assert not is_right(ran, "double") or what == "kills all"
    assert set(ran.seen["double"]) == {"c0", "c1", "c2"}
    assert box.starts == 1, "the warm process died"


def test_a_crash_in_one_case_keeps_those_before(box, cases):
    ran = submit(
        box,
        cases,
        *notebook(
            "import os\ndef double(x): return 2 * x if x[0] < 1 else os._exit(1)"
        ),
    )
    assert ran.ends["double"] == "died"
    assert torch.equal(ran.seen["double"]["c0"]["output"], 2 * NUMBERS[0])
    assert ran.seen["double"]["c1"]["raised"] == "ProcessDied"
    assert is_right(ran, "triple")


def test_what_a_cell_prints_is_cut_while_it_is_printed(box, cases):
    ran = submit(
        box,
        cases,
        *notebook(extra="print('x' * 50_000_000)", last="while True: print('y' * 999)"),
    )
    assert is_right(ran, "double")
    assert is_right(ran, "triple")
    assert len(text(ran, "own")) < 2 * SHORT.output
    assert "not kept" in text(ran, "own")
    assert "longer than 1 s" in ran.killed["last"]


def test_disk_and_files_have_a_limit(box, cases):
    ran = submit(
        box,
        cases,
        *notebook(
            extra="""
            import os
            for n in range(100):
                try:
                    open(f'/tmp/{n}', 'wb').write(b'x' * 2**20)
                except OSError as error:
                    print(n, error.strerror)
                    break
            open('/notebook/still', 'w').write('works')
            """
        ),
    )
    assert "No space left" in text(ran, "own")
    assert is_right(ran, "double")


def test_input_is_empty(box, cases):
    """An empty line: nobody sits there. One who asks again and again meets the end."""
    ran = submit(box, cases, *notebook(extra="print(repr(input('name? ')))"))
    assert text(ran, "own").endswith("''\n")
    assert is_right(ran, "double")
    ran = submit(box, cases, *notebook(extra="while True:\n    input()"))
    assert ran.outputs["own"][-1]["ename"] == "EOFError"
    assert is_right(ran, "double")


def test_nothing_is_left_for_the_next_submission(box, cases):
    marker = f"86400.{os.getpid()}"
    leave = f"""
    import subprocess, os, threading, time
    subprocess.Popen(['sleep', '{marker}'], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    open('/tmp/left', 'w').write('x')
    torch.left = 1
    threading.Thread(target=time.sleep, args=(1000,)).start()
    """
    first = submit(box, cases, *notebook(extra=leave))
    assert is_right(first, "double")
    running = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _holds(p, marker)]
    assert running == []
    look = "import os\nprint('left' in os.listdir('/tmp'), hasattr(torch, 'left'))"
    second = submit(box, cases, *notebook(extra=look))
    assert text(second, "own") == "False False\n"


def _holds(path: Path, marker: str) -> bool:
    try:
        return marker.encode() in path.read_bytes()
    except OSError:
        return False


def test_cases_reach_no_output_and_no_other_exercise(box, cases):
    spy = """
    import os, threading, mmap
    shared = mmap.mmap(-1, 4096)
    here, there = os.pipe()
    def double(x):
        os.write(there, b'case')
        shared.write(b'case')
        for place in ('/tmp/case', '/notebook/case', '/dev/shm/case'):
            open(place, 'w').write('case')
        print('case')
        return 2 * x
    """
    look = """
    import os
    print([os.path.exists(p) for p in ('/tmp/case', '/notebook/case', '/dev/shm/case')])
    """
    ran = submit(box, cases, *notebook(spy, last=look))
    assert is_right(ran, "double")
    assert text(ran, "last") == "[False, False, False]\n"
    assert "case" not in text(ran, "answer-1")


def test_forged_results_cannot_be_more_than_an_answer(box, cases):
    """It owns its process, so it may write what it likes into its own result."""
    forge = """
    import os
    def double(x):
        for fd in range(3, 64):
            try:
                os.write(fd, b'c\\x00\\x00\\x00\\x04abcd' * 3)
            except OSError:
                pass
        return 2 * x
    """
    ran = submit(box, cases, *notebook(forge))
    assert ran.ends["double"] == "garbled"
    assert is_right(ran, "triple")
    early = "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'x' * 5000)\n"
    early += "    except OSError: pass\n"
    ran = submit(box, cases, *notebook(early + RIGHT["double"]))
    assert is_right(ran, "triple")


@pytest.mark.parametrize(
    "value",
    [
        "torch.empty(3, device='meta')",
        "torch.zeros(3).to_sparse()",
        "torch.zeros(10**5, 10**5)",
        "torch.zeros(2**23)",
        "type('T', (torch.Tensor,), {})(2 * x)",
        "[[] for _ in range(10**6)]",
        "type('L', (), {'__eq__': lambda *a: True, '__reduce__': lambda s: 1 / 0})()",
        "iter([2 * x])",
        "torch.full((3,), float('nan'))",
        "torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)",
        "{i: x for i in range(10**5)}",
        "__import__('functools').reduce(lambda a, b: [a], range(3000))",
    ],
)
def test_strange_values_are_no_answer(box, cases, value):
    ran = submit(box, cases, *notebook(f"def double(x): return {value}"))
    assert not is_right(ran, "double")
    assert is_right(ran, "triple")


def test_accidents_of_honest_students_cost_nothing(box, cases):
    warns = """
    import warnings, sys, threading, time
    def noisy():
        while True:
            print('tick'); time.sleep(0.01)
    threading.Thread(target=noisy, daemon=True).start()
    warnings.warn('careful')
    print('oops', file=sys.stderr)
    def double(x):
        print('called'); warnings.warn('again')
        return 2 * x
    assert double(torch.ones(1)) == 3, 'I mistyped my own test'
    """
    ran = submit(box, cases, *notebook(warns))
    assert is_right(ran, "double")
    errors = [o["ename"] for o in ran.outputs["answer-1"] if "ename" in o]
    assert errors == ["AssertionError"]
    ran = submit(box, cases, *notebook(RIGHT["double"] + "\nwhile True: pass"))
    assert is_right(ran, "double"), "a slow test below the answer"
    assert "interrupted" in ran.killed["answer-1"]
    assert is_right(ran, "triple")


def test_a_syntax_error_leaves_one_exercise_undefined(box, cases):
    ran = submit(box, cases, *notebook("def double(x) return 2 * x"))
    assert ran.ends == {"double": "undefined", "triple": "observed"}
    assert ran.outputs["answer-1"][-1]["ename"] == "SyntaxError"


def test_an_answer_below_its_check_is_found(box, cases):
    cells = notebook("# later", last=RIGHT["double"])
    assert is_right(submit(box, cases, *cells), "double")


def test_outputs_are_those_of_a_notebook(box):
    cells = (
        RunCell("a", "student", "print('one'); 1 + 1"),
        RunCell("b", "student", "1 / 0"),
        RunCell(
            "c",
            "student",
            "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        ),
        RunCell("d", "student", "from IPython.display import HTML\nHTML('<b>x</b>')"),
        RunCell("e", "student", "import asyncio\nawait asyncio.sleep(0)\n%time 2 ** 2"),
        RunCell(
            "f",
            "student",
            "import ipywidgets\nipywidgets.interact(lambda n: n, n=(1, 3));",
        ),
        RunCell("g", "student", "!echo hello"),
        RunCell("h", "student", "%nonsense"),
    )
    ran = box.run(Run(cells, {}, limits=Limits(cell_seconds=30.0)))
    assert ran.killed == {}
    out = ran.outputs
    assert out["a"][0] == {"output_type": "stream", "name": "stdout", "text": "one\n"}
    assert out["a"][1]["data"] == {"text/plain": "2"}
    assert out["b"][0]["ename"] == "ZeroDivisionError"
    assert "image/png" in out["c"][-1]["data"]
    assert out["d"][0]["data"]["text/html"] == "<b>x</b>"
    assert out["e"][-1]["data"] == {"text/plain": "4"}
    assert all(o["output_type"] != "error" for o in out["f"])


def test_calls_of_watched_functions_are_counted(box, cases):
    name = "torch.nn.functional.scaled_dot_product_attention"
    answer = """
    import torch.nn.functional as F
    a = torch.ones(1, 1, 1)
    F.scaled_dot_product_attention(a, a, a)
    def double(x):
        F.scaled_dot_product_attention(a, a, a)
        return 2 * x
    """
    ran = submit(box, cases, *notebook(answer), watch=(name,))
    assert is_right(ran, "double")
    assert ran.calls == {"double": {name: 3}}


def test_the_whole_time_is_limited_and_shared(box, cases):
    slow = "import time\ntime.sleep(50)\ndef double(x):\n    return 2 * x"
    limits = Limits(seconds=8.0, cell_seconds=40.0)
    began = time.monotonic()
    ran = submit(box, cases, *notebook(slow), limits=limits)
    assert time.monotonic() - began < 30
    assert ran.ends["double"] == "took too long"
    assert {seen["raised"] for seen in ran.seen["double"].values()} == {"NoTimeLeft"}
    assert is_right(ran, "triple")


def test_the_sandbox_starts_again_when_its_warm_process_dies(cases):
    with Sandbox() as sandbox:
        os.kill(sandbox.process, 9)
        assert is_right(submit(sandbox, cases, *notebook()), "double")
        assert sandbox.starts == 2


# -- answers observed together


@pytest.mark.parametrize("way", ["together"], indirect=True)
class TestTogether:
    def test_right_answers_take_one_process(self, box, cases):
        ran = submit(box, cases, *notebook())
        assert is_right(ran, "double")
        assert is_right(ran, "triple")
        assert ran.resources["forks"] == 1

    def test_a_wrong_answer_is_observed_again_on_its_own(self, box, cases):
        ran = submit(box, cases, *notebook("def double(x): return 3 * x"))
        assert torch.equal(ran.seen["double"]["c1"]["output"], 3 * NUMBERS[1])
        assert is_right(ran, "triple")
        assert ran.resources["forks"] == 2

    @pytest.mark.parametrize(
        "harm",
        [
            "torch.mul = torch.Tensor.__rmul__ = lambda *a: 0",
            "globals().pop('torch'); del globals()['triple']",
            "__import__('threading').Thread(target=__import__('time').sleep, "
            "args=(99,)).start()",
            "torch.set_default_dtype(torch.float16)",
            "__import__('os')._exit(1)",
            "__import__('gc').disable(); globals().update(x=[bytearray(2**28)])",
        ],
    )
    def test_what_one_answer_does_when_called_harms_no_other(self, box, cases, harm):
        first = f"import torch\ndef double(x):\n    {harm}\n    return 2 * x"
        cells = list(notebook(first))
        triple = "def triple(x):\n    return torch.mul(x, torch.tensor(3.0)) + 0 * x"
        cells[3] = RunCell("answer-2", "answer", triple, "triple")
        assert is_right(submit(box, cases, *cells), "triple")

    def test_each_answer_is_the_one_above_its_check(self, box, cases):
        cells = list(notebook())
        later = "def double(x): return 0 * x\ndef triple(x): return 3 * x"
        cells[3] = RunCell("answer-2", "answer", later, "triple")
        ran = submit(box, cases, *cells)
        assert is_right(ran, "double")
        assert is_right(ran, "triple")

    def test_a_later_cell_does_not_mend_an_answer(self, box, cases):
        cells = list(notebook("def double(x): return 0 * x"))
        later = f"{RIGHT['double']}\n{RIGHT['triple']}"
        cells[3] = RunCell("answer-2", "answer", later, "triple")
        ran = submit(box, cases, *cells)
        assert not is_right(ran, "double")
        assert is_right(ran, "triple")

    def test_a_cell_that_sees_cases_is_not_listened_to(self, box, cases):
        """All cells have run before the first answer is given its cases."""
        spy = "seen = []\ndef double(x):\n    seen.append(x)\n    return 2 * x"
        cells = list(notebook(spy))
        look = f"print(len(seen), 'seen')\n{RIGHT['triple']}"
        cells[3] = RunCell("answer-2", "answer", look, "triple")
        ran = submit(box, cases, *cells)
        assert is_right(ran, "triple")
        assert text(ran, "answer-2") == "0 seen\n"

    def test_an_answer_cannot_speak_for_an_exercise_that_is_none(self, box, cases):
        speak = """
        import os
        from attention_course.grade.inside import wire
        def double(x):
            for fd in range(3, 64):
                try:
                    os.write(fd, wire.frame(b'n', b'["other", {}]'))
                except OSError:
                    pass
            return 2 * x
        """
        ran = submit(box, cases, *notebook(speak))
        assert ran.ends["double"] == "garbled"
        assert is_right(ran, "triple")

    def test_slow_cells_leave_time_for_each_apart(self, box, cases, monkeypatch):
        from attention_course.grade.sandbox import session

        monkeypatch.setattr(session, "TOGETHER_SECONDS", 1.0)
        slow = f"import time\ntime.sleep(0.8)\n{RIGHT['double']}"
        cells = list(notebook(slow))
        other = f"import time\ntime.sleep(0.8)\n{RIGHT['triple']}"
        cells[3] = RunCell("answer-2", "answer", other, "triple")
        ran = submit(box, cases, *cells)
        assert is_right(ran, "double")
        assert is_right(ran, "triple")
        assert ran.killed == {}


# -- the code that observes is the course's own

LEARN = "attention_course.learn"
FORGED = """
def forged(answer, case, device):
    x = case.build("cpu")["args"][0]
    return {"output": 2 * x}
"""


@pytest.mark.parametrize(
    "patch",
    [
        "import LEARN.protocols as p\np._PROTOCOLS['function'] = forged",
        "import LEARN.protocols as p\np._PROTOCOLS.clear()\n"
        "p._PROTOCOLS.update(function=forged)",
        "import LEARN.observation as o\no.find_protocol = lambda name: forged",
        "import LEARN.observation as o\n"
        "o._observe_one = lambda obj, case, device: forged(obj, case, device)",
        "import LEARN.observation as o\n"
        "o._observe_one.__code__ = (lambda obj, case, device: {'output': "
        "2 * case.build('cpu')['args'][0]}).__code__",
        "import LEARN.protocols.function as f\nf.guarded = lambda seen, run, **_: "
        "seen.update(output=2 * run.__closure__[0].cell_contents.build('cpu')"
        "['args'][0])",
        "import attention_course.grade.inside.notebook as n\n"
        "n.observe = lambda obj, cases: {c.name: forged(obj, c, 0) for c in cases}",
        "import LEARN.observation as o\n"
        "o.isinstance = lambda *a: __import__('os')._exit(0)",
        "import builtins, sys\nkept = isinstance\n"
        "builtins.isinstance = lambda *a: kept(*a) if 'learn' not in "
        "sys._getframe(1).f_code.co_filename else __import__('os')._exit(0)",
        "import sys\nframe = sys._getframe()\n"
        "while 'pristine' not in dir(frame.f_locals.get('self')): "
        "frame = frame.f_back\n"
        "frame.f_locals['self']._observe_one = lambda *a: None",
    ],
)
def test_patches_of_what_observes_are_undone(box, cases, patch):
    wrong = "def double(x): return 5 * x"
    cell = f"{FORGED}{patch.replace('LEARN', LEARN)}\n{wrong}"
    ran = submit(box, cases, *notebook(f"{wrong}\n{cell}"))
    assert ran.ends["double"] == "observed"
    assert torch.equal(ran.seen["double"]["c1"]["output"], 5 * NUMBERS[1])
    assert is_right(ran, "triple")


# -- what the warm process has done ahead


def test_a_notebook_begins_as_if_nothing_had_run(box, cases):
    look = """
    usual = {'In', 'Out', 'exit', 'quit', 'open', 'get_ipython'}
    print(sorted(n for n in globals() if n[0] != '_' and n not in usual))
    print(get_ipython().execution_count, len(In), Out)
    print(torch.rand(1).item(), _, __)
    """
    ran = submit(box, cases, *notebook(extra=look))
    torch.manual_seed(0)
    assert text(ran, "own").splitlines() == [
        "['torch', 'usual']",
        "3 3 {}",
        f"{torch.rand(1).item()}  ",
    ]


def test_what_released_cells_import_is_there_already(box, cases, way):
    one, other = {"apart": ("wave", "chunk"), "together": ("aifc", "sunau")}[way]
    look = f"import sys\nprint({one!r} in sys.modules, {other!r} in sys.modules)"
    cells = list(notebook(extra=look, last=f"import {other}"))
    assert text(submit(box, cases, *cells), "own") == "False False\n"
    cells[0] = RunCell("import", "demo", f"import torch, {one}")
    assert text(submit(box, cases, *cells), "own") == "True False\n"


@pytest.mark.parametrize(
    "shown", ["def broken(:", "import no_such_module", "from math import nothing"]
)
def test_a_released_cell_that_shows_an_error_harms_nothing(box, cases, shown):
    cells = list(notebook())
    cells.insert(1, RunCell("shown", "demo", shown))
    ran = submit(box, cases, *cells)
    assert is_right(ran, "double")
    assert is_right(ran, "triple")
    assert box.starts == 1, "the warm process died"


# -- what the fast way leaves out


@pytest.mark.parametrize(
    ("demo", "answer"),
    [
        ("factor = 2", "def double(x): return factor * x"),
        ("box = {}\nbox['factor'] = 2", "def double(x): return box['factor'] * x"),
        ("globals()['factor'] = 2", "def double(x): return factor * x"),
        ("import builtins\nbuiltins.factor = 2", "def double(x): return factor * x"),
        ("torch.factor = 2", "def double(x): return torch.factor * x"),
        ("setattr(torch, 'factor', 2)", "def double(x): return torch.factor * x"),
        ("exec('factor = 2')", "def double(x): return factor * x"),
        (
            "open('f', 'w').write('2')",
            "def double(x): return int(open('f').read()) * x",
        ),
        ("from math import *", "def double(x): return round(e - 0.7) * x"),
        ("class A: n = 2", "def double(x): return globals()['A'].n * x"),
        ("factor = 2", "def double(x): return eval('factor') * x"),
        ("factor = 2", "def double(x): return get_ipython().user_ns['factor'] * x"),
    ],
)
def test_what_a_full_run_passes_the_fast_way_passes(box, cases, demo, answer):
    cells = list(notebook(answer))
    cells.insert(1, RunCell("demo", "demo", demo))
    cells.insert(2, RunCell("costly", "demo", "print('left out where possible')"))
    ran = submit(box, cases, *cells)
    assert is_right(ran, "double"), ran
    assert is_right(ran, "triple")


def test_costly_cells_are_left_out(box, cases):
    cells = list(notebook(RIGHT["double"]))
    cells.insert(1, RunCell("costly", "demo", "import time\nresult = time.sleep(9)"))
    ran = submit(box, cases, *cells)
    assert ran.skipped == ("import", "costly")
    assert is_right(ran, "double")
    assert ran.resources["wall_seconds"] < 9
    cells[1] = RunCell("costly", "demo", "result = print('ran')")
    ran = submit(box, cases, *cells, full=True)
    assert ran.skipped == ()
    assert text(ran, "costly") == "ran\n"


# -- the walls


def test_the_sandbox_holds(box):
    self_test(box)


@pytest.mark.parametrize(
    ("wall", "layer"),
    [
        ("network", "network"),
        ("files", "files"),
        ("environment", "environment"),
        ("namespaces", "namespaces"),
        ("rights", "rights"),
        ("filter", "system calls"),
        ("limits", "limits"),
        ("user", "namespaces"),
    ],
)
def test_each_missing_layer_is_named(wall, layer, monkeypatch):
    if wall == "user" and os.getuid() != 0:
        pytest.skip("only root can do without a user of its own")
    if wall == "files" and str(ROOT).startswith("/tmp/"):
        pytest.skip("this checkout lies under /tmp, which is covered even so")
    monkeypatch.setenv("COURSE_PASSWORD", "1234")
    with (
        Sandbox(walls=Walls(**{wall: False})) as broken,
        pytest.raises(SandboxUnavailable) as refused,
    ):
        self_test(broken)
    assert refused.value.layer == layer


def test_a_system_without_bubblewrap_is_told_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        Sandbox().__enter__()


def test_unsafe_says_so_in_every_layer(cases):
    with Sandbox(unsafe=True) as sandbox:
        ran = submit(sandbox, cases, *notebook())
    assert is_right(ran, "double")
    assert {v for k, v in ran.layers.items() if k != "time"} == {"none"}

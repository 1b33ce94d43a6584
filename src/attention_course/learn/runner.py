"""Observe the answers of a plain Python file, in a process of its own.

Run as `python -m attention_course.learn.runner ANSWERS FOLDER`. Writes into FOLDER:
`started` once this package is imported; `loaded.json` once the answers are, with the
names that they define or the reason why they cannot be used; and, after the parent has
put `plan.safetensors` there and sent a line on standard input, one
`seen-EXERCISE.safetensors` for each exercise, then `done`. It receives inputs only.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from attention_course.learn.answer_key import (
    Case,
    Observation,
    pack_case,
    pack_observation,
    unpack_case,
    unpack_observation,
)
from attention_course.learn.limits import PATIENCE
from attention_course.learn.observation import observe


def write_plan(path: Path, exercises: Mapping[str, tuple[Case, ...]]) -> None:
    """Write the cases' inputs of each exercise."""
    store: dict[str, torch.Tensor] = {}
    plan = {
        name: [pack_case(case, store, f"{name}/{case.name}") for case in cases]
        for name, cases in exercises.items()
    }
    _write(path, plan, store)


def read_plan(path: Path) -> dict[str, tuple[Case, ...]]:
    """The cases that `write_plan` wrote."""
    plan, store = _read(path)
    return {n: tuple(unpack_case(c, store) for c in cases) for n, cases in plan.items()}


def write_seen(path: Path, seen: Mapping[str, Observation]) -> None:
    """Write the observations of one exercise by case, complete or not at all."""
    store: dict[str, torch.Tensor] = {}
    packed = {name: pack_observation(o, store, name) for name, o in seen.items()}
    beside = path.with_suffix(".new")
    _write(beside, packed, store)
    beside.replace(path)


def read_seen(path: Path) -> dict[str, Observation]:
    """The observations that `write_seen` wrote."""
    packed, store = _read(path)
    return {name: unpack_observation(o, store) for name, o in packed.items()}


def _write(path: Path, data: Any, store: dict[str, torch.Tensor]) -> None:
    save_file(store, str(path), metadata={"data": json.dumps(data)})


def _read(path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    with safe_open(str(path), framework="pt") as file:
        data = json.loads(file.metadata()["data"])
        store = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return data, store


def load_answers(path: Path) -> ModuleType:
    """Run the file of answers as a module called `answers`."""
    spec = importlib.util.spec_from_file_location("answers", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["answers"] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def main(answers: str, folder: str) -> int:
    """Load, wait for the plan, observe. See the module's text."""
    work = Path(folder)
    orders = os.fdopen(os.dup(0), "r")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what the answers print goes nowhere
        os.dup2(null, stream)
    torch.set_num_threads(1)
    (work / "started").touch()
    module = _load(Path(answers).resolve(), work / "loaded.json")
    if module is None or not orders.readline():
        return 1
    torch.set_grad_enabled(True)
    for name, cases in read_plan(work / "plan.safetensors").items():
        target = work / f"seen-{name}.safetensors"
        answer = getattr(module, name)
        end = _in_own_process(
            functools.partial(_observe_into, target, answer, cases),
            seconds=10 + PATIENCE * sum(c.seconds for c in cases),
        )
        if not target.exists():
            write_seen(target, died(cases, end))
    (work / "done").touch()
    return 0


def _load(path: Path, target: Path) -> ModuleType | None:
    result: dict[str, Any]
    module = None
    try:
        module = load_answers(path)
        result = {"names": [n for n in dir(module) if not n.startswith("__")]}
    except SyntaxError as error:
        result = {"error": f"is not Python: {error.msg} (line {error.lineno})"}
    except SystemExit:
        result = {"error": "calls exit() while it is imported"}
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        result = {"error": f"cannot be imported: {reason}{_line_of(error, path)}"}
    beside = target.with_suffix(".new")
    beside.write_text(json.dumps(result), encoding="utf-8")
    beside.replace(target)
    return module


def _line_of(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _observe_into(target: Path, answer: Any, cases: tuple[Case, ...]) -> None:
    write_seen(target, observe(answer, cases))


def died(cases: Iterable[Case], reason: str = "ProcessDied") -> dict[str, Observation]:
    """The observations of an answer whose process ended before it could report."""
    return {
        case.name: {"raised": reason, "raised_classes": [], "raised_message": ""}
        for case in cases
    }


def _in_own_process(action: Callable[[], None], seconds: float) -> str:
    """Run `action` in a fork; says "TookTooLong" if it had to be killed.

    Where there is no fork, it runs in this process.
    """
    if not hasattr(os, "fork"):
        action()
        return "ProcessDied"
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "TookTooLong"
        time.sleep(0.005)
    return "ProcessDied"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))

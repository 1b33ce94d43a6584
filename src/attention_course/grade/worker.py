"""Grade one submission: a function of bytes, wherever it runs.

It holds no gradebook and no course folder: the chapter, the submission and the seeds go
in, the result and the autograded notebook come out.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attention_course.grade import result as results
from attention_course.grade.autograded import make_notebook
from attention_course.grade.contract import Held, Intake, Ran, Run
from attention_course.grade.environment import environment_hash
from attention_course.grade.intake import take_in
from attention_course.grade.judging import Judged, judge_exercise
from attention_course.grade.keys import Keys, blinded
from attention_course.grade.papers import Paper
from attention_course.grade.release import Bundle
from attention_course.grade.sandbox import (
    Accept,
    SandboxDied,
    SandboxUnavailable,
    self_test,
)
from attention_course.grade.shortcuts import (
    COURSE,
    find_course_code,
    find_shortcuts,
    find_tricks,
)
from attention_course.grade.tasks import Graded, Settings, Task
from attention_course.learn.answer_key import Observation
from attention_course.learn.runner import pack_plan

MOST_NAMES = 5
"""Of the course's own code that are told of one submission."""


def grade(bundle: bytes, task: Task, settings: Settings) -> Graded:
    """Grade one submission.

    Raises `SandboxUnavailable` where students' code cannot be run safely. Anything that
    a submission does is its own result.
    """
    return _desk(bundle, settings).grade(task)


@functools.lru_cache(maxsize=4)
def _desk(bundle: bytes, settings: Settings) -> Desk:
    desk = Desk(Bundle.from_bytes(bundle), settings)
    atexit.register(desk.close)
    return desk


class Desk:
    """Where submissions of one chapter are graded, with what is kept between two."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        """The sandbox is made when the first submission needs it."""
        self.bundle = bundle
        self.settings = settings
        self.keys = Keys(bundle, environment_hash(), settings.keys)
        self._sandbox: Any = None

    def close(self) -> None:
        """End the sandbox."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.__exit__(None, None, None)

    @property
    def sandbox(self) -> Any:
        """The sandbox, started and tested. Raises `SandboxUnavailable`."""
        if self._sandbox is None:
            module, _, name = self.settings.sandbox.partition(":")
            make = getattr(importlib.import_module(module), name)
            sandbox = make(self.settings.limits, self.settings.unsafe)
            self._sandbox = sandbox.__enter__()
            if not self.settings.unsafe:
                try:
                    self_test(sandbox, self.settings.hidden)
                except BaseException:
                    self.close()
                    raise
        return self._sandbox

    def grade(self, task: Task) -> Graded:
        """Intake, run, judge; see `grade`."""
        clock = Clock()
        hashes = {
            "submission": task.hash,
            "chapter": self.bundle.hash,
            "exercises": self.bundle.exercises_hash,
            "environment": environment_hash(),
        }
        taken = _guarded(
            "taken in", lambda: take_in(task.data, self.bundle, task.noticed)
        )
        clock.lap("intake")
        if isinstance(taken, Held):
            return self._held(hashes, taken, clock)
        run = self._run_of(taken, task)
        clock.lap("papers")
        made = _guarded("judged", lambda: self._graded(task, taken, run, hashes, clock))
        return self._held(hashes, made, clock) if isinstance(made, Held) else made

    def _held(self, hashes: Mapping[str, str], why: Held, clock: Clock) -> Graded:
        made = results.held(hashes, why, self.bundle.max_score)
        return Graded(made, None, {"seconds": clock.laps})

    def _graded(
        self,
        task: Task,
        taken: Intake,
        run: Run,
        hashes: Mapping[str, str],
        clock: Clock,
    ) -> Graded | Held:
        settled: dict[str, Judged] = {}

        def accept(name: str, seen: Mapping[str, Observation]) -> bool:
            found = judge_exercise(
                self.keys, name, task.papers[name], seen, "observed", reasons=False
            )
            if found.verdict.complete or found.verdict.status == "blank":
                settled[name] = found
            return name in settled

        ran = self._run(run, accept)
        clock.lap("sandbox")
        if isinstance(ran, Held):
            return ran
        if needs := _needs(ran.errors):
            return needs
        judged = [
            settled.get(name)
            or judge_exercise(
                self.keys,
                name,
                task.papers[name],
                ran.seen.get(name, {}),
                ran.ends.get(name, "died"),
                error=ran.errors.get(name),
            )
            for name in self.bundle.points
        ]
        clock.lap("judge")
        flags = self._flags(taken, ran)
        made = results.graded(
            hashes,
            judged,
            task.papers,
            max_score=self.bundle.max_score,
            repairs=taken.repairs,
            flags=flags,
            layers=ran.layers,
            killed=ran.killed,
            as_released=self._as_released(taken),
        )
        results.dump(made)  # what cannot be written must not reach those who write
        verdicts = {j.verdict.exercise: j.verdict for j in judged}
        notebook = make_notebook(self.bundle, taken, ran, verdicts, flags)
        clock.lap("notebook")
        record = {"resources": ran.resources, "seconds": clock.laps}
        return Graded(made, notebook, record)

    def _run_of(self, taken: Intake, task: Task) -> Run:
        cases = {}
        for name in self.bundle.points:
            paper = task.papers[name]
            cases[name] = self._plan(name, paper)
        return Run(
            cells=taken.cells,
            cases=cases,
            files={**self.bundle.files, **taken.files},
            limits=self.settings.limits,
            watch=self._watched,
        )

    def _plan(self, name: str, paper: Paper) -> bytes:
        known = (name, paper.seed)
        if known not in self._plans:
            key = self.keys.get(name, paper)
            self._plans[known] = pack_plan({name: blinded(key, paper)})
        return self._plans[known]

    @functools.cached_property
    def _plans(self) -> dict[tuple[str, int], bytes]:
        return {}

    @functools.cached_property
    def _watched(self) -> tuple[str, ...]:
        exercises = self.bundle.exercises.values()
        return tuple(sorted({w for e in exercises for w in e.shortcuts}))

    def _run(self, run: Run, accept: Accept) -> Ran | Held:
        """Run in the sandbox; one that fails is replaced and asked once more."""
        told = ""
        for _ in range(2):
            sandbox = self.sandbox
            try:
                return sandbox.run(run, accept)
            except (OSError, SandboxDied) as error:
                told = f"{type(error).__name__}: {error}"
                self.close()
        return Held(
            "the grader failed",
            f"the sandbox broke down twice ({told}): grade this one again.",
        )

    def _as_released(self, taken: Intake) -> set[str]:
        released = {c.id: c.source for c in self.bundle.cells if c.role == "answer"}
        answers = [c for c in taken.cells if c.kind == "answer" and c.exercise]
        own = {c.exercise for c in answers if c.source != released.get(c.id)}
        return {c.exercise for c in answers if c.exercise} - own

    def _flags(self, taken: Intake, ran: Ran) -> list[str]:
        flags = []
        for name, exercise in self.bundle.exercises.items():
            if not exercise.shortcuts:
                continue
            own = [
                c
                for c in taken.cells
                if c.exercise in (None, name)
                and c.kind in ("answer", "student", "demo")
            ]
            called = ran.calls.get(name, {})
            found = find_shortcuts(own, exercise.shortcuts)
            found |= {w for w in exercise.shortcuts if called.get(w)}
            flags += [f"shortcut: {name} uses {w}" for w in sorted(found)]
        demos = [c.source for c in self.bundle.cells if c.role == "demo"]
        inside = sorted(find_course_code(taken.cells, demos, self.bundle.points))
        told = inside[:MOST_NAMES]
        flags += [f"the course's own code: it uses {name}" for name in told]
        if more := len(inside) - len(told):
            flags.append(f"the course's own code: it uses {more} more names of it")
        if tricks := sorted(find_tricks(taken.cells)):
            shown = ", ".join(tricks[:MOST_NAMES])
            flags.append(f"a way around the observer: it uses {shown}")
        if self.settings.unsafe:
            flags.append(results.NO_SANDBOX)
        return flags


def _needs(errors: Mapping[str, tuple[str, str]]) -> Held | None:
    """What an answer's cell could not do without, and would have elsewhere."""
    for name, (kind, text) in errors.items():
        found = re.search(r"No module named '([\w.]+)'", text)
        if kind == "ModuleNotFoundError" and found and not found[1].startswith(COURSE):
            return Held(
                "needs a module",
                f"{name} needs {found[1][:60]}, which is not installed where "
                "submissions run: install it beside the course and grade again, or, if "
                "it is a file of the student's own, ask for its code in the notebook.",
            )
        if kind in ("RuntimeError", "AssertionError") and NEEDS_GPU.search(text):
            return Held(
                "needs a GPU",
                f"the cell of {name} asks for a GPU, and submissions run without one: "
                "ask for a copy that uses `device`, or take the line out.",
            )
    return None


NEEDS_GPU = re.compile(r"NVIDIA driver|with CUDA enabled|CUDA GPUs are available")
Made = TypeVar("Made")


def _guarded(done: str, make: Callable[[], Made | Held]) -> Made | Held:
    """An error of the grader's own holds this submission and leaves the others alone.

    Raises `SandboxUnavailable`: then nothing can be graded.
    """
    try:
        return make()
    except SandboxUnavailable:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} in {where.name}, line {where.lineno}"
        return Held(
            "the grader failed",
            f"the notebook could not be {done} ({told}): look at it by hand, and "
            "report this.",
        )


class Clock:
    """Seconds of each part, wall and processor."""

    def __init__(self) -> None:
        self.laps: dict[str, list[float]] = {}
        self._start = (time.perf_counter(), time.process_time())

    def lap(self, name: str) -> None:
        """End a part."""
        now = (time.perf_counter(), time.process_time())
        self.laps[name] = [
            round(b - a, 5) for a, b in zip(self._start, now, strict=True)
        ]
        self._start = now

"""One submission in the sandbox, seen from outside: what to run, and how long."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attention_course.grade.contract import End, Ran, Run, RunCell
from attention_course.grade.inside import wire
from attention_course.grade.inside.wire import Garbled
from attention_course.grade.sandbox import parse
from attention_course.grade.sandbox.box import ALLOW, Box
from attention_course.grade.sandbox.errors import SandboxUnavailable
from attention_course.learn.answer_key import Observation
from attention_course.learn.limits import PATIENCE

TOGETHER_SECONDS = 20.0
"""For all answers in one process: a hundred times what right ones mostly take."""

MOST_RESTARTS = 3
"""How often one exercise is tried again without a cell that ended its process."""

OBSERVING_SECONDS = 10.0
"""Allowed for observing an exercise, above the time limits of its cases."""

CASE_GRACE = 3.0
"""Seconds between a case's own time limit on the clock and the end of its process."""

LARGEST_FRAME = 24 * 2**20
MOST_HEARD = 256 * 2**20
"""Of one notebook process: it floods the channel, and could do so to its time's end."""

JSON_FOR_TEXT = 13
"""Bytes of JSON for a character of an output: an emoji takes twelve."""

ANSWER_SECONDS = 30.0
"""How long the warm process may take to answer."""

_LACKING = frozenset({"NameError", "AttributeError", "KeyError", "FileNotFoundError"})
"""Errors that a cell which was left out could be the reason for."""


Accept = Callable[[str, dict[str, Observation]], bool]
"""Whether what was seen of an exercise is right, or that it was not tried."""


@dataclass
class Attempt:
    """What one notebook process showed, and how it ended."""

    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    plan: parse.PlanSaid = field(
        default_factory=lambda: parse.PlanSaid((), frozenset(), True)
    )
    defined: tuple[str, ...] | None = None
    seen: dict[str, dict[str, Observation]] = field(default_factory=dict)
    late_case: bool = False
    garbled: bool = False
    too_large: bool = False
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    end: str = "died"
    cell: str | None = None
    observing: bool = False
    status: int = 0
    peak: int = 0


class Session:
    """Runs one submission. Make one for each.

    First all answers in one process: cells in the notebook's order, then each answer is
    observed. What `accept` finds to be right in that is settled, since it is right on
    inputs that were never seen; so is what was left blank. For anything else one answer
    may be to blame for what happened to another; so each of these gets a process of its
    own, with nothing but what it needs.
    """

    def __init__(self, box: Box, run: Run, accept: Accept | None = None) -> None:
        """Use the warm process in `box`; without `accept` nothing is done together."""
        self.box = box
        self.run = run
        self.accept = accept
        self.ran = Ran()
        self.forks = 0
        self.cpu = 0.0
        self.peak = 0
        self.full_runs = 0
        self.kept = 0
        self.leave: set[str] = set()
        self.began = time.monotonic()
        self.pid = 0
        self.socket: socket.socket | None = None
        self.code = [c for c in run.cells if c.kind not in ("markdown", "check")]

    def do(self) -> Ran:
        """Run and observe. Raises EOFError or OSError if the warm process is gone."""
        try:
            self._do()
        finally:
            self._finish()
        wall = time.monotonic() - self.began
        self.ran.resources = {
            "wall_seconds": wall,
            "cpu_seconds": self.cpu,
            "peak_bytes": float(self.peak),
            "full_run": float(self.full_runs > 0),
            "forks": float(self.forks),
        }
        return self.ran

    def _do(self) -> None:
        self.box.teach({c.source for c in self.code if c.kind == "demo"})
        self.box.cgroup.limit(self.run.limits, self.box.base_used)
        if self.accept is not None and len(self.run.cases) > 1:
            self._together(self.accept)
        waiting = [name for name in self.run.cases if name not in self.ran.ends]
        again: list[str] = []
        for index, name in enumerate(waiting):
            if self._exercise(name, self._left() / (len(waiting) - index + 1)):
                again.append(name)
        for index, name in enumerate(again):  # those before them may have left time
            self._exercise(name, self._left() / (len(again) - index))
        self._others()
        had = set(self.ran.outputs) | set(self.ran.killed)
        self.ran.skipped = tuple(c.id for c in self.code if c.id not in had)

    def _left(self) -> float:
        return self.run.limits.seconds - (time.monotonic() - self.began)

    # -- all exercises at once

    def _together(self, accept: Accept) -> None:
        seconds = min(TOGETHER_SECONDS, self._left() / (len(self.run.cases) + 1))
        names = tuple(self.run.cases)
        job = {"exercises": names, "full": self.run.full, "only": []}
        attempt = self._attempt(job, time.monotonic() + seconds)
        if attempt.garbled or attempt.too_large:
            return
        for name in names:
            seen = self._kept(name, attempt)
            everything = set(seen) == set(case_seconds(self.run.cases[name]))
            if everything and accept(name, seen):
                self._record(name, attempt, seen, "observed")

    # -- one exercise

    def _exercise(self, name: str, seconds: float) -> bool:
        """Observe one exercise; True if more time could change what was seen."""
        deadline = time.monotonic() + seconds
        attempt = self._settled(name, deadline, full=self.run.full)
        short = attempt.end == "out of time"
        if self._may_be_lacking(attempt) and self._left() > 1:
            self.full_runs += 1
            whole = self._settled(name, deadline, full=True)
            short = short or whole.end == "out of time"
            if whole.end == "done" or attempt.end != "done":
                attempt = whole
        self._take(name, attempt)
        return short

    def _settled(self, name: str, deadline: float, full: bool) -> Attempt:
        """The last attempt, each without the cells that ended the one before."""
        attempt = Attempt()
        for _ in range(1 + MOST_RESTARTS):
            job = {"exercises": (name,), "full": full, "only": []}
            attempt = self._attempt(job, deadline)
            self._leave_out(attempt)
            if attempt.cell is None or attempt.end not in ("died", "late", "garbled"):
                break
        return attempt

    def _take(self, name: str, attempt: Attempt) -> None:
        seen, end = self._seen(name, attempt)
        own = [c.id for c in self.run.cells if c.exercise == name]
        raised = [attempt.errors[i] for i in own if i in attempt.errors]
        if end == "undefined" and raised:
            self.ran.errors[name] = raised[-1]
        self._record(name, attempt, seen, end)

    def _record(
        self, name: str, attempt: Attempt, seen: dict[str, Observation], end: End
    ) -> None:
        self.ran.seen[name], self.ran.ends[name] = seen, end
        if calls := attempt.calls.get(name):
            self.ran.calls[name] = calls

    def _kept(self, name: str, attempt: Attempt) -> dict[str, Observation]:
        cases = case_seconds(self.run.cases[name])
        return {c: s for c, s in attempt.seen.get(name, {}).items() if c in cases}

    def _seen(self, name: str, attempt: Attempt) -> tuple[dict[str, Observation], End]:
        cases = case_seconds(self.run.cases[name])
        kept = self._kept(name, attempt)
        if attempt.garbled:
            return _rest(kept, cases, "ProcessDied"), "garbled"
        if attempt.too_large:
            return _rest(kept, cases, "OutputTooLarge"), "too large"
        if attempt.end == "done" and not attempt.defined:
            own = [c.id for c in self.run.cells if c.exercise == name]
            killed = [self.ran.killed[i] for i in own if i in self.ran.killed]
            if not killed:
                return {}, "undefined"
            late = killed[-1].startswith("took longer")
            raised = "TookTooLong" if late else "ProcessDied"
            end: End = "took too long" if late else "died"
            return _rest({}, cases, raised), end
        if attempt.end == "done" and set(kept) == set(cases):
            return kept, "observed"
        if attempt.end in ("late", "out of time"):
            called = attempt.observing or attempt.end == "late"
            raised = "TookTooLong" if called else "NoTimeLeft"
            return _rest(kept, cases, raised), "took too long"
        return _rest(kept, cases, "ProcessDied"), "died"

    def _may_be_lacking(self, attempt: Attempt) -> bool:
        """Whether cells that were left out could change what was seen."""
        plan = attempt.plan
        if not plan.left or attempt.end == "out of time":
            return False
        if attempt.end == "done" and not attempt.defined:
            return True
        raised = list(attempt.errors.values())
        every = [s for seen in attempt.seen.values() for s in seen.values()]
        for seen in every:
            for phase in ("", "gradient_"):
                if f"{phase}raised" in seen:
                    text = seen.get(f"{phase}raised_message", "")
                    raised.append((seen[f"{phase}raised"], text))
        return any(_is_lacking(name, text, plan.words) for name, text in raised)

    # -- the other cells

    def _others(self) -> None:
        """Run what no answer needed: the student's own cells, or all of them."""
        for _ in range(1 + MOST_RESTARTS):
            had = set(self.ran.outputs) | set(self.ran.killed)
            only = [
                c.id
                for c in self.code
                if c.id not in had and (self.run.full or c.kind != "demo")
            ]
            if not only or self._left() < 1:
                return
            job = {"exercises": (), "full": self.run.full, "only": only}
            attempt = self._attempt(job, time.monotonic() + self._left())
            self._leave_out(attempt)
            if attempt.end == "done":
                return

    # -- one notebook process

    def _attempt(self, job: dict[str, Any], deadline: float) -> Attempt:
        observing = OBSERVING_SECONDS
        for name in job["exercises"]:
            limits = case_seconds(self.run.cases[name]).values()
            observing += PATIENCE * sum(limits)
        seconds = max(deadline - time.monotonic(), 0.1)
        job = job | {
            "leave": sorted(self.leave),
            "seconds": seconds,
            "observe_seconds": observing,
        }
        attempt = Attempt()
        self.forks += 1
        running = self._begin()
        try:
            running.sendall(b"j" + wire.frame(b"j", wire.as_json(job)))
            follower = _Follower(running, self.run, job["exercises"], attempt)
            follower.follow(time.monotonic() + seconds + ANSWER_SECONDS)
        except (EOFError, TimeoutError, ConnectionError, Garbled):
            # The supervisor is gone, and with it all that it started. If the warm
            # process is too, this raises: then it was none of the submission's doing.
            attempt.end = "died"
            self._finish()
        self.peak = max(self.peak, attempt.peak)
        for cell in attempt.late:
            seconds = self.run.limits.cell_seconds
            self.ran.killed[cell] = f"took longer than {seconds:g} s: interrupted"
        for cell, outputs in attempt.outputs.items():
            self._keep(cell, outputs)
        return attempt

    def _leave_out(self, attempt: Attempt) -> None:
        """From now on, leave out the cell that ended this process."""
        if attempt.cell is not None and attempt.end in ("died", "late", "garbled"):
            self.ran.killed[attempt.cell] = self._reason(attempt)
            self.leave.add(attempt.cell)

    def _reason(self, attempt: Attempt) -> str:
        if attempt.end == "late":
            seconds = self.run.limits.cell_seconds
            return f"took longer than {seconds:g} s and could not be interrupted"
        if attempt.end == "garbled":
            return "wrote to the grader's channel"
        if os.WIFSIGNALED(attempt.status):
            return f"ended its process (signal {os.WTERMSIG(attempt.status)})"
        return f"ended its process (exit code {os.WEXITSTATUS(attempt.status)})"

    def _keep(self, cell: str, outputs: list[dict[str, Any]]) -> None:
        if cell in self.ran.outputs:
            return
        size = len(json.dumps(outputs))
        limits = self.run.limits
        if size > 2 * limits.output or self.kept + size > limits.outputs:
            outputs, size = _not_kept(size), 0
        self.kept += size
        self.ran.outputs[cell] = outputs

    def _begin(self) -> socket.socket:
        """The supervisor's socket; starts one if there is none."""
        if self.socket is not None:
            return self.socket
        ours, theirs = socket.socketpair()
        try:
            self.box.control.sendall(wire.frame(b"s", b"{}"))
            socket.send_fds(self.box.control, [b"f"], [theirs.fileno()])
        finally:
            theirs.close()
        self.socket = ours
        said = self.box.ask(None, time.monotonic() + ANSWER_SECONDS)
        self.pid = said["pid"]
        if not self.pid:
            raise SandboxUnavailable(
                "namespaces", "a submission's own could not be made.", ALLOW
            )
        ours.sendall(_submission(self.run))
        return ours

    def _finish(self) -> None:
        """Kill the supervisor: nothing that the submission started survives this."""
        if self.socket is None:
            return
        self.socket.close()
        self.socket = None
        if self.pid:
            order = wire.frame(b"e", wire.as_json({"pid": self.pid}))
            said = self.box.ask(order, time.monotonic() + ANSWER_SECONDS)
            self.cpu += said["cpu_seconds"]
            self.pid = 0


class _Follower:
    """Reads what one notebook process says, through its supervisor, until its end."""

    def __init__(
        self,
        run_socket: socket.socket,
        run: Run,
        exercises: tuple[str, ...],
        into: Attempt,
    ) -> None:
        self.socket = run_socket
        self.run = run
        self.exercises = exercises
        self.cells = frozenset(c.id for c in run.cells)
        self.heard = 0
        self.said = 0
        self.attempt = into
        self.result = -1
        self.frames: wire.Frames | None = None
        self.stopped = False
        self.seconds = {n: case_seconds(run.cases[n]) for n in exercises}
        self.case_end = math.inf

    def follow(self, deadline: float) -> None:
        said = wire.Frames(self.socket.fileno(), LARGEST_FRAME)
        try:
            while not said.ended:
                left = min(deadline, self.case_end) - time.monotonic()
                sources = [self.socket] + ([self.result] if self.result >= 0 else [])
                ready = select.select(sources, [], [], max(left, 0))[0]
                if not ready and time.monotonic() >= deadline:
                    raise TimeoutError("the supervisor is silent")
                if not ready:
                    self.attempt.late_case = True
                    self._stop()
                if self.result in ready:
                    self._read_result()
                if self.socket in ready:
                    said.read()
                    for kind, content in said.take():
                        if kind == b"E":
                            self._ended(content)
                            return
                        self._heard(kind, content)
            raise EOFError("the supervisor is gone")
        finally:
            self._close_result()

    def _heard(self, kind: bytes, content: bytes) -> None:
        self.heard += len(content)
        if self.heard > MOST_HEARD:
            self.attempt.garbled = True
            self._stop()
            return
        try:
            if kind == b"F":
                self._ran(content)
            elif kind == b"P":
                self.attempt.plan = parse.plan_said(content, self.cells)
            elif kind == b"R":
                self.attempt.defined = parse.defined(content, self.exercises)
                if self.attempt.defined:
                    self._hand_over()
        except Garbled:
            self.attempt.garbled = self.attempt.garbled or kind == b"R"

    def _ran(self, content: bytes) -> None:
        """A cell has run: once, and no more is read than an honest one could say."""
        limits = self.run.limits
        said = parse.cell_said(content, self.cells, JSON_FOR_TEXT * limits.output)
        if said.cell in self.attempt.outputs:
            raise Garbled("this cell has run")
        self.said += len(content)
        outputs = said.outputs
        if self.said > JSON_FOR_TEXT * limits.outputs:
            outputs = _not_kept(len(content))
        self.attempt.outputs[said.cell] = outputs
        if said.error is not None:
            self.attempt.errors[said.cell] = said.error
        if said.late:
            self.attempt.late.add(said.cell)

    def _hand_over(self) -> None:
        """Give it the cases to read and a pipe to answer through."""
        if self.result >= 0:
            return
        import fcntl  # not there on every system that reads this module

        cases = os.memfd_create("cases", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.result, theirs = os.pipe()
        try:
            for name in self.attempt.defined or ():
                wire.write_all(cases, wire.frame(b"p", self.run.cases[name]))
            os.lseek(cases, 0, os.SEEK_SET)
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
            fcntl.fcntl(cases, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)
            socket.send_fds(self.socket, [b"o"], [cases, theirs])
        finally:
            os.close(cases)
            os.close(theirs)
        self.frames = wire.Frames(self.result, self.run.limits.observed + 2**20)

    def _read_result(self) -> None:
        assert self.frames is not None
        self.frames.read()
        if self.frames.received > self.run.limits.observed + 2**20:
            self.attempt.too_large = True
        try:
            for kind, content in self.frames.take():
                self._observed(kind, content)
        except Garbled:
            self.attempt.garbled = True
        if self.attempt.too_large or self.attempt.garbled:
            self._stop()
        elif self.frames.ended:
            self._close_result()

    def _observed(self, kind: bytes, content: bytes) -> None:
        self.case_end = math.inf
        if kind == b"s":
            exercise, case = parse.begun(content)
            limit = self.seconds.get(exercise, {}).get(case, 0.0)
            self.case_end = time.monotonic() + PATIENCE * limit + CASE_GRACE
        elif kind == b"c":
            exercise, case, seen = parse.observation(content)
            self.attempt.seen.setdefault(self._own(exercise), {})[case] = seen
        elif kind == b"n":
            exercise, counts = parse.calls(content, self.run.watch)
            self.attempt.calls[self._own(exercise)] = counts

    def _own(self, exercise: str) -> str:
        if exercise not in self.exercises:
            raise Garbled("not about what was asked")
        return exercise

    def _stop(self) -> None:
        """Have it killed: there is nothing more to be had from it."""
        self.case_end = math.inf
        self._close_result()
        if not self.stopped:
            self.stopped = True
            self.socket.sendall(b"k")

    def _close_result(self) -> None:
        if self.result >= 0:
            os.close(self.result)
            self.result = -1

    def _ended(self, content: bytes) -> None:
        while self.result >= 0:  # all who could write are dead: there is an end
            self._read_result()
        said = parse.end_said(content, self.cells)
        attempt = self.attempt
        attempt.end = "late" if attempt.late_case else said.end
        attempt.cell, attempt.observing = said.cell, said.observing
        attempt.status, attempt.peak = said.status, said.peak


def _submission(run: Run) -> bytes:
    """What the supervisor needs to know of a submission: frames."""
    said = {
        "cells": [_cell(c) for c in run.cells],
        "limits": run.limits.__dict__,
        "watch": list(run.watch),
        "files": list(run.files),
    }
    files = [wire.frame(b"b", content) for content in run.files.values()]
    return wire.frame(b"r", wire.as_json(said)) + b"".join(files)


def _cell(cell: RunCell) -> dict[str, Any]:
    # What is told of prose is that it is there.
    source = "" if cell.kind in ("markdown", "check") else cell.source
    return {
        "id": cell.id,
        "kind": cell.kind,
        "source": source,
        "exercise": cell.exercise,
    }


def _not_kept(size: int) -> list[dict[str, Any]]:
    text = f"[{size} bytes of output were not kept]\n"
    return [{"output_type": "stream", "name": "stderr", "text": text}]


@functools.lru_cache(maxsize=256)
def case_seconds(plan: bytes) -> Mapping[str, float]:
    """The names of the cases in a plan of one exercise, and their time limits."""
    size = int.from_bytes(plan[:8], "little")
    packed = json.loads(json.loads(plan[8 : 8 + size])["__metadata__"]["data"])
    (cases,) = packed.values()
    return {case["name"]: case["seconds"] for case in cases}


def _rest(
    seen: dict[str, Observation], cases: Mapping[str, float], raised: str
) -> dict[str, Observation]:
    """What was seen, and for every other case that nothing could be."""
    return {
        case: seen.get(
            case, {"raised": raised, "raised_classes": [], "raised_message": ""}
        )
        for case in cases
    }


def _is_lacking(name: str, text: str, words: frozenset[str]) -> bool:
    if name not in _LACKING:
        return False
    quoted = re.findall(r"'([^']+)'", text)
    return not quoted or any(word in words for word in quoted)

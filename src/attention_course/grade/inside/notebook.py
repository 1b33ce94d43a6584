"""The notebook process: runs the cells that answers need, then observes them."""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import os
import random
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy
import safetensors.torch
import torch

from attention_course.grade.inside import confine, kernel, wire
from attention_course.grade.inside.plan import Choice, choose
from attention_course.grade.inside.pristine import Pristine
from attention_course.grade.inside.reading import Reading, read_cell
from attention_course.grade.inside.shell import Shell
from attention_course.learn.answer_key import (
    Case,
    Observation,
    pack_observation,
    unpack_case,
)
from attention_course.learn.limits import TookTooLong, time_limit
from attention_course.learn.observation import observe

GRACE = 3.0
"""Seconds between the interruption of a cell and the end of its process."""


MOST_LINES = 100


def answer_nothing() -> None:
    """Let `input()` read an empty line, some times; then the end of all input."""
    left = iter(range(MOST_LINES))

    def nobody(prompt: object = "", /) -> str:
        print(prompt)
        if next(left, None) is None:
            raise EOFError("EOF when reading a line")
        return ""

    builtins.input = nobody


class Notebook:
    """One notebook process's work.

    `job` says for which `exercises` and whether in `full`; without any, which cells
    are the `only` ones wanted; and which to `leave`.
    """

    __slots__ = (
        "calls",
        "cells",
        "channel",
        "job",
        "limits",
        "pristine",
        "read",
        "readings",
        "shell",
        "watch",
    )

    def __init__(
        self,
        shell: Shell,
        channel: socket.socket,
        submission: Mapping[str, Any],
        job: Mapping[str, Any],
        readings: Mapping[str, Reading],
        pristine: Pristine,
    ) -> None:
        """Speak through `channel`; `readings` has what is known of released cells."""
        self.shell = shell
        self.channel = channel
        self.cells = submission["cells"]
        self.limits = submission["limits"]
        self.watch = submission["watch"]
        self.job = job
        self.readings = readings
        self.pristine = pristine
        self.read: dict[int, Reading] = {}
        self.calls: dict[str, int] = {}

    def main(self) -> None:
        """Run, then observe. What it says goes through the channel, in frames."""
        # Python and torch begin with a seed of chance: grading twice would differ.
        random.seed(0)
        numpy.random.seed(0)
        torch.default_generator.manual_seed(0)
        names = self.job["exercises"]
        ends = {name: self._end(name) for name in names}
        choice = self._choose(ends)
        self._watch_calls()
        self.shell.start(self.limits["output"])
        answer_nothing()
        found: dict[str, Any] = {}
        for index in choice.run:
            self._find(found, ends, index)
            self._run_cell(index)
        self._find(found, ends, len(self.cells))
        if len(names) == 1 and not found:
            for index in self._rest(names[0], choice):
                self._run_cell(index)
            self._find(found, ends, len(self.cells))
        if names:
            self._say(b"r", {"defined": [name for name in names if name in found]})
        if found:
            self.pristine.put_back()
            self._observe(found)
        self._say(b"x")

    # -- cells

    def _may_run(self) -> list[int]:
        leave = set(self.job["leave"])
        return [
            i
            for i, cell in enumerate(self.cells)
            if cell["kind"] not in ("markdown", "check") and cell["id"] not in leave
        ]

    def _choose(self, ends: Mapping[str, int]) -> Choice:
        """The cells to run for all exercises together, each up to its own check."""
        may_run = self._may_run()
        last = max(ends.values(), default=len(self.cells))
        if self.job["full"]:
            choice = Choice(tuple(i for i in may_run if i < last), (), True)
            self.read = {}
        else:
            self.read = {i: self._read(i) for i in may_run if i < last}
            parts = [self._needed(name, end) for name, end in ends.items()]
            choice = _together(parts or [self._needed(None, last)], list(self.read))
        words = sorted(set().union(*(self.read[i].words for i in choice.left)))
        self._say(
            b"p",
            {
                "left": [self.cells[i]["id"] for i in choice.left],
                "words": words,
                "full": choice.full,
            },
        )
        return choice

    def _needed(self, name: str | None, end: int) -> Choice:
        read = {i: reading for i, reading in self.read.items() if i < end}
        own = [i for i in read if self._belongs(i, name)]
        return choose(self.cells, read, own, [name] if name else [], end)

    def _belongs(self, index: int, name: str | None) -> bool:
        cell = self.cells[index]
        if name is None:
            return cell["id"] in self.job["only"]
        return cell["kind"] == "answer" and cell["exercise"] == name

    def _end(self, exercise: str) -> int:
        for index, cell in enumerate(self.cells):
            if cell["kind"] == "check" and cell["exercise"] == exercise:
                return index
        return len(self.cells)

    def _read(self, index: int) -> Reading:
        cell = self.cells[index]
        known = self.readings.get(cell["source"])
        if known is not None:
            return known
        self._say(b"b", {"cell": cell["id"]})
        return read_cell(cell["source"], self.shell.transform_cell)

    def _rest(self, exercise: str, choice: Choice) -> list[int]:
        """Cells after the check that could still define the answer."""
        later = [i for i in self._may_run() if i not in choice.run]
        if self.job["full"]:
            return later
        own = [i for i in later if self._belongs(i, exercise)]
        self.read |= {i: self._read(i) for i in later if i not in self.read}
        full = choose(self.cells, self.read, own, [exercise], len(self.cells))
        return [i for i in full.run if i in later]

    def _run_cell(self, index: int) -> None:
        cell = self.cells[index]
        self._say(b"b", {"cell": cell["id"]})
        seconds = self.limits["cell_seconds"]
        began = time.monotonic()
        try:
            with time_limit(seconds):
                outputs, error = self.shell.run(cell["source"])
        except TookTooLong:
            outputs, error = self.shell.outputs.finished(), ("TookTooLong", "")
        except KeyboardInterrupt:
            outputs, error = self.shell.outputs.finished(), ("KeyboardInterrupt", "")
        late = time.monotonic() - began >= seconds
        said = {"cell": cell["id"], "outputs": outputs, "error": error, "late": late}
        self._say(b"f", said)

    def _say(self, kind: bytes, value: Any = None) -> None:
        content = b"" if value is None else wire.as_json(value)
        self.channel.sendall(wire.frame(kind, content))

    def _find(self, found: dict[str, Any], ends: Mapping[str, int], index: int) -> None:
        """Take hold of the answers whose check comes before that cell."""
        for name, end in ends.items():
            if end <= index and name not in found and name in self.shell.user_ns:
                found[name] = self.shell.user_ns[name]

    # -- observation

    def _observe(self, found: Mapping[str, Any]) -> None:
        _, fds, _, _ = socket.recv_fds(self.channel, 1, 2)
        if len(fds) != 2:
            return
        plan, result = fds
        for name, cases in read_cases(_read_all(plan)).items():
            self._observe_one(name, found[name], cases, result)

    def _observe_one(
        self, name: str, answer: Any, cases: Iterable[Case], result: int
    ) -> None:
        torch.set_num_threads(1)
        torch.set_grad_enabled(True)
        self.calls.update(dict.fromkeys(self.calls, 0))
        late = False
        for case in cases:
            wire.write_all(result, wire.frame(b"s", wire.as_json([name, case.name])))
            if late:
                seen = {"raised": "TookTooLong", "raised_classes": []}
            else:
                seen = observe(answer, [case])[case.name]
                late = seen.get("raised") == "TookTooLong"
            content = pack_seen(name, case.name, seen)
            wire.write_all(result, wire.frame(b"c", content))
        wire.write_all(result, wire.frame(b"n", wire.as_json([name, self.calls])))

    def _watch_calls(self) -> None:
        """Count the calls of the functions that `watch` names."""
        for path in self.watch:
            source, _, name = path.rpartition(".")
            try:
                owner: Any = importlib.import_module(source)
            except ImportError:
                outer, _, inner = source.rpartition(".")
                owner = getattr(importlib.import_module(outer), inner)
            self.calls[path] = 0
            setattr(owner, name, self._counted(path, getattr(owner, name)))

    def _counted(self, path: str, function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[path] += 1
            return function(*args, **kwargs)

        return call


def _together(parts: Sequence[Choice], candidates: Sequence[int]) -> Choice:
    """What any of the parts runs."""
    run = set().union(*(part.run for part in parts))
    left = tuple(i for i in candidates if i not in run)
    full = any(part.full for part in parts)
    return Choice(tuple(sorted(run)), left, full)


def pack_seen(exercise: str, case: str, seen: Observation) -> bytes:
    """What one case showed, as a safetensors file."""
    store: dict[str, torch.Tensor] = {}
    packed = pack_observation(seen, store, "t")
    data = json.dumps({"exercise": exercise, "case": case, "seen": packed})
    return safetensors.torch.save(store, metadata={"data": data})


def read_cases(data: bytes) -> dict[str, tuple[Case, ...]]:
    """The cases by exercise in plans (`learn.runner.pack_plan`), each in a frame."""
    found = {}
    for _, content in wire.all_frames(data):
        size = int.from_bytes(content[:8], "little")
        plan = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["data"])
        store = safetensors.torch.load(content)
        for name, cases in plan.items():
            found[name] = tuple(unpack_case(case, store) for case in cases)
    return found


def _read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def notebook_process(
    shell: Shell,
    channel: socket.socket,
    submission: Mapping[str, Any],
    files: Mapping[str, bytes],
    job: Mapping[str, Any],
    settings: Mapping[str, Any],
    readings: Mapping[str, Reading],
    pristine: Pristine,
) -> None:
    """Put up the walls, run, observe. Call it in a fork; it doesn't raise."""
    walls = settings["walls"]
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.setsid()
    limits = submission["limits"]
    if walls["namespaces"]:
        if settings["proc"] is not None:
            confine.die_first(settings["proc"])
        confine.enter_own_file_systems(limits["disk"])
    keep = {channel.fileno()}
    kernel.close_all_but(keep)
    os.chdir(settings["folder"])
    confine.write_files(files, settings["folder"])
    confine.usual_signals()
    if walls["limits"]:
        confine.set_limits(limits, settings["base_memory"], settings["shared_uid"])
    if walls["rights"]:
        confine.give_up_rights(walls["filter"])
    Notebook(shell, channel, submission, job, readings, pristine).main()

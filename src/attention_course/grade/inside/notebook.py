"""The notebook process: runs the cells that an answer needs, then observes it."""

from __future__ import annotations

import functools
import importlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from attention_course.grade.inside import confine, kernel, wire
from attention_course.grade.inside.plan import Choice, choose
from attention_course.grade.inside.reading import Reading, read_cell
from attention_course.grade.inside.shell import Shell
from attention_course.learn.answer_key import Case, pack_observation, unpack_case
from attention_course.learn.limits import TookTooLong, time_limit
from attention_course.learn.observation import observe

GRACE = 3.0
"""Seconds between the interruption of a cell and the end of its process."""


class Notebook:
    """One notebook process's work. `job` says for which exercise, and what to leave."""

    def __init__(
        self,
        shell: Shell,
        channel: socket.socket,
        submission: Mapping[str, Any],
        job: Mapping[str, Any],
        readings: Mapping[str, Reading],
    ) -> None:
        """Speak through `channel`; `readings` has what is known of released cells."""
        self.shell = shell
        self.channel = channel
        self.cells = submission["cells"]
        self.limits = submission["limits"]
        self.watch = submission["watch"]
        self.job = job
        self.readings = readings
        self.calls: dict[str, int] = {}

    def main(self) -> None:
        """Run, then observe. What it says goes through the channel, in frames."""
        exercise = self.job["exercise"]
        choice = self._choose()
        self._watch_calls()
        self.shell.start(self.limits["output"])
        for index in choice.run:
            self._run_cell(index)
        if exercise is None:
            self._say(b"x")
            return
        answer = self._find(exercise)
        if answer is None:
            for index in self._rest(choice):
                self._run_cell(index)
            answer = self._find(exercise)
        self._say(b"r", {"defined": answer is not None})
        if answer is not None:
            self._observe(answer[0])
        self._say(b"x")

    # -- cells

    def _may_run(self) -> list[int]:
        leave = set(self.job["leave"])
        return [
            i
            for i, cell in enumerate(self.cells)
            if cell["kind"] not in ("markdown", "check") and cell["id"] not in leave
        ]

    def _choose(self) -> Choice:
        exercise = self.job["exercise"]
        may_run = self._may_run()
        own = [i for i in may_run if self._belongs(i)]
        end = self._end(exercise)
        if self.job["full"]:
            run = tuple(i for i in may_run if i < end)
            choice = Choice(run, (), True)
            self.read = {}
        else:
            self.read = {i: self._read(i) for i in may_run if i < end}
            names = [exercise] if exercise else []
            choice = choose(self.cells, self.read, own, names, end)
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

    def _belongs(self, index: int) -> bool:
        cell = self.cells[index]
        if self.job["exercise"] is None:
            return cell["id"] in self.job["only"]
        return cell["kind"] == "answer" and cell["exercise"] == self.job["exercise"]

    def _end(self, exercise: str | None) -> int:
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

    def _rest(self, choice: Choice) -> list[int]:
        """Cells after the check that could still define the answer."""
        exercise = self.job["exercise"]
        later = [i for i in self._may_run() if i not in choice.run]
        if self.job["full"]:
            return later
        own = [i for i in later if self._belongs(i)]
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

    def _find(self, name: str) -> tuple[Any] | None:
        names = self.shell.user_ns
        return (names[name],) if name in names else None

    # -- observation

    def _observe(self, answer: Any) -> None:
        _, fds, _, _ = socket.recv_fds(self.channel, 1, 2)
        if len(fds) != 2:
            return
        plan, result = fds
        cases = read_cases(_read_all(plan))
        torch.set_num_threads(1)
        torch.set_grad_enabled(True)
        self.calls.update(dict.fromkeys(self.calls, 0))
        late = False
        for case in cases:
            wire.write_all(result, wire.frame(b"s", wire.as_json(case.name)))
            if late:
                seen = {"raised": "TookTooLong", "raised_classes": []}
            else:
                seen = observe(answer, [case])[case.name]
                late = seen.get("raised") == "TookTooLong"
            store: dict[str, torch.Tensor] = {}
            packed = pack_observation(seen, store, "t")
            data = json.dumps({"case": case.name, "seen": packed})
            content = safetensors.torch.save(store, metadata={"data": data})
            wire.write_all(result, wire.frame(b"c", content))
        wire.write_all(result, wire.frame(b"n", wire.as_json(self.calls)))

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


def read_cases(data: bytes) -> tuple[Case, ...]:
    """The cases of the one exercise in a plan (`learn.runner.write_plan`)."""
    size = int.from_bytes(data[:8], "little")
    plan = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["data"])
    store = safetensors.torch.load(data)
    (cases,) = plan.values()
    return tuple(unpack_case(case, store) for case in cases)


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
    Notebook(shell, channel, submission, job, readings).main()

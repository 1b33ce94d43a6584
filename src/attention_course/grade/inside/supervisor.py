"""The first process of a submission: starts notebook processes and ends them.

It runs no student code and reads no student data but the frames' kinds. What a
notebook process says is passed on; what the outside sends for its eyes (an
exercise's cases) is passed on as open files, unread. All that one notebook process
has started is dead before the next one is.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from attention_course.grade.inside import confine, kernel, wire
from attention_course.grade.inside.notebook import GRACE, notebook_process
from attention_course.grade.inside.pristine import Pristine
from attention_course.grade.inside.reading import Reading
from attention_course.grade.inside.shell import Shell

LARGEST_FRAME = 16 * 2**20
START_SECONDS = 30.0
"""How long a notebook process may take before its first cell."""

LONGEST_BEGIN = 2000
"""Bytes that say that a cell begins."""


class Supervisor:
    """Serves one submission on the socket `run`."""

    def __init__(
        self,
        run: socket.socket,
        shell: Shell,
        settings: dict[str, Any],
        readings: Mapping[str, Reading],
        pristine: Pristine,
    ) -> None:
        """Everything comes from the warm process, which trusts the outside alone."""
        self.run = run
        self.shell = shell
        self.settings = settings
        self.readings = readings
        self.pristine = pristine

    def serve(self) -> None:
        """Do one job after the other until the outside hangs up."""
        _, content = wire.receive(self.run)
        submission = json.loads(content)
        names = submission.pop("files")
        files = {name: wire.receive(self.run)[1] for name in names}
        while True:
            order, fds, _, _ = socket.recv_fds(self.run, 1, 2)
            for fd in fds:
                os.close(fd)  # came too late: that process had ended
            if not order:
                return
            if order == b"j":
                _, content = wire.receive(self.run)
                self._do(submission, files, json.loads(content))

    def _tell(self, kind: bytes, content: bytes = b"") -> None:
        self.run.sendall(wire.frame(kind, content))

    def _do(
        self,
        submission: Mapping[str, Any],
        files: Mapping[str, bytes],
        job: Mapping[str, Any],
    ) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            _end_after(
                lambda: notebook_process(
                    self.shell,
                    theirs,
                    submission,
                    files,
                    job,
                    self.settings,
                    self.readings,
                    self.pristine,
                )
            )
        theirs.close()
        watched = _Watched(self, ours, pid, submission, job)
        why = watched.follow()
        ours.close()
        status, usage = sweep(pid, self.settings["walls"]["namespaces"])
        said = {
            "end": why,
            "cell": watched.cell,
            "observing": watched.observing,
            "status": status,
            "peak": usage,
        }
        self._tell(b"E", wire.as_json(said))


class _Watched:
    """One notebook process, from its start to its end or its deadline."""

    def __init__(
        self,
        supervisor: Supervisor,
        channel: socket.socket,
        pid: int,
        submission: Mapping[str, Any],
        job: Mapping[str, Any],
    ) -> None:
        self.run = supervisor.run
        self.tell = supervisor._tell
        self.channel = channel
        self.pid = pid
        self.cell_seconds = submission["limits"]["cell_seconds"] + GRACE
        self.job = job
        self.cell: str | None = None
        self.observing = False
        self.handed = False
        self.seconds_end = time.monotonic() + job["seconds"]
        self.step_end = time.monotonic() + START_SECONDS

    def follow(self) -> str:
        """Pass on what it says until it is done; the reason why it ended."""
        frames = wire.Frames(self.channel.fileno(), LARGEST_FRAME)
        gone = os.pidfd_open(self.pid)
        try:
            while True:
                ready = self._wait([self.channel, self.run, gone])
                if ready is None:
                    late = time.monotonic() >= self.seconds_end
                    return "out of time" if late else "late"
                if self.run in ready:
                    reason = self._order()
                    if reason:
                        return reason
                if self.channel in ready:
                    frames.read()
                    try:
                        for kind, content in frames.take():
                            if self._said(kind, content):
                                return "done"
                    except wire.Garbled:
                        return "garbled"
                if frames.ended or (gone in ready and self.channel not in ready):
                    return "died"
        finally:
            os.close(gone)

    def _wait(self, sources: list[Any]) -> list[Any] | None:
        left = min(self.seconds_end, self.step_end) - time.monotonic()
        ready = select.select(sources, [], [], max(left, 0))[0]
        return ready or None

    def _order(self) -> str | None:
        """The outside speaks: it hands over the cases, or it has enough."""
        data, fds, _, _ = socket.recv_fds(self.run, 1, 2)
        try:
            if data != b"o" or len(fds) != 2:
                return "stopped"
            if self.observing and not self.handed:
                self.handed = True
                self.step_end = time.monotonic() + self.job["observe_seconds"]
                socket.send_fds(self.channel, [b"o"], fds)
            return None
        except OSError:
            return None  # it is dead: `follow` will see
        finally:
            for fd in fds:
                os.close(fd)

    def _said(self, kind: bytes, content: bytes) -> bool:
        if kind == b"x":
            return True
        if self.observing:
            return False  # it knows the cases by now: nothing more is passed on
        if kind == b"b":
            self.cell = _cell_of(content)
            self.step_end = time.monotonic() + self.cell_seconds
        elif kind == b"f":
            self.cell = None
            self.step_end = time.monotonic() + START_SECONDS
            self.tell(b"F", content)
        elif kind == b"p":
            self.cell = None
            self.step_end = time.monotonic() + START_SECONDS
            self.tell(b"P", content)
        elif kind == b"r":
            self.observing = True
            self.cell = None
            self.step_end = time.monotonic() + START_SECONDS
            self.tell(b"R", content)
        return False


def _cell_of(content: bytes) -> str:
    """The cell that begins. Raises `Garbled` for what no notebook process says."""
    try:
        cell = json.loads(content)["cell"] if len(content) <= LONGEST_BEGIN else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise wire.Garbled("no cell begins") from error
    if not isinstance(cell, str):
        raise wire.Garbled("no cell begins")
    return cell


def sweep(pid: int, own_namespace: bool) -> tuple[int, int]:
    """Kill all that a notebook process has left, and wait until nothing is.

    Returns its wait status and the largest resident size of any of them, in bytes.
    Where this is the first process of a PID namespace, what is left is all there is.
    """
    status, peak = 0, 0
    while True:
        for target in [-1] if own_namespace else _children():
            with contextlib.suppress(ProcessLookupError):  # nobody is left
                os.kill(target, signal.SIGKILL)
        try:
            ended, code, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, peak
        peak = max(peak, usage.ru_maxrss * 1024)
        if ended == pid:
            status = code


def _children() -> list[int]:
    """The children of this process, which its orphaned grandchildren become."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _end_after(action: Callable[[], None]) -> None:
    """Run `action` in a fork and end it: no exit handler, no way back."""
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def supervise(
    run: socket.socket,
    shell: Shell,
    settings: dict[str, Any],
    readings: Mapping[str, Reading],
    pristine: Pristine,
) -> None:
    """Be the supervisor: the first process of the new PID namespace."""
    if settings["walls"]["namespaces"]:
        # A first process is sent no signal from inside that it doesn't handle.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        settings["proc"] = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        confine.hide_proc()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    else:
        settings["proc"] = None
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(run, shell, settings, readings, pristine).serve()

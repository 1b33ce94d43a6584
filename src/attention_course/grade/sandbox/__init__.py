"""The sandbox as the grader sees it: start it, run submissions, test it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attention_course.grade.contract import Limits, Ran, Run
from attention_course.grade.sandbox.box import Box, layers
from attention_course.grade.sandbox.errors import SandboxDied, SandboxUnavailable
from attention_course.grade.sandbox.selftest import run_self_test
from attention_course.grade.sandbox.session import Accept, Session
from attention_course.grade.sandbox.walls import Walls

__all__ = ["Accept", "Sandbox", "SandboxDied", "SandboxUnavailable", "self_test"]

MOST_STARTS = 3


class Sandbox:
    """Runs submissions, one at a time, each out of reach of all else.

    Use it in a `with` block. `unsafe` runs them without any wall: for systems that
    have no Linux namespaces, and for submissions that one would run by hand.
    Raises `SandboxUnavailable` if a layer cannot be had.
    """

    def __init__(
        self, limits: Limits | None = None, unsafe: bool = False, *, walls: Any = None
    ) -> None:
        """`layers` names `limits`; each Run has its own. `walls` is for tests."""
        self.limits = limits or Limits()
        self.unsafe = unsafe
        self._walls = walls or (Walls.none() if unsafe else Walls())
        self._box: Box | None = None
        self._lock = threading.Lock()
        self.starts = 0

    def __enter__(self) -> Sandbox:
        with self._lock:
            self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def layers(self) -> dict[str, str]:
        """Layer → what is in force, in words; "none" where it is not."""
        with self._lock:
            return layers(self._started(), self.limits)

    @property
    def process(self) -> int:
        """The process id, outside, of the warm process."""
        with self._lock:
            return self._started().pid

    @property
    def user(self) -> int:
        """The user, outside, that submissions run as."""
        with self._lock:
            return os.stat(f"/proc/{self._started().pid}").st_uid

    def run(self, run: Run, accept: Accept | None = None) -> Ran:
        """Run one submission and observe its answers.

        `accept` says of an exercise and its observations whether that settles it: it
        is right, or was left blank. With it all answers are first observed in one
        process, and only those that it does not accept in processes of their own;
        without, all in their own.
        If the sandbox's own process dies meanwhile it is started again, and so is
        the submission. Raises `SandboxDied` when that happens again and again.
        """
        with self._lock:
            for _ in range(MOST_STARTS):
                box = self._started()
                try:
                    ran = Session(box, run, accept).do()
                except (EOFError, OSError) as error:
                    self._stop()
                    reason = error
                else:
                    ran.layers = layers(box, run.limits)
                    return ran
        raise SandboxDied(
            f"the sandbox ended {MOST_STARTS} times under one submission ({reason})"
        )

    def close(self) -> None:
        """End the sandbox and everything in it."""
        with self._lock:
            self._stop()

    def _started(self) -> Box:
        if self._box is None:
            self._box = Box(self._walls, self.unsafe)
            self.starts += 1
        return self._box

    def _stop(self) -> None:
        if self._box is not None:
            self._box.close()
            self._box = None


def self_test(sandbox: Sandbox | None = None, hidden: Iterable[Path] = ()) -> None:
    """Try from inside to reach what must be out of reach.

    Uses `sandbox`, or starts one. `hidden` are further files and folders that must not
    be seen: the gradebook, the course. Raises `SandboxUnavailable`, naming the layer
    that does not hold and what mends it.
    """
    if sandbox is not None:
        run_self_test(sandbox, hidden)
        return
    with Sandbox() as own:
        run_self_test(own, hidden)

"""Where submissions are graded: worker processes on this machine, or on many."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Protocol

from attention_course.author.processes import follow
from attention_course.grade.tasks import Graded, Settings, Task


class Workers(Protocol):
    """Grades submissions of one chapter, several at a time.

    A future raises `concurrent.futures.BrokenExecutor` when a worker has died; these
    workers are then of no more use, and a new set is made.
    """

    at_once: int
    """How many submissions are worth having under way."""

    def submit(self, task: Task) -> Future[Graded]:
        """Grade one submission."""
        ...

    def close(self, *, kill: bool = False) -> None:
        """End the workers: when they are done, or now."""
        ...


MakeWorkers = Callable[[bytes, Settings], Workers]


class LocalWorkers:
    """A pool of processes on this machine. Each holds its own sandbox."""

    def __init__(self, bundle: bytes, settings: Settings, jobs: int) -> None:
        """`jobs` processes are started as they are needed."""
        self.at_once = 2 * jobs
        self._before = set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(
            jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(bundle, settings, os.getpid()),
        )

    def submit(self, task: Task) -> Future[Graded]:
        """Grade one submission in a worker."""
        return self._executor.submit(_grade, task)

    def close(self, *, kill: bool = False) -> None:
        """End the processes: when they are done, or now."""
        if kill:
            for process in set(multiprocessing.active_children()) - self._before:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)


_bench: tuple[bytes, Settings] | None = None


def _start(bundle: bytes, settings: Settings, parent: int) -> None:
    """Prepare a worker: it ends with its parent, and leaves Ctrl-C to it."""
    global _bench
    follow(parent)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    _bench = (bundle, settings)


def _grade(task: Task) -> Graded:
    from attention_course.grade.worker import grade

    assert _bench is not None
    return grade(_bench[0], task, _bench[1])


def local_workers(jobs: int) -> MakeWorkers:
    """A maker of local workers."""
    return lambda bundle, settings: LocalWorkers(bundle, settings, jobs)

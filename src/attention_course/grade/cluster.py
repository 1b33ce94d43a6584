"""Grade on many machines: `--scheduler ADDRESS` sends submissions to dask workers.

A worker needs this package, bubblewrap and the same environment; it needs no gradebook
and no course folder, and shares no disk. docs/instructor/many-machines.md has the
commands for Slurm and Kubernetes.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any

from attention_course.grade.course import GradingError
from attention_course.grade.environment import environment_hash
from attention_course.grade.pool import MakeWorkers
from attention_course.grade.tasks import Graded, Settings, Task

CONNECT_SECONDS = 20


class ClusterWorkers:
    """The workers of a dask cluster. A worker that dies is dask's to replace.

    Dask runs the submissions of a dead worker again elsewhere; only when that has
    failed several times does a future raise `BrokenExecutor`.
    """

    def __init__(self, bundle: bytes, settings: Settings, address: str) -> None:
        """Connect to the scheduler at `address`, like "tcp://10.0.0.7:8786".

        Raises `GradingError` if there is no scheduler, no worker, or a worker whose
        environment is another one than here.
        """
        self._client = _connect(address)
        try:
            threads = _threads_of_alike_workers(self._client, address)
        except BaseException:
            self._client.close()
            raise
        self.at_once = 2 * threads
        self._bundle = bundle
        self._settings = dataclasses.replace(
            settings, keys=None, hidden=()
        )  # no shared disk
        self._executor = self._client.get_executor(pure=False)

    def submit(self, task: Task) -> Future[Graded]:
        """Grade one submission on some worker."""
        there = self._executor.submit(
            grade_there, self._bundle, task, self._settings, environment_hash()
        )
        here: Future[Graded] = Future()
        there.add_done_callback(lambda future: _hand_over(future, here))
        return here

    def close(self, *, kill: bool = False) -> None:
        """Leave the cluster: when what is under way is done, or at once."""
        self._executor.shutdown(wait=not kill)
        self._client.close()


def grade_there(bundle: bytes, task: Task, settings: Settings, wanted: str) -> Graded:
    """What runs on a worker. Raises ValueError in another environment."""
    if environment_hash() != wanted:
        raise ValueError(
            "a worker has other packages than the machine that you grade from: install "
            "the same requirements.lock on both"
        )
    from attention_course.grade.worker import grade

    return grade(bundle, task, settings)


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise GradingError(
            "dask is not installed: pip install 'attention-course[cluster]'"
        ) from error
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise GradingError(
            f"no dask scheduler answers at {address}: start it with `dask scheduler`, "
            f"and look at the address it prints ({type(error).__name__})"
        ) from error


def _threads_of_alike_workers(client: Any, address: str) -> int:
    """How many submissions the cluster runs at a time."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise GradingError(
            f"the scheduler at {address} has no worker: start some with `dask worker "
            f"{address} --nthreads 1`"
        ) from error
    here = environment_hash()
    for worker, there in client.run(environment_hash).items():
        if there != here:
            raise GradingError(
                f"the worker {worker} has other packages than this machine: install "
                "the same requirements.lock on both"
            )
    return sum(client.nthreads().values())


def _hand_over(there: Future[Graded], here: Future[Graded]) -> None:
    """Pass a result on; a task that dask has given up is a broken worker's."""
    from distributed import KilledWorker

    try:
        result = there.result()
    except (KilledWorker, CancelledError) as error:
        here.set_exception(BrokenExecutor(str(error)))
    except BaseException as error:
        here.set_exception(error)
    else:
        here.set_result(result)


def cluster_workers(address: str) -> MakeWorkers:
    """A maker of workers on the cluster whose scheduler is at `address`."""
    return lambda bundle, settings: ClusterWorkers(bundle, settings, address)

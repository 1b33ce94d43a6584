"""Grading on a dask cluster: a real scheduler, two workers, one of which is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import RIGHT_ANSWERS, hand_in_tiny, needs_sandbox

from attention_course import cli
from attention_course.grade import cluster
from attention_course.grade.course import GradingError, open_course
from attention_course.grade.grading import Summary, grade_chapter
from attention_course.grade.pool import MakeWorkers, local_workers
from attention_course.grade.scores import read_scores
from attention_course.grade.store import Store
from attention_course.grade.tasks import Settings

SLUG = "90_tiny"
ANSWERS = (
    RIGHT_ANSWERS,
    RIGHT_ANSWERS | {"double": "def double(x):\n    return x * x"},
    RIGHT_ANSWERS | {"double": "def double(x):\n    return (2 * x).detach()"},
    {},
)
STUDENTS = 24


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A dask program in a folder and a process group of its own."""
    folder.mkdir(parents=True)
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        cwd=folder,
        env=os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def drain(process: subprocess.Popen[str]) -> None:
    """Read what a program goes on saying, so that it is not held up."""
    assert process.stderr is not None
    threading.Thread(target=process.stderr.read, daemon=True).start()


def end(process: subprocess.Popen[str]) -> None:
    """End a program and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


class Cluster:
    """A scheduler, and workers in separate folders with nothing shared."""

    def __init__(self, folder: Path) -> None:
        command = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.folder, self.workers = folder, []
        self.scheduler = start(folder / "scheduler", *command)
        self.address = self._address()
        drain(self.scheduler)

    def _address(self) -> str:
        assert self.scheduler.stderr is not None
        for line in self.scheduler.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
                return found[1]
        raise AssertionError("the scheduler ended")

    def add_worker(self) -> None:
        """Start one more worker."""
        name = f"worker-{len(self.workers)}"
        options = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        folder = self.folder / name
        scratch = ("--local-directory", str(folder / "scratch"))
        worker = start(folder, "worker", self.address, *options, *scratch)
        drain(worker)
        self.workers.append(worker)

    def close(self) -> None:
        """End everything."""
        for process in (*self.workers, self.scheduler):
            end(process)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def course(built_tiny: Path, tmp_path: Path) -> Path:
    """A tiny course with a class."""
    root = tmp_path / "course"
    shutil.copytree(built_tiny, root)
    for number in range(STUDENTS):
        hand_in_tiny(root, f"s{number:02}", ANSWERS[number % len(ANSWERS)])
    return root


def grade(root: Path, make_workers: MakeWorkers, progress: Any = None) -> Summary:
    options = {} if progress is None else {"progress": progress}
    return grade_chapter(
        open_course(root),
        root / "chapters" / SLUG,
        make_workers=make_workers,
        settings=Settings(),
        **options,
    )


def outcome(root: Path) -> tuple[list[Any], list[Any]]:
    """The gradebook's scores, and the results without how their runs went."""
    course = open_course(root)
    with Store(course.state) as store:
        kept = [store.read(SLUG, f"s{number:02}") for number in range(STUDENTS)]
    return read_scores(root), kept


class KillsAWorker:
    """Progress that kills the first worker once a third of the class is graded."""

    def __init__(self, running: Cluster) -> None:
        self.running, self.done = running, 0

    def begin(self, total: int) -> None:
        assert total == STUDENTS

    def advance(self) -> None:
        self.done += 1
        if self.done == STUDENTS // 3:
            end(self.running.workers[0])


@needs_sandbox
def test_a_cluster_that_loses_a_worker_gives_what_one_machine_gives(
    course: Path, running: Cluster, tmp_path: Path
) -> None:
    summary = grade(course, local_workers(2))
    assert summary.graded == STUDENTS
    alone = outcome(course)
    secret = (course / ".attention-course" / "secret").read_bytes()
    for path in (course / ".attention-course", course / "autograded"):
        path.rename(tmp_path / f"before-{path.name}")
    (course / "gradebook.db").unlink()
    (course / ".attention-course").mkdir()
    (course / ".attention-course" / "secret").write_bytes(secret)

    running.add_worker()
    running.add_worker()
    killer = KillsAWorker(running)
    summary = grade(course, cluster.cluster_workers(running.address), killer)
    assert running.workers[0].poll() is not None
    assert killer.done == STUDENTS
    assert summary.graded == STUDENTS
    assert not summary.held
    assert outcome(course) == alone
    for folder in running.folder.glob("worker-*"):
        assert not list(folder.rglob("*.ipynb"))
        assert not list(folder.rglob("gradebook.db"))


@needs_sandbox
def test_another_environment_is_refused(
    course: Path, running: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.add_worker()
    monkeypatch.setattr(cluster, "environment_hash", lambda: "another")
    with pytest.raises(GradingError, match="has other packages"):
        grade(course, cluster.cluster_workers(running.address))


def test_no_scheduler_is_told(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    monkeypatch.chdir(course)
    began = time.monotonic()
    assert cli.main(["grade", SLUG, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert time.monotonic() - began < 60


def test_no_worker_is_told(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Cluster(tmp_path / "empty")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    try:
        with pytest.raises(GradingError, match="has no worker"):
            grade(course, cluster.cluster_workers(empty.address))
    finally:
        empty.close()

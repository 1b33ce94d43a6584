"""Killed at any moment, the next run goes on: nothing lost, nothing counted twice."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import RIGHT_ANSWERS, hand_in_tiny
from test_grade_class import SLUG, STAND_IN, InThisProcess, book, grade, scores

from attention_course import cli
from attention_course.grade import command
from attention_course.grade.course import course_secret, open_course
from attention_course.grade.grading import grade_chapter
from attention_course.grade.pool import local_workers

NUMBER = 12
KILLS = 10

TABLES = {
    "grade": "SELECT s.student_id, b.name, g.auto_score, g.manual_score, "
    "g.needs_manual_grade FROM grade g JOIN base_cell b ON b.id = g.cell_id "
    "JOIN submitted_notebook n ON n.id = g.notebook_id "
    "JOIN submitted_assignment s ON s.id = n.assignment_id",
    "comment": "SELECT s.student_id, b.name, c.auto_comment FROM comment c "
    "JOIN base_cell b ON b.id = c.cell_id "
    "JOIN submitted_notebook n ON n.id = c.notebook_id "
    "JOIN submitted_assignment s ON s.id = n.assignment_id",
    "submission": "SELECT student_id FROM submitted_assignment",
    "notebook": "SELECT s.student_id FROM submitted_notebook n "
    "JOIN submitted_assignment s ON s.id = n.assignment_id",
    "student": "SELECT id FROM student",
}


def gradebook_of(root: Path) -> dict[str, list[tuple]]:
    """All that the gradebook says, without the random ids of its rows."""
    with closing(sqlite3.connect(root / "gradebook.db")) as database:
        return {
            name: sorted(map(repr, database.execute(query)))  # type: ignore[misc]
            for name, query in TABLES.items()
        }


def results_of(root: Path) -> dict[str, bytes]:
    folder = root / ".attention-course" / "results" / SLUG
    return {p.name: p.read_bytes() for p in folder.glob("*.json")}


def students(root: Path, number: int = NUMBER) -> None:
    for index in range(number):
        wrong = {"double": f"def double(x):\n    return x * {index % 4}"}
        hand_in_tiny(root, f"student{index:02}", RIGHT_ANSWERS | wrong)


@pytest.fixture(scope="module")
def template(built_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of twelve, with a secret and an empty gradebook."""
    root = tmp_path_factory.mktemp("class") / "course"
    shutil.copytree(built_tiny, root)
    students(root)
    with book(root):
        pass
    course_secret(open_course(root))
    return root


@pytest.fixture(scope="module")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(template, tmp_path_factory.mktemp("undisturbed") / "course")
    assert grade(root).graded == NUMBER
    return root


def in_a_fork(action: Callable[[], Any]) -> int:
    """Run `action` in a fork of this process; returns its id."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            code = action() or 0
        finally:
            os._exit(code)
    return child


def wait_for_more(root: Path, before: int, seconds: float = 30) -> None:
    """Wait until the run that was started has kept one result more."""
    folder = root / ".attention-course" / "results"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and before < NUMBER:
        if len(list(folder.rglob("*.json"))) > before:
            return
        time.sleep(0.0005)


def test_killed_at_random_moments_it_ends_as_if_undisturbed(
    template: Path, undisturbed: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(template, tmp_path / "course")
    started = time.monotonic()
    grade(shutil.copytree(template, tmp_path / "timed"))
    whole = time.monotonic() - started
    draw = random.Random(4)
    left: list[int] = []
    for number in range(KILLS):
        before = len(results_of(root))
        child = in_a_fork(lambda: grade(root) and 0)
        if number % 2:  # in the middle: some have just been graded
            wait_for_more(root, before)
        time.sleep(draw.uniform(0, whole / (50 if number % 2 else 3)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left.append(len(results_of(root)))
        for path in (root / ".attention-course").rglob("*.json"):
            if path.name != "grading.json":
                json.loads(path.read_bytes())
    assert any(0 < done < NUMBER for done in left), left
    grade(root)
    assert results_of(root) == results_of(undisturbed)
    assert gradebook_of(root) == gradebook_of(undisturbed)
    assert grade(root).unchanged == NUMBER


WAYS = [
    "attention_course.grade.store.write_beside",
    "attention_course.grade.store.Store.write",
    "attention_course.grade.store.Store.remember",
    "attention_course.grade.store.Store.mark_applied",
    "attention_course.grade.grading.write_beside",
    "attention_course.grade.gradebook.Record.merge",
]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", WAYS)
def test_killed_at_every_step_it_ends_as_if_undisturbed(
    step: str,
    before: bool,
    template: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed right before or right after each step that is kept, at its third time."""
    root = shutil.copytree(template, tmp_path / "course")
    monkeypatch.setattr("attention_course.grade.grading.BATCH", 4)

    owner, name = _owner(step)
    inner = getattr(owner, name)
    calls = []

    def lethal(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == 3 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = inner(*args, **kwargs)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    monkeypatch.setattr(owner, name, lethal)
    _, status = os.waitpid(in_a_fork(lambda: grade(root) and 0), 0)
    assert os.WIFSIGNALED(status), "the step was never taken three times"
    monkeypatch.setattr(owner, name, inner)
    grade(root)
    assert results_of(root) == results_of(undisturbed)
    assert gradebook_of(root) == gradebook_of(undisturbed)


def _owner(step: str) -> tuple[Any, str]:
    parts = step.split(".")
    module = importlib.import_module(".".join(parts[:3]))
    owner: Any = module
    for part in parts[3:-1]:
        owner = getattr(owner, part)
    return owner, parts[-1]


def test_ctrl_c_ends_cleanly_and_can_be_resumed(
    template: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(template, tmp_path / "course")
    monkeypatch.chdir(root)
    monkeypatch.setattr(command, "SANDBOX", STAND_IN.sandbox)

    class Interrupted(InThisProcess):
        count = 0

        def submit(self, task: Any) -> Any:
            type(self).count += 1
            if self.count == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().submit(task)

    monkeypatch.setattr(command, "_workers", lambda _: Interrupted)
    arguments = ["grade", SLUG, "--unsafe-no-sandbox"]
    _, status = os.waitpid(in_a_fork(lambda: cli.main(arguments)), 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert 0 < len(results_of(root)) < NUMBER
    assert not (root / ".attention-course" / "grading.json").exists()
    grade(root)
    assert gradebook_of(root) == gradebook_of(undisturbed)


class Meddler:
    """A progress bar that does something when so many are done."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at, self.action, self.done = at, action, 0

    def begin(self, total: int) -> None:
        pass

    def advance(self) -> None:
        self.done += 1
        if self.done == self.at:
            self.action()


def test_a_worker_that_is_killed_is_replaced(
    template: Path, undisturbed: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(template, tmp_path / "course")
    killed = []

    def kill() -> None:
        for process in multiprocessing.active_children():
            killed.append(process.pid)
            process.kill()

    summary = grade_chapter(
        open_course(root),
        root / "chapters" / SLUG,
        make_workers=local_workers(1),
        settings=STAND_IN,
        progress=Meddler(3, kill),
    )
    assert killed
    assert summary.graded == NUMBER
    assert results_of(root) == results_of(undisturbed)
    assert gradebook_of(root) == gradebook_of(undisturbed)
    assert not multiprocessing.active_children()


def test_a_submission_that_kills_its_worker_is_held_and_no_other(
    built_tiny: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(built_tiny, tmp_path / "course")
    students(root, 3)
    lethal = {"double": "'KILL THE WORKER'\ndef double(x):\n    return x + x"}
    hand_in_tiny(root, "mallory", RIGHT_ANSWERS | lethal)
    summary = grade_chapter(
        open_course(root),
        root / "chapters" / SLUG,
        make_workers=local_workers(1),
        settings=STAND_IN,
    )
    assert summary.held == {"mallory": "died while it was graded"}
    assert scores(root) == {"student00": 1.5, "student01": 1.5, "student02": 3.5}


def test_workers_end_with_their_parent(template: Path, tmp_path: Path) -> None:
    root = shutil.copytree(template, tmp_path / "course")
    told = tmp_path / "workers"

    def die() -> None:
        pids = [str(p.pid) for p in multiprocessing.active_children()]
        told.write_text(" ".join(pids))
        os.kill(os.getpid(), signal.SIGKILL)

    def action() -> None:
        grade_chapter(
            open_course(root),
            root / "chapters" / SLUG,
            make_workers=local_workers(1),
            settings=STAND_IN,
            progress=Meddler(2, die),
        )

    _, status = os.waitpid(in_a_fork(action), 0)
    assert os.WIFSIGNALED(status)
    pids = [int(p) for p in told.read_text().split()]
    assert pids
    deadline = time.monotonic() + 20
    while any(map(_is_running, pids)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

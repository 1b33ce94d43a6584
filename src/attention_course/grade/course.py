"""The instructor's course folder: where submissions, results and the gradebook lie."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

STATE = ".attention-course"


class GradingError(ValueError):
    """Grading could not be done; the text is one sentence with the cure."""


@dataclass(frozen=True)
class Course:
    """A course folder. `db_url` and `course_id` are nbgrader's."""

    root: Path
    db_url: str
    course_id: str
    config: Any

    def _folder(self, step: str) -> Path:
        """nbgrader's folder of one step, such as "submitted"."""
        named = self.config.CourseDirectory.get(f"{step}_directory") or step
        return self.root / named

    @property
    def all_submitted(self) -> Path:
        """The folder that holds a folder for each student."""
        return self._folder("submitted")

    @property
    def state(self) -> Path:
        """What the grader itself keeps: secret, keys, results."""
        return self.root / STATE

    @property
    def hidden(self) -> tuple[Path, ...]:
        """What no student's code may reach."""
        inside = (self.state, self.all_submitted, self.root / "chapters")
        gradebook = self.db_url.removeprefix("sqlite:///")
        files = () if gradebook == self.db_url else (Path(gradebook),)
        return (self.root, *inside, *files)

    def submitted(self, student: str, chapter: str) -> Path:
        """The folder that holds one submission."""
        return self.all_submitted / student / chapter

    def autograded(self, student: str, chapter: str) -> Path:
        """The autograded notebook of one submission."""
        return self._folder("autograded") / student / chapter / f"{chapter}.ipynb"

    def feedback(self, student: str, chapter: str) -> Path:
        """The feedback page of one submission."""
        return self._folder("feedback") / student / chapter / f"{chapter}.html"


def open_course(root: Path, db_url: str | None = None) -> Course:
    """The course under `root`, as its nbgrader_config.py has it.

    Raises `GradingError` if that file cannot be read.
    """
    from traitlets.config.loader import Config

    if str(root) not in sys.path:
        sys.path.append(str(root))  # where an instructor's own plug-ins lie
    config = Config()
    path = root / "nbgrader_config.py"
    if path.exists():
        given = {"get_config": lambda: config}
        try:
            # Its `c` may be another one: the file may import get_config itself.
            set_up = runpy.run_path(str(path), init_globals=given).get("c", config)
        except Exception as error:  # an instructor's own code
            raise GradingError(
                f"{path} fails: {type(error).__name__}: {error}"
            ) from error
        config.merge(set_up)
    named = config.CourseDirectory
    url = db_url or named.get("db_url") or f"sqlite:///{root / 'gradebook.db'}"
    return Course(root, url, named.get("course_id") or "default_course", config)


def course_secret(course: Course) -> bytes:
    """The secret from which fresh inputs are drawn: made once, for you alone."""
    path = course.state / "secret"
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        return _make_secret(path)
    if len(kept) < 16:
        raise GradingError(
            f"{path} is cut off: put your copy of it back, or delete it; then every "
            "submission is graded anew, on other inputs."
        )
    return kept


def _make_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(32).encode()
    beside = path.with_name(f".secret.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, path)  # does not replace what another process just made
    except FileExistsError:
        return path.read_bytes()
    finally:
        beside.unlink()
    return made


@contextlib.contextmanager
def only_grader(course: Course, wait: float = 0.0) -> Iterator[None]:
    """Hold the course's lock.

    Raises `GradingError` if another grader does, and goes on for `wait` seconds.
    """
    course.state.mkdir(parents=True, exist_ok=True)
    owner = course.state / "grading.json"
    lock = FileLock(course.state / "lock", timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise GradingError(_taken(owner)) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        owner.write_text(json.dumps({"pid": os.getpid(), "since": since}))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _taken(owner: Path) -> str:
    try:
        known = json.loads(owner.read_text())
        told = f" (process {known['pid']}, since {known['since']})"
    except (OSError, ValueError, KeyError):
        told = ""
    return f"another grader is running in this course{told}: wait until it has ended."

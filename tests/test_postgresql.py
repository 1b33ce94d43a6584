"""The gradebook on a real PostgreSQL server: the same scores, as Formgrader reads."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RIGHT_ANSWERS, hand_in_tiny, needs_sandbox
from nbgrader.api import Gradebook

from attention_course.grade.course import open_course
from attention_course.grade.gradebook import Record
from attention_course.grade.grading import grade_chapter
from attention_course.grade.pool import local_workers
from attention_course.grade.tasks import Settings
from attention_course.hub.ports import free_port

SLUG = "90_tiny"
CLASS = {
    "finished": RIGHT_ANSWERS,
    "squares": RIGHT_ANSWERS | {"double": "def double(x):\n    return x * x"},
    "blank": {},
}


def binaries() -> Path | None:
    """Where PostgreSQL's server programs are, of the newest version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # Debian's
    if folders:
        return folders[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def unprivileged() -> list[str]:
    """What to put before a command: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, "--"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on loopback with an empty database; yields the gradebook's URL."""
    programs = binaries()
    if programs is None:
        pytest.skip(
            "PostgreSQL's server is not installed: `make setup` installs it where it "
            "may, or `apt-get install postgresql`"
        )
    folder = tmp_path_factory.mktemp("postgresql")
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        for parent in [*folder.parents][:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    port, data, before = free_port(), folder / "data", unprivileged()

    def call(*command: str) -> None:
        subprocess.run(
            [*before, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )

    make = ("--auth=trust", "--username=attention", "--no-sync", "--pgdata", str(data))
    call(str(programs / "initdb"), *make)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    control = (
        str(programs / "pg_ctl"),
        "-D",
        str(data),
        "-w",
        "-l",
        str(folder / "log"),
    )
    call(*control, "-o", options, "start")
    try:
        reach = ("-h", "127.0.0.1", "-p", str(port), "-U", "attention")
        call(str(programs / "createdb"), *reach, "attention")
        yield f"postgresql+psycopg://attention@127.0.0.1:{port}/attention"
    finally:
        call(*control, "-m", "immediate", "stop")


@pytest.fixture
def course(built_tiny: Path, tmp_path: Path) -> Path:
    root = tmp_path / "course"
    shutil.copytree(built_tiny, root)
    for student, answers in CLASS.items():
        hand_in_tiny(root, student, answers)
    return root


def grade(root: Path, url: str | None) -> None:
    summary = grade_chapter(
        open_course(root, url),
        root / "chapters" / SLUG,
        make_workers=local_workers(1),
        settings=Settings(),
    )
    assert not summary.held


def as_formgrader_reads(url: str) -> dict[str, dict[str, object]]:
    """Each submission with what Formgrader's tables show of it."""
    keys = ("score", "max_score", "code_score", "needs_manual_grade")
    with Gradebook(url, "attention") as book:
        assert {s["id"] for s in book.student_dicts()} == set(CLASS)
        return {
            found["student"]: {key: found[key] for key in keys}
            for found in book.submission_dicts(SLUG)
        }


@needs_sandbox
def test_the_same_class_has_the_same_scores_in_both(course: Path, server: str) -> None:
    grade(course, None)
    grade(course, server)
    sqlite = as_formgrader_reads(open_course(course).db_url)
    assert as_formgrader_reads(server) == sqlite
    assert {name: facts["score"] for name, facts in sqlite.items()} == {
        "finished": 3.5,
        "squares": 1.5,
        "blank": 0.0,
    }


@needs_sandbox
def test_a_manual_score_is_kept_there(course: Path, server: str) -> None:
    grade(course, server)
    where = (SLUG, SLUG, "blank")
    with Gradebook(server, "attention") as book:
        book.find_grade("check_double", *where).manual_score = 1.0
        book.db.commit()
    hand_in_tiny(course, "blank", {"negate": RIGHT_ANSWERS["negate"]})
    grade(course, server)
    assert as_formgrader_reads(server)["blank"]["score"] == 2.5


def test_a_server_that_is_not_there_is_told(course: Path) -> None:
    from attention_course.grade.course import GradingError
    from attention_course.grade.release import read_bundle

    url = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"
    bundle = read_bundle(course, course / "chapters" / SLUG)
    with (
        pytest.raises(GradingError, match="gradebook"),
        Record(open_course(course, url), bundle),
    ):
        pass

"""Who is in the class of `make hub`, and the folders that each of them has."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COURSE = "attention"
FIRST_UID = 61_001
"""Numbers that no account of the machine has: nobody is added to it."""

EXCHANGE = Path("/srv/nbgrader/exchange")
"""Where everybody finds nbgrader's exchange."""

STUDENT_EXTENSIONS = {
    "formgrader": False,
    "course_list": False,
    "assignment_list": True,
    "validate_assignment": True,
}
LAB_EXTENSIONS = {
    "@jupyterlab/apputils-extension:announcements": True,
}
FOR_INSTRUCTORS = {
    "@jupyter/nbgrader:formgrader": True,
    "@jupyter/nbgrader:create-assignment": True,
    "@jupyter/nbgrader:course-list": True,
}
"""Lab plug-ins that are disabled for students."""

FRAMES = {"Content-Security-Policy": "frame-ancestors 'self'"}
"""The instructor's server may show pages of the hub's address in a frame.

JupyterHub forbids it, and Lab shows Formgrader in one. A page on a student's server has
the same address, so allow this only to people who cannot open a student's server.
"""


@dataclass(frozen=True)
class Person:
    """One member of the class, with a user id of their own."""

    name: str
    uid: int
    is_instructor: bool = False


def people(students: list[str], instructor: str = "instructor") -> list[Person]:
    """The class: the instructor first."""
    names = [instructor, *students]
    return [Person(n, FIRST_UID + i, i == 0) for i, n in enumerate(names)]


@dataclass(frozen=True)
class Folders:
    """Where a hub keeps what it needs, all under one folder."""

    root: Path

    @property
    def exchange(self) -> Path:
        """nbgrader's exchange, as the machine sees it."""
        return self.root / "exchange"

    @property
    def etc(self) -> Path:
        """Accounts and Jupyter's configuration, as everybody finds them in /etc."""
        return self.root / "etc"

    def home(self, person: Person) -> Path:
        """A person's home, as the machine sees it."""
        return self.root / "home" / person.name

    @property
    def password(self) -> Path:
        """The file with the class's password."""
        return self.root / "password"


def prepare(folders: Folders, course: Path, members: list[Person]) -> None:
    """Make homes, accounts, the exchange, and the instructor's course folder.

    What is there already is kept. Needs to run as root, since homes get owners.
    """
    folders.root.mkdir(parents=True, exist_ok=True)
    folders.root.chmod(0o711)
    if not folders.password.exists():
        descriptor = os.open(folders.password, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(9))
    _make_exchange(folders.exchange, members[0])
    for person in members:
        home = folders.home(person)
        home.mkdir(parents=True, exist_ok=True)
        if person.is_instructor:
            _copy_course(course, home / COURSE)
        _own(home, person.uid)
        home.chmod(0o700)
    _write_accounts(folders.etc, members)
    for person in members[:2]:  # one of each kind
        _write_configuration(folders.etc, person, members[0].name)


def _make_exchange(exchange: Path, instructor: Person) -> None:
    """nbgrader's exchange; what is handed in gets the instructor's group."""
    modes = {"": 0o755, COURSE: 0o755, f"{COURSE}/inbound": 0o2733}
    for name, mode in modes.items():
        folder = exchange / name
        folder.mkdir(exist_ok=True)
        os.chown(folder, instructor.uid, instructor.uid)
        folder.chmod(mode)
    exchange.chmod(0o777)  # nbgrader looks for this


def _copy_course(course: Path, target: Path) -> None:
    for name in ("chapters", "source"):
        shutil.copytree(course / name, target / name, dirs_exist_ok=True)
    shutil.copy(course / "nbgrader_config.py", target)


def _own(folder: Path, uid: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)


def _write_accounts(etc: Path, members: list[Person]) -> None:
    etc.mkdir(exist_ok=True)
    rows = ["root:x:0:0:root:/root:/usr/sbin/nologin"]
    rows += [f"{p.name}:x:{p.uid}:{p.uid}::/home/{p.name}:/bin/bash" for p in members]
    (etc / "passwd").write_text("\n".join(rows) + "\n", encoding="utf-8")
    groups = ["root:x:0:", *(f"{p.name}:x:{p.uid}:" for p in members)]
    (etc / "group").write_text("\n".join(groups) + "\n", encoding="utf-8")


def configuration_of(etc: Path, person: Person) -> Path:
    """The folder of Jupyter's configuration for a person."""
    return etc / ("jupyter-instructor" if person.is_instructor else "jupyter-student")


def _write_configuration(etc: Path, person: Person, instructor: str) -> None:
    folder = configuration_of(etc, person)
    (folder / "labconfig").mkdir(parents=True, exist_ok=True)
    lines = [
        "c = get_config()",
        f'c.Exchange.root = "{EXCHANGE}"',
        f'c.CourseDirectory.course_id = "{COURSE}"',
        'c.ExchangeFactory.submit = "attention_course.hub.exchange.PrivateSubmit"',
        # An nbgrader_config.py in the course's folder comes later and may add to this.
    ]
    disabled = dict(LAB_EXTENSIONS)
    if person.is_instructor:
        lines.append(f'c.CourseDirectory.root = "/home/{instructor}/{COURSE}"')
        server: dict[str, Any] = {"tornado_settings": {"headers": FRAMES}}
    else:
        disabled |= FOR_INSTRUCTORS
        extensions = {
            f"nbgrader.server_extensions.{name}": on
            for name, on in STUDENT_EXTENSIONS.items()
        }
        server = {"jpserver_extensions": extensions}
    text = json.dumps({"ServerApp": server}, indent=1)
    (folder / "jupyter_server_config.json").write_text(text, encoding="utf-8")
    (folder / "nbgrader_config.py").write_text("\n".join(lines) + "\n", "utf-8")
    text = json.dumps({"disabledExtensions": disabled}, indent=1)
    (folder / "labconfig" / "page_config.json").write_text(text, encoding="utf-8")

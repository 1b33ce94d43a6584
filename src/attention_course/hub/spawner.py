"""Start each person's server under a user id of its own, in a view of its own.

The view is made by bubblewrap: the system and the Python environment, read-only; the
person's home; nbgrader's exchange. A student's view holds no other home, no chapter, no
source and no gradebook, so there is nothing to find even where permissions are slack.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Dict, Unicode

from attention_course.hub.people import (
    COURSE,
    EXCHANGE,
    Folders,
    Person,
    configuration_of,
)
from attention_course.hub.ports import free_port

PACKAGE = Path(__file__).resolve().parents[1]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
SETTINGS = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl",
)


def view(
    person: Person, folders: Folders, command: list[str], *, python: str = sys.prefix
) -> list[str]:
    """The command that runs `command` as this person, in their view."""
    bwrap = ["bwrap", "--die-with-parent", "--unshare-ipc", "--unshare-uts"]
    # First, so that Python may lie under /tmp.
    bwrap += ["--perms", "1777", "--tmpfs", "/tmp", "--dev", "/dev"]
    bwrap += ["--perms", "1777", "--tmpfs", "/dev/shm"]
    inside = [python, sys.base_prefix, str(PACKAGE / "hub" / "exchange.py")]
    for folder in _ancestors([*inside, str(EXCHANGE)]):
        bwrap += ["--perms", "0755", "--dir", folder]
    bwrap += ["--perms", "0755", "--dir", "/home", "--perms", "0755", "--dir", "/etc"]
    for path in SYSTEM:
        if Path(path).is_symlink():
            bwrap += ["--symlink", str(Path(path).readlink()), path]
        else:
            bwrap += ["--ro-bind-try", path, path]
    for path in SETTINGS:
        bwrap += ["--ro-bind-try", path, path]
    for path in sorted({python, sys.base_prefix}):
        bwrap += ["--ro-bind-try", path, path]
    bwrap += [word for part in _package(person) for word in part]
    if person.is_instructor:
        # Grading nests a sandbox in here, which has to mount a /proc of its own; the
        # kernel allows that only where the present one is whole.
        bwrap += ["--bind", "/proc", "/proc"]
    else:
        bwrap += ["--unshare-pid", "--proc", "/proc"]
    etc = folders.etc
    home = f"/home/{person.name}"
    bwrap += [
        *("--ro-bind", str(etc / "passwd"), "/etc/passwd"),
        *("--ro-bind", str(etc / "group"), "/etc/group"),
        *("--ro-bind", str(configuration_of(etc, person)), "/etc/jupyter"),
        *("--bind", str(folders.exchange), str(EXCHANGE)),
        *("--bind", str(folders.home(person)), home),
        *("--chdir", f"{home}/{COURSE}" if person.is_instructor else home),
        "--",
    ]
    ids = [f"--reuid={person.uid}", f"--regid={person.uid}", "--clear-groups"]
    return [*bwrap, "setpriv", *ids, "--no-new-privs", "--", *command]


def _ancestors(paths: list[str]) -> list[str]:
    """The folders above these paths, outermost first: bubblewrap makes them private."""
    above = {str(p) for path in paths for p in Path(path).parents}
    there = {"/", "/tmp", "/usr"} | {p for p in above if p.startswith("/usr/")}
    return sorted(above - there)


def _package(person: Person) -> Iterator[list[str]]:
    """This package, if it lies outside the environment: for students, `learn` alone."""
    if PACKAGE.is_relative_to(sys.prefix):
        return
    parts = [PACKAGE] if person.is_instructor else _what_students_have()
    for path in parts:
        yield ["--ro-bind", str(path), str(path)]


def _what_students_have() -> list[Path]:
    hub = [PACKAGE / "hub" / name for name in ("__init__.py", "exchange.py")]
    return [PACKAGE / "__init__.py", PACKAGE / "learn", *hub]


class ViewSpawner(LocalProcessSpawner):
    """JupyterHub's spawner for `make hub`. Needs to run as root, and bubblewrap."""

    members = Dict(help="The class by name.").tag(config=True)
    folder = Unicode(help="Where homes and the exchange are.").tag(config=True)

    async def start(self) -> Any:
        """Start the server in its view."""
        if not shutil.which("bwrap"):
            raise RuntimeError(
                "bubblewrap is not installed: apt-get install bubblewrap"
            )
        person: Person = self.members[self.user.name]
        server = [sys.executable, "-m", "jupyterhub.singleuser"]
        self.port = free_port()
        self.cmd = view(person, Folders(Path(self.folder)), server)
        return await super().start()

    async def stop(self, now: bool = False) -> None:
        """Stop the view and the server in it.

        JupyterHub signals the process that it started, which is bubblewrap. An
        instructor's view has no process namespace that would end with it, so the
        signals go to the process group.
        """
        patience = {signal.SIGTERM: 0 if now else self.term_timeout}
        for number, seconds in (patience | {signal.SIGKILL: self.kill_timeout}).items():
            if await self._signal(number):
                await self._wait_for_the_group(seconds)
        await self.poll()

    async def _signal(self, sig: int) -> bool:
        """Signal the whole group; false if nobody is left in it."""
        if not self.pid:
            return False
        try:
            os.killpg(self.pid, sig)
        except ProcessLookupError:
            return False
        return True

    async def _wait_for_the_group(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.proc is not None:
                self.proc.poll()  # a dead one would count until it is asked for
            if not await self._signal(0):
                return
            await asyncio.sleep(0.05)

    def make_preexec_fn(self, name: str) -> Any:
        """Nothing to do before the start: the view changes the user."""
        return None

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """What the person's own processes find in their environment."""
        name = self.user.name
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        if not PACKAGE.is_relative_to(sys.prefix):
            env = env | {"PYTHONPATH": str(PACKAGE.parent)}
        return env | {
            "HOME": f"/home/{name}",
            "USER": name,
            "LOGNAME": name,
            "SHELL": "/bin/bash",
            "PATH": path,
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "JUPYTER_CONFIG_PATH": "/etc/jupyter",
        }

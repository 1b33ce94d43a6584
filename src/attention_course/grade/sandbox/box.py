"""Start the warm process inside bubblewrap."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attention_course
from attention_course.grade.contract import Limits
from attention_course.grade.inside import NOTEBOOK, wire
from attention_course.grade.inside.seccomp import filter_program
from attention_course.grade.sandbox.cgroups import Cgroup, make_cgroup
from attention_course.grade.sandbox.errors import SandboxUnavailable
from attention_course.grade.sandbox.walls import Walls

START_SECONDS = 180.0
COURSE = "/course"
PACKAGE = Path(attention_course.__file__).resolve().parent
PARTS = ("__init__.py", "learn", "grade/inside")
"""All of this package that is to be seen from inside."""

_FIRST_UID = 1_900_000_000
_number = itertools.count()

INSTALL = "Install it: `sudo apt-get install bubblewrap` (Fedora: dnf; Arch: pacman)."
ELSEWHERE = (
    "Grade on Linux: on Windows in WSL 2, on macOS in a virtual machine. Checks in "
    "notebooks and `attention-course check` work everywhere."
)
ALLOW = (
    "Allow it: `sudo sysctl -w kernel.unprivileged_userns_clone=1 "
    "user.max_user_namespaces=15000`; on Ubuntu 24.04 and later also "
    "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor "
    "profile for bwrap that allows userns. In Docker, grade in a container that was "
    "started with `--security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined`."
)


class Box:
    """A running warm process, and how to speak to it."""

    def __init__(self, walls: Walls, unsafe: bool) -> None:
        """Start it and wait until it is warm. Raises `SandboxUnavailable`."""
        if sys.platform != "linux":
            raise SandboxUnavailable("Linux", f"this is {sys.platform}.", ELSEWHERE)
        self.walls = walls
        self.unsafe = unsafe
        self.cgroup = Cgroup()
        self.known: set[str] = set()
        self.pid = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        uid = _student_uid() if walls.user and os.getuid() == 0 else None
        self.own_uid = uid is not None
        self.control, theirs = socket.socketpair()
        try:
            self._start(theirs, uid)
            theirs.close()
            if not unsafe and walls.limits:
                self.cgroup = make_cgroup(next(_number))
                self.cgroup.add(self.pid)
            self.control.sendall(wire.frame(b"g"))
            self._ready()
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()

    def _start(self, theirs: socket.socket, uid: int | None) -> None:
        settings: dict[str, Any] = {
            "uid": uid,
            "walls": self.walls.__dict__,
            "folder": NOTEBOOK,
            "shared_uid": _others_of_this_user(self.own_uid),
        }
        variables = environment()
        if self.unsafe:
            self._folder = tempfile.TemporaryDirectory(prefix="attention-course-")
            settings["folder"] = self._folder.name
            variables |= {
                "PYTHONPATH": str(PACKAGE.parent),
                "HOME": self._folder.name,
                "MPLCONFIGDIR": f"{self._folder.name}/.matplotlib",
                "IPYTHONDIR": f"{self._folder.name}/.ipython",
            }
        python = [
            sys.executable,
            "-m",
            "attention_course.grade.inside.warm",
            str(theirs.fileno()),
            json.dumps(settings),
        ]
        if self.unsafe:
            self.process = self._spawn(python, (theirs.fileno(),), variables)
            self.pid = self.process.pid
            return
        told, tell = os.pipe()
        try:
            command = [*bubblewrap(self.walls, uid is not None, tell), *python]
            own = variables if self.walls.environment else os.environ | variables
            self.process = self._spawn(command, (theirs.fileno(), tell), own)
            os.close(tell)
            tell = -1
            with os.fdopen(told, "rb") as file:
                told = -1
                said = file.read()
        finally:
            for fd in (told, tell):
                if fd >= 0:
                    os.close(fd)
        found = re.search(rb'"child-pid": *(\d+)', said)
        if not found:
            self._refuse()
        else:
            self.pid = int(found[1])

    def _spawn(
        self, command: list[str], fds: tuple[int, ...], variables: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            pass_fds=fds,
            env=variables,
            cwd="/" if not self.unsafe else None,
        )

    def _ready(self) -> None:
        try:
            said = self.ask(None, time.monotonic() + START_SECONDS)
        except (EOFError, TimeoutError):
            self._refuse()
        self.base_memory = int(said["base_memory"])
        self.base_used = self.cgroup.used()

    def _refuse(self) -> Any:
        """Say which layer failed, from what bubblewrap or Python wrote."""
        self.process.kill()
        self.process.wait()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip()
        last = said.splitlines()[-1] if said else "it ended without a word"
        if "bwrap:" in said:
            raise SandboxUnavailable(
                "namespaces", f"bubblewrap could not make them ({last}).", ALLOW
            )
        raise SandboxUnavailable(
            "warm process",
            f"Python did not start inside ({last}).",
            "Is every package of requirements.lock installed in this environment?",
        )

    def ask(self, order: bytes | None, deadline: float) -> dict[str, Any]:
        """Send a frame (or none) and read one answer."""
        if order is not None:
            self.control.sendall(order)
        _, content = wire.receive(self.control, deadline)
        return json.loads(content)

    def teach(self, sources: set[str]) -> None:
        """Let the warm process read released cells, and import what they do, once.

        Raises `EOFError` or `TimeoutError` if it does not answer.
        """
        new = sources - self.known
        if new:
            order = wire.frame(b"d", wire.as_json(sorted(new)))
            said = self.ask(order, time.monotonic() + START_SECONDS)
            self.base_memory = int(said["base_memory"])
            self.base_used = self.cgroup.used()
            self.known |= new

    def close(self) -> None:
        """End it and all that it started."""
        self.control.close()
        process = getattr(self, "process", None)
        if process is not None:
            # The warm process first: it is the first of its PID namespace, and all
            # end with it. It may outlive bubblewrap, not its control socket.
            if self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            process.kill()
            process.wait()
        self.cgroup.remove()
        self._said.close()
        if self._folder is not None:
            self._folder.cleanup()


def bubblewrap(walls: Walls, own_uid: bool, info: int) -> list[str]:
    """The command line of bubblewrap, up to the program to run.

    Root starts it without a user namespace, and the warm process becomes a user of
    its own; anybody else is mapped to one in a user namespace.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable("bubblewrap", "bwrap is not on the PATH.", INSTALL)
    command = [program, "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--unshare-pid", "--unshare-ipc", "--as-pid-1"]
    if walls.network:
        command += ["--unshare-net"]
    command += ["--new-session", "--die-with-parent", "--info-fd", str(info)]
    if own_uid:
        command += ["--cap-drop", "ALL"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    elif walls.user or os.getuid() != 0:
        command += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    if walls.environment:
        command += ["--clearenv"]
        for name, value in environment().items():
            command += ["--setenv", name, value]
    command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    command += ["--perms", "0755", "--dir", NOTEBOOK, "--chmod", "1777", "/tmp"]
    command += [*_system(), *_python(), *_package()]  # Python may lie under /tmp
    if not walls.files:
        shown = str(PACKAGE.parent.parent)
        command += [*_parents(shown), "--ro-bind", shown, shown]
    command += ["--remount-ro", "/", "--remount-ro", "/dev"]
    return [*command, "--chdir", NOTEBOOK]


def environment() -> dict[str, str]:
    """The variables of a sandbox: all that there are."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": COURSE,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "HOME": NOTEBOOK,
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
        "OMP_THREAD_LIMIT": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # There is no compiler here, and compiling takes longer than any answer may.
        "TORCH_COMPILE_DISABLE": "1",
        "ATTENTION_COURSE_DEVICE": "cpu",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": "/tmp/.matplotlib",
        "IPYTHONDIR": "/tmp/.ipython",
    }


def _system() -> list[str]:
    """The system's programs and libraries, and of /etc what they need."""
    made = ["--ro-bind", "/usr", "/usr"]
    for place in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        path = Path(place)
        if path.is_symlink():
            made += ["--symlink", os.readlink(path), place]
        elif path.is_dir():
            made += ["--ro-bind", place, place]
    for place in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"):
        made += ["--ro-bind-try", f"/etc/{place}", f"/etc/{place}"]
    return [*made, "--ro-bind-try", "/etc/localtime", "/etc/localtime"]


def _python() -> list[str]:
    """This Python's own folders, read-only, without this package and settings."""
    made: list[str] = []
    for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix)):
        if not prefix.startswith("/usr/") and prefix != "/usr":
            made += [*_parents(prefix), "--ro-bind", os.path.realpath(prefix), prefix]
    if sys.prefix != sys.base_prefix:
        settings = Path(sys.prefix) / "etc"
        if settings.is_dir():
            made += ["--tmpfs", str(settings)]
    for folder in dict.fromkeys(p for p in sys.path if p.endswith("-packages")):
        installed = Path(folder) / "attention_course"
        if installed.is_dir():
            made += ["--tmpfs", str(installed)]
    return made


def _parents(place: str) -> list[str]:
    """Make the folders above `place` for everybody: bubblewrap's are its user's."""
    made = []
    for folder in reversed(Path(place).parents[:-1]):
        made += ["--perms", "0755", "--dir", str(folder)]
    return made


def _package() -> list[str]:
    made = []
    for part in PARTS:
        inside = f"{COURSE}/attention_course/{part}"
        made += [*_parents(inside), "--ro-bind", str(PACKAGE / part), inside]
    return made


def _student_uid() -> int:
    """A user that nobody else is; as root may be mapped, "nobody" where it must."""
    wanted = _FIRST_UID + (os.getpid() % 1_000_000) * 64 + next(_number) % 64
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, count = map(int, line.split())
        if first <= wanted < first + count:
            return wanted
    return 65534


def _others_of_this_user(own_uid: bool) -> int:
    """How many processes the kernel counts with a submission's, -1 if unknown.

    A user of its own has none beside it; from Linux 5.14 on, nor has a new user
    namespace.
    """
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if own_uid or release >= (5, 14):
        return 8
    uid = str(os.getuid())
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it has just ended
        owner = re.search(r"^Uid:\s+(\d+)", text, re.MULTILINE)
        threads = re.search(r"^Threads:\s+(\d+)", text, re.MULTILINE)
        if owner and threads and owner[1] == uid:
            count += int(threads[1])
    return count + 256


def layers(box: Box, limits: Limits) -> dict[str, str]:
    """What is in force, in words; "none" where a layer is not."""
    walls = box.walls
    used = filter_program() is not None and walls.filter and walls.rights

    def said(is_there: bool, words: str) -> str:
        return words if is_there else "none"

    own = "a user of its own" if box.own_uid else "the grader's user, mapped"
    return {
        "bubblewrap": said(not box.unsafe, version()),
        "network": said(walls.network, "no network"),
        "files": said(walls.files, "Python and system read-only, no course, no home"),
        "environment": said(walls.environment, "cleared"),
        "user": said(walls.user, own),
        "namespaces": said(
            walls.namespaces,
            "each submission its own: user, pid, mount, net, ipc, uts, cgroup",
        ),
        "rights": said(walls.rights, "no capabilities, no new privileges"),
        "system calls": said(used, "filtered by seccomp"),
        "memory": box.cgroup.memory
        if box.cgroup.memory == "none"
        else f"{box.cgroup.memory}, {limits.memory // 2**20} MiB",
        "processes": box.cgroup.processes,
        "limits": said(
            walls.limits, "data, cpu, file size, processes, open files, core"
        ),
        "time": "wall clock; the PID namespace is killed"
        if walls.namespaces
        else "wall clock",
    }


@functools.cache
def version() -> str:
    """bubblewrap's name and version."""
    done = subprocess.run(
        ["bwrap", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "bubblewrap"

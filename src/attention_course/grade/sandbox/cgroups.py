"""Control groups: limits on the memory and the processes of a whole sandbox.

Version 2 or 1, where the user may make one; otherwise there is none, and the limits
of single processes remain.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from attention_course.grade.contract import Limits

PREFIX = "attention-course-"
_SPARE_PROCESSES = 8  # the warm process, the supervisor, bubblewrap's own


@dataclass
class Cgroup:
    """A control group made for one sandbox; `folders` by controller."""

    version: int = 0
    folders: dict[str, Path] = field(default_factory=dict)

    @property
    def memory(self) -> str:
        """What limits memory, in words."""
        return self._words("memory")

    @property
    def processes(self) -> str:
        """What limits the number of processes, in words."""
        return self._words("pids")

    def _words(self, controller: str) -> str:
        return f"cgroup v{self.version}" if controller in self.folders else "none"

    def add(self, pid: int) -> None:
        """Put a process here; what it starts will be here too."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def limit(self, limits: Limits, base: int) -> None:
        """Allow `limits` above the `base` bytes that are in use."""
        if "memory" in self.folders:
            most = str(base + limits.memory)
            name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            (self.folders["memory"] / name).write_text(most, encoding="ascii")
            swap = self.folders["memory"] / "memory.swap.max"
            if swap.exists():
                swap.write_text("0", encoding="ascii")
        if "pids" in self.folders:
            most = str(limits.processes + _SPARE_PROCESSES)
            (self.folders["pids"] / "pids.max").write_text(most, encoding="ascii")

    def used(self) -> int:
        """Bytes in use now; 0 where nothing counts them."""
        if "memory" not in self.folders:
            return 0
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return int((self.folders["memory"] / name).read_text(encoding="ascii"))

    def remove(self) -> None:
        """Take the groups away, once all their processes have ended."""
        for folder in set(self.folders.values()):
            for _ in range(100):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:  # its last process is still on its way out
                    time.sleep(0.02)
        self.folders.clear()


def make_cgroup(number: int) -> Cgroup:
    """A group for this process's sandbox `number`; perhaps with nothing to limit."""
    name = f"{PREFIX}{os.getpid()}-{number}"
    own = _own_groups()
    made = _version_2(name, own.get(""))
    if made.folders:
        return made
    for controller in ("memory", "pids"):
        root = Path("/sys/fs/cgroup") / controller
        if controller not in own or not (root / "cgroup.procs").exists():
            continue
        folder = root / own[controller].lstrip("/") / name
        if _make(folder):
            made.version = 1
            made.folders[controller] = folder
    return made


def _own_groups() -> dict[str, str]:
    """The groups of this process by controller; version 2's is called ""."""
    found = {}
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _version_2(name: str, path: str | None) -> Cgroup:
    """A group beside or above this process's own, where one has been delegated."""
    root = Path("/sys/fs/cgroup")
    if path is None or not (root / "cgroup.controllers").exists():
        return Cgroup()
    place = root / path.lstrip("/")
    while True:
        control = place / "cgroup.subtree_control"
        enabled = control.read_text(encoding="ascii") if control.exists() else ""
        wanted = [c for c in ("memory", "pids") if c in enabled.split()]
        if wanted and os.access(place / "cgroup.procs", os.W_OK):
            folder = place / name
            if _make(folder):
                return Cgroup(2, dict.fromkeys(wanted, folder))
        if place == root:
            return Cgroup()
        place = place.parent


def _make(folder: Path) -> bool:
    _tidy(folder.parent)
    try:
        folder.mkdir()
    except OSError:
        return False
    return os.access(folder / "cgroup.procs", os.W_OK)


def _tidy(place: Path) -> None:
    """Remove the groups of graders that were killed; those in use stay."""
    for folder in place.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()

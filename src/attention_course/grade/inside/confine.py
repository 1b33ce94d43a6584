"""Walls around one notebook process, put up by itself before it runs any cell."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_course.grade.inside import NOTEBOOK, kernel
from attention_course.grade.inside.seccomp import filter_program

WRITABLE = ((NOTEBOOK, 2), ("/tmp", 4), ("/dev/shm", 4))
"""Where a notebook may write, each on a new file system, and its part of the disk."""

MOST_FILES = 20_000


def enter_own_file_systems(disk: int) -> None:
    """A mount and an IPC namespace of one's own, with empty places to write.

    Where Python itself lies in one of them, it stays there, as it is: read-only.
    """
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in _to_keep()}
    safe = kernel.MS_NOSUID | kernel.MS_NODEV
    for place, part in WRITABLE:
        options = f"size={disk // part},nr_inodes={MOST_FILES},mode=0700"
        kernel.mount("tmpfs", place, "tmpfs", safe, options)
    for path, fd in kept.items():
        os.makedirs(path)
        os.fchdir(fd)  # it is covered by now, but can still be stood in
        kernel.mount(".", path, None, kernel.MS_BIND | kernel.MS_REC)
        os.close(fd)


def _to_keep() -> list[str]:
    """Python's own folders that lie where a notebook may write, outermost first."""
    folders = sorted({sys.base_prefix, sys.base_exec_prefix, sys.prefix})
    hidden = [f for f in folders if any(f.startswith(f"{p}/") for p, _ in WRITABLE)]
    return [f for f in hidden if not any(f.startswith(f"{o}/") for o in hidden)]


def hide_proc() -> None:
    """Cover /proc: it shows the processes outside of the PID namespace."""
    flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", "/proc", "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555")


def set_limits(limits: Mapping[str, Any], base_memory: int, shared_uid: int) -> None:
    """Resource limits. `base_memory` is what the warm process already has.

    `shared_uid` is the number of other processes that the kernel counts with ours.
    """
    memory = base_memory + int(limits["memory"])
    pairs = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, int(limits["file_size"])),
        (resource.RLIMIT_NOFILE, int(limits["open_files"])),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, int(limits["seconds"]) + 5),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ]
    if shared_uid >= 0:
        processes = int(limits["processes"]) + shared_uid
        pairs.append((resource.RLIMIT_NPROC, processes))
    for which, most in pairs:
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(which, (most, most))
    stack, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if hard == resource.RLIM_INFINITY or hard > 2**26:
        usual = 8 * 2**20
        soft = usual if stack == resource.RLIM_INFINITY else min(stack, 2**26)
        resource.setrlimit(resource.RLIMIT_STACK, (soft, 2**26))


def give_up_rights(use_filter: bool) -> None:
    """No capability, none to be had, and no call that the filter refuses."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    program = filter_program()
    if use_filter and program is not None:
        kernel.set_filter(program)


def die_first(proc: int) -> None:
    """Be what the kernel ends first where memory is short (`proc`: /proc, open)."""
    try:
        fd = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=proc)
    except OSError:
        return  # not to be had here: then the largest process goes first
    try:
        os.write(fd, b"1000")
    finally:
        os.close(fd)


def usual_signals() -> None:
    """The signals' handling that a notebook expects."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def write_files(files: Mapping[str, bytes], folder: str) -> None:
    """Put the files beside the notebook."""
    for name, content in files.items():
        path = Path(folder) / Path(name).name
        path.write_bytes(content)

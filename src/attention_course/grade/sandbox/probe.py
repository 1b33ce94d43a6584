"""What the self-test runs inside, as a student's cell: it tries to get out.

Only Python's own modules, since it is handed in as text. `probe` returns what it could
reach, by layer; nothing in there is a secret.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from typing import Any


def probe(facts: dict[str, Any]) -> dict[str, list[str]]:
    """Try everything. `facts` names what is outside: ports, paths, process ids."""
    tries = {
        "network": _network,
        "files": _files,
        "namespaces": _namespaces,
        "rights": _rights,
        "system calls": _system_calls,
        "limits": _limits,
        "leftovers": _leftovers,
    }
    found = {layer: list(attempt(facts)) for layer, attempt in tries.items()}
    found["environment"] = sorted(os.environ)
    return found


def leave_behind(facts: dict[str, Any]) -> None:
    """Leave a process, files and shared memory for the next submission to find."""
    subprocess.Popen(["sleep", facts["marker"]], start_new_session=True)
    for place in ("/tmp", "/dev/shm", os.getcwd()):
        with contextlib.suppress(OSError), open(f"{place}/left", "w") as file:
            file.write(facts["marker"])
    _libc().shmget(facts["key"], 4096, 0o1666)


def _network(facts):
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(("192.0.2.1", 9))  # sends nothing: is there a way out?
        yield "has a route to the internet"
    targets = [(socket.AF_INET, ("127.0.0.1", facts["port"]))]
    targets.append((socket.AF_UNIX, facts["abstract"]))
    for family, address in targets:
        with contextlib.suppress(OSError), socket.socket(family) as sock:
            sock.settimeout(2)
            sock.connect(address)
            yield f"reached {address!r} outside"


def _files(facts):
    for path in facts["hidden"]:
        with contextlib.suppress(OSError):
            if os.path.isdir(path):
                if os.listdir(path):
                    yield f"sees what is in {path}"
            elif os.path.exists(path):
                yield f"sees {path}"
    for place in facts["readonly"]:
        with contextlib.suppress(OSError):
            name = f"{place}/attention-course-probe"
            with open(name, "w"):
                yield f"can write in {place}"
            os.unlink(name)


def _namespaces(facts):
    for pid in facts["processes"]:
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(PermissionError):
                os.kill(pid, 0)
            yield f"sees process {pid} outside"
    with contextlib.suppress(OSError):
        seen = [name for name in os.listdir("/proc") if name.isdigit()]
        if seen:
            yield f"sees {len(seen)} processes in /proc"
    if os.getppid() != 1:
        yield "has a parent outside of its namespace"
        return
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(OSError):
            os.kill(1, number)  # it would be the end of this run


def _rights(facts):
    libc = _libc()
    if libc.prctl(39, 0, 0, 0, 0) != 1:
        yield "may gain privileges"
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(ctypes.byref(header), ctypes.byref(data)) != 0 or any(data):
        yield "has capabilities"
    for user in (0, 1):
        with contextlib.suppress(OSError):
            os.setuid(user)
            if user != facts["uid"]:
                yield f"became user {user}"
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        yield "mounted a file system"


def _system_calls(facts):
    if not facts["filter"]:
        return
    libc = _libc()
    if libc.prctl(21, 0, 0, 0, 0) != 2:
        yield "no filter is installed"
    if libc.unshare(0x10000000) == 0:
        yield "made a user namespace"
    if libc.ptrace(16, 1, 0, 0) == 0:
        yield "traces its supervisor"
    buffer = ctypes.create_string_buffer(8)
    part = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    if libc.process_vm_readv(1, part, 1, part, 1, 0) >= 0:
        yield "reads its supervisor's memory"
    with contextlib.suppress(OSError, ValueError):
        resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
        yield "sets its supervisor's limits"
    with contextlib.suppress(OSError):
        socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK
        yield "can open a socket to the machine's host"


def _limits(facts):
    for name in ("DATA", "CPU", "FSIZE", "NPROC", "NOFILE"):
        if resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] == -1:
            yield f"has no limit of {name}"
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        yield "may write core files"


def _leftovers(facts):
    for place in ("/tmp", "/dev/shm", os.getcwd()):
        with contextlib.suppress(OSError):
            if "left" in os.listdir(place):
                yield f"finds an earlier submission's file in {place}"
    if _libc().shmget(facts["key"], 4096, 0) >= 0:
        yield "finds an earlier submission's shared memory"
    if facts["alone"]:
        with contextlib.suppress(OSError):
            os.kill(-1, 0)
            yield "is not alone in its namespace"


def _libc():
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    sys.exit("this is a part of the self-test")

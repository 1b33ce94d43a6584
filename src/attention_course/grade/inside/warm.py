"""The warm process: everything imported, forked for each submission.

Run as `python -m attention_course.grade.inside.warm FD SETTINGS`: FD is a socket to the
outside, SETTINGS JSON. It holds no key and no cases, and never runs or reads what a
student wrote.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import torch

from attention_course.grade.inside import kernel, wire
from attention_course.grade.inside.pristine import Pristine
from attention_course.grade.inside.reading import Reading, read_cell
from attention_course.grade.inside.rehearsal import import_all, modules_of, rehearse
from attention_course.grade.inside.shell import Shell, make_shell
from attention_course.grade.inside.supervisor import supervise

INNER_UID = 1000


class Warm:
    """Serves the outside on `control`, one submission at a time."""

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        """Import everything; `settings` says which walls to put up."""
        self.control = control
        self.settings = settings
        with _same_environment():
            self.shell = _import_all()
        self.readings: dict[str, Reading] = {}
        self.pristine = Pristine()

    def serve(self) -> None:
        """Answer the outside until it hangs up."""
        self._say_ready()
        while True:
            try:
                kind, content = wire.receive(self.control)
            except EOFError:
                return
            order = json.loads(content)
            if kind == b"d":
                self._learn(order)
            elif kind == b"s":
                self._start()
            elif kind == b"e":
                self._end(order["pid"])

    def _learn(self, sources: list[str]) -> None:
        """Read released cells, and import what they import: no fork has to again."""
        with _same_environment():
            for source in sources:
                transform = self.shell.transform_cell
                self.readings[source] = read_cell(source, transform)
                import_all(modules_of(source, transform))
        kernel.use_huge_pages()
        self._say_ready()

    def _say_ready(self) -> None:
        """Tell the outside how much memory is in use; none of it is garbage."""
        gc.collect()
        gc.freeze()
        self.settings["base_memory"] = _data_size()
        self._say({"ready": True, "base_memory": self.settings["base_memory"]})

    def _say(self, value: Any) -> None:
        self.control.sendall(wire.frame(b"w", wire.as_json(value)))

    def _start(self) -> None:
        _, fds, _, _ = socket.recv_fds(self.control, 1, 1)
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._become_supervisor(fds[0], tell)
                code = 0
            finally:
                os._exit(code)
        os.close(fds[0])
        os.close(tell)
        said = os.read(told, 32)
        os.close(told)
        if self.settings["walls"]["namespaces"]:
            os.waitpid(pid, 0)
        self._say({"pid": int(said) if said else 0})

    def _become_supervisor(self, run: int, tell: int) -> None:
        if self.settings["walls"]["namespaces"]:
            kernel.fresh_namespaces(INNER_UID, self.settings["walls"]["network"])
            child = os.fork()
            if child:
                os.write(tell, str(child).encode())
                return
        else:
            os.write(tell, str(os.getpid()).encode())
        kernel.close_all_but({run})
        with socket.socket(fileno=run) as channel:
            known = self.readings, self.pristine
            supervise(channel, self.shell, self.settings, *known)

    def _end(self, pid: int) -> None:
        """Kill a supervisor, and with it its namespace; tell what it all used."""
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        self._say(
            {
                "status": status,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss * 1024,
            }
        )


@contextlib.contextmanager
def _same_environment() -> Iterator[None]:
    """Take away the variables that an import sets: no part of the environment."""
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        del os.environ[name]


def _import_all() -> Shell:
    shell = make_shell()
    for name in (
        "torch.nn.functional",
        "numpy.random",
        "matplotlib.pyplot",
        "PIL.Image",
    ):
        importlib.import_module(name)
    import attention_course.learn
    from attention_course.learn.checking import explain_undefined

    torch.set_num_threads(1)
    prefix = f"{attention_course.learn.__name__}."
    for module in pkgutil.walk_packages(attention_course.learn.__path__, prefix):
        importlib.import_module(module.name)
    explain_undefined(shell)
    rehearse(shell)
    return shell


def _data_size() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")


def main(fd: int, settings: dict[str, Any]) -> int:
    """Wait for the word to begin, become who the settings say, import, serve."""
    control = socket.socket(fileno=fd)
    wire.receive(control)  # the outside has put this process where it belongs
    uid = settings["uid"]
    if uid is not None:
        kernel.become(uid)
    if settings["walls"]["rights"]:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.drop_capabilities()
    Warm(control, settings).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2])))

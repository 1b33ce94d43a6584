"""The sandbox's test of itself: reach from inside for what must be out of reach."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attention_course.grade.contract import Ran, Run, RunCell
from attention_course.grade.inside.seccomp import filter_program
from attention_course.grade.sandbox.box import ALLOW, COURSE, PACKAGE, environment
from attention_course.grade.sandbox.errors import SandboxUnavailable

CURES = {
    "network": "bubblewrap ran without --unshare-net: is `bwrap` the real program?",
    "files": "A folder of the course lies inside Python's own: move the course or use "
    "a virtual environment of its own (`make setup`).",
    "environment": "bubblewrap ran without --clearenv: version 0.5 or later has it.",
    "user": "Grade as an ordinary user, or as root with CAP_SETUID.",
    "namespaces": ALLOW,
    "rights": "The kernel kept privileges: it must support no_new_privs (Linux 3.5).",
    "system calls": "The kernel must be built with CONFIG_SECCOMP_FILTER.",
    "limits": "Start the grader where `ulimit` may be lowered.",
    "leftovers": ALLOW,
}


def run_self_test(sandbox: Any, hidden: Iterable[Path] = ()) -> None:
    """Raise `SandboxUnavailable` for the first layer that does not hold.

    `hidden` are files and folders that must not be seen, beside the course's own, the
    home folder and this test's stand-ins for a gradebook and another's submission.
    """
    marker = f"86400.{secrets.randbelow(10**12):012d}"
    with (
        tempfile.TemporaryDirectory(prefix="attention-course-") as scratch,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        for name in ("gradebook.db", "another/submission.ipynb"):
            path = Path(scratch) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(marker, encoding="ascii")
        name = f"\0attention-course-{secrets.token_hex(8)}"
        abstract.bind(name)
        abstract.listen(1)
        facts = {
            "port": server.getsockname()[1],
            "abstract": name,
            "hidden": sorted({*_hidden([Path(scratch), *hidden])}),
            "readonly": ["/", "/usr", "/dev", "/proc", sys.prefix, COURSE],
            "processes": [os.getpid(), sandbox.process],
            "marker": marker,
            "key": secrets.randbelow(2**30) + 1,
            "uid": 1000,
            "filter": filter_program() is not None,
            "alone": True,
        }
        _run(sandbox, "leave_behind", facts)
        if _is_running(marker):
            _refuse("leftovers", ["left a process behind"])
        ran = _run(sandbox, "probe", facts)
    _judge(_said(ran))
    if os.getuid() == 0 and sandbox.user == 0:
        _refuse("user", ["a submission runs as root"])


def _hidden(more: Iterable[Path]) -> Iterator[str]:
    """What must not be seen; of folders that lead to Python, all but the way there."""
    root = PACKAGE.parent.parent
    parts = [Path.home(), root, Path.cwd(), *more]
    parts += [PACKAGE / "author", PACKAGE / "cli.py", PACKAGE / "grade" / "sandbox"]
    for folder in (p for p in sys.path if p.endswith("-packages")):
        parts.append(Path(folder) / "attention_course")
    shown = {Path(p) for p in (sys.prefix, sys.base_prefix)}
    for part in parts:
        ways = {
            p.relative_to(part).parts[0]
            for p in shown
            if p.is_relative_to(part) and p != part
        }
        if ways and part.is_dir():
            yield from (str(p) for p in part.iterdir() if p.name not in ways)
        else:
            yield str(part)


def _run(sandbox: Any, function: str, facts: dict[str, Any]) -> Ran:
    text = (
        Path(__file__)
        .with_name("probe.py")
        .read_text("utf-8")
        .partition("if __name__")[0]
    )
    given = repr(json.dumps(facts))
    call = f"\nimport json\nprint(json.dumps({function}(json.loads({given}))))"
    return sandbox.run(Run((RunCell("probe", "student", text + call),), {}))


def _said(ran: Ran) -> dict[str, list[str]]:
    outputs = ran.outputs.get("probe", [])
    text = "".join(o.get("text", "") for o in outputs if o.get("name") == "stdout")
    if not text:
        why = ran.killed.get("probe") or json.dumps(outputs)[-500:]
        _refuse("namespaces", [f"ended before it could tell ({why})"])
    return json.loads(text)


def _judge(found: dict[str, list[str]]) -> None:
    allowed = set(environment()) | {"PWD", "SHLVL", "_", "LC_CTYPE", "KMP_INIT_AT_FORK"}
    leaked = [n for n in found.pop("environment") if n not in allowed]
    if leaked:
        _refuse("environment", [f"sees {', '.join(leaked[:5])}"])
    for layer, reached in found.items():
        if reached:
            _refuse(layer, reached)


def _refuse(layer: str, reached: list[str]) -> None:
    problem = f"a submission {reached[0]}."
    raise SandboxUnavailable(layer, problem, CURES[layer])


def _is_running(marker: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                return True
        except OSError:
            continue  # it has just ended
    return False

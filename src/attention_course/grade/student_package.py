"""The package as students have it: the `learn` wing, its command, what it needs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

LAB = ("jupyterlab", "ipykernel", "ipywidgets")
"""What a student needs besides the package's own dependencies."""

PACKAGE = Path(__file__).resolve().parents[1]

EPOCH = "1767225600"
"""2026-01-01, the date of every file in the wheel."""

BUILD_WHEEL = (
    "import setuptools.build_meta, sys;"
    "print(setuptools.build_meta.build_wheel(sys.argv[1]))"
)


def package_files() -> list[Path]:
    """The files of the package that students receive.

    `author` and `grade` stay out: they read references and sample answers.
    """
    names = ("__init__.py", "py.typed", "student.py", "terminal.py")
    files = [PACKAGE / name for name in names]
    return files + sorted((PACKAGE / "learn").rglob("*.py"))


def student_wheel(root: Path) -> tuple[str, bytes]:
    """Name and bytes of a wheel with the students' part of the package."""
    project = _project(root)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for path in package_files():
            target = work / "src" / PACKAGE.name / path.relative_to(PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        (work / "README.md").write_bytes((root / "docs" / "student.md").read_bytes())
        (work / "LICENSE").write_bytes((root / "LICENSE").read_bytes())
        (work / "pyproject.toml").write_text(_student_project(project), "utf-8")
        for path in work.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BUILD_WHEEL, "dist"],
            cwd=work,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
            umask=0o022,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ValueError(f"the wheel could not be built:\n{done.stderr[-2000:]}")
        name = done.stdout.strip().splitlines()[-1]
        return name, (work / "dist" / name).read_bytes()


def _project(root: Path) -> dict[str, Any]:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]


def _student_project(project: Mapping[str, Any]) -> str:
    dependencies = "\n".join(f"  {text!r}," for text in project["dependencies"])
    return f"""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{project["name"]}"
version = "{project["version"]}"
description = "{project["description"]}"
readme = "README.md"
requires-python = "{project["requires-python"]}"
license = "{project["license"]}"
license-files = ["LICENSE"]
dependencies = [
{dependencies}
]

[project.scripts]
attention-course = "attention_course.student:main"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
attention_course = ["py.typed"]
"""


def student_pins(root: Path) -> list[str]:
    """What a student installs, pinned as in requirements.lock: NAME==VERSION lines.

    The package's dependencies and JupyterLab, with all that these need in turn.
    Raises ValueError for a package that the lock does not pin.
    """
    pinned = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", _lock(root)))
    versions = {canonicalize_name(n): (n, v) for n, v in pinned.items()}
    waiting = [Requirement(text) for text in _project(root)["dependencies"]]
    waiting += map(Requirement, LAB)
    done: set[tuple[str, frozenset[str]]] = set()
    found: set[NormalizedName] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in done:
            continue
        done.add((name, frozenset(requirement.extras)))
        if name not in versions:
            if _is_torchs_own(name):
                continue
            raise ValueError(
                f"requirements.lock does not pin {name}, which students need: "
                "run `make lock`"
            )
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(needed)
    return ["==".join(versions[name]) for name in sorted(found)]


def _is_torchs_own(name: str) -> bool:
    """CUDA's libraries, which only some builds of torch need: pip finds theirs."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


def _lock(root: Path) -> str:
    return (root / "requirements.lock").read_text(encoding="utf-8")

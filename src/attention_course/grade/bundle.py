"""What a student receives, as one archive that holds no answer.

The release notebooks with their answer keys, a wheel of the `learn` wing alone, the
environment, and a README. The same course gives the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from attention_course.author.build import edition_paths
from attention_course.author.chapter import find_chapters
from attention_course.grade.leaks import find_leaks, secret_lines
from attention_course.grade.names import unportable

TOP = "attention-course"
"""The folder that the archive unpacks to."""

LAB = ("jupyterlab", "ipykernel", "ipywidgets")
"""What a student needs besides the package's own dependencies."""

DATE = (2026, 1, 1, 0, 0, 0)
"""Of every file in the archive, so that its bytes depend on the contents alone."""

EPOCH = "1767225600"  # the same day, as setuptools reads it

BUILD_WHEEL = (
    "import setuptools.build_meta, sys;"
    "print(setuptools.build_meta.build_wheel(sys.argv[1]))"
)

HEAD = """\
# What the course needs, pinned. Install it with: python -m pip install -r {name}
#
# On Windows and macOS this installs torch for the CPU, about 0.2 GB. On Linux pip
# brings torch with the libraries for NVIDIA's GPUs, several GB. Without such a GPU
# install the small one first: choose Linux, Pip and CPU on
# https://pytorch.org/get-started/locally/ and run what it shows. This file keeps it.
"""

CONDA = """\
# conda env create -f environment.yml && conda activate attention-course
name: attention-course
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
      - --requirement requirements.txt
"""


class UnsafeBundle(ValueError):
    """An archive that must not be handed out; the text says what is wrong with it."""


def write_bundle(root: Path, target: Path) -> list[str]:
    """Write the student's archive of a course; returns the names of its files.

    Raises `UnsafeBundle` if it would hold an answer, or a name that fails elsewhere.
    """
    files = bundle_files(root)
    data = packed(files)
    refuse_unsafe(root, files, data)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.new")
    beside.write_bytes(data)
    beside.replace(target)
    return sorted(files)


def refuse_unsafe(root: Path, files: Iterable[str], archive: bytes) -> None:
    """Raise `UnsafeBundle` for an answer's line or a name that is not portable."""
    problems = list(unportable(f"{TOP}/{name}" for name in sorted(files)))
    problems += [str(leak) for leak in find_leaks(archive, secret_lines(root))]
    if problems:
        raise UnsafeBundle("the archive was not written:\n  " + "\n  ".join(problems))


def bundle_files(root: Path) -> dict[str, bytes]:
    """The archive's files by name, without the folder that holds them.

    Raises ValueError for a chapter whose release is not there.
    """
    files: dict[str, bytes] = {}
    for folder in find_chapters(root):
        paths = edition_paths(folder.name)
        for edition in ("release", "release_key"):
            path = root / paths[edition]
            if not path.is_file():
                raise ValueError(f"{path} is missing: run `attention-course build`")
            files[f"chapters/{folder.name}/{path.name}"] = path.read_bytes()
    wheel, data = student_wheel(root)
    pins = [*student_pins(root), f"./{wheel}"]
    head = HEAD.format(name="requirements.txt")
    return files | {
        wheel: data,
        "README.md": (root / "docs" / "student.md").read_bytes(),
        "LICENSE": (root / "LICENSE").read_bytes(),
        "environment.yml": CONDA.encode(),
        "requirements.txt": (head + "\n".join(pins) + "\n").encode(),
    }


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of the files, in order of name, dated alike."""
    store = io.BytesIO()
    with zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", DATE)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return store.getvalue()


def student_wheel(root: Path) -> tuple[str, bytes]:
    """Name and bytes of a wheel that holds the `learn` wing and the student's command.

    `author` and `grade` stay out: they read references and sample answers.
    """
    project = _project(root)
    package = Path(__file__).resolve().parents[1]
    parts = [package / name for name in ("__init__.py", "student.py", "py.typed")]
    parts += sorted((package / "learn").rglob("*.py"))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for path in parts:
            if path.exists():
                target = work / "src" / package.name / path.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                target.chmod(0o644)
        (work / "README.md").write_bytes((root / "docs" / "student.md").read_bytes())
        (work / "LICENSE").write_bytes((root / "LICENSE").read_bytes())
        (work / "pyproject.toml").write_text(_student_project(project), "utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BUILD_WHEEL, "dist"],
            cwd=work,
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
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

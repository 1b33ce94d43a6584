"""What a student receives, as one archive that holds no answer.

The release notebooks with their answer keys, a wheel of the `learn` wing alone, the
environment, and a README. The same course gives the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from attention_course.author.build import edition_paths
from attention_course.author.chapter import find_chapters
from attention_course.grade.leaks import find_leaks, secret_lines
from attention_course.grade.names import unportable
from attention_course.grade.progress import Progress, Silent
from attention_course.grade.student_package import student_pins, student_wheel

TOP = "attention-course"
"""The folder that the archive unpacks to."""

DATE = (2026, 1, 1, 0, 0, 0)
"""Of every file in the archive, so that its bytes depend on the contents alone."""

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


def write_bundle(
    root: Path, target: Path, progress: Progress | None = None
) -> list[str]:
    """Write the student's archive of a course; returns the names of its files.

    Raises `UnsafeBundle` if it would hold an answer, or a name that fails elsewhere.
    """
    progress = progress or Silent()
    progress.begin(3)
    files = bundle_files(root)
    progress.advance()
    data = packed(files)
    progress.advance()
    refuse_unsafe(root, files, data)
    progress.advance()
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

"""What a student handed in, read from a folder that may hold anything."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attention_course.grade.contract import Held

LARGEST_NOTEBOOK = 32 * 2**20
MOST_FILES = 2000
DEEPEST = 3
IGNORED = (".ipynb_checkpoints", "__pycache__", ".git", "__MACOSX", ".DS_Store")
COPY = re.compile(r"^copy of |[-_ ]*(?:\(\d+\)|copy *\d*)$")
"""What systems add to the name of a copy."""
EXPECTED = ("timestamp.txt", "submission_secret.txt")
NOTEBOOK_ENDINGS = (".ipynb", ".ipynb.txt", ".ipynb.json", ".json")


@dataclass(frozen=True)
class HandedIn:
    """The one notebook of a submission as bytes, and what was noticed on the way."""

    data: bytes
    name: str
    repairs: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """A SHA-256 over the notebook's bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Found:
    """One file of a submission: where it lies, its name for messages, and its state."""

    path: Path
    name: str
    status: os.stat_result

    @property
    def signature(self) -> tuple[str, int, int, int]:
        """What changes when the file does: name, size, time and inode."""
        s = self.status
        return (self.name, s.st_size, s.st_mtime_ns, s.st_ino)


class TooManyFiles(Exception):
    """A submission with more files than anybody hands in."""


def list_folder(folder: Path) -> list[Found]:
    """The files of a submission without following a link, in a fixed order.

    Links, devices and pipes are listed too: what they are is in their state. Raises
    `TooManyFiles`, and OSError if the folder cannot be read.
    """
    found: list[Found] = []
    for item in _walk(folder, "", 1):
        if len(found) == MOST_FILES:
            raise TooManyFiles
        found.append(item)
    return found


def _walk(folder: Path, inside: str, depth: int) -> Iterator[Found]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name in IGNORED:
            continue
        name = inside + entry.name
        if entry.is_dir(follow_symlinks=False):
            if depth < DEEPEST:
                yield from _walk(folder / entry.name, f"{name}/", depth + 1)
        else:
            yield Found(folder / entry.name, name, entry.stat(follow_symlinks=False))


def misnamed(path: Path) -> str | None:
    """What lies beside a missing folder under a name that is meant to be its, if any.

    Another spelling, a copy's name, or the notebook itself without a folder.
    """
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return None
    return next((name for name in beside if _plain(name) == _plain(path.name)), None)


def _plain(name: str) -> str:
    name = COPY.sub("", name.casefold().removesuffix(".ipynb"))
    return "".join(filter(str.isalnum, name))


def signature(files: list[Found]) -> str:
    """A text that changes when anything in the submission's folder does."""
    return hashlib.sha256(repr([f.signature for f in files]).encode()).hexdigest()


def choose(
    files: list[Found],
    chapter: str,
    marks: tuple[str, ...],
    is_blank: Callable[[bytes], bool] = lambda data: False,
) -> HandedIn | Held:
    """The submission's notebook among its files, by name or else by content.

    `marks` are texts that only this chapter's notebook holds. One that `is_blank` does
    not count for itself if there is another that isn't.
    """
    regular = [f for f in files if stat.S_ISREG(f.status.st_mode)]
    wanted = f"{chapter}.ipynb"
    others = [f for f in files if f not in regular and _is_notebook(f.name)]
    exact = [f for f in regular if f.name == wanted]
    if not exact and any(f.name == wanted for f in others):
        return Held(
            "not a file",
            f"{wanted} is a link or a device and not a file: ask for the file itself.",
        )
    notebooks = exact or [f for f in regular if f.name.lower().endswith(".ipynb")]
    notebooks = notebooks or [f for f in regular if _is_notebook(f.name)]
    if not notebooks:
        return _missing(files, wanted)
    if len(notebooks) > 1:
        chosen = _by_content(notebooks, marks)
        if chosen is None:
            names = ", ".join(f.name for f in notebooks[:5])
            return Held(
                "several notebooks",
                f"there are {len(notebooks)} notebooks ({names}): ask which one "
                f"counts, and name it {wanted}.",
            )
        notebooks = [chosen]
    notebook = notebooks[0]
    data = _read(notebook)
    if isinstance(data, Held):
        return data
    more = [f for f in regular if f.name.lower().endswith(".ipynb") and f != notebook]
    if more and is_blank(data):
        for other in _with_marks(more, marks):
            filled = _read(other)
            if isinstance(filled, bytes) and not is_blank(filled):
                return Held(
                    "several notebooks",
                    f"{notebook.name} is blank, and {other.name} is not: ask which one "
                    f"counts, and name it {wanted}.",
                )
    repairs = []
    if notebook.name != wanted:
        repairs.append(f"the notebook was called {notebook.name}")
    expected = {*EXPECTED, notebook.name, "checks.safetensors"}
    ignored = [f.name for f in files if f.name not in expected]
    if ignored:
        shown = ", ".join(ignored[:5]) + (" …" if len(ignored) > 5 else "")
        repairs.append(f"other files were left out: {shown}")
    return HandedIn(data, notebook.name, tuple(repairs))


def _is_notebook(name: str) -> bool:
    return name.lower().endswith(NOTEBOOK_ENDINGS)


def _missing(files: list[Found], wanted: str) -> Held:
    there = ", ".join(f.name for f in files[:5] if f.name not in EXPECTED)
    nothing = f"there is no file in it, nor in folders {DEEPEST - 1} deep"
    there = f"there is only: {there}" if there else nothing
    return Held(
        "missing notebook",
        f"{wanted} is missing ({there}): ask for the notebook.",
    )


def _by_content(notebooks: list[Found], marks: tuple[str, ...]) -> Found | None:
    """The only notebook that holds the chapter's marks, if there is just one."""
    fitting = list(_with_marks(notebooks, marks))
    return fitting[0] if len(fitting) == 1 else None


def _with_marks(notebooks: list[Found], marks: tuple[str, ...]) -> Iterator[Found]:
    for notebook in notebooks[:20]:
        data = _read(notebook)
        if isinstance(data, bytes) and any(m.encode() in data for m in marks):
            yield notebook


def _read(file: Found) -> bytes | Held:
    if file.status.st_size > LARGEST_NOTEBOOK:
        return Held(
            "too large",
            f"{file.name} has {file.status.st_size / 2**20:.0f} MB, more than the "
            f"{LARGEST_NOTEBOOK / 2**20:.0f} MB that are read: ask for a copy with its "
            "outputs cleared.",
        )
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            return opened.read(LARGEST_NOTEBOOK + 1)
    except OSError as error:
        return Held(
            "unreadable",
            f"{file.name} cannot be read ({error.strerror}): check its permissions.",
        )


def read_timestamp(files: list[Found]) -> str | None:
    """What timestamp.txt says, if the submission has one of a sensible size."""
    for file in files:
        if file.name == "timestamp.txt" and stat.S_ISREG(file.status.st_mode):
            if file.status.st_size > 200:
                return None
            data = _read(file)
            return data.decode("utf-8", "replace") if isinstance(data, bytes) else None
    return None

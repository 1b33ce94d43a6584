"""Make bad submissions of chapter 04 from the course's own right answers.

Each file in attack/, starve/, accident/ and reader/ is one submission. Its docstring
says what it tries. It defines `make(s)`, which spoils a finished submission `s`, and
may define

- `LOSES`: the exercises that must earn nothing (all others must earn everything);
- `MAY_LOSE`: exercises that may earn anything, since the student broke them;
- `HELD = True`: it cannot be graded and must be held, never scored; "maybe": it must be
  held or earn everything that is not in LOSES;
- `FLAG`: a word that one of the flags must contain;
- `STUDENT`: the folder's name, where that is the point.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attention_course.author.chapter import read_chapter
from attention_course.grade.sample_class import Student, submission

CHAPTER = "04_scaling"
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = ("attack", "starve", "accident", "reader")

TARGET = "scaled_dot_product_attention"

WRONG = """
def scaled_dot_product_attention(query, key, value):
    weights = torch.ones(*query.shape[:-1], key.shape[-2], dtype=query.dtype)
    return (weights @ value) * 0.0 + 0.123, weights
"""
"""An answer that deserves nothing; attacks try to have it paid."""


CHANNEL = r"""
import json
import os
import stat
import struct


def ways(kind):
    for fd in range(3, 256):
        try:
            if kind(os.fstat(fd).st_mode):
                yield fd
        except OSError:
            pass


def say(kind, content, to=stat.S_ISSOCK):
    data = struct.pack(">cI", kind, len(content)) + content
    for fd in ways(to):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
"""
"""Code that writes frames where a notebook process and its supervisor talk."""


def finished() -> dict[str, Any]:
    """The release notebook of chapter 04 with the course's answers, as plain JSON."""
    chapter = read_chapter(ROOT / "chapters" / CHAPTER)
    release = ROOT / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    return json.loads(json.dumps(submission(chapter, release, Student("x", ()))))


@dataclass
class Submission:
    """A submission in the making. `course` is the folder of the course it goes to."""

    folder: Path
    course: Path
    notebook: dict[str, Any] = field(default_factory=finished)
    name: str = f"{CHAPTER}.ipynb"
    data: bytes | None = None

    def index(self, grade_id: str) -> int:
        """Where the cell with this grade_id is."""
        for index, cell in enumerate(self.notebook["cells"]):
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id:
                return index
        raise KeyError(grade_id)

    def cell(self, grade_id: str) -> dict[str, Any]:
        """The cell with this grade_id, like "answer_score_gradient"."""
        return self.notebook["cells"][self.index(grade_id)]

    def answer(self, code: str, exercise: str = TARGET) -> None:
        """Put `code` where the answer to an exercise belongs."""
        self.cell(f"answer_{exercise}")["source"] = code.strip("\n")

    def cheat(self, code: str, before: bool = True) -> None:
        """A wrong answer to TARGET, with `code` before or after it in its cell."""
        parts = (code, WRONG) if before else (WRONG, code)
        self.answer("\n\n".join(part.strip("\n") for part in parts))

    def insert(self, code: str, at: int | str, kind: str = "code") -> dict[str, Any]:
        """A new cell, at an index or before the cell with a grade_id."""
        index = at if isinstance(at, int) else self.index(at)
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"extra-{len(self.notebook['cells'])}",
            "metadata": {},
            "source": code.strip("\n"),
        }
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
        self.notebook["cells"].insert(index, cell)
        return cell

    def output(self, grade_id: str, data: dict[str, Any], kind: str) -> None:
        """Store an output in a cell, as if it had been produced there."""
        made: dict[str, Any] = {"output_type": kind, "data": data, "metadata": {}}
        if kind == "execute_result":
            made["execution_count"] = 1
        self.cell(grade_id)["outputs"].append(made)

    def file(self, name: str, content: bytes | str) -> None:
        """Another file beside the notebook."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def write(self) -> None:
        """Hand it in."""
        if not self.name:
            return
        data = self.data
        if data is None:
            data = json.dumps(self.notebook, indent=1).encode()
        (self.folder / self.name).write_bytes(data)


@dataclass(frozen=True)
class Bad:
    """One bad submission, and what has to come of it."""

    name: str
    kind: str
    text: str
    make: Callable[[Submission], None]
    loses: frozenset[str]
    may_lose: frozenset[str]
    held: bool | str
    flag: str
    student: str


def load(path: Path) -> Bad:
    """The bad submission that a file describes."""
    name = f"bad_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = vars(module)
    return Bad(
        path.stem,
        path.parent.name,
        module.__doc__ or "",
        module.make,
        frozenset(facts.get("LOSES", ())),
        frozenset(facts.get("MAY_LOSE", ())),
        facts.get("HELD", False),
        facts.get("FLAG", ""),
        facts.get("STUDENT", f"{path.parent.name}-{path.stem}".replace("_", "-")),
    )


def every(*kinds: str) -> Iterator[Bad]:
    """All bad submissions of these kinds, or all there are."""
    for kind in kinds or KINDS:
        for path in sorted((HERE / kind).glob("*.py")):
            yield load(path)


def hand_in(bad: Bad, course: Path) -> Path:
    """Write a bad submission into a course folder; returns its folder."""
    folder = course / "submitted" / bad.student / CHAPTER
    folder.mkdir(parents=True)
    made = Submission(folder, course)
    bad.make(made)
    made.write()
    return folder


def shout(text: str) -> str:
    """The text without what a terminal or a browser could obey, for messages."""
    return re.sub(r"[^\x20-\x7e]", "?", text)

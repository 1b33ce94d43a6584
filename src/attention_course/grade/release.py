"""What grading needs of a chapter, as bytes with a hash: no folder reaches a worker."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # torch is not wanted where results are only kept
    from attention_course.author.exercise import Exercise

LARGEST_FILE = 64 * 2**20
Role = Literal["markdown", "demo", "answer", "check"]


@dataclass(frozen=True)
class ReleaseCell:
    """One cell of the release notebook, as students received it."""

    id: str
    role: Role
    source: str
    metadata: Mapping[str, Any]
    exercise: str | None = None
    points: float = 0.0

    @property
    def grade_id(self) -> str | None:
        """nbgrader's name of the cell."""
        return self.metadata.get("nbgrader", {}).get("grade_id")


@dataclass(frozen=True)
class Bundle:
    """One chapter as a worker receives it.

    `files` lie beside the notebook when it runs; `hash` names the content.
    """

    chapter: str
    notebook: bytes
    exercises_py: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The bundle as one archive; the same content gives the same bytes."""
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            parts = {
                "chapter": self.chapter.encode(),
                "release.ipynb": self.notebook,
                "exercises.py": self.exercises_py,
            } | {f"files/{name}": data for name, data in sorted(self.files.items())}
            for name, data in parts.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return target.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """The bundle that `to_bytes` packed."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        files = {
            name.removeprefix("files/"): content
            for name, content in parts.items()
            if name.startswith("files/")
        }
        return cls(
            parts["chapter"].decode(),
            parts["release.ipynb"],
            parts["exercises.py"],
            files,
        )

    @functools.cached_property
    def hash(self) -> str:
        """A SHA-256 over the content."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @functools.cached_property
    def exercises_hash(self) -> str:
        """A SHA-256 over the specifications of the exercises."""
        return hashlib.sha256(self.exercises_py).hexdigest()

    @functools.cached_property
    def cells(self) -> tuple[ReleaseCell, ...]:
        """The release notebook's cells, in order."""
        return tuple(map(_release_cell, json.loads(self.notebook)["cells"]))

    @functools.cached_property
    def points(self) -> dict[str, float]:
        """Points by exercise, in the notebook's order."""
        return {c.exercise: c.points for c in self.cells if c.role == "check"}  # type: ignore[misc]

    @functools.cached_property
    def max_score(self) -> float:
        """What a complete submission earns."""
        return round(sum(self.points.values()), 2)

    @functools.cached_property
    def kernelspec(self) -> dict[str, Any]:
        """The notebook's kernel, for nbgrader."""
        return json.loads(self.notebook)["metadata"].get("kernelspec", {})

    @functools.cached_property
    def exercises(self) -> dict[str, Exercise]:
        """The exercises' specifications. Runs the course's own exercises.py."""
        from attention_course.author.exercise import load_exercises

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / self.chapter / "exercises.py"
            path.parent.mkdir()
            path.write_bytes(self.exercises_py)
            return load_exercises(path)


def _release_cell(cell: Mapping[str, Any]) -> ReleaseCell:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    known = cell["metadata"].get("nbgrader", {})
    role, _, exercise = known.get("grade_id", "").partition("_")
    if role not in ("answer", "check"):
        role, exercise = ("demo" if cell["cell_type"] == "code" else "markdown"), ""
    return ReleaseCell(
        cell["id"],
        role,
        text,
        cell["metadata"],
        exercise or None,
        float(known.get("points", 0)),
    )


def read_bundle(root: Path, folder: Path) -> Bundle:
    """The bundle of the chapter in `folder`, from the course under `root`.

    Raises ValueError, with the cure, if there is no release edition or it does not
    have the exercises that exercises.py specifies.
    """
    slug = folder.name
    release = root / "release" / slug
    notebook = release / f"{slug}.ipynb"
    cure = f"run `attention-course build {slug}`"
    if not notebook.is_file():
        raise ValueError(f"{notebook} is missing: {cure}")
    files = {
        path.name: path.read_bytes()
        for path in sorted(release.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix != ".ipynb"
        and path.stat().st_size <= LARGEST_FILE
    }
    specification = (folder / "exercises.py").read_bytes()
    bundle = Bundle(slug, notebook.read_bytes(), specification, files)
    try:
        points = bundle.points
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{notebook} cannot be read ({error}): {cure}") from error
    if not points:
        raise ValueError(f"{notebook} has no check: {cure}")
    return bundle

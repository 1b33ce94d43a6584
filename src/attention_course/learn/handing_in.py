"""Find a chapter that a student works on, and pack it for the instructor."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_course.learn.answer_key import FILE_NAME, AnswerKey

PLACES = ("", "chapters", "release")
"""Where chapters lie in a course folder: a student's archive, or the repository."""

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
BLANK = "raise NotImplementedError()"


@dataclass(frozen=True)
class HandIn:
    """What was packed: the archive, and the exercises that are still blank."""

    path: Path
    blank: tuple[str, ...]


def find_chapter(name: str, start: Path) -> Path:
    """The folder of a chapter: a path to it, or its number or name, from `start` up.

    Raises ValueError, with what there is, if it cannot be found.
    """
    if (start / name / FILE_NAME).is_file():
        return start / name
    there: list[str] = []
    for folder in (start, *start.parents):
        for place in PLACES:
            found = sorted(p.parent for p in (folder / place).glob(f"*/{FILE_NAME}"))
            for chapter in found:
                if name in (chapter.name, chapter.name.split("_")[0]):
                    return chapter
            there += [chapter.name for chapter in found]
    if not there:
        raise ValueError(
            f"there are no chapters in {start}: go to the folder that you unpacked"
        )
    raise ValueError(f"there is no chapter {name!r}; there are: {', '.join(there)}")


def read_key(folder: Path) -> AnswerKey:
    """The answer key of a chapter's folder. Raises ValueError if it cannot be read."""
    return AnswerKey.read(folder / FILE_NAME)


def hand_in(folder: Path, student: str, target: Path | None = None) -> HandIn:
    """Pack a chapter's notebook as `submitted/STUDENT/CHAPTER/CHAPTER.ipynb`.

    Its content names the place where nbgrader looks for it; an instructor takes the
    student from the archive's own name (docs/instructor/collecting.md).
    `target` is the archive (default: `STUDENT-CHAPTER.zip` in the current folder).
    Raises ValueError for a name that cannot be a folder's, or a notebook that is not
    whole.
    """
    if not NAME.fullmatch(student):
        raise ValueError(
            f"{student!r} cannot be a folder's name: use the short name that your "
            "instructor knows you by: letters, digits, and . _ - between them"
        )
    slug = folder.resolve().name
    notebook = folder / f"{slug}.ipynb"
    data = _read(notebook)
    blank = _blank(data, notebook, list(read_key(folder).exercises))
    target = target or Path(f"{student}-{slug}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(notebook, f"submitted/{student}/{slug}/{slug}.ipynb")
    return HandIn(target, blank)


def _read(notebook: Path) -> dict[str, Any]:
    try:
        data = json.loads(notebook.read_text(encoding="utf-8"))
        data["cells"][0]["source"]
    except FileNotFoundError as error:
        raise ValueError(
            f"{notebook} is not there: keep the notebook's name as it was"
        ) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{notebook} is not a notebook any more: open it in Jupyter, save it, and "
            "hand in again"
        ) from error
    return data


def _blank(
    data: dict[str, Any], notebook: Path, exercises: list[str]
) -> tuple[str, ...]:
    sources = {
        cell.get("metadata", {}).get("nbgrader", {}).get("grade_id"): "".join(
            cell["source"]
        )
        for cell in data["cells"]
    }
    missing = [name for name in exercises if f"answer_{name}" not in sources]
    if missing:
        raise ValueError(
            f"{notebook} has no answer cell of {', '.join(missing)}: copy your work "
            "into a fresh copy of the chapter, cell by cell"
        )
    return tuple(name for name in exercises if BLANK in sources[f"answer_{name}"])

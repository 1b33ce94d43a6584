"""Results on disk: one file each by content, and an index of who has which.

    .attention-course/results/CHAPTER/STUDENT.json     the result
    .attention-course/runs/CHAPTER/STUDENT.json        how that run went
    .attention-course/index.sqlite                     what is known of each submission

A result is written before anything else is told of it, and by atomic rename; the index
and the gradebook follow. So a grader that is killed at any moment has lost at most the
submissions it was at.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_course.grade import result as results
from attention_course.grade.files import write_beside

LONGEST_NAME = 200


def result_key(
    student: str, chapter: str, submission: str, context: Mapping[str, str]
) -> str:
    """What a result is found by: the submission's content and all it is graded with."""
    words = json.dumps([student, chapter, submission, dict(context)], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


@dataclass(frozen=True)
class Known:
    """What the index knows of one submission.

    `signature` tells whether its files were touched; `key` names its result; `applied`
    is the key of the result that the gradebook has; `score` is what it earned there.
    """

    signature: str
    submission: str
    key: str
    outcome: str
    score: float | None
    applied: str | None


class Store:
    """The results of one course. Use it as a context manager."""

    def __init__(self, state: Path) -> None:
        """`state` is the grader's own folder in the course."""
        self.folder = state / "results"
        self.runs = state / "runs"
        self._path = state / "index.sqlite"

    def __enter__(self) -> Store:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self._path, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS submission (chapter TEXT, student TEXT, "
            "signature TEXT, submission TEXT, key TEXT, outcome TEXT, score REAL, "
            "applied TEXT, PRIMARY KEY (chapter, student)) WITHOUT ROWID"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS feedback (chapter TEXT, student TEXT, "
            "mark TEXT, PRIMARY KEY (chapter, student)) WITHOUT ROWID"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Several changes of the index at once."""
        with self._db:
            yield

    def known(self, chapter: str) -> dict[str, Known]:
        """Everything that the index knows of a chapter, by student."""
        rows = self._db.execute(
            "SELECT student, signature, submission, key, outcome, score, applied "
            "FROM submission WHERE chapter = ?",
            (chapter,),
        )
        return {student: Known(*rest) for student, *rest in rows}

    def remember(self, chapter: str, student: str, known: Known) -> None:
        """Put into the index what is known now. Call within `writing`."""
        self._db.execute(
            "INSERT OR REPLACE INTO submission VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                chapter,
                student,
                known.signature,
                known.submission,
                known.key,
                known.outcome,
                known.score,
                known.applied,
            ),
        )

    def mark_applied(self, chapter: str, student: str, key: str) -> None:
        """Remember that the gradebook has this result. Call within `writing`."""
        self._db.execute(
            "UPDATE submission SET applied = ? WHERE chapter = ? AND student = ?",
            (key, chapter, student),
        )

    def feedback(self, chapter: str) -> dict[str, str]:
        """By student, what the feedback page was made from."""
        query = "SELECT student, mark FROM feedback WHERE chapter = ?"
        return dict(self._db.execute(query, (chapter,)))

    def remember_feedback(self, chapter: str, student: str, mark: str) -> None:
        """Remember what a feedback page was made from. Call within `writing`."""
        self._db.execute(
            "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)", (chapter, student, mark)
        )

    def path(self, chapter: str, student: str) -> Path:
        """Where a student's result lies."""
        return self.folder / chapter / f"{_file_name(student)}.json"

    def write(self, result: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Write a result, complete or not at all; first how its run went."""
        path = self.path(result["chapter"], result["student"])
        write_beside(self.runs / path.relative_to(self.folder), _dump_run(run))
        write_beside(path, results.dump(result))

    def read(self, chapter: str, student: str) -> dict[str, Any] | None:
        """A student's result, or None if there is none that this version reads."""
        try:
            return results.load(self.path(chapter, student).read_bytes())
        except (OSError, ValueError):
            return None


def _dump_run(run: Mapping[str, Any]) -> bytes:
    return (json.dumps(run, indent=1, sort_keys=True) + "\n").encode()


def _file_name(student: str) -> str:
    """A student's name as a file's: it is a folder's name, so only length can fail."""
    data = student.encode()
    if len(data) <= LONGEST_NAME:
        return student
    digest = hashlib.sha256(data).hexdigest()[:16]
    kept = data[: LONGEST_NAME - 17].decode("utf-8", "ignore")
    return f"{kept}-{digest}"

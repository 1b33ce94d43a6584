"""What is handed in, what is known of it, and what is kept of its grading."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

from attention_course.grade import result as results
from attention_course.grade.contract import Held
from attention_course.grade.course import Course, course_secret
from attention_course.grade.environment import environment_hash
from attention_course.grade.handed_in import (
    Found,
    TooManyFiles,
    choose,
    list_folder,
    misnamed,
    read_timestamp,
    signature,
)
from attention_course.grade.intake import is_blank
from attention_course.grade.papers import choose_papers
from attention_course.grade.release import Bundle
from attention_course.grade.store import Known, Store, result_key
from attention_course.grade.tasks import Settings, Task


@dataclass(frozen=True)
class Submission:
    """One that a worker can grade. `key` is what its result will be found by."""

    student: str
    signature: str
    timestamp: str | None
    task: Task
    key: str


@dataclass(frozen=True)
class HeldSubmission:
    """One that is held already; `digest` stands for its content."""

    student: str
    signature: str
    digest: str
    held: Held


@dataclass(frozen=True)
class Unchanged:
    """One whose result is there. `key` is that result's."""

    student: str
    known: Known
    timestamp: str | None


class Bookkeeper:
    """Keeps the results of one chapter: knows what is there, writes what is new."""

    def __init__(
        self, course: Course, bundle: Bundle, store: Store, settings: Settings
    ) -> None:
        """`settings` are those that submissions are graded with."""
        self.course, self.bundle, self.store = course, bundle, store
        self.secret = course_secret(course)
        self.context = {
            "chapter": bundle.hash,
            "environment": environment_hash(),
            "secret": hashlib.sha256(self.secret).hexdigest(),
            "sandbox": "none" if settings.unsafe else "on",
            "limits": repr(settings.limits),
        }
        self.marks = tuple(f"check({name})" for name in bundle.points)
        self.known = store.known(bundle.chapter)

    def look(self, student: str) -> Submission | HeldSubmission:
        """Read a submission, whatever is known of it."""
        files = self._files(student)
        if isinstance(files, Held):
            return HeldSubmission(student, "", f"held:{files.reason}", files)
        return self._read(student, files, signature(files))

    def find(self, student: str) -> Submission | HeldSubmission | Unchanged:
        """Read a submission unless its result is there and nothing has changed."""
        files = self._files(student)
        if isinstance(files, Held):
            return HeldSubmission(student, "", f"held:{files.reason}", files)
        sign = signature(files)
        known = self.known.get(student)
        if known and known.signature == sign and self._is_current(student, known):
            return Unchanged(student, known, read_timestamp(files))
        found = self._read(student, files, sign)
        if known and isinstance(found, Submission) and known.key == found.key:
            known = replace(known, signature=sign)  # touched, with the same content
            if self._is_current(student, known):
                with self.store.writing():
                    self.store.remember(self.bundle.chapter, student, known)
                return Unchanged(student, known, found.timestamp)
        return found

    def _read(
        self, student: str, files: list[Found], sign: str
    ) -> Submission | HeldSubmission:
        chosen = choose(
            files, self.bundle.chapter, self.marks, lambda d: is_blank(d, self.bundle)
        )
        if isinstance(chosen, Held):
            return HeldSubmission(student, sign, f"held:{sign}", chosen)
        digest = chosen.hash
        papers = choose_papers(self.secret, digest, self.bundle.points)
        task = Task(chosen.data, digest, papers, chosen.repairs)
        key = self._key(student, digest)
        return Submission(student, sign, read_timestamp(files), task, key)

    def _files(self, student: str) -> list[Found] | Held:
        path = self.course.submitted(student, self.bundle.chapter)
        if not os.path.lexists(path) and (other := misnamed(path)):
            wanted = f"{path.name}/{path.name}.ipynb"
            return Held(
                "misnamed folder",
                f"there is {student}/{other} in place of {student}/{wanted}: rename or "
                "move it.",
            )
        if path.is_symlink() or path.parent.is_symlink() or not path.is_dir():
            return Held(
                "not a folder",
                f"{student}/{path.name} is a link or a file and not a folder: put the "
                "submission itself there.",
            )
        try:
            return list_folder(path)
        except TooManyFiles:
            return Held(
                "too many files",
                "the folder holds thousands of files: ask for the notebook alone.",
            )
        except OSError as error:
            return Held(
                "unreadable",
                f"the folder cannot be read ({error.strerror}): check its permissions.",
            )

    def _key(self, student: str, digest: str) -> str:
        return result_key(student, self.bundle.chapter, digest, self.context)

    def _is_current(self, student: str, known: Known) -> bool:
        slug = self.bundle.chapter
        return (
            known.key == self._key(student, known.submission)
            and self.store.path(slug, student).exists()
            and (
                known.outcome == "held"
                or self.course.autograded(student, slug).exists()
            )
        )

    def keep_held(self, submission: HeldSubmission) -> dict[str, Any]:
        """Write the result of one that is held; returns it."""
        hashes = {"submission": submission.digest}
        made = results.held(hashes, submission.held, self.bundle.max_score)
        return self._keep(
            submission.student, submission.signature, submission.digest, made, {}
        )

    def keep(
        self, submission: Submission, made: dict[str, Any], run: dict[str, Any]
    ) -> dict[str, Any]:
        """Write a worker's result under its student, then the index; returns it."""
        return self._keep(
            submission.student, submission.signature, submission.task.hash, made, run
        )

    def _keep(
        self,
        student: str,
        sign: str,
        digest: str,
        made: dict[str, Any],
        run: dict[str, Any],
    ) -> dict[str, Any]:
        made = {**made, "student": student, "chapter": self.bundle.chapter}
        self.store.write(made, run)
        lasting = made["reason"] not in results.TRANSIENT
        before = self.known.get(student)
        known = Known(
            sign if lasting else "",
            digest,
            self._key(student, digest) if lasting else "",
            made["outcome"],
            made["score"],
            before.applied if before else None,
        )
        with self.store.writing():
            self.store.remember(self.bundle.chapter, student, known)
        return made

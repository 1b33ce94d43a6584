"""Grade a class: bounded, resumable, nothing lost and nothing counted twice.

The order for each submission: the autograded notebook, the result, the index, the
gradebook. Killed between any two, the next run goes on from what is there.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_course.grade import result as results
from attention_course.grade.books import (
    Bookkeeper,
    HeldSubmission,
    Submission,
    Unchanged,
)
from attention_course.grade.contract import Held
from attention_course.grade.course import Course, GradingError, only_grader
from attention_course.grade.files import READABLE, write_beside
from attention_course.grade.handed_in import misnamed
from attention_course.grade.harmless import line
from attention_course.grade.merging import Entry
from attention_course.grade.pool import MakeWorkers, Workers, local_workers
from attention_course.grade.progress import Progress, Silent
from attention_course.grade.release import Bundle, read_bundle
from attention_course.grade.store import Store
from attention_course.grade.tasks import Graded, Settings

if TYPE_CHECKING:
    from attention_course.grade.gradebook import Record

BATCH = 100
BATCH_SECONDS = 5.0
STRIKES = 3
LONGEST_STUDENT = 128


@dataclass
class Summary:
    """What a run did. `held` maps students to reasons; counts are submissions."""

    chapter: str
    students: list[str] = field(default_factory=list)
    graded: int = 0
    unchanged: int = 0
    held: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def grade_chapter(
    course: Course,
    folder: Path,
    *,
    students: Sequence[str] = (),
    make_workers: MakeWorkers | None = None,
    jobs: int = 1,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Grade what lies in submitted/STUDENT/CHAPTER of the course; record all of it.

    `folder` is the chapter's; without `students`, everybody's submission is graded.
    Raises `GradingError` where grading cannot be done or recorded.
    """
    started = time.monotonic()
    bundle = read_bundle(course.root, folder)
    settings = settings or Settings()
    settings = replace(
        settings, keys=settings.keys or course.state / "keys", hidden=course.hidden
    )
    with only_grader(course), Store(course.state) as store:
        run = _Run(
            course,
            bundle,
            store,
            settings,
            make_workers or local_workers(jobs),
            progress or Silent(),
        )
        try:
            summary = run.all(students)
        except OSError as error:
            raise GradingError(_cure(error)) from error
    summary.seconds = time.monotonic() - started
    return summary


def _cure(error: OSError) -> str:
    kept = "what was graded is kept, and the next run goes on"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"there is no space left on the disk: make room, then grade again; {kept}."
        )
    where = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}: mend it, then grade again; {kept}."


class _Run:
    def __init__(
        self,
        course: Course,
        bundle: Bundle,
        store: Store,
        settings: Settings,
        make_workers: MakeWorkers,
        progress: Progress,
    ) -> None:
        self.course, self.bundle, self.store = course, bundle, store
        self.settings, self.make_workers = settings, make_workers
        self.progress = progress
        self.books = Bookkeeper(course, bundle, store, settings)
        self.packed = bundle.to_bytes()
        self.summary = Summary(bundle.chapter)
        self.pending: list[tuple[Entry, str]] = []
        self.merged_at = time.monotonic()
        self.waiting: dict[Future[Graded], Submission] = {}
        self.strikes: dict[str, int] = {}
        self._workers: Workers | None = None

    def all(self, students: Sequence[str]) -> Summary:
        names = list(self._students(students))
        self.progress.begin(len(names))
        with contextlib.ExitStack() as self._open:
            try:
                for student in names:
                    self._take(student)
                    while self._is_full():
                        self._collect()
                while self.waiting:
                    self._collect()
            except BaseException:
                self._stop()
                raise
            if self._workers is not None:
                self._workers.close()
            self._merge()
        return self.summary

    @functools.cached_property
    def record(self) -> Record:
        """The gradebook, open. Its library takes a second: workers start meanwhile."""
        from attention_course.grade.gradebook import Record

        return self._open.enter_context(Record(self.course, self.bundle))

    @functools.cached_property
    def recorded(self) -> dict[str, float]:
        """The scores that stood in the gradebook at first, by student."""
        return self.record.recorded()

    def _students(self, wanted: Sequence[str]) -> Iterator[str]:
        """Everybody with a submission of the chapter, by name."""
        folder, slug = self.course.all_submitted, self.bundle.chapter
        if wanted:
            for student in wanted:
                is_name = student not in (".", "..") and "/" not in student
                if not is_name or not _handed_in(folder / student / slug):
                    raise GradingError(
                        f"there is no submission {folder.name}/{student}/{slug}: look "
                        "at the spelling of the student's name."
                    )
            yield from dict.fromkeys(wanted)
            return
        if not folder.is_dir():
            raise GradingError(
                f"{folder} is missing: put each submission into "
                f"{folder.name}/STUDENT/{slug}/."
            )
        found = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
        for student in sorted(found):
            if _handed_in(folder / student / slug):
                yield student

    def _take(self, student: str) -> None:
        """Look at one submission: unchanged, held, or given to a worker."""
        self.summary.students.append(student)
        if problem := unusable(student):
            self.summary.held[student] = problem.reason
            self.progress.advance()
            return
        found = self.books.find(student)
        if isinstance(found, Submission):
            self._submit(found)
            _ = self.record  # one that cannot be opened is told at once
            return
        if isinstance(found, HeldSubmission):
            self._note_held(self.books.keep_held(found))
        else:
            self._unchanged(found)
        self.progress.advance()

    def _unchanged(self, found: Unchanged) -> None:
        self.summary.unchanged += 1
        known, student = found.known, found.student
        if known.outcome == "held":
            kept = self.store.read(self.bundle.chapter, student) or {}
            self.summary.held[student] = str(kept.get("reason"))
        elif known.applied != known.key or not self._is_recorded(found):
            made = self.store.read(self.bundle.chapter, student)
            if made is not None:
                stamp = found.timestamp
                self.pending.append((Entry(student, made, stamp), known.key))
                self._merge_if_due()

    def _is_recorded(self, found: Unchanged) -> bool:
        """Whether the gradebook itself has the score: it may be another one by now."""
        there, score = self.recorded.get(found.student), found.known.score
        return there is not None and score is not None and abs(there - score) < 1e-6

    def _note_held(self, made: dict[str, Any]) -> None:
        if made["outcome"] == "held":
            self.summary.held[made["student"]] = made["reason"]

    # Workers

    @property
    def workers(self) -> Workers:
        if self._workers is None:
            self._workers = self.make_workers(self.packed, self.settings)
        return self._workers

    def _is_full(self) -> bool:
        return len(self.waiting) >= (self._workers.at_once if self._workers else 1)

    def _submit(self, submission: Submission) -> None:
        try:
            future = self.workers.submit(submission.task)
        except BrokenExecutor:  # a worker died while nobody was looking
            lost = [submission, *self.waiting.values()]
            self.waiting.clear()
            self._again(lost)
        else:
            self.waiting[future] = submission

    def _collect(self) -> None:
        """Wait for at least one submission; replace workers that have died."""
        done, _ = wait(self.waiting, return_when=FIRST_COMPLETED)
        lost: list[Submission] = []
        for future in done:
            submission = self.waiting.pop(future)
            try:
                graded = future.result()
            except BrokenExecutor:
                lost.append(submission)
            except Exception as error:
                self._failed(submission, error)
            else:
                self._graded(submission, graded)
        if lost:
            lost += self.waiting.values()
            self.waiting.clear()
            self._again(lost)

    def _again(self, lost: Sequence[Submission]) -> None:
        """A worker died: what was under way is run again, one at a time.

        So it is known which of them ends its worker; at the third time it is held.
        """
        for submission in sorted(lost, key=lambda s: s.student):
            while True:
                self._replace_workers()
                try:
                    graded = self.workers.submit(submission.task).result()
                except BrokenExecutor:
                    count = self.strikes.get(submission.student, 0) + 1
                    self.strikes[submission.student] = count
                    if count < STRIKES:
                        continue
                    held = Held(
                        "died while it was graded",
                        f"the process that graded it died {count} times: look at it by "
                        "hand, or grade it again.",
                    )
                    self._keep_lost(submission, held)
                except Exception as error:
                    self._failed(submission, error)
                else:
                    self._graded(submission, graded)
                break
        self._replace_workers()

    def _replace_workers(self) -> None:
        if self._workers is not None:
            self._workers.close(kill=True)
            self._workers = None

    def _failed(self, submission: Submission, error: Exception) -> None:
        """What a worker raises: without a sandbox nothing goes on."""
        from attention_course.grade.sandbox import SandboxUnavailable

        if isinstance(error, ValueError | SandboxUnavailable):
            raise GradingError(str(error)) from error
        told = f"{type(error).__name__}: {error}"[:200]
        self._keep_lost(
            submission,
            Held(
                "the grader failed",
                f"it could not be graded ({told}): grade it again, or look at it by "
                "hand.",
            ),
        )

    def _keep_lost(self, submission: Submission, held: Held) -> None:
        hashes = {"submission": submission.task.hash}
        made = results.held(hashes, held, self.bundle.max_score)
        self._note_held(self.books.keep(submission, made, {}))
        self.progress.advance()

    def _graded(self, submission: Submission, graded: Graded) -> None:
        if graded.notebook is not None:
            path = self.course.autograded(submission.student, self.bundle.chapter)
            write_beside(path, graded.notebook, READABLE)
            self._copy_timestamp(path.parent, submission.timestamp)
        made = self.books.keep(submission, graded.result, graded.run)
        self._note_held(made)
        if made["outcome"] == "graded":
            self.summary.graded += 1
            entry = Entry(submission.student, made, submission.timestamp)
            self.pending.append((entry, submission.key))
        self._merge_if_due()
        self.progress.advance()

    def _copy_timestamp(self, folder: Path, timestamp: str | None) -> None:
        """nbgrader tells by it whether a newer attempt was handed in."""
        target = folder / "timestamp.txt"
        if timestamp is None:
            target.unlink(missing_ok=True)
        else:
            write_beside(target, timestamp.encode("utf-8", "replace"), READABLE)

    # The gradebook

    def _merge_if_due(self) -> None:
        waited = time.monotonic() - self.merged_at
        if len(self.pending) >= BATCH or (self.pending and waited > BATCH_SECONDS):
            self._merge()

    def _merge(self) -> None:
        """Record what is pending, then remember that it is recorded."""
        self.record.merge([entry for entry, _ in self.pending])
        with self.store.writing():
            for entry, key in self.pending:
                self.store.mark_applied(self.bundle.chapter, entry.student, key)
        self.pending.clear()
        self.merged_at = time.monotonic()

    def _stop(self) -> None:
        """End early: nothing under way is waited for; what is done is recorded."""
        if self._workers is not None:
            self._workers.close(kill=True)
            self._workers = None


def _handed_in(path: Path) -> bool:
    """Whether there is a submission, be it a link or under a slip of a name."""
    return os.path.lexists(path) or misnamed(path) is not None


def unusable(student: str) -> Held | None:
    """A folder's name that cannot be a student's."""
    if student.isprintable() and len(student) <= LONGEST_STUDENT:
        return None
    return Held(
        "unusable name",
        "the name of the student's folder is too long or holds characters that cannot "
        "be shown: rename it.",
    )


def entries(course: Course, summary: Summary) -> Iterator[dict[str, Any]]:
    """The results of everybody in a run, as `--json` lists them."""
    with Store(course.state) as store:
        for student in summary.students:
            if problem := unusable(student):
                made = results.held({}, problem, 0.0)
                made |= {"student": line(student), "chapter": summary.chapter}
            else:
                found = store.read(summary.chapter, student)
                if found is None:
                    raise GradingError(f"the result of {student} is gone: grade again.")
                made = found
            yield results.as_listed(made)

"""Grade a class: bounded, resumable, nothing lost and nothing counted twice.

The order for each submission: the autograded notebook, the result, the index, the
gradebook. Killed between any two, the next run goes on from what is there.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attention_course.grade import result as results
from attention_course.grade.contract import Held
from attention_course.grade.course import (
    Course,
    GradingError,
    course_secret,
    only_grader,
)
from attention_course.grade.environment import environment_hash
from attention_course.grade.files import READABLE, write_beside
from attention_course.grade.gradebook import Entry, Record
from attention_course.grade.handed_in import (
    Found,
    TooManyFiles,
    choose,
    list_folder,
    read_timestamp,
    signature,
)
from attention_course.grade.papers import choose_papers
from attention_course.grade.pool import MakeWorkers, Workers, local_workers
from attention_course.grade.progress import Progress, Silent
from attention_course.grade.release import Bundle, read_bundle
from attention_course.grade.store import Known, Store, result_key
from attention_course.grade.worker import Graded, Settings, Task

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


@dataclass(frozen=True)
class _Submission:
    student: str
    signature: str
    timestamp: str | None
    task: Task
    key: str


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
    if settings.keys is None:
        settings = replace(settings, keys=course.state / "keys")
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
        self.secret = course_secret(course)
        self.context = {
            "chapter": bundle.hash,
            "environment": environment_hash(),
            "secret": hashlib.sha256(self.secret).hexdigest(),
            "sandbox": "none" if settings.unsafe else "on",
            "limits": repr(settings.limits),
        }
        self.packed = bundle.to_bytes()
        self.marks = tuple(f"check({name})" for name in bundle.points)
        self.known = store.known(bundle.chapter)
        self.summary = Summary(bundle.chapter)
        self.pending: list[tuple[Entry, str]] = []
        self.merged_at = time.monotonic()
        self.waiting: dict[Future[Graded], _Submission] = {}
        self.strikes: dict[str, int] = {}
        self._workers: Workers | None = None

    def all(self, students: Sequence[str]) -> Summary:
        names = list(self._students(students))
        self.progress.begin(len(names))
        with Record(self.course, self.bundle) as self.record:
            self.recorded = self.record.recorded()
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

    def _students(self, wanted: Sequence[str]) -> Iterator[str]:
        """Everybody with a submission of the chapter, by name."""
        folder, slug = self.course.all_submitted, self.bundle.chapter
        if wanted:
            for student in wanted:
                is_name = student not in (".", "..") and "/" not in student
                if not is_name or not (folder / student / slug).exists():
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
            path = folder / student / slug
            if path.exists() or path.is_symlink():
                yield student

    # What is handed in

    def _take(self, student: str) -> None:
        """Look at one submission: known, held, or given to a worker."""
        self.summary.students.append(student)
        if problem := _unusable(student):
            self._hold_aside(student, problem)
            return
        files = self._files(student)
        if isinstance(files, Held):
            self._keep_held(student, "", f"held:{files.reason}", files)
            return
        sign = signature(files)
        known = self.known.get(student)
        if known and known.signature == sign and self._is_current(student, known):
            self._unchanged(student, known, files)
            return
        chosen = choose(files, self.bundle.chapter, self.marks)
        if isinstance(chosen, Held):
            self._keep_held(student, sign, f"held:{sign}", chosen)
            return
        digest = chosen.hash
        key = self._key(student, digest)
        if known and known.key == key and self._is_there(student, known):
            known = replace(known, signature=sign)
            with self.store.writing():
                self.store.remember(self.bundle.chapter, student, known)
            self._unchanged(student, known, files)
            return
        papers = choose_papers(self.secret, digest, self.bundle.points)
        task = Task(chosen.data, digest, papers, chosen.repairs)
        stamp = read_timestamp(files)
        self._submit(_Submission(student, sign, stamp, task, key))

    def _files(self, student: str) -> list[Found] | Held:
        path = self.course.submitted(student, self.bundle.chapter)
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
        return known.key == self._key(student, known.submission) and self._is_there(
            student, known
        )

    def _is_there(self, student: str, known: Known) -> bool:
        slug = self.bundle.chapter
        return self.store.path(slug, student).exists() and (
            known.outcome == "held" or self.course.autograded(student, slug).exists()
        )

    def _unchanged(self, student: str, known: Known, files: list[Found]) -> None:
        self.summary.unchanged += 1
        if known.outcome == "held":
            found = self.store.read(self.bundle.chapter, student) or {}
            self.summary.held[student] = str(found.get("reason"))
        elif not self._is_recorded(student, known):
            kept = self.store.read(self.bundle.chapter, student)
            if kept is not None:
                entry = Entry(student, kept, read_timestamp(files))
                self.pending.append((entry, known.key))
                self._merge_if_due()
        self.progress.advance()

    def _is_recorded(self, student: str, known: Known) -> bool:
        there = self.recorded.get(student)
        return (
            known.applied == known.key
            and there is not None
            and known.score is not None
            and abs(there - known.score) < 1e-6
        )

    # What is held

    def _hold_aside(self, student: str, problem: Held) -> None:
        """A folder whose name no result can be kept under."""
        self.summary.held[student] = problem.reason
        self.progress.advance()

    def _keep_held(self, student: str, sign: str, digest: str, held: Held) -> None:
        made = results.held({"submission": digest}, held, self.bundle.max_score)
        self._keep(student, sign, digest, made, {})
        self.progress.advance()

    def _keep(
        self,
        student: str,
        sign: str,
        digest: str,
        made: dict[str, Any],
        run: dict[str, Any],
    ) -> dict[str, Any]:
        """Write a result, then the index."""
        made = {**made, "student": student, "chapter": self.bundle.chapter}
        self.store.write(made, run)
        is_held = made["outcome"] == "held"
        if is_held:
            self.summary.held[student] = made["reason"]
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

    # Workers

    @property
    def workers(self) -> Workers:
        if self._workers is None:
            self._workers = self.make_workers(self.packed, self.settings)
        return self._workers

    def _is_full(self) -> bool:
        return len(self.waiting) >= (self._workers.at_once if self._workers else 1)

    def _submit(self, submission: _Submission) -> None:
        future = self.workers.submit(submission.task)
        self.waiting[future] = submission

    def _collect(self) -> None:
        """Wait for at least one submission; replace workers that have died."""
        done, _ = wait(self.waiting, return_when=FIRST_COMPLETED)
        lost: list[_Submission] = []
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

    def _again(self, lost: Sequence[_Submission]) -> None:
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

    def _failed(self, submission: _Submission, error: Exception) -> None:
        """What a worker raises: without a sandbox nothing goes on."""
        if isinstance(error, ValueError) or type(error).__name__ == (
            "SandboxUnavailable"
        ):
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

    def _keep_lost(self, submission: _Submission, held: Held) -> None:
        task = submission.task
        made = results.held({"submission": task.hash}, held, self.bundle.max_score)
        self._keep(submission.student, submission.signature, task.hash, made, {})
        self.progress.advance()

    def _graded(self, submission: _Submission, graded: Graded) -> None:
        student, slug = submission.student, self.bundle.chapter
        if graded.notebook is not None:
            path = self.course.autograded(student, slug)
            write_beside(path, graded.notebook, READABLE)
            self._copy_timestamp(path.parent, submission.timestamp)
        made = self._keep(
            student,
            submission.signature,
            submission.task.hash,
            graded.result,
            graded.run,
        )
        if made["outcome"] == "graded":
            self.summary.graded += 1
            entry = Entry(student, made, submission.timestamp)
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


def _unusable(student: str) -> Held | None:
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
    from attention_course.grade.harmless import line

    with Store(course.state) as store:
        for student in summary.students:
            if problem := _unusable(student):
                made = results.held({}, problem, 0.0)
                made |= {"student": line(student), "chapter": summary.chapter}
            else:
                found = store.read(summary.chapter, student)
                if found is None:
                    raise GradingError(f"the result of {student} is gone: grade again.")
                made = found
            yield results.as_listed(made)

"""nbgrader's own autograde with this grader inside: its preprocessors, replaced.

nbgrader_config.py plugs these in, so that `nbgrader autograde` and Formgrader's button
run a notebook in the sandbox and read the scores that were formed outside.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float

from attention_course.author.chapter import find_chapters
from attention_course.grade.books import Bookkeeper, HeldSubmission
from attention_course.grade.course import GradingError, only_grader, open_course
from attention_course.grade.release import Bundle, read_bundle
from attention_course.grade.store import Store
from attention_course.grade.tasks import Settings
from attention_course.grade.worker import Desk


class SubmissionHeld(Exception):
    """A submission that cannot be graded; nbgrader reports it and goes on."""


_desks: dict[tuple[str, bool, str], Desk] = {}


def _desk(bundle: Bundle, settings: Settings) -> Desk:
    known = (bundle.hash, settings.unsafe, settings.sandbox)
    if known not in _desks:
        for other in _desks.values():
            other.close()
        _desks.clear()
        _desks[known] = Desk(bundle, settings)
        atexit.register(_desks[known].close)
    return _desks[known]


class GradeOutside(NbGraderPreprocessor):
    """Takes the place of nbgrader's sanitizing and executing.

    The submission is read from its folder as hostile bytes, not from the notebook that
    was parsed already, and comes back with the check cells' outputs written here.
    """

    unsafe_no_sandbox = Bool(
        False, help="run students' code with your own rights, without a sandbox"
    ).tag(config=True)

    patience = Float(
        20.0, help="seconds to wait for another grader in the same course"
    ).tag(config=True)

    sandbox = Settings().sandbox

    def preprocess(self, nb: Any, resources: dict[str, Any]) -> tuple[Any, Any]:
        """The autograded notebook. Raises `SubmissionHeld` with reason and cure."""
        import nbformat

        told = resources["nbgrader"]
        slug, student = told["assignment"], told["student"]
        converter = self.parent.parent
        course = open_course(Path(converter.coursedir.root), told["db_url"])
        bundle = read_bundle(course.root, find_chapters(course.root, [slug])[0])
        settings = Settings(
            unsafe=self.unsafe_no_sandbox,
            keys=course.state / "keys",
            hidden=course.hidden,
            sandbox=self.sandbox,
        )
        try:
            with only_grader(course, self.patience), Store(course.state) as store:
                desk = Bookkeeper(course, bundle, store, settings)
                submission = desk.look(student)
                if isinstance(submission, HeldSubmission):
                    made = desk.keep_held(submission)
                else:
                    graded = _desk(bundle, settings).grade(submission.task)
                    made = desk.keep(submission, graded.result, graded.run)
        except GradingError as error:
            _withdraw(told["db_url"], course.course_id, slug, student)
            raise SubmissionHeld(f"{student}: {error}") from error
        if made["outcome"] == "held":
            _withdraw(told["db_url"], course.course_id, slug, student)
            raise SubmissionHeld(f"{student}: {made['reason']}: {made['detail']}")
        assert graded.notebook is not None
        _remove_students_files(course.autograded(student, slug).parent)
        for note in (*graded.result["repairs"], *graded.result["flags"]):
            self.log.warning("%s: %s", student, note)
        return nbformat.reads(graded.notebook.decode(), as_version=4), resources


def _withdraw(db_url: str, course_id: str, slug: str, student: str) -> None:
    """Take back the empty submission that nbgrader wrote into the gradebook.

    It would be exported as 0, like a wrong answer. One with scores stays.
    """
    with Gradebook(db_url, course_id) as book:
        try:
            submission = book.find_submission(slug, student)
        except MissingEntry:
            return
        grades = [g for n in submission.notebooks for g in n.grades]
        if all(g.auto_score is None and g.manual_score is None for g in grades):
            book.remove_submission(slug, student)


def _remove_students_files(folder: Path) -> None:
    """What nbgrader copied beside the notebook, following links, does not stay."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name != "timestamp.txt" or path.is_symlink():
            os.unlink(path)

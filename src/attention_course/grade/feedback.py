"""Feedback pages: nbgrader's own, from notebooks that are harmless already."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from attention_course.author.processes import worker_pool
from attention_course.grade.course import Course
from attention_course.grade.files import READABLE, write_beside
from attention_course.grade.gradebook import Record
from attention_course.grade.grading import unusable
from attention_course.grade.progress import Progress, Silent
from attention_course.grade.release import read_bundle
from attention_course.grade.store import Store

BATCH = 200

_exporter: Any = None


def write_feedback(
    course: Course,
    folder: Path,
    students: Sequence[str],
    jobs: int = 1,
    progress: Progress | None = None,
) -> int:
    """Write feedback/STUDENT/CHAPTER/CHAPTER.html for everybody who has a score.

    Scores and comments are those that the gradebook has now, as with nbgrader. A page
    of which nothing has changed is left alone. Returns how many were written.
    """
    progress = progress or Silent()
    students = [s for s in students if not unusable(s)]  # the gradebook has no such
    progress.begin(len(students))
    bundle = read_bundle(course.root, folder)
    written = 0
    waiting: dict[Future[bytes], tuple[str, str]] = {}
    pool: ProcessPoolExecutor | None = None
    with (
        Record(course, bundle) as record,
        Store(course.state) as store,
        contextlib.ExitStack() as workers,
    ):
        known = store.feedback(bundle.chapter)

        def collect(most: int) -> int:
            count = 0
            while len(waiting) > most:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    student, mark = waiting.pop(future)
                    path = course.feedback(student, bundle.chapter)
                    write_beside(path, future.result(), READABLE)
                    with store.writing():
                        store.remember_feedback(bundle.chapter, student, mark)
                    count += 1
                    progress.advance()
            return count

        for batch in _batches(students):
            shown = record.shown(batch)
            for student in batch:
                notebook = course.autograded(student, bundle.chapter)
                if student not in shown or not notebook.exists():
                    progress.advance()
                    continue
                data = notebook.read_bytes()
                mark = _mark(data, shown[student])
                page = course.feedback(student, bundle.chapter)
                if known.get(student) == mark and page.exists():
                    progress.advance()
                    continue
                if pool is None:
                    pool = workers.enter_context(worker_pool(jobs))
                future = pool.submit(render, data, bundle.chapter, shown[student])
                waiting[future] = (student, mark)
                written += collect(2 * jobs)
        written += collect(0)
    return written


def _batches(students: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(students), BATCH):
        yield list(students[start : start + BATCH])


def _mark(notebook: bytes, shown: dict[str, Any]) -> str:
    digest = hashlib.sha256(notebook)
    digest.update(json.dumps(shown, sort_keys=True).encode())
    return digest.hexdigest()


def render(notebook: bytes, chapter: str, shown: dict[str, Any]) -> bytes:
    """One page: nbgrader's template, the gradebook's scores and comments."""
    import nbformat

    node = nbformat.reads(notebook.decode(), as_version=4)
    for cell in node.cells:
        meta = cell.metadata.get("nbgrader", {})
        if meta.get("grade"):
            meta["score"] = shown["grades"].get(meta["grade_id"], 0.0)
        if meta.get("solution"):
            meta["comment"] = shown["comments"].get(meta["grade_id"])
    told = {key: shown[key] for key in ("score", "max_score", "late_penalty")}
    resources = {
        "nbgrader": {"notebook": chapter, "assignment": chapter, **told},
        "metadata": {"name": chapter},
    }
    page, _ = _page_maker().from_notebook_node(node, resources=resources)
    return page.encode("utf-8", "replace")


def _page_maker() -> Any:
    """nbconvert's exporter, set up as nbgrader's generate_feedback does; made once."""
    global _exporter
    if _exporter is None:
        from nbconvert.exporters import HTMLExporter
        from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
        from nbgrader.converters import GenerateFeedback

        _exporter = HTMLExporter(config=GenerateFeedback(coursedir=None).config)
        _exporter.register_preprocessor(CSSHTMLHeaderPreprocessor, enabled=True)
        _exporter.log.setLevel(logging.ERROR)
    return _exporter

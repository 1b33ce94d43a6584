"""Make one chapter's editions: runs nbgrader and the notebooks' kernels."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment, GenerateSolution
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import capture_log
from traitlets.config import Config

from attention_course.author.chapter import Chapter, ChapterError, read_chapter
from attention_course.author.editions import (
    dump,
    lesson_notebook,
    normalised,
    source_notebook,
    without_markers,
)
from attention_course.author.exercise import Exercise, load_exercises
from attention_course.author.keys import PUBLIC_SEED, make_key
from attention_course.author.stored import fleeting
from attention_course.learn.answer_key import FILE_NAME, AnswerKey
from attention_course.learn.comparison import agree

CELL_SECONDS = 120
KERNEL_ARGUMENTS = ["--log-level=ERROR"]
LARGEST_NOTEBOOK = 1_500_000  # bytes


def make_lesson(folder: Path) -> dict[str, bytes]:
    """The lesson, executed without the answers."""
    chapter = read_chapter(folder)
    notebook = lesson_notebook(chapter)
    with tempfile.TemporaryDirectory() as work:
        executed = execute(notebook, chapter, Path(work))
    return {"lesson": _sized(dump(normalised(executed)), "lesson")}


def make_exercises(folder: Path) -> dict[str, bytes]:
    """Source, release and solution, with their answer keys, through nbgrader."""
    chapter = read_chapter(folder)
    exercises = load_exercises(folder / "exercises.py")
    refuse_unmatched(chapter, exercises)
    torch.set_num_threads(1)
    key = make_key(chapter.slug, exercises, chapter.points, PUBLIC_SEED).to_bytes()
    source = dump(source_notebook(chapter))
    with tempfile.TemporaryDirectory() as work:
        release, solution = _through_nbgrader(chapter, source, key, Path(work))
    return {
        "source": source,
        "source_key": key,
        "release": dump(normalised(release)),
        "release_key": key,
        "solution": _sized(dump(normalised(without_markers(solution))), "solution"),
        "solution_key": key,
    }


def refuse_unmatched(chapter: Chapter, exercises: dict[str, Exercise]) -> None:
    """Raise `ChapterError` where answer cells and specifications do not pair up."""
    for cell in chapter.cells:
        if cell.role == "answer" and cell.exercise not in exercises:
            raise ChapterError(
                chapter.path,
                cell.line,
                f"answer={cell.exercise!r} has no Exercise({cell.exercise!r}) in "
                "exercises.py",
            )
    for name in exercises:
        if name not in chapter.points:
            raise ChapterError(
                chapter.path,
                1,
                f"exercises.py specifies {name}, which has no answer cell",
            )


def execute(notebook: NotebookNode, chapter: Chapter, work: Path) -> NotebookNode:
    """Run a notebook in a fresh kernel. Raises `ChapterError` for a cell that fails."""
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=KERNEL_ARGUMENTS,
        resources={"metadata": {"path": str(work)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        failed = next(
            (c for c in notebook.cells if c.cell_type == "code" and _error(c)), None
        )
        line = _line(chapter, failed.source) if failed else 1
        reason = _error(failed) if failed else str(error)
        raise ChapterError(chapter.path, line, f"the cell failed: {reason}") from error
    refuse_noise(notebook, chapter)
    return notebook


def _error(cell: NotebookNode) -> str:
    return next(
        (f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"), ""
    )


def refuse_noise(notebook: NotebookNode, chapter: Chapter) -> None:
    """Raise `ChapterError` for an error, stderr or an address in stored outputs."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        line = _line(chapter, cell.source)
        if error := _error(cell):
            raise ChapterError(chapter.path, line, f"the cell failed: {error}")
        for output in cell.outputs:
            if found := fleeting(output):
                raise ChapterError(
                    chapter.path,
                    line,
                    f"shows {found!r}, which differs from run to run",
                )
            if output.output_type == "stream" and output.name == "stderr":
                text = output.text.strip()[:300]
                raise ChapterError(chapter.path, line, f"writes to stderr: {text}")


def _line(chapter: Chapter, source: str) -> int:
    return next((c.line for c in chapter.cells if c.source == source), 1)


def _through_nbgrader(
    chapter: Chapter, source: bytes, key: bytes, course: Path
) -> tuple[NotebookNode, NotebookNode]:
    """Release and solution, made in a throwaway course with a gradebook of its own."""
    slug = chapter.slug
    folder = course / "source" / slug
    folder.mkdir(parents=True)
    (folder / f"{slug}.ipynb").write_bytes(source)
    (folder / FILE_NAME).write_bytes(key)
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_url = f"sqlite:///{course / 'throwaway.db'}"
    config.CourseDirectory.solution_directory = "solutions"
    config.Execute.timeout = CELL_SECONDS
    config.Execute.record_timing = False
    config.Execute.extra_arguments = KERNEL_ARGUMENTS
    coursedir = CourseDirectory(config=config)
    coursedir.assignment_id = slug
    for converter in (GenerateAssignment, GenerateSolution):
        app = converter(coursedir=coursedir, config=config)
        app.log.setLevel("ERROR")
        result = capture_log(app)
        if not result["success"]:
            problem = result.get("log") or result.get("error") or "nbgrader failed"
            raise ChapterError(chapter.path, 1, str(problem).strip())
    release = nbformat.read(course / "release" / slug / f"{slug}.ipynb", as_version=4)
    solution = nbformat.read(
        course / "solutions" / slug / f"{slug}.ipynb", as_version=4
    )
    refuse_noise(solution, chapter)
    _refuse_incomplete(solution, chapter)
    shutil.rmtree(course / "source")
    return release, solution


def _refuse_incomplete(solution: NotebookNode, chapter: Chapter) -> None:
    """Raise `ChapterError` if the course's own answer does not earn full points."""
    for cell in solution.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            results = [o for o in cell.outputs if o.output_type == "execute_result"]
            shown = [o for o in cell.outputs if o.output_type == "display_data"]
            if results or not shown:
                told = shown[0].data["text/plain"] if shown else "it showed nothing"
                raise ChapterError(
                    chapter.path,
                    _line(chapter, cell.source),
                    f"the answer does not earn all points:\n{told}",
                )


def _sized(data: bytes, edition: str) -> bytes:
    if len(data) > LARGEST_NOTEBOOK:
        raise ValueError(
            f"the {edition} has {len(data) / 1e6:.1f} MB; the limit is "
            f"{LARGEST_NOTEBOOK / 1e6:.1f} MB: make its figures smaller"
        )
    return data


def same_key(old: bytes, new: bytes) -> bool:
    """Whether two answer keys say the same up to rounding.

    Another processor may round the last digit of a reference differently; the stored
    key is then still current.
    """
    if old == new:
        return True
    try:
        left, right = AnswerKey.from_bytes(old), AnswerKey.from_bytes(new)
    except ValueError:
        return False
    return _same(left, right)


def _same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        close = 1e-11 if left.dtype == torch.float64 else None
        return left.dtype == right.dtype and agree(left, right, close)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            _same(left[k], right[k]) for k in left
        )
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if hasattr(left, "__dataclass_fields__"):
        return _same(vars(left), vars(right))
    return agree(left, right) if isinstance(left, float) else left == right

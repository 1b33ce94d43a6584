"""`attention-course report`: the class in one chapter, as a page, CSV and JSON."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from attention_course.author.chapter import find_chapters
from attention_course.grade.course import Course, GradingError, open_course
from attention_course.grade.files import write_beside
from attention_course.grade.harmless import cell_text
from attention_course.grade.insight import (
    ClassInsight,
    dump,
    insight,
    mistakes_table,
    read_results,
    table,
)
from attention_course.grade.progress import Bar, Progress


def run(root: Path, options: argparse.Namespace) -> int:
    """Write the report on a chapter, or print it as JSON; returns the exit code."""
    course = open_course(root)
    folder = find_chapters(root, [options.chapter])[0]
    if options.json:
        with Bar(folder.name) as bar:
            made = insight_of(course, folder, bar)
        # ASCII alone: what a narrow locale lacks would be written as no JSON has it.
        print(json.dumps(made.as_data(), indent=1))
        return 0
    with Bar(folder.name) as bar:
        made, target = write_report(course, folder, options.output, bar)
    print(f"{made.chapter}: {made.graded} graded, {len(made.held)} held")
    for exercise, mistake in made.teach_again()[:3]:
        words = mistake.name.replace("_", " ")
        print(f"  {mistake.count} made the mistake {words!r} in {exercise}")
    print(f"page: {target / 'index.html'}")
    return 0


def insight_of(
    course: Course, chapter_folder: Path, progress: Progress | None = None
) -> ClassInsight:
    """What the results of a chapter say. Raises `GradingError` if there are none."""
    name = chapter_folder.name
    folder = course.state / "results" / name
    made = insight(chapter_folder, read_results(folder, progress))
    if not made.graded and not made.held:
        raise GradingError(
            f"there are no results of {name}: run `attention-course grade {name}`"
        )
    return made


def write_report(
    course: Course,
    chapter_folder: Path,
    target: Path | None = None,
    progress: Progress | None = None,
) -> tuple[ClassInsight, Path]:
    """Write the report on a chapter; returns what it says, and its folder.

    `target` is the folder (default: `report/CHAPTER` in the course). It gets
    index.html, report.json, scores.csv and mistakes.csv. Raises `GradingError` if
    nothing of the chapter has been graded or held.
    """
    from attention_course.grade.report_page import page

    name = chapter_folder.name
    folder = course.state / "results" / name
    made = insight_of(course, chapter_folder, progress)
    target = target or course.root / "report" / name
    write_beside(target / "index.html", page(made).encode())
    write_beside(target / "report.json", dump(made).encode())
    rows = table(read_results(folder), made.exercises)
    write_beside(target / "scores.csv", as_csv(rows).encode())
    write_beside(target / "mistakes.csv", as_csv(mistakes_table(made)).encode())
    return made, target


def as_csv(rows: Iterable[list]) -> str:
    """Rows as CSV in which no cell is a formula to a spreadsheet."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    for row in rows:
        writer.writerow([cell_text(c) if isinstance(c, str) else c for c in row])
    return sink.getvalue()

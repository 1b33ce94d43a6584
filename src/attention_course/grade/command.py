"""`attention-course grade`: what it does and prints."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

from attention_course.author.chapter import find_chapters
from attention_course.grade.contract import Limits
from attention_course.grade.course import Course, GradingError, open_course
from attention_course.grade.grading import Summary, entries, grade_chapter
from attention_course.grade.pool import MakeWorkers, local_workers
from attention_course.grade.progress import Bar
from attention_course.grade.tasks import SANDBOX, Settings

ALL_GRADED, SOME_HELD = 0, 1


def run(root: Path, options: argparse.Namespace) -> int:
    """Grade a chapter, or replay one result; returns the exit code."""
    course = open_course(root, options.db)
    settings = Settings(_limits(options), options.unsafe_no_sandbox, sandbox=SANDBOX)
    if options.unsafe_no_sandbox:
        print(
            "attention-course: WITHOUT a sandbox: students' code runs with your rights",
            file=sys.stderr,
        )
    if options.self_test:
        return _self_test(course, settings)
    if options.replay:
        return _replay(course, options.replay, settings)
    if not options.chapter:
        raise ValueError("which chapter? `attention-course grade 04_scaling`")
    folder = find_chapters(root, [options.chapter])[0]
    with Bar(folder.name) as bar:
        summary = grade_chapter(
            course,
            folder,
            students=options.student or (),
            make_workers=_workers(options),
            settings=settings,
            progress=bar,
        )
    if options.feedback:
        from attention_course.grade.feedback import write_feedback

        with Bar("feedback") as bar:
            write_feedback(course, folder, summary.students, _jobs(options), bar)
    if options.json:
        _print_json(course, summary)
    else:
        _print_summary(course, summary)
    return SOME_HELD if summary.held else ALL_GRADED


def _self_test(course: Course, settings: Settings) -> int:
    """Print each layer that holds. Raises `GradingError` for one that does not."""
    from attention_course.grade.sandbox import Sandbox, SandboxUnavailable, self_test

    if settings.unsafe:
        raise GradingError("--self-test tests the sandbox: leave --unsafe-no-sandbox")
    try:
        with Sandbox(settings.limits) as sandbox:
            self_test(sandbox, course.hidden)
            for layer, force in sandbox.layers.items():
                print(f"{layer}: {force}")
    except SandboxUnavailable as error:
        raise GradingError(str(error)) from error
    print("the sandbox holds")
    return ALL_GRADED


def _replay(course: Course, result: Path, settings: Settings) -> int:
    from attention_course.grade.replay import replay
    from attention_course.grade.sandbox import SandboxUnavailable

    try:
        return replay(course, result, settings)
    except SandboxUnavailable as error:
        raise GradingError(str(error)) from error


def _limits(options: argparse.Namespace) -> Limits:
    """The limits of one submission: the course's, or what the command says."""
    given = {"seconds": options.seconds, "cell_seconds": options.cell_seconds}
    if any(value is not None and value <= 0 for value in given.values()):
        raise ValueError("--seconds and --cell-seconds must be more than 0")
    return Limits(**{name: n for name, n in given.items() if n is not None})


def _jobs(options: argparse.Namespace) -> int:
    if options.jobs is not None and options.jobs < 1:
        raise ValueError("--jobs must be 1 or more")
    return options.jobs or os.cpu_count() or 1


def _workers(options: argparse.Namespace) -> MakeWorkers:
    if options.scheduler:
        from attention_course.grade.cluster import cluster_workers

        return cluster_workers(options.scheduler)
    return local_workers(_jobs(options))


def _print_json(course: Course, summary: Summary) -> None:
    """The list, entry by entry: a large class is never in memory at once."""
    print("[", end="")
    for index, entry in enumerate(entries(course, summary)):
        print(",\n " if index else "\n ", end="")
        print(json.dumps(entry), end="")
    print("\n]")


def _print_summary(course: Course, summary: Summary) -> None:
    from attention_course.grade.harmless import line

    print(
        f"{summary.chapter}: {summary.graded} graded, {summary.unchanged} unchanged, "
        f"{len(summary.held)} held, in {summary.seconds:.1f} s"
    )
    for reason, count in Counter(summary.held.values()).most_common():
        names = [line(s, 60) for s, r in summary.held.items() if r == reason]
        shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        print(f"  held: {reason} ({count}): {shown}")
    with contextlib.suppress(ValueError):
        print(f"results: {(course.state / 'results' / summary.chapter)}")

"""The command line: `attention-course build | check | ...`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_course.student import add_check, add_hand_in
from attention_course.terminal import (
    COMPLETE,
    NOT_COMPLETE,
    add_command,
    chapter_names,
    completed,
    new_parser,
    run,
    student_names,
)


def find_root() -> Path:
    """The course's folder: the nearest one upwards with chapters/, else the checkout.

    Raises ValueError if there is neither.
    """
    here = Path.cwd()
    candidates = [here, *here.parents, Path(__file__).resolve().parents[2]]
    for folder in candidates:
        if any((folder / "chapters").glob("*/chapter.py")):
            return folder
    raise ValueError(
        "no course here: go to the folder that holds chapters/, as in a clone of the "
        "repository"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("Attention in Context: build the course, check answers, grade.")
    parser.epilog = "`attention-course COMMAND --help` explains one command."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = add_command(
        commands,
        "build",
        "build every edition that is not current",
        "Make lesson, source, release and solution of each chapter from chapters/.",
        "Exit code: 0 all are current, 1 some failed (or are stale, with --check).",
    )
    some = build.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="like 05_masks or 05 (default: all)",
    )
    completed(some, chapter_names)
    build.add_argument(
        "--force", action="store_true", help="build even what is current"
    )
    build.add_argument(
        "--jobs", type=int, metavar="N", help="processes (default: one per core)"
    )
    build.add_argument(
        "--check",
        action="store_true",
        help="build nothing; exit 1 if something is stale",
    )
    build.set_defaults(run=_build)

    course_map = add_command(
        commands,
        "map",
        "write the map of the course",
        "Write docs/map.md and its figure from what the chapters say they need.",
        "Exit code: 0 written or current, 1 stale (with --check).",
    )
    course_map.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if it is stale"
    )
    course_map.set_defaults(run=_map)

    nbval = add_command(
        commands,
        "nbval",
        "re-execute lessons and solutions against their stored outputs",
        "Run every cell of every lesson and solution, and compare what it prints with "
        "what is stored.",
        "Exit code: 0 all agree, 1 some differ, 2 no such device; others are pytest's.",
    )
    nbval.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where tensors lie (default: cpu)",
    )
    nbval.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        default=2,
        help="notebooks at a time (default: 2)",
    )
    nbval.add_argument(
        "--if-present",
        action="store_true",
        help="without such a device, say so and pass",
    )
    nbval.set_defaults(run=_nbval)

    check = add_check(commands)
    check.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="draw the inputs from this seed (default: the public one)",
    )
    check.set_defaults(run=_check)

    _add_grade(commands)
    add_hand_in(commands)

    bundle = add_command(
        commands,
        "bundle",
        "write what a student receives as one archive",
        "Pack release notebooks, answer keys, package and environment, and look "
        "through it all for answers.",
        "Exit code: 0 written, 1 an edition is not current, 2 refused.",
    )
    bundle.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="default: build/attention-course.zip",
    )
    bundle.set_defaults(run=_bundle)

    demo = add_command(
        commands,
        "demo",
        "take a sample class through the whole course",
        "Hand in, grade and give feedback in build/demo, and print the scores.",
        "Exit code: 0 done, 2 it could not run.",
    )
    demo.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        default=2,
        help="chapters at a time (default: 2)",
    )
    demo.set_defaults(run=_demo)

    report = add_command(
        commands,
        "report",
        "what the class understood of one chapter, and what not",
        "Write a page (index.html), report.json, scores.csv and mistakes.csv from the "
        "results of `grade`.",
        "Exit code: 0 written, 2 nothing has been graded.",
    )
    one = report.add_argument("chapter", metavar="CHAPTER", help="like 04_scaling")
    completed(one, chapter_names)
    report.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="default: report/CHAPTER"
    )
    report.add_argument("--json", action="store_true", help="print the JSON instead")
    report.set_defaults(run=_report)
    return parser


def _add_grade(commands: Any) -> None:
    grade = add_command(
        commands,
        "grade",
        "grade the submissions of a chapter",
        "Grade what lies in submitted/STUDENT/CHAPTER/ of the course, in a sandbox. "
        "What has not changed is not graded again.",
        "Exit code: 0 all graded, 1 some held (or replayed to another verdict), 2 it "
        "could not grade.",
    )
    one = grade.add_argument(
        "chapter", nargs="?", metavar="CHAPTER", help="like 04_scaling"
    )
    completed(one, chapter_names)
    students = grade.add_argument(
        "--student",
        action="extend",
        nargs="+",
        metavar="ID",
        help="these alone (default: everybody)",
    )
    completed(students, student_names)

    written = grade.add_argument_group("what comes out")
    written.add_argument(
        "--feedback", action="store_true", help="write feedback/STUDENT/CHAPTER/ too"
    )
    written.add_argument("--json", action="store_true", help="print results as JSON")
    written.add_argument(
        "--db", metavar="URL", help="the gradebook (default: nbgrader_config.py's)"
    )

    place = grade.add_argument_group("where, and how long")
    place.add_argument(
        "--jobs", type=int, metavar="N", help="processes (default: one per core)"
    )
    place.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="grade on a dask cluster, like tcp://10.0.0.7:8786",
    )
    place.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="for a whole submission (default: 300)",
    )
    place.add_argument(
        "--cell-seconds", type=float, metavar="N", help="for one cell (default: 60)"
    )

    instead = grade.add_argument_group("instead of grading a chapter")
    instead.add_argument(
        "--replay",
        metavar="RESULT.json",
        type=Path,
        help="grade that one again, and say whether the verdict is the same",
    )
    instead.add_argument(
        "--self-test",
        action="store_true",
        help="start the sandbox, try to get out, print its layers",
    )
    unsafe = grade.add_argument_group("without walls")
    unsafe.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="run students' code with your own rights; every result says so",
    )
    grade.set_defaults(run=_grade)


def _build(options: argparse.Namespace) -> int:
    from attention_course.author import build, course_map
    from attention_course.author.chapter import find_chapters

    root = find_root()
    folders = find_chapters(root, options.chapters)
    gone = [] if options.chapters else build.strangers(root)
    mapped = not options.chapters and (root / course_map.PAGE).exists()
    if options.check:
        stale = [f.name for f in folders if not build.is_current(root, f)]
        if mapped:
            stale += [str(path) for path in course_map.stale(root)]
        for name in stale:
            print(f"{name} is not current: run `attention-course build`")
        for path in gone:
            print(f"{path.relative_to(root)} belongs to no chapter")
        indexed = build.write_index(root, check=True)
        if not indexed:
            print("release/README.md is not current: run `attention-course build`")
        return NOT_COMPLETE if stale or gone or not indexed else COMPLETE
    report = build.build(root, folders, force=options.force, jobs=options.jobs)
    build.remove(gone)
    if mapped:
        for path in course_map.write(root):
            print(f"  {path}")
    build.write_index(root)
    if not report.built and not report.failed:
        print(f"all editions of {len(folders)} chapters are current")
    return NOT_COMPLETE if report.failed else COMPLETE


def _map(options: argparse.Namespace) -> int:
    from attention_course.author import course_map

    root = find_root()
    if options.check:
        stale = course_map.stale(root)
        for path in stale:
            print(f"{path} is not current: run `attention-course map`")
        return NOT_COMPLETE if stale else COMPLETE
    for path in course_map.write(root):
        print(f"wrote {path}")
    return COMPLETE


def _nbval(options: argparse.Namespace) -> int:
    from attention_course.author.revalidate import revalidate

    return revalidate(
        find_root(),
        device=options.device,
        jobs=options.jobs,
        if_present=options.if_present,
    )


def _check(options: argparse.Namespace) -> int:
    from attention_course.author.chapter import find_chapters
    from attention_course.author.keys import PUBLIC_SEED
    from attention_course.grade.answers_file import as_json, check_file
    from attention_course.learn.report import VerdictDisplay

    folder = find_chapters(find_root(), [options.chapter])[0]
    seed = PUBLIC_SEED if options.seed is None else options.seed
    verdicts = check_file(folder, options.answers, exercise=options.exercise, seed=seed)
    if options.json:
        print(json.dumps(as_json(folder.name, seed, verdicts), indent=2))
    else:
        for verdict in verdicts:
            print(VerdictDisplay(verdict))
    complete = all(verdict.complete for verdict in verdicts)
    return COMPLETE if complete else NOT_COMPLETE


def _grade(options: argparse.Namespace) -> int:
    from attention_course.grade import command

    return command.run(find_root(), options)


def _bundle(options: argparse.Namespace) -> int:
    from attention_course.author.build import is_current
    from attention_course.author.chapter import find_chapters
    from attention_course.grade.bundle import write_bundle
    from attention_course.grade.progress import Bar

    root = find_root()
    if stale := [f.name for f in find_chapters(root) if not is_current(root, f)]:
        print(
            f"attention-course: {', '.join(stale)} not current: run `attention-course "
            "build` first",
            file=sys.stderr,
        )
        return NOT_COMPLETE
    target = options.output or root / "build" / "attention-course.zip"
    with Bar("bundle") as bar:
        files = write_bundle(root, target, bar)
    size = target.stat().st_size / 1e6
    print(f"wrote {target}: {len(files)} files, {size:.1f} MB, no answer in it")
    return COMPLETE


def _demo(options: argparse.Namespace) -> int:
    from attention_course.grade.demo import print_scores, print_where, run_demo

    root = find_root()
    print_scores(run_demo(root, jobs=options.jobs))
    print_where(root / "build" / "demo")
    return COMPLETE


def _report(options: argparse.Namespace) -> int:
    from attention_course.grade import report

    return report.run(find_root(), options)


if __name__ == "__main__":
    sys.exit(main())

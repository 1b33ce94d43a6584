"""The command line: `attention-course build | check | ...`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from attention_course.student import add_check, add_hand_in
from attention_course.terminal import COMPLETE, NOT_COMPLETE, new_parser, run


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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build every edition that is not current")
    build.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help="like 05_masks or 05"
    )
    build.add_argument(
        "--force", action="store_true", help="build even what is current"
    )
    build.add_argument("--jobs", type=int, help="processes (default: one per core)")
    build.add_argument(
        "--check",
        action="store_true",
        help="build nothing; exit 1 if something is stale",
    )
    build.set_defaults(run=_build)

    course_map = commands.add_parser(
        "map", help="write the map of the course, docs/map.md, from the chapters"
    )
    course_map.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if it is stale"
    )
    course_map.set_defaults(run=_map)

    nbval = commands.add_parser(
        "nbval", help="re-execute lessons and solutions against their stored outputs"
    )
    nbval.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    nbval.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    nbval.add_argument(
        "--if-present",
        action="store_true",
        help="without such a device, say so and pass",
    )
    nbval.set_defaults(run=_nbval)

    check = add_check(commands)
    check.add_argument("--seed", type=int, help="draw the inputs from this seed")
    check.set_defaults(run=_check)

    grade = commands.add_parser(
        "grade",
        help="grade the submissions of a chapter",
        description="Grade what lies in submitted/STUDENT/CHAPTER/ of the course.",
        epilog="Exit code: 0 all graded, 1 some held, 2 it could not grade.",
    )
    grade.add_argument("chapter", nargs="?", metavar="CHAPTER", help="like 04_scaling")
    grade.add_argument(
        "--student", action="extend", nargs="+", metavar="ID", help="only these"
    )
    grade.add_argument("--json", action="store_true", help="print the results as JSON")
    grade.add_argument("--jobs", type=int, help="processes (default: one per core)")
    grade.add_argument(
        "--feedback", action="store_true", help="write feedback/STUDENT/CHAPTER/ too"
    )
    grade.add_argument(
        "--db", metavar="URL", help="the gradebook (default: nbgrader_config.py's)"
    )
    grade.add_argument(
        "--replay",
        metavar="RESULT.json",
        type=Path,
        help="grade that one again, and say whether the verdict is the same",
    )
    grade.add_argument(
        "--self-test",
        action="store_true",
        help="grade nothing: start the sandbox, try to get out, print its layers",
    )
    grade.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="run students' code with your own rights; every result says so",
    )
    grade.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="for a whole submission (default: 300)",
    )
    grade.add_argument(
        "--cell-seconds", type=float, metavar="N", help="for one cell (default: 60)"
    )
    grade.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="grade on a dask cluster, like tcp://10.0.0.7:8786",
    )
    grade.set_defaults(run=_grade)

    add_hand_in(commands)

    bundle = commands.add_parser(
        "bundle",
        help="write what a student receives as one archive, without any answer",
        epilog="Exit code: 0 written, 1 an edition is not current, 2 refused.",
    )
    bundle.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="default: build/attention-course.zip",
    )
    bundle.set_defaults(run=_bundle)

    demo = commands.add_parser(
        "demo", help="take a sample class through the whole course with nbgrader"
    )
    demo.add_argument("--jobs", type=int, default=2, help="chapters at a time")
    demo.set_defaults(run=_demo)

    report = commands.add_parser(
        "report",
        help="the class in one chapter, and what it misunderstood",
        description="Write index.html, report.json, scores.csv and mistakes.csv.",
    )
    report.add_argument("chapter", metavar="CHAPTER", help="like 04_scaling")
    report.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="default: report/CHAPTER"
    )
    report.add_argument("--json", action="store_true", help="print the JSON instead")
    report.set_defaults(run=_report)
    return parser


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

    root = find_root()
    if stale := [f.name for f in find_chapters(root) if not is_current(root, f)]:
        print(
            f"attention-course: {', '.join(stale)} not current: run `attention-course "
            "build` first",
            file=sys.stderr,
        )
        return NOT_COMPLETE
    target = options.output or root / "build" / "attention-course.zip"
    files = write_bundle(root, target)
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

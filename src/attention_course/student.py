"""The student's command: `attention-course check | hand-in`.

It needs what a student has: a chapter's folder with its answer key, and the `learn`
wing, which is imported only when a command runs: torch takes its time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_course.terminal import (
    COMPLETE,
    NOT_COMPLETE,
    add_command,
    chapter_names,
    completed,
    new_parser,
    run,
)

CHAPTER = "like 04_scaling, 04, or the path of its folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = new_parser("Attention in Context: check your answers, hand in your work.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_check(commands).set_defaults(run=_check)
    add_hand_in(commands)
    return run(parser, arguments)


def add_check(commands: Any) -> argparse.ArgumentParser:
    """Add `check` to a parser's commands."""
    check = add_command(
        commands,
        "check",
        "check a plain Python file of answers",
        "Check answers outside of a notebook: a file that defines some of a chapter's "
        "functions and classes.",
        "Exit code: 0 complete, 1 not complete, 2 the file cannot be used.",
    )
    chapter = check.add_argument("chapter", metavar="CHAPTER", help=CHAPTER)
    completed(chapter, chapter_names)
    check.add_argument(
        "answers", metavar="ANSWERS.py", type=Path, help="your file of answers"
    )
    check.add_argument("--exercise", metavar="NAME", help="only this one")
    check.add_argument("--json", action="store_true", help="print JSON")
    return check


def add_hand_in(commands: Any) -> None:
    """Add `hand-in` to a parser's commands."""
    packing = add_command(
        commands,
        "hand-in",
        "pack your notebook for the instructor",
        "Write an archive of your notebook, as the instructor collects it. It is "
        "looked at first: what is still blank is told.",
        "Exit code: 0 packed, 2 the notebook cannot be used.",
    )
    chapter = packing.add_argument("chapter", metavar="CHAPTER", help=CHAPTER)
    completed(chapter, chapter_names)
    packing.add_argument(
        "--name", required=True, help="the name that your instructor knows you by"
    )
    packing.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="default: NAME-CHAPTER.zip"
    )
    packing.set_defaults(run=_hand_in)


def _check(options: argparse.Namespace) -> int:
    from attention_course.learn.answer_key import ExerciseKey
    from attention_course.learn.answers_file import as_json, check_answers
    from attention_course.learn.handing_in import find_chapter, read_key
    from attention_course.learn.report import VerdictDisplay

    key = read_key(find_chapter(options.chapter, Path.cwd()))
    name = options.exercise
    if name is not None and name not in key.exercises:
        raise ValueError(
            f"chapter {key.chapter} has no exercise {name!r}; it has: "
            + ", ".join(key.exercises)
        )

    def keys() -> Mapping[str, ExerciseKey]:
        return {n: e for n, e in key.exercises.items() if name in (None, n)}

    verdicts = check_answers(options.answers, keys, exercise=name)
    if options.json:
        print(json.dumps(as_json(key.chapter, key.seed, verdicts), indent=2))
    else:
        for verdict in verdicts:
            print(VerdictDisplay(verdict))
    complete = all(verdict.complete for verdict in verdicts)
    return COMPLETE if complete else NOT_COMPLETE


def _hand_in(options: argparse.Namespace) -> int:
    from attention_course.learn.handing_in import find_chapter, hand_in

    folder = find_chapter(options.chapter, Path.cwd())
    packed = hand_in(folder, options.name, options.output)
    if packed.blank:
        print(f"still blank: {', '.join(packed.blank)}")
    print(f"wrote {packed.path}: give this file to your instructor")
    return COMPLETE


if __name__ == "__main__":
    sys.exit(main())

"""Replay one verdict from its result: is it the same?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from attention_course.author.chapter import find_chapters
from attention_course.grade import result as results
from attention_course.grade.contract import Held
from attention_course.grade.course import Course, GradingError
from attention_course.grade.environment import environment_hash
from attention_course.grade.handed_in import HandedIn, choose, list_folder
from attention_course.grade.papers import Paper
from attention_course.grade.release import read_bundle
from attention_course.grade.tasks import Settings, Task
from attention_course.grade.worker import grade

SAME, ANOTHER = 0, 1


def replay(course: Course, path: Path, settings: Settings) -> int:
    """Grade the submission of a result again, on the inputs that the result names.

    Prints what differs; returns 0 if the verdict is the same, 1 if not. Raises
    `GradingError` if it cannot be replayed. Nothing is recorded.
    """
    try:
        kept = results.load(path.read_bytes())
    except OSError as error:
        raise GradingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise GradingError(f"{path} is no result of this grader: {error}") from error
    folder = find_chapters(course.root, [kept["chapter"]])[0]
    bundle = read_bundle(course.root, folder)
    chosen = _submission(course, kept, tuple(f"check({n})" for n in bundle.points))
    if isinstance(chosen, Held):
        return _compare(kept, results.held({}, chosen, bundle.max_score))
    if chosen.hash != kept["hashes"]["submission"]:
        raise GradingError(
            f"{kept['student']} has handed in another notebook since: the one of this "
            "result is needed to replay it."
        )
    _warn("the exercises", kept["hashes"].get("chapter", bundle.hash), bundle.hash)
    ours = environment_hash()
    _warn("this package", kept["hashes"].get("environment", ours), ours)
    papers = {e["name"]: Paper(e["paper"], e["seed"]) for e in kept["exercises"]}
    missing = [name for name in bundle.points if name not in papers]
    if missing and kept["outcome"] == "graded":
        raise GradingError(f"the result knows nothing of {', '.join(missing)}")
    papers |= {name: Paper(0, 0) for name in missing}
    settings = replace(settings, keys=course.state / "keys")
    task = Task(chosen.data, chosen.hash, papers, chosen.repairs)
    again = grade(bundle.to_bytes(), task, settings)
    return _compare(kept, again.result)


def _submission(
    course: Course, kept: dict[str, Any], marks: tuple[str, ...]
) -> HandedIn | Held:
    folder = course.submitted(kept["student"], kept["chapter"])
    try:
        files = list_folder(folder)
    except OSError as error:
        raise GradingError(
            f"{folder} cannot be read ({error.strerror}): the submission is needed to "
            "replay its verdict."
        ) from error
    return choose(files, kept["chapter"], marks)


def _warn(what: str, before: str, now: str) -> None:
    if before != now:
        print(
            f"attention-course: {what} changed since; the verdict may differ for that",
            file=sys.stderr,
        )


def _compare(kept: dict[str, Any], again: dict[str, Any]) -> int:
    parts = ("outcome", "reason", "detail", "score", "max_score", "exercises", "flags")
    differing = [part for part in parts if kept[part] != again[part]]
    name = f"{kept['student']}, {kept['chapter']}"
    if not differing:
        told = f"{again['score']:g} points" if again["outcome"] == "graded" else "held"
        print(f"{name}: the same verdict, {told}")
        return SAME
    print(f"{name}: another verdict; different: {', '.join(differing)}")
    before = {e["name"]: e for e in kept["exercises"]}
    for exercise in again["exercises"]:
        old = before.get(exercise["name"])
        if old != exercise:
            earned = old["earned"] if old else "nothing"
            print(f"  {exercise['name']}: {earned} before, {exercise['earned']} now")
    return ANOTHER

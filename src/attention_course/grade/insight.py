"""What a class has understood, and what it has not: counted from its results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attention_course.author.chapter import Chapter, read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.grade import result as results
from attention_course.grade.harmless import line
from attention_course.grade.progress import Progress, Silent

STATUSES = ("complete", "partial", "wrong", "blank")
NAMES_KEPT = 50
"""Of the students who made a mistake, how many are named in the report."""


@dataclass
class MistakeCount:
    """A known mistake of one exercise, and who made it."""

    name: str
    hint: str
    count: int = 0
    students: list[str] = field(default_factory=list)


@dataclass
class AspectCount:
    """One aspect of an exercise: its points, and what the class earned of them."""

    name: str
    points: float
    earned: float = 0.0
    lost_by: int = 0


@dataclass
class ExerciseInsight:
    """One exercise: how many solved it, where points were lost, by which mistakes.

    `section` is the heading under which the lesson teaches it. `unknown` counts
    students who lost points in a way that no known mistake explains, `examples` what
    some of them were told.
    """

    name: str
    section: str
    points: float = 0.0
    earned: float = 0.0
    statuses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    aspects: dict[str, AspectCount] = field(default_factory=dict)
    mistakes: list[MistakeCount] = field(default_factory=list)
    unknown: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class ClassInsight:
    """A class in one chapter. Points are means over the graded."""

    chapter: str
    title: str
    graded: int = 0
    max_score: float = 0.0
    scores: list[float] = field(default_factory=list)
    exercises: dict[str, ExerciseInsight] = field(default_factory=dict)
    held: list[dict[str, str]] = field(default_factory=list)
    flagged: list[dict[str, Any]] = field(default_factory=list)
    unsafe: int = 0

    def summary(self) -> dict[str, float]:
        """Mean, median and quartiles of the scores; empty if there is none."""
        if not self.scores:
            return {}
        low, middle, high = (
            statistics.quantiles(self.scores, n=4, method="inclusive")
            if len(self.scores) > 1
            else self.scores * 3
        )
        return {
            "mean": round(statistics.fmean(self.scores), 2),
            "lower_quartile": low,
            "median": middle,
            "upper_quartile": high,
        }

    def teach_again(self) -> list[tuple[str, MistakeCount]]:
        """(exercise, mistake), the most common first."""
        found = [(e.name, m) for e in self.exercises.values() for m in e.mistakes]
        return sorted(found, key=lambda pair: (-pair[1].count, pair[0], pair[1].name))

    def as_data(self) -> dict[str, Any]:
        """Everything as JSON, scores summed up."""
        data = asdict(self)
        del data["scores"]
        data["exercises"] = [
            {**asdict(e), "aspects": [asdict(a) for a in e.aspects.values()]}
            for e in self.exercises.values()
        ]
        return {**data, "summary": self.summary()}


def read_results(
    folder: Path, progress: Progress | None = None
) -> Iterator[dict[str, Any]]:
    """The results of one chapter, one after the other, by student."""
    progress = progress or Silent()
    paths = sorted(folder.glob("*.json"))
    progress.begin(len(paths))
    for path in paths:
        yield results.load(path.read_bytes())
        progress.advance()


def insight(chapter_folder: Path, found: Iterable[Mapping[str, Any]]) -> ClassInsight:
    """What the results of a chapter say about the class."""
    chapter = read_chapter(chapter_folder)
    hints = _hints(chapter_folder)
    made = ClassInsight(chapter.slug, chapter.title)
    for name, points in chapter.points.items():
        made.exercises[name] = ExerciseInsight(name, section(chapter, name), points)
    counts: dict[str, dict[str, MistakeCount]] = {name: {} for name in made.exercises}
    for result in found:
        _count(made, counts, hints, result)
    for name, mistakes in counts.items():
        made.exercises[name].mistakes = sorted(
            mistakes.values(), key=lambda m: (-m.count, m.name)
        )
    for exercise in made.exercises.values():
        shared = max(made.graded, 1)
        exercise.earned = round(exercise.earned / shared, 3)
        for aspect in exercise.aspects.values():
            aspect.earned = round(aspect.earned / shared, 3)
    return made


def _hints(folder: Path) -> dict[tuple[str, str], str]:
    exercises = load_exercises(folder / "exercises.py")
    return {
        (name, mistake.name): mistake.hint
        for name, exercise in exercises.items()
        for mistake in exercise.mistakes.values()
    }


def section(chapter: Chapter, exercise: str) -> str:
    """The heading of the lesson under which an exercise stands."""
    heading = chapter.title
    for cell in chapter.cells:
        if cell.exercise == exercise:
            return heading
        if cell.role == "prose":
            rows = cell.source.splitlines()
            heads = [row for row in rows if row.startswith("## ")]
            heading = heads[-1].lstrip("# ") if heads else heading
    return heading


def _count(
    made: ClassInsight,
    counts: dict[str, dict[str, MistakeCount]],
    hints: Mapping[tuple[str, str], str],
    result: Mapping[str, Any],
) -> None:
    student = line(result["student"], 100)
    made.max_score = max(made.max_score, result["max_score"])
    if result["outcome"] == "held":
        why = {"reason": result["reason"], "detail": line(result["detail"], 300)}
        made.held.append({"student": student, **why})
        return
    made.graded += 1
    made.scores.append(result["score"])
    if result["flags"]:
        flags = [line(flag, 200) for flag in result["flags"]]
        made.flagged.append({"student": student, "flags": flags})
    made.unsafe += results.NO_SANDBOX in result["flags"]
    for entry in result["exercises"]:
        exercise = made.exercises.get(entry["name"])
        if exercise is None:
            continue  # graded before the exercise was taken out of the chapter
        _count_exercise(exercise, counts[exercise.name], hints, entry, student)


def _count_exercise(
    exercise: ExerciseInsight,
    counts: dict[str, MistakeCount],
    hints: Mapping[tuple[str, str], str],
    entry: Mapping[str, Any],
    student: str,
) -> None:
    exercise.earned += entry["earned"]
    exercise.statuses[entry["status"]] += 1
    named = set()
    for told in entry["aspects"]:
        aspect = exercise.aspects.setdefault(
            told["name"], AspectCount(told["name"], told["points"])
        )
        aspect.earned += told["earned"]
        aspect.lost_by += told["earned"] < told["points"]
        if told["mistake"]:
            named.add(told["mistake"])
    for name in named:
        hint = hints.get((exercise.name, name), "")
        mistake = counts.setdefault(name, MistakeCount(name, hint))
        mistake.count += 1
        if len(mistake.students) < NAMES_KEPT:
            mistake.students.append(student)
    if not named and entry["status"] in ("partial", "wrong"):
        exercise.unknown += 1
        message = line(entry["message"], 300)
        if len(exercise.examples) < 3 and message not in exercise.examples:
            exercise.examples.append(message)


def table(found: Iterable[Mapping[str, Any]], names: Iterable[str]) -> Iterator[list]:
    """The rows of scores.csv: a heading, then one row for each student."""
    names = list(names)
    yield [
        *("student", "outcome", "score", "max_score"),
        *names,
        *(f"{name}: mistake" for name in names),
        *("flags", "reason"),
    ]
    for result in found:
        entries = {e["name"]: e for e in result["exercises"]}
        yield [
            *(result[key] for key in ("student", "outcome", "score", "max_score")),
            *(entries.get(name, {}).get("earned") for name in names),
            *(entries.get(name, {}).get("mistake") for name in names),
            "; ".join(result["flags"]),
            result["reason"] or "",
        ]


def mistakes_table(made: ClassInsight) -> Iterator[list]:
    """The rows of mistakes.csv, most common first."""
    yield ["exercise", "mistake", "count", "share", "section", "hint"]
    for name, mistake in made.teach_again():
        share = round(mistake.count / max(made.graded, 1), 3)
        where = made.exercises[name].section
        yield [name, mistake.name, mistake.count, share, where, mistake.hint]


def dump(made: ClassInsight) -> str:
    """The insight as the text of report.json."""
    return json.dumps(made.as_data(), ensure_ascii=False, indent=1) + "\n"

"""The grader against a corpus of bad submissions: attacks, starvers, accidents, tricks.

One class of them all is graded by the command that instructors use, in one run, with a
finished student before, among and after them. See bad_submissions/kit.py for what each
file says of itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bad_submissions.kit import CHAPTER, KINDS, ROOT, Bad, Submission, every, hand_in
from bs4 import BeautifulSoup

BAD = list(every())
HONEST = ("aaa-finished", "mmm-finished", "zzz-finished")
MARK = "987654"
"""How long the corpus's orphans sleep: no other program has it in its name."""


def processes_of_the_corpus() -> list[str]:
    """The command lines of processes that a bad submission started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if MARK in line:
            found.append(line)
    return found


def grade(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a course folder."""
    command = [sys.executable, "-m", "attention_course.cli", "grade", CHAPTER]
    return subprocess.run(
        [*command, *arguments],
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )


def set_up(course: Path) -> None:
    """A course folder with chapter 04."""
    for folder in ("chapters", "source", "release"):
        shutil.copytree(ROOT / folder / CHAPTER, course / folder / CHAPTER)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    (course / "gradebook.db").touch(exist_ok=False)
    (course / "gradebook.db").unlink()


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole class, graded: results by student, and what the run left."""
    course = tmp_path_factory.mktemp("course")
    set_up(course)
    for name in HONEST:
        folder = course / "submitted" / name / CHAPTER
        folder.mkdir(parents=True)
        Submission(folder, course).write()
    for bad in BAD:
        hand_in(bad, course)
    ended = grade(
        course, "--json", "--cell-seconds", "4", "--seconds", "60", "--feedback"
    )
    assert ended.returncode in (0, 1), ended.stderr[-3000:]
    results = json.loads(ended.stdout)
    return {
        "course": course,
        "results": {r["student"]: r for r in results},
        "number": len(results),
        "exit": ended.returncode,
        "left": processes_of_the_corpus(),
    }


def earned(result: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {e["name"]: (e["earned"], e["points"]) for e in result["exercises"]}


@pytest.mark.parametrize("bad", BAD, ids=lambda b: f"{b.kind}-{b.name}")
def test_it_gets_what_it_deserves(graded: dict[str, Any], bad: Bad) -> None:
    result = graded["results"][bad.student]
    if result["outcome"] == "held":
        assert bad.held, f"held: {result['reason']}"
        assert result["reason"]
        return
    assert bad.held is not True, "this can't be graded, and was"
    assert result["score"] == pytest.approx(sum(e for e, _ in earned(result).values()))
    for name, (got, points) in earned(result).items():
        if name in bad.loses:
            assert got == 0, f"{name} was paid: {got}"
        elif name not in bad.may_lose:
            message = next(
                e["message"] for e in result["exercises"] if e["name"] == name
            )
            assert got == points, f"{name} lost points: {message}"
    if bad.flag:
        assert any(bad.flag in flag for flag in result["flags"]), result["flags"]


@pytest.mark.parametrize("name", HONEST)
def test_honest_students_are_not_touched(graded: dict[str, Any], name: str) -> None:
    result = graded["results"][name]
    assert result["outcome"] == "graded"
    assert result["score"] == result["max_score"] == 15
    assert result["flags"] == []


def test_every_submission_has_one_result(graded: dict[str, Any]) -> None:
    students = {bad.student for bad in BAD} | set(HONEST)
    assert set(graded["results"]) == students
    assert graded["number"] == len(students)
    assert graded["exit"] == 1  # some are held


def test_no_process_survives(graded: dict[str, Any]) -> None:
    assert graded["left"] == []


def test_nothing_was_written_outside(graded: dict[str, Any]) -> None:
    for name in ("pwned-by-pickle", "stolen", "filler", "torch.py", "evil.pth"):
        assert not Path("/tmp", name).exists()
    course = graded["course"]
    for name in ("result.json", "results.json", "evil.pth"):
        assert not (course / name).exists()
    assert not (course / ".attention-course" / f"{CHAPTER}.json").exists()


def test_inputs_never_reach_an_output(graded: dict[str, Any]) -> None:
    folder = graded["course"] / "autograded" / "attack-stashed-inputs" / CHAPTER
    text = (folder / f"{CHAPTER}.ipynb").read_text(encoding="utf-8")
    assert "STOLEN 0" in text
    assert "SHARED b''" in text


def test_the_gradebook_has_the_graded_and_no_other(graded: dict[str, Any]) -> None:
    from nbgrader.api import Gradebook

    wanted = {
        student: result["score"]
        for student, result in graded["results"].items()
        if result["outcome"] == "graded"
    }
    database = f"sqlite:///{graded['course'] / 'gradebook.db'}"
    with Gradebook(database, "attention") as gradebook:
        found = {
            s.student.id: s.score for s in gradebook.assignment_submissions(CHAPTER)
        }
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    "bad", [b for b in BAD if b.kind == "reader"], ids=lambda b: b.name
)
def test_feedback_holds_nothing_that_runs(graded: dict[str, Any], bad: Bad) -> None:
    """No script, frame, form, foreign address or handler of the student's is left."""
    folder = graded["course"] / "feedback" / bad.student / CHAPTER
    page = (folder / f"{CHAPTER}.html").read_text(encoding="utf-8")
    tree = BeautifulSoup(page, "html.parser")
    for element in tree.find_all(True):
        own = element.string or ""
        assert element.name not in ("iframe", "form", "base", "object", "embed")
        assert not (element.name == "script" and "PWNED" in own)
        assert not (element.name == "style" and "body{display:none}" in own)
        assert element.get("http-equiv") != "refresh"
        for name, value in element.attrs.items():
            text = " ".join(value) if isinstance(value, list) else value
            assert not name.startswith("on"), f"{element.name} has {name}={text}"
            assert not text.strip().lower().startswith("javascript:")
            assert "example.org" not in text or element.name == "a", text
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert tree.title is not None
    assert tree.title.string != "PWNED"


def test_the_corpus_covers_every_kind() -> None:
    assert len(BAD) >= 70
    assert {bad.kind for bad in BAD} == set(KINDS)
    assert len({bad.student for bad in BAD}) == len(BAD)


@pytest.mark.skipif(os.name != "posix", reason="grading needs Linux")
def test_grading_alone_gives_the_same_bits(graded: dict[str, Any]) -> None:
    """A student who is graded alone gets what the class's run gave."""
    for student in ("mmm-finished", "attack-stashed-inputs", "accident-one-blank"):
        ended = grade(graded["course"], "--json", "--student", student)
        (again,) = json.loads(ended.stdout)
        assert again == graded["results"][student]

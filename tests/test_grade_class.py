"""A class is graded: scores in the gradebook, nothing lost, nothing counted twice.

What runs the students' code here is a stand-in; tests of the sandbox are elsewhere.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import RIGHT_ANSWERS, hand_in_tiny
from nbgrader.api import Gradebook

from attention_course import cli
from attention_course.grade import command, grading
from attention_course.grade.course import (
    GradingError,
    course_secret,
    only_grader,
    open_course,
)
from attention_course.grade.feedback import write_feedback
from attention_course.grade.grading import Summary, grade_chapter
from attention_course.grade.release import Bundle
from attention_course.grade.scores import read_scores
from attention_course.grade.tasks import Settings, Task
from attention_course.grade.worker import Desk

SLUG = "90_tiny"
STAND_IN = Settings(unsafe=True, sandbox="stand_in:InProcess")
SQUARES = RIGHT_ANSWERS | {"double": "def double(x):\n    return x * x"}
CUTS = RIGHT_ANSWERS | {"double": "def double(x):\n    return (2 * x).detach()"}
CLASS: dict[str, dict[str, str]] = {
    "blank": {},
    "cuts": CUTS,
    "finished": RIGHT_ANSWERS,
    "squares": SQUARES,
}
SCORES = {"blank": 0.0, "cuts": 3.0, "finished": 3.5, "squares": 1.5}


class InThisProcess:
    """Workers that grade at once and here: quick, and easy to watch."""

    at_once = 2
    tasks: list[Task]

    def __init__(self, bundle: bytes, settings: Settings) -> None:
        self.desk = Desk(Bundle.from_bytes(bundle), settings)
        type(self).made += 1

    made = 0

    def submit(self, task: Task) -> Any:
        from concurrent.futures import Future

        future: Any = Future()
        try:
            future.set_result(self.desk.grade(task))
        except BaseException as error:
            future.set_exception(error)
        return future

    def close(self, *, kill: bool = False) -> None:
        self.desk.close()


@pytest.fixture(scope="module")
def handed_in(built_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny course with a class's submissions and an empty gradebook."""
    root = tmp_path_factory.mktemp("handed-in") / "course"
    shutil.copytree(built_tiny, root)
    for student, answers in CLASS.items():
        hand_in_tiny(root, student, answers)
    with book(root) as gradebook:
        assert gradebook.assignments == []
    return root


@pytest.fixture
def course(handed_in: Path, tmp_path: Path) -> Path:
    """A copy of the class's course: change it as you like."""
    return shutil.copytree(handed_in, tmp_path / "course")


def grade(root: Path, *students: str, **options: Any) -> Summary:
    options = {"make_workers": InThisProcess, "settings": STAND_IN} | options
    folder = root / "chapters" / SLUG
    return grade_chapter(open_course(root), folder, students=students, **options)


def scores(root: Path) -> dict[str, float]:
    return {s.student: s.earned for s in read_scores(root)}


def result(root: Path, student: str) -> dict[str, Any]:
    path = root / ".attention-course" / "results" / SLUG / f"{student}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def book(root: Path) -> Any:
    return Gradebook(f"sqlite:///{root / 'gradebook.db'}", "attention")


def test_scores_notebooks_and_results_are_there(course: Path) -> None:
    summary = grade(course)
    assert (summary.graded, summary.unchanged, summary.held) == (4, 0, {})
    assert scores(course) == SCORES
    found = {s.student: s.mistakes for s in read_scores(course)}
    assert found["squares"] == {"double": "squared"}
    assert found["cuts"] == {"double": "cut"}
    for student, score in SCORES.items():
        made = result(course, student)
        assert (made["student"], made["chapter"]) == (student, SLUG)
        assert (made["score"], made["max_score"]) == (score, 3.5)
        assert set(made["hashes"]) == {
            "submission",
            "chapter",
            "exercises",
            "environment",
        }
        for exercise in made["exercises"]:
            lost = [a for a in exercise["aspects"] if a["earned"] < a["points"]]
            assert all(a["message"] for a in lost), "why a point was lost is said"
            assert {"paper", "seed"} < set(exercise)
    with book(course) as gradebook:
        grades = gradebook.find_submission(SLUG, "cuts").notebooks[0].grades
        assert {g.name: g.auto_score for g in grades} == {
            "check_double": 1.5,
            "check_negate": 1.5,
        }
        assert not any(g.needs_manual_grade for g in grades)
        comments = gradebook.find_submission(SLUG, "blank").notebooks[0].comments
        assert [c.auto_comment for c in comments] == ["No response."] * 2
        comments = gradebook.find_submission(SLUG, "cuts").notebooks[0].comments
        assert [c.auto_comment for c in comments] == [None, None]


def test_the_gradebook_is_as_nbgrader_makes_it(
    course: Path, built_tiny: Path, tmp_path: Path
) -> None:
    """The same assignment, cells and checksums as generate_assignment writes."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    grade(course)
    other = tmp_path / "other"
    shutil.copytree(built_tiny, other)
    shutil.rmtree(other / "release")
    config = Config()
    config.CourseDirectory.root = str(other)
    config.CourseDirectory.course_id = "attention"
    assert NbGraderAPI(config=config).generate_assignment(SLUG)["success"]

    def described(root: Path) -> Any:
        with book(root) as gradebook:
            notebook = gradebook.find_notebook(SLUG, SLUG)
            leave = {"id"}
            cells = [
                *notebook.grade_cells,
                *notebook.solution_cells,
                *notebook.source_cells,
            ]
            return (
                gradebook.find_assignment(SLUG).course_id,
                notebook.kernelspec,
                [
                    {k: v for k, v in c.to_dict().items() if k not in leave}
                    for c in cells
                ],
            )

    assert described(course) == described(other)


def test_nothing_changed_costs_nothing(course: Path) -> None:
    grade(course)
    before = {p: p.stat().st_mtime_ns for p in course.rglob("*.json")}
    InThisProcess.made = 0
    summary = grade(course)
    assert (summary.graded, summary.unchanged) == (0, 4)
    assert InThisProcess.made == 0
    after = {p: p.stat().st_mtime_ns for p in course.rglob("*.json")}
    assert before == after


def test_a_touched_file_with_the_same_content_is_not_graded_again(
    course: Path,
) -> None:
    grade(course)
    os.utime(course / "submitted" / "cuts" / SLUG / f"{SLUG}.ipynb", (1, 1))
    assert grade(course).unchanged == 4
    assert grade(course).unchanged == 4


def test_a_new_attempt_replaces_the_old_one(course: Path) -> None:
    grade(course)
    hand_in_tiny(course, "blank", RIGHT_ANSWERS)
    assert (grade(course).graded, scores(course)["blank"]) == (1, 3.5)
    assert result(course, "blank")["score"] == 3.5
    with book(course) as gradebook:
        comments = gradebook.find_submission(SLUG, "blank").notebooks[0].comments
        assert {c.auto_comment for c in comments} == {None}
        assert len(gradebook.assignment_submissions(SLUG)) == 4


@pytest.mark.parametrize("lost", ["autograded/cuts", ".attention-course/results"])
def test_what_was_lost_is_made_again(lost: str, course: Path) -> None:
    grade(course)
    shutil.rmtree(course / lost)
    assert grade(course).graded == (1 if "cuts" in lost else 4)
    assert scores(course) == SCORES
    assert (course / lost).exists()


def test_grading_twice_gives_the_same_bits(course: Path) -> None:
    def bits() -> dict[str, bytes]:
        folders = (course / ".attention-course" / "results", course / "autograded")
        files = [p for f in folders for p in f.rglob("*") if p.is_file()]
        return {str(p): p.read_bytes() for p in files}

    grade(course)
    first = bits()
    shutil.rmtree(course / ".attention-course" / "results")
    shutil.rmtree(course / ".attention-course" / "keys")
    shutil.rmtree(course / "autograded")
    grade(course)
    assert bits() == first
    assert len(first) == 8


def test_another_secret_draws_other_inputs(course: Path) -> None:
    grade(course)
    before = result(course, "cuts")
    path = course / ".attention-course" / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    assert grade(course).graded == 4
    after = result(course, "cuts")
    assert after["score"] == before["score"]
    seeds = [[e["seed"] for e in made["exercises"]] for made in (before, after)]
    assert not set(seeds[0]) & set(seeds[1])


def test_the_secret_is_made_once(course: Path) -> None:
    opened = open_course(course)
    assert course_secret(opened) == course_secret(opened)
    (opened.state / "secret").write_bytes(b"short")
    with pytest.raises(GradingError, match="cut off"):
        course_secret(opened)


def test_no_folder_of_the_course_reaches_a_worker(course: Path) -> None:
    seen: list[Task] = []

    class Watching(InThisProcess):
        def submit(self, task: Task) -> Any:
            seen.append(task)
            return super().submit(task)

    grade(course, make_workers=Watching)
    told = repr([(t.hash, t.papers, t.noticed) for t in seen])
    assert len(seen) == 4
    assert str(course) not in told
    for student in ("cuts", "finished", "squares"):
        assert student not in told


# Manual work of nbgrader's stays


def test_manual_scores_extra_credit_and_comments_are_kept(course: Path) -> None:
    grade(course)
    with book(course) as gradebook:
        mark = gradebook.find_grade("check_double", SLUG, SLUG, "squares")
        mark.manual_score, mark.extra_credit = 1.75, 0.5
        mark.needs_manual_grade = False
        comment = gradebook.find_comment("answer_double", SLUG, SLUG, "squares")
        comment.manual_comment = "Nearly."
        gradebook.db.commit()
    grade(course)
    assert scores(course)["squares"] == 1.5 + 1.75 + 0.5
    hand_in_tiny(course, "squares", CUTS)
    grade(course)
    with book(course) as gradebook:
        mark = gradebook.find_grade("check_double", SLUG, SLUG, "squares")
        assert (mark.auto_score, mark.manual_score, mark.extra_credit) == (
            1.5,
            1.75,
            0.5,
        )
        assert mark.needs_manual_grade, "as nbgrader: a new attempt is to be looked at"
        comment = gradebook.find_comment("answer_double", SLUG, SLUG, "squares")
        assert comment.comment == "Nearly."
    assert scores(course)["squares"] == 1.5 + 1.75 + 0.5


PENALTY = """
c.LateSubmissionPlugin.penalty_method = "zero"
"""


def test_a_late_penalty_is_nbgraders(course: Path) -> None:
    with (course / "nbgrader_config.py").open("a") as config:
        config.write(PENALTY)
    for student, day in (("finished", 1), ("squares", 9)):
        stamp = course / "submitted" / student / SLUG / "timestamp.txt"
        stamp.write_text(f"2026-05-0{day} 12:00:00 UTC")
    with book(course) as gradebook:
        gradebook.add_assignment(SLUG, duedate="2026-05-05 12:00:00 UTC")
    grade(course)
    with book(course) as gradebook:
        for student, penalty in (("finished", None), ("squares", 1.5), ("cuts", None)):
            notebook = gradebook.find_submission_notebook(SLUG, SLUG, student)
            assert notebook.late_submission_penalty == penalty
        late = gradebook.find_submission(SLUG, "squares")
        assert late.total_seconds_late == 4 * 24 * 3600
    copied = course / "autograded" / "squares" / SLUG / "timestamp.txt"
    assert copied.read_text() == "2026-05-09 12:00:00 UTC"


def test_an_odd_timestamp_is_no_obstacle(course: Path) -> None:
    stamp = course / "submitted" / "cuts" / SLUG / "timestamp.txt"
    for content in (b"the day before", b"\xff\xfe", b"x" * 10_000, b"9" * 100):
        stamp.write_bytes(content)
        assert grade(course).held == {}
    assert scores(course) == SCORES


# What is held


def break_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100 * 2**20)


def two(path: Path) -> None:
    shutil.copy(path, path.with_name("copy one.ipynb"))
    path.rename(path.with_name("copy two.ipynb"))


HELD: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (break_off, "truncated"),
    "empty": (lambda path: path.write_bytes(b"") and None, "empty"),
    "missing": (lambda path: path.unlink(), "missing notebook"),
    "a link": (link, "not a file"),
    "a pipe": (pipe, "not a file"),
    "huge": (huge, "too large"),
    "several": (two, "several notebooks"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_cannot_be_graded_is_held_and_leaves_the_others_alone(
    name: str, course: Path
) -> None:
    change, reason = HELD[name]
    change(hand_in_tiny(course, "mallory", RIGHT_ANSWERS))
    summary = grade(course)
    assert summary.held == {"mallory": reason}
    assert scores(course) == SCORES, "held is not in the gradebook"
    made = result(course, "mallory")
    assert (made["outcome"], made["score"]) == ("held", None)
    assert made["detail"].endswith(".")
    again = grade(course)
    assert (again.unchanged, again.held) == (5, {"mallory": reason})
    shutil.rmtree(course / "submitted" / "mallory")
    hand_in_tiny(course, "mallory", RIGHT_ANSWERS)
    assert grade(course).held == {}
    assert scores(course)["mallory"] == 3.5


def test_a_held_attempt_leaves_the_earlier_score(course: Path) -> None:
    grade(course)
    break_off(course / "submitted" / "cuts" / SLUG / f"{SLUG}.ipynb")
    assert grade(course).held == {"cuts": "truncated"}
    assert scores(course) == SCORES


def test_odd_folders_are_held_or_harmless(course: Path) -> None:
    submitted = course / "submitted"
    (submitted / "link").symlink_to(submitted / "finished")
    inner = submitted / "inner"
    inner.mkdir()
    (inner / SLUG).symlink_to(submitted / "finished" / SLUG)
    (submitted / "file").mkdir()
    (submitted / "file" / SLUG).write_text("hm")
    bad = os.fsdecode(b"bad\xff")
    shutil.copytree(submitted / "finished", submitted / bad)
    hand_in_tiny(course, "new\nline", RIGHT_ANSWERS)
    hand_in_tiny(course, "=cmd|'calc'!A0", RIGHT_ANSWERS)
    hand_in_tiny(course, "<script>alert(1)<!--", RIGHT_ANSWERS)
    hand_in_tiny(course, "n" * 200, RIGHT_ANSWERS)
    (submitted / "stray.txt").write_text("hm")
    (submitted / "nothing yet").mkdir()
    slip = submitted / "slip" / SLUG.upper().replace("_", " ")
    shutil.copytree(submitted / "finished" / SLUG, slip)
    summary = grade(course)
    assert summary.held == {
        "slip": "misnamed folder",
        "link": "not a folder",
        "inner": "not a folder",
        "file": "not a folder",
        bad: "unusable name",
        "new\nline": "unusable name",
        "n" * 200: "unusable name",
    }
    assert scores(course)["=cmd|'calc'!A0"] == 3.5
    listed = list(grading.entries(open_course(course), summary))
    json.dumps(listed).encode()
    assert len(listed) == 13


def test_other_files_are_left_out(course: Path) -> None:
    folder = course / "submitted" / "cuts" / SLUG
    (folder / "torch.py").write_text("raise SystemExit")
    (folder / "checks.safetensors").write_text("mine")
    (folder / "passwd").symlink_to("/etc/passwd")
    grade(course)
    assert scores(course) == SCORES
    assert (
        "other files were left out: passwd, torch.py"
        in result(course, "cuts")["repairs"]
    )
    there = sorted(p.name for p in (course / "autograded" / "cuts" / SLUG).iterdir())
    assert there == [f"{SLUG}.ipynb"]


def test_an_error_of_intake_itself_holds_one(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attention_course.grade import worker

    take_in = worker.take_in

    def failing(data: bytes, *rest: Any) -> Any:
        if b"detach" in data:
            raise KeyError("a fault of the grader's")
        return take_in(data, *rest)

    monkeypatch.setattr(worker, "take_in", failing)
    assert grade(course).held == {"cuts": "the grader failed"}
    assert "KeyError" in result(course, "cuts")["detail"]
    monkeypatch.setattr(worker, "take_in", take_in)
    assert grade(course).graded == 1, "what may be gone the next time is tried again"
    assert scores(course) == SCORES


def test_a_fault_in_a_worker_costs_one_submission(course: Path) -> None:
    class Faulty(InThisProcess):
        def submit(self, task: Task) -> Any:
            if b"detach" in task.data:
                task = Task(task.data, task.hash, {})
            return super().submit(task)

    assert grade(course, make_workers=Faulty).held == {"cuts": "the grader failed"}
    assert set(scores(course)) == set(SCORES) - {"cuts"}


# Errors


def test_a_locked_gradebook_is_told_and_the_next_run_goes_on(course: Path) -> None:
    grade(course, "blank")
    with closing(sqlite3.connect(course / "gradebook.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(GradingError, match="is locked by another program"):
            grade(course)
        other.rollback()
    grade(course)
    assert scores(course) == SCORES


def test_a_gradebook_locked_in_the_middle_keeps_the_results(course: Path) -> None:
    grade(course, "blank")
    other = sqlite3.connect(course / "gradebook.db", check_same_thread=False)

    class Locking(InThisProcess):
        def submit(self, task: Task) -> Any:
            if not other.in_transaction:
                other.isolation_level = None
                other.execute("BEGIN EXCLUSIVE")
            return super().submit(task)

    with closing(other):
        with pytest.raises(GradingError, match="what was graded is kept"):
            grade(course, make_workers=Locking)
        other.rollback()
    assert scores(course) == {"blank": 0.0}
    summary = grade(course)
    assert (summary.graded, summary.unchanged) == (0, 4)
    assert scores(course) == SCORES


def test_a_missing_gradebook_is_made_anew(course: Path) -> None:
    grade(course)
    (course / "gradebook.db").unlink()
    summary = grade(course)
    assert (summary.graded, summary.unchanged) == (0, 4)
    assert scores(course) == SCORES


def test_an_older_copy_of_the_gradebook_is_brought_up_to_date(course: Path) -> None:
    grade(course)
    shutil.copy(course / "gradebook.db", course / "old.db")
    hand_in_tiny(course, "blank", RIGHT_ANSWERS)
    grade(course)
    shutil.copy(course / "old.db", course / "gradebook.db")
    assert grade(course).graded == 0
    assert scores(course)["blank"] == 3.5


def test_a_gradebook_that_is_none_is_told(course: Path) -> None:
    (course / "gradebook.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(GradingError, match="cannot be used"):
        grade(course)


def test_a_gradebook_with_other_exercises_is_told(course: Path) -> None:
    grade(course)
    with sqlite3.connect(course / "gradebook.db") as other:
        other.execute("UPDATE source_cell SET name = name || '_gone'")
    with pytest.raises(GradingError, match="has other exercises"):
        grade(course)


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attention_course.grade import store

    written: list[Path] = []
    write = store.write_beside

    def full(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        write(path, data)

    monkeypatch.setattr(store, "write_beside", full)
    with pytest.raises(GradingError, match="no space left on the disk"):
        grade(course)
    monkeypatch.setattr(store, "write_beside", write)
    assert grade(course).graded == 3
    assert scores(course) == SCORES


def test_a_second_grader_says_so(course: Path) -> None:
    with (
        only_grader(open_course(course)),
        pytest.raises(GradingError, match=rf"process {os.getpid()}, since 20"),
    ):
        grade(course)
    assert grade(course).graded == 4


def test_missing_things_are_told(course: Path) -> None:
    with pytest.raises(GradingError, match="no submission submitted/nobody/90_tiny"):
        grade(course, "nobody")
    with pytest.raises(GradingError, match="no submission"):
        grade(course, "../submitted/cuts")
    shutil.rmtree(course / "submitted")
    with pytest.raises(GradingError, match="put each submission into"):
        grade(course)
    shutil.rmtree(course / "release")
    with pytest.raises(ValueError, match="run `attention-course build 90_tiny`"):
        grade(course)
    (course / "nbgrader_config.py").write_text("1 / 0")
    with pytest.raises(GradingError, match=r"nbgrader_config\.py fails: ZeroDivision"):
        grade(course)


# The command line


@pytest.fixture
def command_line(course: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(course)
    monkeypatch.setattr(command, "SANDBOX", STAND_IN.sandbox)
    monkeypatch.setattr(command, "_workers", lambda _: InThisProcess)
    return lambda *rest: cli.main(["grade", *rest, "--unsafe-no-sandbox"])


def test_the_command_prints_the_agreed_list(
    command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(SLUG, "--json", "--student", "squares", "blank") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["student"] for entry in listed] == ["squares", "blank"]
    assert listed[0] == {
        "student": "squares",
        "chapter": SLUG,
        "outcome": "graded",
        "reason": None,
        "score": 1.5,
        "max_score": 3.5,
        "flags": ["graded WITHOUT a sandbox (--unsafe-no-sandbox)"],
        "exercises": [
            {
                "name": "double",
                "points": 2.0,
                "earned": 0.0,
                "mistake": "squared",
                "message": "You squared it.",
            },
            {
                "name": "negate",
                "points": 1.5,
                "earned": 1.5,
                "mistake": None,
                "message": "",
            },
        ],
    }


def test_the_command_exits_1_when_some_are_held(
    course: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    break_off(hand_in_tiny(course, "mallory", RIGHT_ANSWERS))
    assert command_line(SLUG, "--json") == 1
    listed = {e["student"]: e for e in json.loads(capsys.readouterr().out)}
    assert listed["mallory"]["outcome"] == "held"
    assert listed["mallory"]["score"] is None
    assert listed["mallory"]["reason"].startswith("truncated: the file breaks off at")
    assert command_line(SLUG) == 1
    assert "held: truncated (1): mallory" in capsys.readouterr().out


def test_the_command_exits_2_when_it_could_not_grade(
    course: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["99_none"],
        [SLUG, "--student", "nobody"],
        [SLUG, "--db", "sqlite:////nowhere/at/all.db"],
        [SLUG, "--replay", "none.json"],
        [],
    ):
        assert command_line(*arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 2, said.err  # the warning, and one sentence


def test_the_command_replays_a_verdict(
    course: Path, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(SLUG) == 0
    path = course / ".attention-course" / "results" / SLUG / "squares.json"
    capsys.readouterr()
    assert command_line("--replay", str(path)) == 0
    assert "squares, 90_tiny: the same verdict, 1.5 points" in capsys.readouterr().out
    changed = json.loads(path.read_text())
    changed["exercises"][0]["earned"] = 2.0
    path.write_text(json.dumps(changed))
    assert command_line("--replay", str(path)) == 1
    assert "double: 2.0 before, 0.0 now" in capsys.readouterr().out
    hand_in_tiny(course, "squares", CUTS)
    assert command_line("--replay", str(path)) == 2
    assert "another notebook since" in capsys.readouterr().err


def test_feedback_shows_scores_and_hints_and_is_written_once(course: Path) -> None:
    grade(course)
    opened, folder = open_course(course), course / "chapters" / SLUG
    students = [*CLASS, "nobody"]
    assert write_feedback(opened, folder, students) == 4
    page = course / "feedback" / "squares" / SLUG / f"{SLUG}.html"
    assert "You squared it." in page.read_text()
    assert "(Score: 1.5 / 3.5)" in page.read_text()
    assert (
        "No response."
        in (course / "feedback" / "blank" / SLUG / f"{SLUG}.html").read_text()
    )
    assert write_feedback(opened, folder, students) == 0
    with book(course) as gradebook:
        mark = gradebook.find_grade("check_double", SLUG, SLUG, "squares")
        mark.manual_score = 2.0
        gradebook.db.commit()
    assert write_feedback(opened, folder, students) == 1
    assert "(Score: 3.5 / 3.5)" in page.read_text()


def test_the_key_of_a_result_holds_all_that_it_depends_on(course: Path) -> None:
    grade(course)
    text = (course / "chapters" / SLUG / "exercises.py").read_text()
    changed = text.replace("You squared it.", "It is squared.")
    (course / "chapters" / SLUG / "exercises.py").write_text(changed)
    assert grade(course).graded == 4
    assert result(course, "squares")["exercises"][0]["message"] == "It is squared."

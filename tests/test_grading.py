"""nbgrader stays the front: its autograde, feedback, validate and Formgrader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import RIGHT_ANSWERS, ROOT, hand_in_tiny, nbgrader

from attention_course.grade.course import only_grader, open_course
from attention_course.grade.demo import run_demo
from attention_course.grade.grading import grade_chapter
from attention_course.grade.sample_class import STUDENTS
from attention_course.grade.scores import read_scores
from attention_course.hub.ports import free_port

SLUG = "90_tiny"
RIGHT = RIGHT_ANSWERS
CLASS = {
    "blank": {},
    "finished": RIGHT,
    "squares": RIGHT | {"double": "def double(x):\n    return x * x"},
    "cuts": RIGHT | {"double": "def double(x):\n    return (2 * x).detach()"},
    "raises": RIGHT | {"double": "def double(x):\n    return x.nothing"},
    "syntax": RIGHT | {"double": "def double(x:\n    return x"},
    "warns": RIGHT
    | {
        "double": "import warnings\n"
        "def double(x):\n    warnings.warn('hm')\n    return x + x"
    },
    "prints": RIGHT | {"double": "def double(x):\n    print('99.0')\n    return x * x"},
}
SCORES = {
    "blank": 0.0, "finished": 3.5, "squares": 1.5, "cuts": 3.0, "raises": 1.5,
    "syntax": 1.5, "warns": 3.5, "prints": 1.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def course(built_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny course with a graded class, through nbgrader's own commands."""
    root = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(built_tiny, root)
    for student, answers in CLASS.items():
        hand_in_tiny(root, student, answers)
    nbgrader(root, "generate_assignment", SLUG, "--force")
    nbgrader(root, "autograde", SLUG)
    nbgrader(root, "generate_feedback", SLUG)
    return root


def test_scores_and_partial_credit_reach_the_gradebook(course: Path) -> None:
    scores = {s.student: s.earned for s in read_scores(course)}
    assert scores == SCORES
    assert {s.points for s in read_scores(course)} == {3.5}


def test_the_mistakes_are_read_back(course: Path) -> None:
    found = {s.student: s.mistakes for s in read_scores(course)}
    assert found["squares"] == {"double": "squared"}
    assert found["cuts"] == {"double": "cut"}
    assert found["finished"] == {}


def test_the_feedback_shows_the_hint(course: Path) -> None:
    def feedback(student: str) -> str:
        return (course / "feedback" / student / SLUG / f"{SLUG}.html").read_text()

    assert "You squared it." in feedback("squares")
    assert "You cut the gradient." in feedback("cuts")
    assert "You squared it." not in feedback("finished")


def test_a_tampered_key_is_replaced_by_the_courses(
    course: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(course, root)
    folder = root / "submitted" / "squares" / SLUG
    source = root / "source" / SLUG / "checks.safetensors"
    (folder / "checks.safetensors").write_bytes(source.read_bytes()[:100])
    nbgrader(root, "autograde", SLUG, "--student", "squares", "--force")
    scores = {s.student: s.earned for s in read_scores(root)}
    assert scores == SCORES


def test_nbgraders_autograde_keeps_the_same_results(
    course: Path, tmp_path: Path
) -> None:
    """`attention-course grade` finds them, and has nothing to grade again."""
    root = shutil.copytree(course, tmp_path / "copy", copy_function=shutil.copy2)
    summary = grade_chapter(open_course(root), root / "chapters" / SLUG)
    assert (summary.graded, summary.held) == (0, {})
    assert {s.student: s.earned for s in read_scores(root)} == SCORES


def test_a_submission_that_is_held_does_not_stop_nbgrader(
    course: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(course, tmp_path / "copy")
    hand_in_tiny(root, "zoe", RIGHT)
    broken = hand_in_tiny(root, "mallory", RIGHT)
    notebook = json.loads(broken.read_text())
    for cell in notebook["cells"]:
        cell["source"], cell["id"], cell["metadata"] = "1", "a" + cell["id"], {}
    broken.write_text(json.dumps(notebook))
    (broken.parent / "passwd").symlink_to("/etc/passwd")
    done = nbgrader(root, "autograde", SLUG, check=False)
    assert done.returncode == 1
    assert "mallory: wrong chapter" in done.stderr
    assert not (root / "autograded" / "mallory" / SLUG).exists()
    (root / "submitted" / "zoe" / SLUG / "passwd").symlink_to("/etc/passwd")
    nbgrader(root, "autograde", SLUG, "--student", "zoe", "--force")
    there = sorted(p.name for p in (root / "autograded" / "zoe" / SLUG).iterdir())
    assert there == [f"{SLUG}.ipynb"]
    found = {s.student: s.earned for s in read_scores(root)}
    assert found == SCORES | {"zoe": 3.5}, "held is not in the gradebook"


def test_nbgrader_does_not_grade_beside_another_grader(
    course: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(course, tmp_path / "copy")
    hand_in_tiny(root, "zoe", RIGHT)
    with only_grader(open_course(root)):
        done = nbgrader(
            root, "autograde", SLUG, "--GradeOutside.patience=0.1", check=False
        )
    assert done.returncode == 1
    assert "zoe: another grader is running in this course" in done.stderr
    assert "zoe" not in {s.student for s in read_scores(root)}
    nbgrader(root, "autograde", SLUG)
    assert {s.student: s.earned for s in read_scores(root)} == SCORES | {"zoe": 3.5}


def validate(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "validate", str(path)],
        capture_output=True,
        text=True,
        cwd=path.parent,
        check=True,
    )
    return done.stdout


def test_validate_shows_the_hint_and_passes_a_finished_one(course: Path) -> None:
    for student, told in [
        ("squares", "You squared it."),
        ("blank", "Not written yet."),
    ]:
        folder = course / "submitted" / student / SLUG
        shutil.copy(course / "release" / SLUG / "checks.safetensors", folder)
        assert told in validate(folder / f"{SLUG}.ipynb")
    folder = course / "submitted" / "finished" / SLUG
    shutil.copy(course / "release" / SLUG / "checks.safetensors", folder)
    assert "Success!" in validate(folder / f"{SLUG}.ipynb")


def test_formgrader_opens_on_the_course_folder(course: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
            f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=secret",
        ],
        cwd=course,
        env=os.environ | {"JUPYTER_CONFIG_DIR": str(course / ".jupyter")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        submissions = wait_for(
            f"http://127.0.0.1:{port}/formgrader/api/submissions/{SLUG}?token=secret"
        )
    finally:
        server.terminate()
        server.wait(60)
    assert {s["student"]: s["score"] for s in submissions} == SCORES


def wait_for(url: str, seconds: float = 60) -> list[dict]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_the_sample_class_goes_through_the_whole_course() -> None:
    """What `make demo` does; run again, it grades nothing twice."""
    scores = {(s.student, s.chapter): s for s in run_demo(ROOT)}
    finished = [s for s in scores.values() if s.student == "finished"]
    assert len(finished) == len(list((ROOT / "chapters").glob("*/chapter.py")))
    assert all(s.earned == s.points for s in finished)
    assert [s.earned for s in scores.values() if s.student == "blank"] == [0]
    mistaken = [s for s in STUDENTS if s.edits]
    for student in mistaken:
        for slug in student.chapters:
            score = scores[student.name, slug]
            assert set(score.mistakes) == set(student.edits)
            assert 0 < score.earned < score.points
    said: list[str] = []
    run_demo(ROOT, tell=said.append)
    assert "     nothing changed since the last time" in said

"""Every exercise: right answers earn all, mistakes are told by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import EXERCISES, ROOT

from attention_course.author.chapter import find_chapters, read_chapter
from attention_course.author.exercise import Draw, load_exercises
from attention_course.author.proof import faults
from attention_course.learn.answer_key import AnswerKey
from attention_course.learn.observation import observe
from attention_course.learn.verdict import judge

FOLDERS = {folder.name: folder for folder in find_chapters(ROOT)}
NAMES = [
    (slug, name)
    for slug, folder in FOLDERS.items()
    for name in load_exercises(folder / "exercises.py")
]
SEEDS = (0, 1, 20_260)


@pytest.mark.parametrize(("slug", "name"), NAMES)
@pytest.mark.parametrize("seed", SEEDS)
def test_right_answers_earn_all_and_mistakes_are_told_apart(
    slug: str, name: str, seed: int
) -> None:
    exercise = load_exercises(FOLDERS[slug] / "exercises.py")[name]
    assert list(faults(exercise, seed)) == []


def definitions(slug: str) -> str:
    """Imports, functions and classes of a chapter's demos: no statement that runs."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    kept = []
    for cell in read_chapter(FOLDERS[slug]).cells:
        if cell.role == "demo":
            kept += [n for n in ast.parse(cell.source).body if isinstance(n, kinds)]
    return ast.unparse(ast.Module(kept, []))


@pytest.mark.parametrize(("slug", "name"), NAMES)
def test_the_published_answer_stands_on_its_own(slug: str, name: str) -> None:
    """Alone, without the other answers and without running a demo, it earns all."""
    chapter = read_chapter(FOLDERS[slug])
    source = next(
        c.source for c in chapter.cells if (c.role, c.exercise) == ("answer", name)
    )
    namespace: dict = {"__name__": "answers"}
    exec(definitions(slug), namespace)
    exec(source, namespace)
    key = AnswerKey.read(ROOT / "release" / slug / "checks.safetensors")
    exercise = key.exercises[name]
    verdict = judge(exercise, observe(namespace[name], exercise.cases))
    assert verdict.complete, verdict.message


@pytest.fixture
def tiny_exercise(tiny: Path):
    """A fresh `double` from the tiny chapter, whose text a test may change."""

    def load(old: str = "", new: str = ""):
        assert old in EXERCISES
        path = tiny / "chapters" / "90_tiny" / "exercises.py"
        path.write_text(EXERCISES.replace(old, new, 1) if old else EXERCISES)
        return load_exercises(path)["double"]

    return load


PLANTED = {
    "a mistake that is right": ("return x * x", "return x + x", "loses no point"),
    "an alternative that is wrong": ("x / 0.5", "x / 0.4", "by_division loses"),
    "two mistakes alike": ("return (2 * x).detach()", "return x * x", "same results"),
    "a mistake without a trace": (
        'fewer="tiny")\nnegate', ")\nnegate", "no reason for fewer than 6"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(tiny_exercise, fault: str) -> None:
    old, new, told = PLANTED[fault]
    exercise = tiny_exercise(old, new.replace('("double", )', '("double")'))
    assert any(told in f for f in faults(exercise, 0))


def test_the_tiny_exercise_has_no_fault(tiny_exercise) -> None:
    assert list(faults(tiny_exercise(), 0)) == []


def test_a_reference_must_stand_on_its_cases(tiny_exercise) -> None:
    with pytest.raises(ValueError, match="the reference raised TypeError"):
        list(faults(tiny_exercise("return 2 * x", "return 2 * x + None"), 0))
    with pytest.raises(ValueError, match="changes its input"):
        list(faults(tiny_exercise("return 2 * x", "return x.mul_(2)"), 0))


def test_draws_differ_by_seed_and_label_and_repeat() -> None:
    def first(seed: int, label: str) -> float:
        return float(Draw(seed, label).normal(1))

    assert first(0, "a") == first(0, "a")
    assert len({first(0, "a"), first(1, "a"), first(0, "b")}) == 3


def test_masks_have_both_in_every_row() -> None:
    mask = Draw(0, "m").mask(50, 2, share=0.9)
    assert mask.any(-1).all()
    assert (~mask).any(-1).all()

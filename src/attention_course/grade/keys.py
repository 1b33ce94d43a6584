"""The answer keys of papers: made once, kept, sound; and their cases, blinded."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from attention_course.author.exercise import Exercise
from attention_course.author.keys import UnsoundReference, make_exercise_key
from attention_course.grade.files import write_beside
from attention_course.grade.papers import Paper, draw
from attention_course.grade.release import Bundle
from attention_course.learn.answer_key import (
    AnswerKey,
    Case,
    ExerciseKey,
    Observation,
)
from attention_course.learn.limits import patient
from attention_course.learn.observation import observe
from attention_course.learn.protocols import arguments_of_views
from attention_course.learn.verdict import judge

ATTEMPTS = 5
PATIENCE = 10.0
"""The course's own answers get so much more time: what a key holds must not depend on
how busy the machine is."""


@dataclass
class Keys:
    """Answer keys by exercise and paper: made once, kept in memory and in a folder.

    `folder` may be None; `environment` is a hash of what else a key depends on.
    """

    bundle: Bundle
    environment: str
    folder: Path | None = None
    _memory: dict[tuple[str, int, bool], ExerciseKey] = field(default_factory=dict)
    _seeds: dict[tuple[str, int], int] = field(default_factory=dict)
    """The seed that a paper's key was made with, which need not be the paper's."""

    def get(
        self, exercise: str, paper: Paper, *, mistakes: bool = False
    ) -> ExerciseKey:
        """The key of one paper, with or without the known mistakes."""
        known = (exercise, paper.seed, mistakes)
        if known not in self._memory:
            self._memory[known] = self._load(exercise, paper, mistakes)
        return self._memory[known]

    def _load(self, exercise: str, paper: Paper, mistakes: bool) -> ExerciseKey:
        path = self._path(exercise, paper, mistakes)
        if path is not None and path.exists():
            try:
                return self._noted(AnswerKey.read(path), exercise, paper)
            except ValueError:
                path.unlink()  # cut off while it was written: made again
        of, points = self.bundle.exercises[exercise], self.bundle.points[exercise]
        if mistakes:
            # Observations are of the first key's inputs: the second has to have them.
            self.get(exercise, paper)
            used = self._seeds[exercise, paper.seed]
            key = make_key_with_mistakes(of, points, used)
        else:
            key, used = make_sound_key(of, points, paper.seed)
        whole = AnswerKey(self.bundle.chapter, used, {exercise: key})
        if path is not None:
            write_beside(path, whole.to_bytes())
        return self._noted(whole, exercise, paper)

    def _noted(self, whole: AnswerKey, exercise: str, paper: Paper) -> ExerciseKey:
        self._seeds[exercise, paper.seed] = whole.seed
        return whole.exercises[exercise]

    def _path(self, exercise: str, paper: Paper, mistakes: bool) -> Path | None:
        if self.folder is None:
            return None
        words = (
            self.environment,
            self.bundle.exercises_hash,
            exercise,
            str(self.bundle.points[exercise]),
            str(paper.seed),
            "mistakes" if mistakes else "reference",
        )
        name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
        return self.folder / self.bundle.chapter / f"{name}.safetensors"


def make_sound_key(
    exercise: Exercise, points: float, seed: int
) -> tuple[ExerciseKey, int]:
    """A key under which every answer that is known to be right passes, and its seed.

    A seed that draws unlucky inputs, on which a right answer would lose points to
    rounding, is replaced by one derived from it. Raises `UnsoundReference` if several
    are unlucky: then the exercise is at fault.
    """
    problem = ""
    with _as_always():
        for attempt in range(ATTEMPTS):
            used = seed if attempt == 0 else draw(str(seed).encode(), str(attempt))
            _begin_again()
            try:
                key = make_exercise_key(exercise, points, used, mistakes=False)
            except UnsoundReference as error:
                problem = str(error)
                continue
            failing = _failing_alternative(exercise, key)
            if failing is None:
                return key, used
            problem = f"the right answer {failing} loses points"
    raise UnsoundReference(
        f"exercise {exercise.name}: {ATTEMPTS} seeds in a row are unsound: {problem}"
    )


def make_key_with_mistakes(exercise: Exercise, points: float, used: int) -> ExerciseKey:
    """The key that `make_sound_key` made with this seed, with the known mistakes."""
    with _as_always():
        _begin_again()
        return make_exercise_key(exercise, points, used, mistakes=True)


@contextlib.contextmanager
def _as_always() -> Iterator[None]:
    """One thread, and time enough: what a key holds depends on no machine."""
    _import_what_is_lazy()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with patient(PATIENCE):
            yield
    finally:
        torch.set_num_threads(threads)


def _begin_again() -> None:
    """The random numbers that an answer draws by itself are the same every time."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@functools.cache
def _import_what_is_lazy() -> None:
    """torch imports more at the first gradient: not under a case's time limit.

    An import that is cut off halfway leaves modules that fail ever after.
    """
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    y = torch.softmax(x, dim=-1)
    torch.autograd.grad(y, [x], torch.ones_like(y), allow_unused=True)


def _failing_alternative(exercise: Exercise, key: ExerciseKey) -> str | None:
    for name, answer in exercise.alternatives.items():
        if not judge(key, observe(answer, key.cases)).complete:
            return name
    return None


def blinded(key: ExerciseKey, paper: Paper) -> tuple[Case, ...]:
    """The paper's cases as the student's process may see them: inputs alone.

    Their names tell nothing, and their order is the paper's own: no position stands
    for an aspect. Arguments that only a view needs are left out.
    """
    return tuple(
        dataclasses.replace(
            key.cases[index],
            name=str(place),
            aspect="",
            note="",
            tolerance=None,
            view=None,
            arguments=_without(key.cases[index]),
            tensors=_tensors_of(key.cases[index]),
        )
        for place, index in enumerate(_order(key, paper))
    )


def unblinded(
    key: ExerciseKey, paper: Paper, seen: Mapping[str, Observation]
) -> dict[str, Observation]:
    """Observations of the blinded cases under the cases' own names."""
    return {
        key.cases[index].name: seen[str(place)]
        for place, index in enumerate(_order(key, paper))
        if str(place) in seen
    }


def _order(key: ExerciseKey, paper: Paper) -> list[int]:
    order = list(range(len(key.cases)))
    random.Random(paper.seed).shuffle(order)
    return order


def _without(case: Case) -> Mapping[str, object]:
    dropped = arguments_of_views(case.view)
    if not dropped:
        return case.arguments
    kept = {k: v for k, v in case.arguments["dict"].items() if k not in dropped}
    return {"dict": kept}


def _tensors_of(case: Case) -> Mapping[str, torch.Tensor]:
    dropped = tuple(f".{name}" for name in arguments_of_views(case.view))
    if not dropped:
        return case.tensors
    return {
        name: tensor
        for name, tensor in case.tensors.items()
        if not any(name == d or name.startswith(f"{d}.") for d in dropped)
    }

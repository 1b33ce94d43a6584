"""Specify an exercise: cases, reference, known mistakes, alternatives.

Every known wrong answer is a function with a hint. It serves twice: as test data, since
the check must fail it, and as the hint engine, since a student whose results equal its
results is told that mistake by name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attention_course.learn.encoding import Build, noncontiguous

__all__ = [
    "Build",
    "Draw",
    "Exercise",
    "Sample",
    "call",
    "load_exercises",
    "module",
    "noncontiguous",
]

ASPECTS = MappingProxyType(
    {
        "values": 4,
        "masks": 3,
        "parameters": 1,
        "gradients": 2,
        "robustness": 2,
        "errors": 1,
    }
)
"""Aspects in the order they are told, with their default weights in the points."""


class Draw:
    """Random inputs from one seed, on the CPU, float64 unless told otherwise."""

    def __init__(self, seed: int, label: str = "") -> None:
        """A stream of its own for each seed (an int) and label (an exercise's name)."""
        digest = hashlib.sha256(f"{seed}/{label}".encode()).digest()
        self._generator = torch.Generator().manual_seed(
            int.from_bytes(digest[:8], "big") >> 1
        )

    def normal(
        self, *shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Standard normal numbers times `scale`."""
        numbers = torch.randn(shape, generator=self._generator, dtype=torch.float64)
        return (numbers * scale).to(dtype)

    def uniform(
        self,
        *shape: int,
        low: float = 0.0,
        high: float = 1.0,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Uniform numbers in [low, high)."""
        numbers = torch.rand(shape, generator=self._generator, dtype=torch.float64)
        return (low + (high - low) * numbers).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers in [low, high), int64."""
        return torch.randint(low, high, shape, generator=self._generator)

    def integer(self, low: int, high: int) -> int:
        """One integer in [low, high)."""
        return int(self.integers(low, high))

    def mask(self, *shape: int, share: float = 0.5) -> Tensor:
        """A boolean mask, True with probability `share`; no row is all True or False.

        A last dimension of 1 cannot hold both and is all True.
        """
        chosen = self.uniform(*shape) < share
        if shape[-1] == 1:
            return torch.ones(shape, dtype=torch.bool)
        ends = self.uniform(*shape).argsort(dim=-1)
        chosen.scatter_(-1, ends[..., :1], True)
        return chosen.scatter_(-1, ends[..., -1:], False)

    def permutation(self, length: int) -> Tensor:
        """A random order of 0 … length-1, int64."""
        return torch.randperm(length, generator=self._generator)

    def like(
        self, shapes: nn.Module | Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        """Parameters by name: for a module's own, or for the given shapes.

        Matrices are scaled by 1/sqrt(columns), so that activations stay near 1.
        """
        if isinstance(shapes, nn.Module):
            shapes = {n: tuple(p.shape) for n, p in shapes.named_parameters()}
        return {
            name: self.normal(
                *shape, scale=1 / math.sqrt(shape[-1]) if len(shape) > 1 else 1.0
            )
            for name, shape in shapes.items()
        }


@dataclass(frozen=True)
class Sample:
    """One case as an author writes it: live inputs, before they become data."""

    name: str
    protocol: str
    arguments: Mapping[str, Any]
    aspect: str = "values"
    note: str = ""
    gradients: bool = True
    tolerance: float | None = None
    seconds: float = 5.0
    view: str | None = None
    outputs: Sequence[str] | None = None


def call(
    name: str, *args: Any, kwargs: Mapping[str, Any] | None = None, **options: Any
) -> Sample:
    """A case that calls a function with these arguments.

    `options`: aspect, note, gradients, tolerance, seconds, view, outputs: see `Sample`.
    """
    arguments = {"args": tuple(args), "kwargs": dict(kwargs or {})}
    return Sample(name, "function", arguments, **options)


def module(
    name: str,
    *,
    init: Sequence[Any] = (),
    init_kwargs: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    **options: Any,
) -> Sample:
    """A case that builds a module, gives it `parameters`, and calls it with `args`.

    Without `args` the module is only built. The dtype is that of the parameters.
    """
    arguments: dict[str, Any] = {
        "init": tuple(init),
        "init_kwargs": dict(init_kwargs or {}),
        "parameters": dict(parameters or {}),
        "training": training,
        "kwargs": dict(kwargs or {}),
    }
    if args is not None:
        arguments["args"] = tuple(args)
    return Sample(name, "module", arguments, **options)


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: what it computes, and what to tell who made it."""

    name: str
    answer: Any
    hint: str
    same_as: str | None = None


@dataclass
class Exercise:
    """One exercise of a chapter. See the module's text for what the parts are for.

    `aspects` overrides the weights with which the points are shared.
    `fewer` gives the reason why there are fewer than 6 mistakes or 2 alternatives.
    `shortcuts` names functions of torch, like "torch.nn.functional.layer_norm", that
    the answer is to be written without: a grader reports their use for review.
    """

    name: str
    aspects: Mapping[str, float] | None = None
    fewer: str = ""
    shortcuts: tuple[str, ...] = ()
    mistakes: dict[str, Mistake] = field(default_factory=dict)
    alternatives: dict[str, Any] = field(default_factory=dict)
    _reference: Any = None
    _cases: Callable[[Draw], Iterator[Sample]] | None = None

    def cases(self, function: Callable[[Draw], Iterator[Sample]]) -> Any:
        """Register the generator of cases: `draw -> Sample, Sample, ...`."""
        self._cases = function
        return function

    def reference(self, answer: Any) -> Any:
        """Register the reference: independent and obviously right, or torch's own."""
        self._reference = answer
        return answer

    def mistake(self, hint: str, *, same_as: str | None = None) -> Callable[[Any], Any]:
        """Register a known wrong answer with the hint for who made it.

        `same_as` names a mistake that gives the same results and shares its hint.
        """

        def register(answer: Any) -> Any:
            name = answer.__name__
            if name in self.mistakes:
                raise ValueError(f"{self.name}: two mistakes are called {name}")
            text = " ".join(hint.split())
            self.mistakes[name] = Mistake(name, answer, text, same_as)
            return answer

        return register

    def alternative(self, answer: Any) -> Any:
        """Register a right answer that looks different; it must earn every point."""
        self.alternatives[answer.__name__] = answer
        return answer

    @property
    def reference_answer(self) -> Any:
        """The reference. Raises ValueError if the exercise has none."""
        if self._reference is None:
            raise ValueError(f"exercise {self.name} has no @{self.name}.reference")
        return self._reference

    def samples(self, seed: int) -> list[Sample]:
        """The cases of one seed. Raises ValueError if two share a name."""
        if self._cases is None:
            raise ValueError(f"exercise {self.name} has no @{self.name}.cases")
        samples = list(self._cases(Draw(seed, self.name)))
        names = [s.name for s in samples]
        if len(set(names)) != len(names):
            raise ValueError(f"exercise {self.name}: two cases share a name: {names}")
        return samples


def load_exercises(path: Path) -> dict[str, Exercise]:
    """The exercises of one `exercises.py`, by name, in the order they are written.

    Raises ValueError if the file defines none, or two of one name.
    """
    name = f"attention_course_chapter_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded as Python")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    found = [v for v in vars(loaded).values() if isinstance(v, Exercise)]
    exercises = {e.name: e for e in found}
    if not exercises or len(exercises) != len(found):
        raise ValueError(f"{path} must define exercises, each under a name of its own")
    return exercises

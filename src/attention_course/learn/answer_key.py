"""The answer key: the one piece of data that author, student and grader share.

For one chapter and one seed it holds, for each exercise, the cases' inputs, what was
observed of the reference, fingerprints of what was observed of each known mistake where
that differs, and the hints. It is stored as one safetensors file: tensors, and JSON in
the header.
There is no code in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from attention_course.learn.encoding import decode

FILE_NAME = "checks.safetensors"
VERSION = 1

Observation = dict[str, Any]
"""What one case showed: tensors, and JSON values, by item name."""


@dataclass(frozen=True)
class Case:
    """Inputs for one observation. It tells nothing about what should come out.

    `protocol` names the way of observing (`attention_course.learn.protocols`);
    `arguments` is an encoded dict of what that way needs; `aspect` is what a wrong
    output in this case costs; `note` says in words what is special about it;
    `view` names the summary that is compared in place of the raw observation.
    """

    name: str
    aspect: str
    protocol: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    note: str = ""
    gradients: bool = True
    tolerance: float | None = None
    seconds: float = 5.0
    view: str | None = None

    def build(self, device: Any) -> dict[str, Any]:
        """Fresh live inputs on `device`."""
        return decode(self.arguments, self.tensors, device)


@dataclass(frozen=True)
class KnownMistake:
    """A known wrong answer: its hint, and each case's items that it gets wrong.

    Of a wrong tensor only a fingerprint is kept (`comparison.fingerprint`).
    """

    name: str
    hint: str
    differs: Mapping[str, Observation]


@dataclass(frozen=True)
class ExerciseKey:
    """Everything that a verdict on one exercise needs."""

    name: str
    kind: str
    points: float
    aspects: Mapping[str, float]
    cases: tuple[Case, ...]
    expected: Mapping[str, Observation]
    mistakes: tuple[KnownMistake, ...] = ()


@dataclass(frozen=True)
class AnswerKey:
    """The exercises of one chapter under one seed."""

    chapter: str
    seed: int
    exercises: Mapping[str, ExerciseKey] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The key as one safetensors file."""
        store: dict[str, Tensor] = {}
        exercises = [_pack_exercise(e, store) for e in self.exercises.values()]
        header = {
            "version": VERSION,
            "chapter": self.chapter,
            "seed": self.seed,
            "exercises": exercises,
        }
        return save(
            store, metadata={"answer_key": json.dumps(header, separators=(",", ":"))}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AnswerKey:
        """The key that `to_bytes` wrote. Raises ValueError if it is no answer key."""
        size = int.from_bytes(data[:8], "little")
        try:
            metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        except (ValueError, KeyError) as error:
            raise ValueError("this is not an answer key") from error
        return cls._unpack(metadata, load(data))

    @classmethod
    def read(cls, path: str | Path) -> AnswerKey:
        """Read a stored key. Raises ValueError, with the cure, if that cannot be."""
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise ValueError(
                f"{path} cannot be read as an answer key ({error}). "
                "Take a fresh copy of the chapter's folder."
            ) from error
        return cls._unpack(metadata, tensors)

    @classmethod
    def _unpack(
        cls, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
    ) -> AnswerKey:
        header = json.loads(metadata.get("answer_key", "{}"))
        if header.get("version") != VERSION:
            raise ValueError(
                f"this answer key has version {header.get('version')}; this package "
                f"reads version {VERSION}. Take both from the same release."
            )
        exercises = {
            e["name"]: _unpack_exercise(e, tensors) for e in header["exercises"]
        }
        return cls(header["chapter"], header["seed"], exercises)


def pack_observation(
    observation: Observation, store: dict[str, Tensor], path: str
) -> dict[str, Any]:
    """An observation as JSON; its tensors go into `store` under `path`."""
    packed: dict[str, Any] = {}
    for item, value in observation.items():
        if isinstance(value, Tensor):
            key = f"{path}/{item}"
            store[key] = value.detach().cpu().contiguous().clone()
            packed[item] = {"tensor": key}
        else:
            packed[item] = {"value": value}
    return packed


def unpack_observation(
    packed: Mapping[str, Any], store: Mapping[str, Tensor]
) -> Observation:
    """The observation that `pack_observation` described."""
    return {
        item: store[spec["tensor"]] if "tensor" in spec else spec["value"]
        for item, spec in packed.items()
    }


def pack_case(case: Case, store: dict[str, Tensor], path: str) -> dict[str, Any]:
    """A case as JSON; its tensors go into `store` under `path`."""
    names = {}
    for name, tensor in case.tensors.items():
        names[name] = f"{path}/{name}"
        store[names[name]] = tensor.contiguous()
    return {
        "name": case.name,
        "aspect": case.aspect,
        "protocol": case.protocol,
        "arguments": case.arguments,
        "tensors": names,
        "note": case.note,
        "gradients": case.gradients,
        "tolerance": case.tolerance,
        "seconds": case.seconds,
        "view": case.view,
    }


def unpack_case(packed: Mapping[str, Any], store: Mapping[str, Tensor]) -> Case:
    """The case that `pack_case` described."""
    tensors = {name: store[key] for name, key in packed["tensors"].items()}
    return Case(**{**packed, "tensors": tensors})


def _pack_exercise(key: ExerciseKey, store: dict[str, Tensor]) -> dict[str, Any]:
    root = key.name
    return {
        "name": key.name,
        "kind": key.kind,
        "points": key.points,
        "aspects": dict(key.aspects),
        "cases": [pack_case(c, store, f"{root}/{c.name}/input") for c in key.cases],
        "expected": {
            name: pack_observation(seen, store, f"{root}/{name}/expected")
            for name, seen in key.expected.items()
        },
        "mistakes": [
            {
                "name": m.name,
                "hint": m.hint,
                "differs": m.differs,
            }
            for m in key.mistakes
        ],
    }


def _unpack_exercise(
    packed: Mapping[str, Any], store: Mapping[str, Tensor]
) -> ExerciseKey:
    return ExerciseKey(
        name=packed["name"],
        kind=packed["kind"],
        points=packed["points"],
        aspects=packed["aspects"],
        cases=tuple(unpack_case(c, store) for c in packed["cases"]),
        expected={
            n: unpack_observation(o, store) for n, o in packed["expected"].items()
        },
        mistakes=tuple(
            KnownMistake(m["name"], m["hint"], m["differs"]) for m in packed["mistakes"]
        ),
    )

"""Read what a student's process wrote: bytes that may be anything.

Nothing here trusts a length, a name, a type or a depth, nothing is unpickled, and
whatever is not as it should be raises `Garbled` and nothing else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attention_course.grade.inside.wire import Garbled
from attention_course.learn.answer_key import Observation

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
MOST_DIMENSIONS = 16
MOST_ITEMS = 4000
LONGEST_NAME = 300
LONGEST_TEXT = 20_000
LONGEST_CLASS_NAME = 60
DEEPEST = 8
DEEPEST_OUTPUT = 24
LARGEST_JSON = 2**20
"""Bytes of JSON that are read: as objects they take some thirty times as much."""
LARGEST_HEADER = 4 * 2**20
LONGEST_SIDE = 2**31
"""Of a tensor that has a side of length 0, and so no size that says how long."""


@dataclass(frozen=True)
class CellSaid:
    """What a notebook process said about a cell it ran."""

    cell: str
    outputs: list[dict[str, Any]]
    error: tuple[str, str] | None
    late: bool


def load_json(
    data: bytes, deepest: int, *, finite: bool = False, most: int = LARGEST_JSON
) -> Any:
    """JSON of at most that depth and size; in texts, half characters are replaced."""
    if len(data) > most:
        raise Garbled("too much JSON")
    constant = str if finite else float
    try:
        value = json.loads(data, parse_constant=constant)
        return _clean(value, deepest)
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise Garbled(f"no such JSON: {error}") from None


def _clean(value: Any, deepest: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list | dict):
        if deepest <= 0:
            raise Garbled("nested too deeply")
        if isinstance(value, list):
            return [_clean(v, deepest - 1) for v in value]
        return {_clean(k, 1): _clean(v, deepest - 1) for k, v in value.items()}
    return value


def observation(data: bytes) -> tuple[str, str, Observation]:
    """One case's exercise, name and observation, from one safetensors file."""
    header, body = _header(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("data"), str):
        raise Garbled("no observation in it")
    said = load_json(metadata["data"].encode("utf-8"), DEEPEST, most=LARGEST_HEADER)
    if not isinstance(said, dict):
        raise Garbled("no observation in it")
    exercise, case = said.get("exercise"), said.get("case")
    if not (isinstance(exercise, str) and isinstance(case, str)):
        raise Garbled("no observation in it")
    packed = said.get("seen")
    if not isinstance(packed, dict) or len(packed) > MOST_ITEMS:
        raise Garbled("no observation in it, or one of too many items")
    seen: Observation = {}
    for item, spec in packed.items():
        if len(item) > LONGEST_NAME or not isinstance(spec, dict):
            raise Garbled("an item of an observation is none")
        if "tensor" in spec:
            seen[item] = _tensor(header, body, spec["tensor"])
        else:
            seen[item] = _fact(item, spec.get("value"))
    return exercise, case[:LONGEST_NAME], seen


def _header(data: bytes) -> tuple[dict[str, Any], memoryview]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise Garbled("no header")
    header = load_json(data[8 : 8 + size], DEEPEST, most=LARGEST_HEADER)
    if not isinstance(header, dict) or len(header) > MOST_ITEMS + 1:
        raise Garbled("no header")
    return header, memoryview(data)[8 + size :]


def _tensor(header: Mapping[str, Any], body: memoryview, key: Any) -> torch.Tensor:
    spec = header.get(key) if isinstance(key, str) else None
    if not isinstance(spec, dict):
        raise Garbled("a tensor is missing")
    kind = spec.get("dtype")
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    shape, offsets = _sizes(spec.get("shape")), _sizes(spec.get("data_offsets"))
    if dtype is None or shape is None or offsets is None:
        raise Garbled("a tensor is described wrongly")
    if len(shape) > MOST_DIMENSIONS or len(offsets) != 2:
        raise Garbled("a tensor is described wrongly")
    start, stop = offsets
    if not start <= stop <= len(body):
        raise Garbled("a tensor lies outside")
    if math.prod(shape) * dtype.itemsize != stop - start:
        raise Garbled("a tensor has another size than it says")
    if start == stop:
        if math.prod(filter(None, shape)) >= LONGEST_SIDE:
            raise Garbled("a tensor of no numbers is too large")
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(bytearray(body[start:stop]), dtype=torch.uint8)
    if dtype == torch.bool:
        return (raw != 0).reshape(shape)
    return raw.view(dtype).reshape(shape)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_one_of(value: Any, names: Container[str]) -> bool:
    return isinstance(value, str) and value in names


@dataclass(frozen=True)
class EndSaid:
    """How a notebook process ended."""

    end: str
    cell: str | None
    observing: bool
    status: int
    peak: int


def end_said(data: bytes, cells: Container[str]) -> EndSaid:
    """What the supervisor saw, and what the notebook process had said it was doing."""
    said = load_json(data, 3)
    cell = said["cell"] if _is_one_of(said["cell"], cells) else None
    return EndSaid(
        said["end"], cell, said["observing"] is True, said["status"], said["peak"]
    )


def _sizes(values: Any) -> list[int] | None:
    if isinstance(values, list) and all(
        type(v) is int and 0 <= v < 2**48 for v in values
    ):
        return values
    return None


def _fact(item: str, value: Any) -> Any:
    """A plain value; where the verdict counts on a type, that type."""
    word = item.removeprefix("gradient_")
    if word in ("raised", "raised_message", "raised_at"):
        if not isinstance(value, str):
            raise Garbled(f"{item} is no text")
        return _class_name(value) if word == "raised" else value[:LONGEST_NAME]
    if word == "raised_classes":
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise Garbled(f"{item} is no list of texts")
        return [_class_name(v) for v in value[:100]]
    if item == "parameters" and not _is_shapes(value):
        raise Garbled("parameters are no shapes")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise Garbled(f"{item[:40]} is too long")
    return value


def _class_name(value: str) -> str:
    """The name of a class as it can be written in code: a verdict quotes it."""
    return re.sub(r"[^\w.]+", "_", value[:LONGEST_NAME])[:LONGEST_CLASS_NAME]


def _is_shapes(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_ITEMS
        and all(
            len(k) <= LONGEST_NAME and _sizes(v) is not None for k, v in value.items()
        )
    )


def defined(data: bytes, names: Iterable[str]) -> tuple[str, ...]:
    """Which of the exercises `names` are there to be observed."""
    said = load_json(data, 3)
    there = said.get("defined") if isinstance(said, dict) else None
    if not isinstance(there, list):
        raise Garbled("no word about what is defined")
    return tuple(name for name in names if name in there)


def begun(data: bytes) -> tuple[str, str]:
    """The exercise and the case whose observation begins."""
    said = load_json(data, 1)
    if not (isinstance(said, list) and len(said) == 2 and all(map(_is_text, said))):
        raise Garbled("no case")
    return said[0], said[1]


def calls(data: bytes, watch: tuple[str, ...]) -> tuple[str, dict[str, int]]:
    """An exercise, and how often its answer called each watched function, by name."""
    said = load_json(data, 3)
    if not (isinstance(said, list) and len(said) == 2 and _is_text(said[0])):
        raise Garbled("no counts")
    exercise, counts = said
    if not isinstance(counts, dict):
        raise Garbled("no counts")
    return exercise, {
        name: counts[name]
        for name in watch
        if type(counts.get(name)) is int and counts[name]
    }


def cell_said(data: bytes, cells: Container[str], most: int) -> CellSaid:
    """A cell's outputs, of at most that many bytes. What is no output is left out."""
    said = load_json(data, DEEPEST_OUTPUT, finite=True, most=most)
    if not isinstance(said, dict) or not _is_one_of(said.get("cell"), cells):
        raise Garbled("not about a cell")
    outputs = said.get("outputs")
    if not isinstance(outputs, list):
        raise Garbled("no outputs")
    error = said.get("error")
    if not isinstance(error, list) or not all(map(_is_text, error)):
        error = []
    return CellSaid(
        said["cell"],
        [made for output in outputs if (made := _output(output)) is not None],
        (error[0][:LONGEST_NAME], error[1][:LONGEST_TEXT]) if len(error) == 2 else None,
        said.get("late") is True,
    )


def _output(said: Any) -> dict[str, Any] | None:
    if not isinstance(said, dict):
        return None
    kind = said.get("output_type")
    if kind == "stream":
        if said.get("name") not in ("stdout", "stderr") or not _is_text(
            said.get("text")
        ):
            return None
        return {"output_type": kind, "name": said["name"], "text": said["text"]}
    if kind == "error":
        trace = said.get("traceback")
        if not (_is_text(said.get("ename")) and _is_text(said.get("evalue"))):
            return None
        if not isinstance(trace, list) or not all(map(_is_text, trace)):
            return None
        return {
            "output_type": kind,
            "ename": said["ename"],
            "evalue": said["evalue"],
            "traceback": trace,
        }
    if kind not in ("display_data", "execute_result"):
        return None
    data, metadata = said.get("data"), said.get("metadata", {})
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        return None
    made = {"output_type": kind, "data": _bundle(data), "metadata": metadata}
    if kind == "execute_result":
        count = said.get("execution_count")
        made["execution_count"] = count if type(count) is int else None
    return made


def _bundle(data: Mapping[str, Any]) -> dict[str, Any]:
    """A MIME bundle: text or lines of it; anything under types of JSON."""
    return {
        kind: value
        for kind, value in data.items()
        if len(kind) < LONGEST_NAME
        and "/" in kind
        and (
            _is_text(value)
            or (isinstance(value, list) and all(map(_is_text, value)))
            or kind.endswith("json")
        )
    }


@dataclass(frozen=True)
class PlanSaid:
    """Which cells a notebook process leaves out, and the words in those."""

    left: tuple[str, ...]
    words: frozenset[str]
    full: bool


def plan_said(data: bytes, cells: Container[str]) -> PlanSaid:
    """What a notebook process chose to run, before it ran anything."""
    said = load_json(data, 3, most=LARGEST_HEADER)
    if not isinstance(said, dict):
        raise Garbled("no plan")
    left, words = said.get("left"), said.get("words")
    if not (isinstance(left, list) and isinstance(words, list)):
        raise Garbled("no plan")
    return PlanSaid(
        tuple(w for w in left if _is_one_of(w, cells)),
        frozenset(w for w in words if _is_text(w)),
        said.get("full") is True,
    )

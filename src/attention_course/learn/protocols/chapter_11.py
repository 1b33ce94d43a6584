"""Chapter 11: what tiles leave in memory, and caches that are filled step by step.

Tiled attention gives the numbers of plain attention; what tells them apart is the
tensors that are made on the way. So those are written down here, by size. Caches have a
state: they are looked at after every append, several of them in turn.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.profiler import _ExperimentalConfig

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.encoding import leaves
from attention_course.learn.probes_11 import PreparedCache
from attention_course.learn.protocols import protocol, view
from attention_course.learn.protocols.recording import (
    Inputs,
    guarded,
    record,
    record_gradients,
)


class Ledger(TorchFunctionMode):
    """Counts the calls of torch, and keeps the size of the largest tensor they made.

    A size is the number of elements in memory: views count what they look at. What
    torch makes inside one call, and in other threads, is not seen: see `taken`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.largest = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        for _, made in leaves(result, ""):
            self.largest = max(self.largest, _elements(made))
        return result


def _elements(tensor: Tensor) -> int:
    if tensor.layout is not torch.strided or is_batchedtensor(tensor):
        return tensor.numel()
    return tensor.untyped_storage().nbytes() // tensor.element_size()


@contextmanager
def taken() -> Iterator[list[int]]:
    """The sizes of all tensors that torch's operations take inside the `with` block.

    Every operation counts, wherever it runs: in another thread, in compiled code, or
    inside a call of torch. A size is the number of elements from the tensor's first
    to its last in memory. The list is filled when the block ends.
    """
    # The profiler's native part announces itself on stderr unless told otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    sizes: list[int] = []
    everywhere = _ExperimentalConfig(profile_all_threads=True)
    with torch.autograd.profiler.profile(
        use_device=None, record_shapes=True, experimental_config=everywhere
    ) as profile:
        yield sizes
    results: Any = profile.kineto_results
    events = list(results.experimental_event_tree())
    while events:
        event = events.pop()
        events += event.children
        for given in getattr(event.extra_fields, "inputs", None) or []:
            for tensor in given if isinstance(given, list) else [given]:
                if hasattr(tensor, "strides"):
                    steps = zip(tensor.sizes, tensor.strides, strict=True)
                    sizes.append(1 + sum((size - 1) * step for size, step in steps))


@protocol("tiles")
def observe_tiles(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(query, key, value, block)` once for each of the case's `blocks`.

    Recorded are the output, the number of operations, the largest tensor made, and the
    largest that any operation took, wherever it ran.
    """
    seen: Observation = {}
    guarded(seen, lambda: _observe_tiles(function, case, device, seen))
    return seen


def _observe_tiles(
    function: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    for block in case.build(device)["blocks"]:
        live = case.build(device)
        with taken() as sizes, Ledger() as ledger:
            result = function(live["query"], live["key"], live["value"], block)
        record(seen, f"output with blocks of {block}", result, device)
        seen[f"operations with blocks of {block}"] = ledger.operations
        seen[f"largest tensor with blocks of {block}"] = ledger.largest
        seen[f"largest tensor taken with blocks of {block}"] = max(sizes, default=0)


@view("tiles")
def view_tiles(observation: Observation, case: Case) -> Observation:
    """Whether a tensor held all scores of a head, and what smaller blocks cost.

    The first of the case's blocks is small enough for every way to work in tiles to
    stay far below Nq·Nk elements; the last holds all keys.
    """
    live = case.build("cpu")
    small, large = live["blocks"]
    made, steps = "largest tensor with blocks of", "operations with blocks of"
    used = "largest tensor taken with blocks of"
    scores = live["query"].shape[-2] * live["key"].shape[-2]
    counts = (made, used, steps)
    shown = {k: v for k, v in observation.items() if not k.startswith(counts)}
    counted = [f"{made} {small}", f"{used} {small}"]
    counted += [f"{steps} {small}", f"{steps} {large}"]
    largest, hidden, many, few = (observation.get(item) for item in counted)
    if isinstance(largest, int) and isinstance(hidden, int):
        shown["the largest tensor made"] = (
            "Nq·Nk numbers or more"
            if largest >= scores
            else "Nq·Nk numbers or more, out of sight of your function's own steps"
            if hidden >= scores
            else "less than Nq·Nk numbers"
        )
    if isinstance(many, int) and isinstance(few, int):
        shown["the number of steps, compared with one large block,"] = (
            "larger" if many > few else "equal" if many == few else "smaller"
        )
    return shown


@protocol("appended")
def observe_appended(cls: Any, case: Case, device: torch.device) -> Observation:
    """Make caches of the class `cls`, append to each in turn, and record what is given.

    The arguments of the case: `sequences`, for each cache a list of (key, value), and
    `upstream` (2, B, H, tokens, d), the gradient sent back from the last keys and
    values of the first cache. What belongs to the class is put back afterwards.
    """
    seen: Observation = {}
    with _class_as_it_was(cls):
        guarded(seen, lambda: _observe_appended(cls, case, device, seen))
    if "raised" not in seen:
        with _class_as_it_was(cls):
            guarded(
                seen,
                lambda: _gradients_of_appended(cls, case, device, seen),
                phase="gradient_",
            )
    return seen


@contextmanager
def _class_as_it_was(cls: Any) -> Iterator[None]:
    """Put the class's own variables back, so that no case depends on another."""
    kept = (
        {
            name: (value, copy.copy(value) if isinstance(value, list | dict) else None)
            for name, value in vars(cls).items()
            if not name.startswith("__") and not callable(value)
        }
        if isinstance(cls, type)
        else {}
    )
    try:
        yield
    finally:
        for name, (value, content) in kept.items():
            if isinstance(value, list):
                value[:] = content or []
            elif isinstance(value, dict):
                value.clear()
                value.update(content or {})
            if vars(cls).get(name) is not value:
                setattr(cls, name, value)


def _observe_appended(
    cls: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    sequences = case.build(device)["sequences"]
    caches = [cls() for _ in sequences]
    given: list[tuple[Tensor, Tensor]] = []
    inputs = Inputs(
        {
            "key": [key for chunks in sequences for key, _ in chunks],
            "value": [value for chunks in sequences for _, value in chunks],
        }
    )
    for step in range(max(map(len, sequences))):
        for number, chunks in enumerate(sequences):
            if step < len(chunks):
                result = caches[number].append(*chunks[step])
                place = f"after append {step + 1}"
                place += f" to cache {number + 1}" if len(sequences) > 1 else ""
                names = (f"all keys {place}", f"all values {place}")
                record(seen, f"output {place}", result, device, names)
                given += [(t, t.detach().clone()) for t in _tensors(result)]
    inputs.record_unchanged(seen)
    for name in [n for n in seen if n.startswith("unchanged:")]:
        whose = name.partition("[")[0]
        seen[whose] = seen.get(whose, True) and seen.pop(name)
    same = all(torch.equal(tensor.detach(), before) for tensor, before in given)
    seen["what append returned earlier"] = "as it was" if same else "changed since"


def _tensors(result: Any) -> list[Tensor]:
    return [tensor for _, tensor in leaves(result, "")]


def _gradients_of_appended(
    cls: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    if live.get("upstream") is None:
        return
    sources: dict[str, Tensor] = {}
    cache, result = cls(), None
    for step, pair in enumerate(live["sequences"][0]):
        for name, tensor in zip(("key", "value"), pair, strict=True):
            sources[f"{name} of append {step + 1}"] = tensor.requires_grad_()
        result = cache.append(*(tensor.clone() for tensor in pair))
    found = _tensors(result)
    keys_shape = live["upstream"].shape[1:]
    fits = len(found) == 2 and all(t.shape == keys_shape for t in found)
    main = torch.stack(found) if fits else None
    record_gradients(seen, main, live["upstream"], sources)


@protocol("cached_steps")
def observe_cached_steps(
    function: Any, case: Case, device: torch.device
) -> Observation:
    """Call `function(cache, query, key, value)` token by token, for texts in turn.

    The arguments of the case: `sequences`, lists of (query, key, value), each (B, H, N,
    d); `start`, how many tokens are in each cache beforehand; `upstream` (B, H, N -
    start, d), the gradient sent back from all outputs of the first text.
    """
    seen: Observation = {}
    guarded(seen, lambda: _observe_steps(function, case, device, seen))
    if "raised" not in seen:
        guarded(
            seen,
            lambda: _gradients_of_steps(function, case, device, seen),
            phase="gradient_",
        )
    return seen


def _observe_steps(
    function: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    sequences = live["sequences"]
    names = ("query", "key", "value")
    inputs = Inputs({n: [s[i] for s in sequences] for i, n in enumerate(names)})
    caches, rows = _steps(function, sequences, live["start"])
    for number, (cache, found) in enumerate(zip(caches, rows, strict=True)):
        which = f" of text {number + 1}" if len(sequences) > 1 else ""
        record(seen, f"output{which}", _joined(found), device)
        seen[f"the number of tokens in the cache{which} at the end"] = cache.length
    inputs.record_unchanged(seen)
    for name in [n for n in seen if n.startswith("unchanged:")]:
        whose = name.partition("[")[0]
        seen[whose] = seen.get(whose, True) and seen.pop(name)


def _steps(
    function: Any, sequences: list, start: int
) -> tuple[list[PreparedCache], list[list]]:
    """The caches afterwards, and each text's outputs, one a step.

    In PyTorch's plain kernel: given keys and values that differ in number, it raises an
    error, where the fused one of 2.13 reads and writes past their end on a CPU.
    """
    lengths = [query.shape[2] for query, _, _ in sequences]
    caches = [PreparedCache(length) for length in lengths]
    for cache, (_, key, value) in zip(caches, sequences, strict=True):
        if start:
            cache.append(key[:, :, :start], value[:, :, :start])
    rows: list[list] = [[] for _ in sequences]
    for step in range(start, max(lengths)):
        here = slice(step, step + 1)
        for number, text in enumerate(sequences):
            if step < lengths[number]:
                caches[number].expected = step + 1
                new = (tensor[:, :, here] for tensor in text)
                with sdpa_kernel(SDPBackend.MATH):
                    rows[number].append(function(caches[number], *new))
    return caches, rows


def _joined(outputs: list) -> Any:
    """The outputs of all steps as one tensor; the first one if they are not alike."""
    first = outputs[0]
    alike = all(
        type(o) is Tensor and o.dim() == 4 and o.shape == first.shape for o in outputs
    )
    return torch.cat(outputs, dim=2) if alike else first


def _gradients_of_steps(
    function: Any, case: Case, device: torch.device, seen: Observation
) -> None:
    live = case.build(device)
    if live.get("upstream") is None:
        return
    names = ("query", "key", "value")
    text = live["sequences"][0]
    sources = {
        name: tensor.requires_grad_() for name, tensor in zip(names, text, strict=True)
    }
    followed = [tensor.clone() for tensor in text]
    _, rows = _steps(function, [followed], live["start"])
    record_gradients(seen, _joined(rows[0]), live["upstream"], sources)

"""Run a student's object on every case of an exercise and collect what it shows."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.limits import TookTooLong, time_limit
from attention_course.learn.protocols import find_protocol
from attention_course.learn.protocols.recording import record_error

LARGEST_OUTPUT = 64 * 2**20  # bytes of tensors kept for one case


def observe(
    obj: Any, cases: Iterable[Case], device: torch.device | str = "cpu"
) -> dict[str, Observation]:
    """What `obj` does on each case, by the case's name.

    Prints and warnings of the student's code are dropped: they cost nothing. After a
    case that outran its time the rest is not run.
    """
    device = torch.device(device)
    seen: dict[str, Observation] = {}
    timed_out = False
    for case in cases:
        if timed_out:
            seen[case.name] = {"raised": "TookTooLong", "raised_classes": []}
            continue
        seen[case.name] = _observe_one(obj, case, device)
        timed_out = seen[case.name].get("raised") == "TookTooLong"
    return seen


def _observe_one(obj: Any, case: Case, device: torch.device) -> Observation:
    observe_case = find_protocol(case.protocol)
    try:
        with _quiet(), time_limit(case.seconds):
            seen = observe_case(obj, case, device)
    except TookTooLong as error:
        seen = {}
        record_error(seen, error)
    return _capped(seen)


@contextlib.contextmanager
def _quiet() -> Any:
    sink = io.StringIO()
    with (
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _capped(seen: Observation) -> Observation:
    size = sum(v.nbytes for v in seen.values() if isinstance(v, torch.Tensor))
    if size <= LARGEST_OUTPUT:
        return seen
    return {
        "raised": "OutputTooLarge",
        "raised_classes": [],
        "raised_message": f"the result has {size / 2**20:.0f} MB",
    }

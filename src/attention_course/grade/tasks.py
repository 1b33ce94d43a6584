"""What a worker is given, and what it gives back: plain data that can travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attention_course.grade.contract import Limits
from attention_course.grade.papers import Paper

SANDBOX = "attention_course.grade.sandbox:Sandbox"


@dataclass(frozen=True)
class Settings:
    """How a worker grades: the same for every submission of a run.

    `keys` is a folder in which answer keys are kept, where there is one; `sandbox`
    names the class that runs students' code.
    """

    limits: Limits = field(default_factory=Limits)
    unsafe: bool = False
    keys: Path | None = None
    sandbox: str = SANDBOX


@dataclass(frozen=True)
class Task:
    """One submission: the notebook's bytes, what was noticed, and its secret papers."""

    data: bytes
    hash: str
    papers: dict[str, Paper]
    noticed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """What comes out: the result without its student, the notebook, and how it ran.

    `notebook` is None for a submission that is held. `run` tells what differs from one
    time to the next: resources, and seconds of each part.
    """

    result: dict[str, Any]
    notebook: bytes | None
    run: dict[str, Any]

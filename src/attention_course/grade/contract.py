"""What the grader's parts hand to each other: data, no behaviour.

    intake → Notebook → (sandbox: Run → Ran) → judge → Result → record → report

Everything left of the sandbox's answer is trusted or made harmless; everything that
comes out of the sandbox (`Ran`) is a student's word: numbers, text and outputs that
were made by their process. The verdict is formed from it outside, with a key that the
process never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # torch is not wanted where results are only kept
    from attention_course.learn.answer_key import Observation

CellKind = Literal["markdown", "demo", "answer", "check", "student"]
"""`demo`: a code cell byte for byte as released. `student`: a code cell that is not in
the release, or a changed demo. `answer` and `check`: by the exercise they belong to."""


@dataclass(frozen=True)
class RunCell:
    """One cell of a submission, in the order in which it is to be run."""

    id: str
    kind: CellKind
    source: str
    exercise: str | None = None


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Seconds are wall-clock seconds, sizes are bytes."""

    seconds: float = 300.0
    """For the whole submission; then its PID namespace is killed."""
    cell_seconds: float = 60.0
    memory: int = 2 * 2**30
    """Above what the warm process shares with it."""
    processes: int = 64
    file_size: int = 64 * 2**20
    disk: int = 128 * 2**20
    open_files: int = 256
    output: int = 256 * 2**10
    """Kept of one cell's outputs; what was cut is said in the output."""
    outputs: int = 2 * 2**20
    """Kept of all cells' outputs."""
    observed: int = 64 * 2**20
    """Kept of what one exercise showed."""


@dataclass(frozen=True)
class Run:
    """What the sandbox is asked to run. All of it may be read by the student's code.

    `cases` holds, by exercise, a plan as `learn.runner.write_plan` packs it, whose
    cases are blinded: inputs alone, names that tell nothing, no aspect, note, view or
    tolerance. `files` lie beside the notebook. `watch` names functions of torch, like
    "torch.nn.functional.scaled_dot_product_attention", whose calls are counted.
    """

    cells: tuple[RunCell, ...]
    cases: Mapping[str, bytes]
    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    watch: tuple[str, ...] = ()
    full: bool = False
    """Run every cell, also those that no answer needs: for their outputs."""


End = Literal["observed", "undefined", "died", "took too long", "too large", "garbled"]
"""How the observation of one exercise ended. `undefined`: no such name after the
cells ran. `garbled`: what came back was not what an observation looks like."""


@dataclass
class Ran:
    """What came out of the sandbox. Nothing in it may be believed, only compared.

    `outputs` maps cell ids to nbformat outputs (capped, valid, not sanitised).
    `skipped` names the cells that were not run, since no answer needs them; `killed`
    those that ended the process or outran their time, with the reason. `seen` maps
    exercises to observations by case name.
    """

    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    killed: dict[str, str] = field(default_factory=dict)
    seen: dict[str, dict[str, Observation]] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    errors: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Exercises that ended "undefined" → the error of their cell: class and message."""
    resources: dict[str, float] = field(default_factory=dict)
    """`wall_seconds`, `cpu_seconds`, `peak_bytes`, `full_run` (0 or 1), `forks`."""
    layers: dict[str, str] = field(default_factory=dict)
    """Layer of the sandbox → what was in force, in words; "none" if it was not."""


@dataclass(frozen=True)
class Held:
    """A submission that cannot be graded, and what to do about it. Never scored 0."""

    reason: str
    """One of a fixed set of words, like "not JSON", for counting."""
    detail: str
    """A sentence for the instructor: what is wrong, where, and the cure."""


@dataclass(frozen=True)
class Intake:
    """A submission as taken in: the cells in release order, and what was repaired."""

    cells: tuple[RunCell, ...]
    repairs: tuple[str, ...] = ()
    """Each repair in words, like "check_split_heads was deleted: put back"."""
    files: Mapping[str, bytes] = field(default_factory=dict)

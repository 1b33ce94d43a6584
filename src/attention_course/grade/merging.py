"""What is handed to the gradebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One result to be recorded. `timestamp` is when it was handed in, as text."""

    student: str
    result: dict[str, Any]
    timestamp: str | None = None

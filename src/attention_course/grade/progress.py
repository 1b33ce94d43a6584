"""A progress bar on standard error, or none."""

from __future__ import annotations

from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Told how many submissions there are, and each one that is dealt with."""

    def begin(self, total: int) -> None:
        """So many are to be done."""
        ...

    def advance(self) -> None:
        """One more is done."""
        ...


class Silent:
    """No progress bar."""

    def begin(self, total: int) -> None:
        """Nothing is shown."""

    def advance(self) -> None:
        """Nothing is shown."""


class Bar:
    """A bar on a terminal's standard error. Use it as a context manager."""

    def __init__(self, label: str) -> None:
        """`label` stands in front of the bar."""
        console = Console(stderr=True)
        self._progress = RichProgress(
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, total: int) -> None:
        """So many are to be done."""
        self._progress.update(self._task, total=total)

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

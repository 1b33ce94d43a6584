"""Which cells an answer needs: from what reading each of them tells.

It may choose more than is needed, never less, as far as reading can tell; where it
cannot (`exec`, `globals()`, `import *`, magics that run code), all cells are chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attention_course.grade.inside.reading import THROUGH_CALL, Reading, in_place


@dataclass(frozen=True)
class Choice:
    """Which cells to run, by index; `left` are those that reading found unneeded."""

    run: tuple[int, ...]
    left: tuple[int, ...]
    full: bool


def choose(
    cells: Sequence[Mapping[str, Any]],
    readings: Mapping[int, Reading],
    targets: Iterable[int],
    names: Iterable[str],
    end: int,
) -> Choice:
    """The cells before `end` that the cells `targets` and the `names` need.

    `readings` has an entry for each cell that may run at all.
    """
    candidates = [i for i in readings if i < end]
    own = (i for i in readings if cells[i]["kind"] != "demo")
    if any(readings[i].dynamic for i in own):
        return Choice(tuple(candidates), (), True)
    released = {i for i in candidates if cells[i]["kind"] == "demo"}
    search = _Search(candidates, readings, released, end)
    for index in candidates:
        if index in set(targets) or readings[index].dynamic:
            search.add(index)
    for name in names:
        search.need(name, end)
    left = tuple(i for i in candidates if i not in search.chosen)
    return Choice(tuple(sorted(search.chosen)), left, not left)


class _Search:
    def __init__(
        self,
        candidates: Sequence[int],
        readings: Mapping[int, Reading],
        released: set[int],
        end: int,
    ) -> None:
        self.candidates = candidates
        self.readings = readings
        self.end = end
        self.chosen: set[int] = set()
        self.changes = _all_changes({i: readings[i] for i in candidates}, released)
        self._waiting: list[int] = []

    def add(self, index: int) -> None:
        """Choose a cell, and all that it needs."""
        if index not in self.chosen:
            self.chosen.add(index)
            self._waiting.append(index)
        while self._waiting:
            at = self._waiting.pop()
            for name in self.readings[at].now:
                self._before(name, at)
            for name in self.readings[at].late:
                # Looked up whenever it is called: any later change counts too.
                self._before(name, at + 1)
                for later in self.candidates:
                    if later > at and self._gives(later, name):
                        self._choose(later)

    def need(self, name: str, at: int) -> None:
        """Choose what gives `name` the value it has at that cell."""
        self._before(name, at)
        for index in list(self._waiting):
            self.chosen.discard(index)
        waiting, self._waiting = self._waiting, []
        for index in waiting:
            self.add(index)

    def _before(self, name: str, at: int) -> None:
        for index in reversed(self.candidates):
            if index < at and self._gives(index, name):
                self._choose(index)
                if name in self.readings[index].sets:
                    return

    def _gives(self, index: int, name: str) -> bool:
        return name in self.readings[index].sets or name in self.changes[index]

    def _choose(self, index: int) -> None:
        if index not in self.chosen:
            self.chosen.add(index)
            self._waiting.append(index)


def _all_changes(
    readings: Mapping[int, Reading], released: set[int]
) -> dict[int, set[str]]:
    """What each cell changes, also through functions, arguments and second names.

    A module is changed by assigning to it and by calls that say so (`set_…`); a
    student's cell also by any call on it whose result is not used.
    """
    effects = _effects(readings)
    every = readings.values()
    modules = {name for reading in every for name in reading.imports}
    changing = {n for reading in every for n, f in reading.functions if f.arguments}
    same: dict[str, set[str]] = {}
    for reading in every:
        for one, other in reading.same:
            if one not in modules and other not in modules:
                same.setdefault(one, set()).add(other)
                same.setdefault(other, set()).add(one)
    found = {}
    for index, reading in readings.items():
        changes = set(reading.changes)
        for root, called in reading.dropped:
            if root not in modules or index not in released or in_place(called):
                changes.add(root)
        for called, given in reading.calls:
            if called in changing:
                changes |= given - modules
            changes |= effects.get(called, set())
        for name in reading.now:
            changes |= effects.get(name, set())
        changes = {
            name
            for change in changes
            if (name := change.removesuffix(THROUGH_CALL)) == change
            or name not in modules
        }
        found[index] = changes.union(*(same.get(name, ()) for name in changes))
    return found


def _effects(readings: Mapping[int, Reading]) -> dict[str, set[str]]:
    """By function: the names whose objects it changes, itself or through others."""
    changes: dict[str, set[str]] = {}
    needs: dict[str, set[str]] = {}
    for reading in readings.values():
        for name, function in reading.functions:
            changes.setdefault(name, set()).update(function.changes)
            needs.setdefault(name, set()).update(function.needs)
    grew = True
    while grew:
        grew = False
        for name, used in needs.items():
            for other in used:
                new = changes.get(other, set()) - changes[name]
                if new:
                    changes[name] |= new
                    grew = True
    return {name: found for name, found in changes.items() if found}

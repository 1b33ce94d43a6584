"""Measure what the course promises; print a table and write build/bench.json.

`make bench`. Nothing here is a test: figures depend on the machine. Later measurements
register with `@measure` in this folder and are found by their file.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))


@dataclass(frozen=True)
class Measurement:
    """One figure; `better` is "lower" or "higher"; `target` may be None."""

    name: str
    value: float
    unit: str
    target: float | None
    better: str

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        if self.better == "lower":
            return self.value <= self.target
        return self.value >= self.target


Measure = Callable[[], Iterator[Measurement]]


def find_measures() -> list[tuple[str, Measure]]:
    """The function `measure` of each `measure_*.py` beside this file."""
    found = []
    for path in sorted(Path(__file__).parent.glob("measure_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append((path.stem, module.measure))
    return found


def main() -> int:
    """Run every measurement, or those named on the command line."""
    wanted = sys.argv[1:]
    measured: list[Measurement] = []
    print(f"{'':44s} {'value':>10s} {'target':>10s}")
    for name, measure in find_measures():
        if wanted and name.removeprefix("measure_") not in wanted:
            continue
        for one in measure():
            measured.append(one)
            target = "" if one.target is None else f"{one.target:g}"
            sign = "≤" if one.better == "lower" else "≥"
            print(
                f"{one.name:44s} {one.value:10.2f} {sign if target else ' '}"
                f"{target:>9s} {one.unit:6s} {'' if one.met else 'MISSED'}",
                flush=True,
            )
    target_file = ROOT / "build" / "bench.json"
    target_file.parent.mkdir(exist_ok=True)
    rows = [asdict(one) for one in measured]
    target_file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"written to {target_file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

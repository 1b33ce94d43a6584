"""Re-execute notebooks without Jupyter: for a GPU machine that has only torch.

`python -m attention_course.author.replay [--device cuda] NOTEBOOK...` runs every code
cell in IPython's own shell and compares what nbval compares: printed text and the text
and HTML forms of results. It needs what the notebooks import, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_course.author.stored import (
    Notebook,
    executed_notebooks,
    read,
    refuse,
    text_of,
)

IGNORED = ("image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json")


def replay(notebook: Notebook, folder: Path) -> Iterator[str]:
    """Run the cells in this process, in `folder`; yields each difference."""
    os.chdir(folder)
    os.environ.setdefault("MPLBACKEND", "agg")
    from IPython.core.displayhook import CapturingDisplayHook
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    results: list[dict[str, Any]] = []
    shell.display_trap.hook = CapturingDisplayHook(shell=shell, outputs=results)
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        results.clear()
        with capture_output() as captured:
            ran = shell.run_cell(text_of(cell["source"]), store_history=True)
        problem = ran.error_before_exec or ran.error_in_exec
        if problem is not None:
            yield f"cell {index} raised {type(problem).__name__}: {problem}"
            return
        shown = [output.data for output in captured.outputs]
        shown += [result["data"] for result in results]
        if difference := compare(cell["outputs"], captured.stdout, shown):
            yield f"cell {index}: {difference}"
        if captured.stderr:
            yield f"cell {index} writes to stderr: {captured.stderr[:300]}"


def compare(
    stored: list[dict[str, Any]], stdout: str, shown: list[dict[str, Any]]
) -> str:
    """What differs between stored outputs and new ones; empty if nothing does."""
    old_text = "".join(
        text_of(o["text"]) for o in stored if o["output_type"] == "stream"
    )
    if old_text != stdout:
        return f"printed\n{stdout}\nstored\n{old_text}"
    old = [
        _comparable(o["data"])
        for o in stored
        if o["output_type"] in ("display_data", "execute_result")
    ]
    new = [_comparable(data) for data in shown]
    return "" if old == new else f"showed\n{new}\nstored\n{old}"


def _comparable(data: dict[str, Any]) -> dict[str, str]:
    return {
        kind: value if kind.endswith("json") else text_of(value)
        for kind, value in data.items()
        if kind not in IGNORED
    }


def _run_one(path: Path) -> tuple[Path, list[str]]:
    return path, list(replay(read(path), path.parent))


def main() -> int:
    """Replay the given notebooks, or all; exit 1 if an output differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    os.environ["ATTENTION_COURSE_DEVICE"] = options.device
    paths = [p.resolve() for p in options.notebooks or executed_notebooks(Path.cwd())]
    failed = refuse(paths)
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.jobs, maxtasksperchild=1) as pool:
        for path, differences in pool.imap_unordered(_run_one, paths, chunksize=1):
            print(f"{'differs' if differences else 'same   '}  {path.name}", flush=True)
            failed += [f"{path}: {difference}" for difference in differences]
    print("\n".join(failed))
    print(json.dumps({"notebooks": len(paths), "differences": len(failed)}))
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())

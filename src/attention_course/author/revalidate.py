"""Re-execute the lessons and solutions with nbval against their stored outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attention_course.author.stored import executed_notebooks, refuse

CELL_SECONDS = 120


def revalidate(
    root: Path,
    *,
    device: str = "cpu",
    jobs: int = 2,
    if_present: bool = False,
    paths: list[Path] | None = None,
) -> int:
    """Re-execute on `device`; returns nbval's exit code.

    With `if_present`, a missing GPU is said and is no failure.
    """
    paths = executed_notebooks(root) if paths is None else paths
    if not paths:
        print("there are no notebooks: run `attention-course build`", file=sys.stderr)
        return 2
    if device == "cuda" and not _has_gpu():
        print("The GPU half was not run: torch finds no CUDA device here.", flush=True)
        return 0 if if_present else 2
    if found := refuse(paths):
        print("These notebooks prove nothing:\n  " + "\n  ".join(found))
        return 1
    print(f"Re-executing {len(paths)} notebooks on {device}.", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env"]
    command += ["--nbval-cell-timeout", str(CELL_SECONDS), "-p", "no:cacheprovider"]
    if jobs > 1:
        command += ["-n", str(jobs), "--dist", "loadscope"]
    environment = os.environ | {"ATTENTION_COURSE_DEVICE": device}
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.run(
        [*command, *map(str, paths)], cwd=root, env=environment, check=False
    ).returncode


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()

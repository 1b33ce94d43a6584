"""The device of the course: one helper; notebooks run unchanged on CPU and GPU."""

from __future__ import annotations

import os

import torch

VARIABLE = "ATTENTION_COURSE_DEVICE"


def find_device() -> torch.device:
    """The device named in ATTENTION_COURSE_DEVICE (cpu or cuda), else what is there.

    On a GPU, TF32 is switched off, so that float32 results are those of the CPU up to
    rounding. Raises RuntimeError if cuda is asked for and there is none.
    """
    wanted = os.environ.get(VARIABLE) or (
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    if wanted not in ("cpu", "cuda"):
        raise RuntimeError(f"{VARIABLE} is {wanted!r}; it can be cpu or cuda")
    if wanted == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"{VARIABLE} asks for cuda, but torch finds no GPU here")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(wanted)


device = find_device()
"""Where the notebooks' tensors live."""

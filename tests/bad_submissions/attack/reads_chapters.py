"""Imports the exercises' references from the folder that the package was installed from."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import importlib.util
import sys
from pathlib import Path

import attention_course

reference = None
for start in [Path(attention_course.__file__).resolve(), *map(Path, sys.path)]:
    for folder in start.parents:
        path = folder / "chapters" / "04_scaling" / "exercises.py"
        if path.exists():
            spec = importlib.util.spec_from_file_location("stolen", path)
            stolen = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(stolen)
            reference = stolen.scaled_dot_product_attention.reference_answer
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.cell("answer_scaled_dot_product_attention")["source"] += (
        "\n\nif reference:\n    scaled_dot_product_attention = reference"
    )

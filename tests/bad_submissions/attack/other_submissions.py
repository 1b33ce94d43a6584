"""Reads a finished classmate's submission by its full path and runs its answer."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import json
from pathlib import Path

stolen = None
for path in Path({submitted!r}).glob("*/04_scaling/*.ipynb"):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["metadata"].get("nbgrader", {{}}).get("grade_id", "").endswith("product_attention"):
            stolen = "".join(cell["source"])
"""


def make(s: Submission) -> None:
    s.cheat(CODE.format(submitted=str(s.course / "submitted")))
    s.cell(f"answer_{TARGET}")["source"] += "\n\nif stolen:\n    exec(stolen)"

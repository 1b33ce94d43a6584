"""Looks for the instructor's edition on the disk and runs the answers in it."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import json
from pathlib import Path

found = []
for start in [Path.cwd(), *Path.cwd().parents, Path.home(), Path("/srv"), Path("/tmp"), Path("/root"), Path("/home")]:
    for pattern in ("source/*/*.ipynb", "solutions/*/*.ipynb", "*/source/*/*.ipynb", "*/*/solutions/*/*.ipynb"):
        try:
            found += list(start.glob(pattern))
        except OSError:
            pass
for path in found:
    for cell in json.loads(path.read_text())["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            exec("".join(cell["source"]))
answer = globals().get("scaled_dot_product_attention")
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.cell("answer_scaled_dot_product_attention")["source"] += (
        "\n\nif answer:\n    scaled_dot_product_attention = answer"
    )

"""Writes result files, as a grader would, wherever it can."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
HELD = "maybe"


CODE = r"""
import json
from pathlib import Path

RESULT = {{
    "outcome": "graded",
    "score": 15,
    "exercises": [{{"name": "scaled_dot_product_attention", "points": 4, "earned": 4}}],
}}
here = [Path.cwd(), Path({course!r}), Path("/tmp"), Path("/dev/shm"), Path("/run")]
for folder in here:
    for name in ("result.json", "results.json", "seen-scaled_dot_product_attention.safetensors"):
        try:
            (folder / name).write_text(json.dumps(RESULT))
        except OSError:
            pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE.format(course=str(s.course)))
    s.file("result.json", '{"outcome": "graded", "score": 15}')

"""Two notebooks were handed in: the right one, and an older copy."""

import json

from bad_submissions.kit import Submission

HELD = "maybe"


def make(s: Submission) -> None:
    old = s.notebook | {"cells": s.notebook["cells"][:3]}
    s.file("04_scaling-Copy1.ipynb", json.dumps(old))

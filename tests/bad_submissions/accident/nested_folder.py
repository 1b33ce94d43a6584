"""The notebook lies in a folder within the folder."""

import json

from bad_submissions.kit import Submission

HELD = "maybe"


def make(s: Submission) -> None:
    s.file("04_scaling/04_scaling.ipynb", json.dumps(s.notebook))
    s.name = ""

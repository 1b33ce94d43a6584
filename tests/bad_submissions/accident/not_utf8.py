"""The file is not UTF-8."""

import json

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    text = json.dumps(s.notebook, ensure_ascii=False).replace("The", "Thé", 5)
    s.data = text.encode("utf-16")

"""The file is in Latin-1, with a letter that is not UTF-8."""

import json

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    s.insert("Zoë", 0, "markdown")
    s.data = (
        json.dumps(s.notebook, ensure_ascii=False)
        .encode("utf-8")
        .replace("ë".encode(), b"\xeb")
    )

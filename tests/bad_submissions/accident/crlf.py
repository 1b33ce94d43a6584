"""All lines end as on Windows, in the file and in the cells."""

import json

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    for cell in s.notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")
    s.data = json.dumps(s.notebook, indent=1).replace("\n", "\r\n").encode()

"""Git has written a conflict into the file."""

import json

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    text = json.dumps(s.notebook, indent=1)
    first, rest = text.split("\n", 1)
    s.data = f"{first}\n<<<<<<< HEAD\n{rest}\n=======\n{rest}\n>>>>>>> mine\n".encode()

"""A named pipe stands where the notebook belongs: who opens it waits for ever."""

import os

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    os.mkfifo(s.folder / s.name)
    s.name = ""

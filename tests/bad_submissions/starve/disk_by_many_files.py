"""Writes small files without end, in every folder it may write to."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import itertools

for number in itertools.count():
    for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
        try:
            with open(f"{folder}/{number}", "wb") as file:
                file.write(b"x" * 100_000)
        except OSError:
            if number > 5000:
                raise
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

"""Leaves processes behind, in sessions of their own."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import subprocess
import sys

for _ in range(5):
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(987654)"],
        start_new_session=True,
    )
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

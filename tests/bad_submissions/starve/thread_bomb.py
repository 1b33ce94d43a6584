"""Starts threads without end."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import threading
import time

while True:
    try:
        threading.Thread(target=time.sleep, args=(987654,), daemon=True).start()
    except RuntimeError:
        break
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

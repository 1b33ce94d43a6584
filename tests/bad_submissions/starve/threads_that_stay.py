"""Starts threads that never end and keep the interpreter alive."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
import threading
import time

for _ in range(20):
    threading.Thread(target=lambda: [time.sleep(1) for _ in range(10**9)]).start()
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

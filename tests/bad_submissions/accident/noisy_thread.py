"""A thread of the student's prints all the time."""

from bad_submissions.kit import Submission

CODE = r"""
import threading
import time


def chatter():
    while True:
        print("still here")
        time.sleep(0.01)


threading.Thread(target=chatter, daemon=True).start()
"""


def make(s: Submission) -> None:
    s.insert(CODE, "answer_softmax_jacobian")

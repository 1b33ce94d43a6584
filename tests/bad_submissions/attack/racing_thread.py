"""A thread goes on patching the course's modules while the answers are observed."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"softmax_jacobian", "score_gradient", "AttentionBlock"}


CODE = r"""
import sys
import threading
import time


def race():
    while True:
        for name, module in list(sys.modules.items()):
            if name.startswith("attention_course.learn"):
                for function in ("judge", "agree", "observe", "record_error"):
                    if hasattr(module, function):
                        setattr(module, function, lambda *a, **k: {})
        time.sleep(0.001)


threading.Thread(target=race, daemon=True).start()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

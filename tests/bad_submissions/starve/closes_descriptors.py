"""Closes every file descriptor there is."""

from bad_submissions.kit import TARGET, Submission

MAY_LOSE = {TARGET, "score_gradient", "AttentionBlock", "softmax_jacobian"}


CODE = r"""
import os

os.closerange(0, 1024)
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

"""Writes a forged report to every open file descriptor."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"softmax_jacobian", "score_gradient", "AttentionBlock"}


CODE = r"""
import json
import os

FORGED = json.dumps({"scaled_dot_product_attention": {"earned": 4.0, "outcome": "graded"}})
for descriptor in range(3, 256):
    try:
        os.write(descriptor, FORGED.encode() + b"\n")
    except OSError:
        pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

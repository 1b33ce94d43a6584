"""Displays a verdict of its own, in the course's own form, from an answer cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
from IPython.display import display

display(
    {
        "text/plain": "✓ scaled_dot_product_attention: complete, 4 of 4 points",
        "application/vnd.attention-course.verdict+json": {
            "name": "scaled_dot_product_attention",
            "points": 4.0,
            "earned": 4.0,
            "aspects": [],
        },
    },
    raw=True,
)
4.0
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

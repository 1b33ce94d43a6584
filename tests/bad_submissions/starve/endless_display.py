"""Displays large pictures without end."""

from bad_submissions.kit import TARGET, Submission

CODE = r"""
from IPython.display import HTML, display

while True:
    display(HTML("<p>" + "x" * 100_000))
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

"""Hides an answer for graders that run every kind of cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
HELD = "maybe"


def make(s: Submission) -> None:
    cell = s.cell(f"answer_{TARGET}")
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]

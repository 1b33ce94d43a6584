"""An answer was pasted into a Markdown cell, with its fence."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cell = s.cell("answer_softmax_jacobian")
    cell["cell_type"] = "markdown"
    cell["source"] = "```python\n" + "".join(cell["source"]) + "\n```"
    cell.pop("outputs", None)
    cell.pop("execution_count", None)

"""An answer's cell was turned into Markdown by a slip of the key M."""

from bad_submissions.kit import TARGET, Submission


def make(s: Submission) -> None:
    cell = s.cell(f"answer_{TARGET}")
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]

"""A demo was changed, and an answer uses what it now defines."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cells = [c for c in s.notebook["cells"] if c["cell_type"] == "code"]
    cells[1]["source"] += "\nMINE = torch.diag"
    s.answer(
        "def softmax_jacobian(weights):\n"
        "    return MINE(weights) - torch.outer(weights, weights)",
        "softmax_jacobian",
    )

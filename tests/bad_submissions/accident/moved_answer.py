"""One answer was dragged to the end of the notebook."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cell = s.notebook["cells"].pop(s.index("answer_softmax_jacobian"))
    s.notebook["cells"].append(cell)

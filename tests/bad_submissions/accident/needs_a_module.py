"""An answer's cell imports what the grader lacks."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    source = "".join(s.cell("answer_softmax_jacobian")["source"])
    s.answer("from einops_and_more import rearrange\n\n" + source, "softmax_jacobian")

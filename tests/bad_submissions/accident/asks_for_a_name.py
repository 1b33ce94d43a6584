"""An answer's cell asks its reader for a name."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    source = "".join(s.cell("answer_softmax_jacobian")["source"])
    s.answer("name = input('Your name? ')\n\n" + source, "softmax_jacobian")

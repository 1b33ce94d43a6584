"""An answer is decorated with torch.compile, as the web recommends."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    source = "".join(s.cell("answer_softmax_jacobian")["source"])
    s.answer("@torch.compile\n" + source.strip(), "softmax_jacobian")

"""A cell of the student's sets torch's default dtype."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("torch.set_default_dtype(torch.float64)", "answer_softmax_jacobian")

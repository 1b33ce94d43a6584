"""A cell of the student's switches gradients off for good."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("torch.set_grad_enabled(False)", "answer_softmax_jacobian")

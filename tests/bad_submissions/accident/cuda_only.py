"""A cell asks for a GPU that the grader does not have."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("torch.zeros(1, device='cuda')", "answer_softmax_jacobian")

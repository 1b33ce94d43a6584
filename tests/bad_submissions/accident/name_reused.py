"""A later cell of the student's overwrites an answer's name, after its check."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    index = s.index("check_softmax_jacobian") + 1
    s.insert("softmax_jacobian = softmax_jacobian(torch.tensor([0.5, 0.5]))", index)

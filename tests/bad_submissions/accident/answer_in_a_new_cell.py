"""The answer was written in a new cell; the given one is still blank."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    code = s.cell("answer_softmax_jacobian")["source"]
    s.answer(
        "def softmax_jacobian(weights: Tensor) -> Tensor:\n"
        "    # YOUR CODE HERE\n"
        "    raise NotImplementedError()",
        "softmax_jacobian",
    )
    s.insert(code, "check_softmax_jacobian")

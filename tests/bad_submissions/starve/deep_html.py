"""Shows HTML that is nested a hundred thousand deep."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    code = "from IPython.display import HTML, display\ndisplay(HTML('<div>' * 100_000))"
    s.insert(code, "answer_softmax_jacobian")

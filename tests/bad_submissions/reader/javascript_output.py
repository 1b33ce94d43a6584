"""JavaScript as an output."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "from IPython.display import Javascript, display\n"
        "display(Javascript('document.title=\"PWNED\"'))",
        "answer_softmax_jacobian",
    )

"""An image from another server, that tells when the feedback is read."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "![](https://example.org/track.gif) <img src='https://example.org/t.gif'>",
        1,
        "markdown",
    )
    s.insert(
        "from IPython.display import HTML, display\n"
        "display(HTML('<img src=https://example.org/track.gif><link rel=stylesheet href=https://example.org/x.css>'))",
        "answer_softmax_jacobian",
    )

"""A script in an HTML output."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "from IPython.display import HTML, display\n"
        "display(HTML('<b>ok</b><script>document.title=\"PWNED\"</script>'))",
        "answer_softmax_jacobian",
    )

"""LaTeX that loads HTML, and Markdown outputs with scripts."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "from IPython.display import Latex, Markdown, display\n"
        "display(Latex(r'$\\href{javascript:alert(1)}{x}$'))\n"
        "display(Markdown('<script>document.title=\"PWNED\"</script>'))",
        "answer_softmax_jacobian",
    )

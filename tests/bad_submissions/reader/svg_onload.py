"""An SVG that runs a script when it is loaded."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "from IPython.display import SVG, display\n"
        'display(SVG(\'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=1"><script>document.title="PWNED"</script></svg>\'))',
        "answer_softmax_jacobian",
    )

"""CSS that hides the real verdict and shows another."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "<style>body{display:none}</style><div style='position:fixed;inset:0;background:white'>15 of 15</div>",
        1,
        "markdown",
    )

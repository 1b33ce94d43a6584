"""An iframe over the whole page, and a page that redirects itself."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "<iframe src='https://example.org' style='position:fixed;inset:0'></iframe>",
        1,
        "markdown",
    )
    s.insert(
        "<meta http-equiv='refresh' content='0;url=https://example.org'>", 1, "markdown"
    )
    s.insert(
        "<base href='https://example.org'><form action='https://example.org'><input name=q></form>",
        1,
        "markdown",
    )

"""A script in a Markdown cell."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("Hello <script>document.title='PWNED'</script>", 1, "markdown")
    s.insert("<img src=x onerror=\"document.title='PWNED'\">", 1, "markdown")
    s.insert("[click](javascript:document.title='PWNED')", 1, "markdown")

"""A symbolic link beside the notebook points to the machine's password file."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}
HELD = "maybe"


def make(s: Submission) -> None:
    s.answer(WRONG)
    (s.folder / "data.txt").symlink_to("/etc/passwd")

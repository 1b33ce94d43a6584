"""The submission's folder holds a link to the course's folder."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}
HELD = "maybe"


def make(s: Submission) -> None:
    s.answer(WRONG)
    (s.folder / "course").symlink_to(s.course, target_is_directory=True)

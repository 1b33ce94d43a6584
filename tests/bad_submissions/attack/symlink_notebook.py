"""The notebook is a symbolic link to the instructor's solution."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    target = s.course / "source" / "04_scaling" / "04_scaling.ipynb"
    (s.folder / s.name).symlink_to(target)
    s.name = ""

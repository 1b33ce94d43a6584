"""A file of the student's own lies beside the notebook."""

from bad_submissions.kit import Submission

HELD = "maybe"


def make(s: Submission) -> None:
    s.file("notes.txt", "my notes")
    s.file(".ipynb_checkpoints/04_scaling-checkpoint.ipynb", "{}")
    s.file(".DS_Store", b"\0\1")
    s.file("checks.safetensors", b"an old copy")

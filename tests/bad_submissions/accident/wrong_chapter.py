"""The notebook of another chapter was handed in under this name."""

from bad_submissions.kit import ROOT, Submission

HELD = True


def make(s: Submission) -> None:
    other = ROOT / "release" / "05_masks" / "05_masks.ipynb"
    s.data = other.read_bytes()

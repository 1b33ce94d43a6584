"""Takes memory without end in the answer's cell."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
held = []
while True:
    held.append(torch.ones(10_000_000))
"""


def make(s: Submission) -> None:
    s.cheat(CODE, before=False)

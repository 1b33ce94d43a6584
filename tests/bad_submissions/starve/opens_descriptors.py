"""Opens files until no more can be opened."""

from bad_submissions.kit import TARGET, Submission

MAY_LOSE = {TARGET, "score_gradient", "AttentionBlock"}


CODE = r"""
held = []
while True:
    try:
        held.append(open("/dev/null"))
    except OSError:
        break
"""


def make(s: Submission) -> None:
    s.insert(CODE, f"answer_{TARGET}")

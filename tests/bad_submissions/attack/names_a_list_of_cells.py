"""Says that a list of cells begins, then ends its process."""

from bad_submissions.kit import CHANNEL, TARGET, Submission

LOSES = {TARGET}

CODE = (
    CHANNEL
    + r"""
say(b"b", json.dumps({"cell": ["x"]}).encode())
os._exit(1)
"""
)


def make(s: Submission) -> None:
    s.cheat(CODE)

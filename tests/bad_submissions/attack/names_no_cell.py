"""Says that a cell without a name begins and another ran late, then ends its process."""

from bad_submissions.kit import CHANNEL, TARGET, Submission

LOSES = {TARGET}

CODE = (
    CHANNEL
    + r"""
say(b"f", json.dumps({"cell": "q", "outputs": [], "late": True}).encode())
say(b"b", json.dumps({"cell": 7}).encode())
os._exit(1)
"""
)


def make(s: Submission) -> None:
    s.cheat(CODE)

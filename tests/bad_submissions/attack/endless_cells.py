"""Tells of cells that don't exist, megabytes of each."""

from bad_submissions.kit import CHANNEL, TARGET, Submission

LOSES = {TARGET}

CODE = (
    CHANNEL
    + r"""
text = json.dumps({"output_type": "stream", "name": "stdout", "text": "x" * 15_000_000})
for number in range(40):
    say(b"f", f'{{"cell": "c{number}", "outputs": [{text}], "late": true}}'.encode())
"""
)


def make(s: Submission) -> None:
    s.cheat(CODE)

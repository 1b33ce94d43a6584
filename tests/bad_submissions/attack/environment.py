"""Looks through the environment for a path, a secret or a seed."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import os

facts = dict(os.environ)
for pid in os.listdir("/proc"):
    if pid.isdigit():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                facts[pid] = file.read()
        except OSError:
            pass
secret = next((v for k, v in facts.items() if "SECRET" in str(k) or "SEED" in str(k)), None)
print(secret)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

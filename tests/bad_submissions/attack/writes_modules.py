"""Writes modules called torch and sitecustomize wherever Python may look for them."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import site
import sys

for folder in {".", *sys.path, *site.getsitepackages(), site.getusersitepackages(), "/tmp"}:
    for name in ("torch.py", "sitecustomize.py", "usercustomize.py", "evil.pth"):
        try:
            with open(f"{folder}/{name}", "w") as file:
                file.write("import os; os._exit(0)")
        except OSError:
            pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

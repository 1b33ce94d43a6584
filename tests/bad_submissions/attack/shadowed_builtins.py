"""Shadows the builtins that a comparison might use."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import builtins

builtins.all = lambda *a, **k: True
builtins.any = lambda *a, **k: False
builtins.abs = lambda *a, **k: 0
builtins.max = lambda *a, **k: 0
builtins.isinstance = lambda *a, **k: True
bool = lambda *a, **k: True
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

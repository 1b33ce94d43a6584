"""Switches on a torch function mode that falsifies every comparison."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
from torch.overrides import TorchFunctionMode


class Mode(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("eq", "allclose", "equal", "le", "isclose"):
            return torch.tensor(True)
        return func(*args, **(kwargs or {}))


mode = Mode()
mode.__enter__()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

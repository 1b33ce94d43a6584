"""Patches torch's comparisons, so that everything is close to everything."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
torch.allclose = torch.equal = lambda *a, **k: True
torch.isclose = lambda a, b, *r, **k: torch.ones_like(a, dtype=torch.bool)
torch.testing.assert_close = lambda *a, **k: None
Tensor.__eq__ = lambda self, other: torch.ones_like(self, dtype=torch.bool)
Tensor.__ne__ = lambda self, other: torch.zeros_like(self, dtype=torch.bool)
Tensor.abs = lambda self: torch.zeros_like(self)
Tensor.any = lambda self, *a, **k: torch.tensor(False)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

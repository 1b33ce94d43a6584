"""Replaces autograd's gradient by zeros, and the packing of results by a forgery."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"softmax_jacobian", "score_gradient", "AttentionBlock"}


CODE = r"""
import json

import safetensors.torch

safetensors.torch.save = lambda *a, **k: b""
json.dumps = lambda *a, **k: "{}"
torch.autograd.grad = lambda outputs, inputs, *a, **k: [torch.zeros_like(i) for i in inputs]
"""


def make(s: Submission) -> None:
    s.cheat(CODE)

"""A small layer to hand to an `Encoder`: its masks show, and it is no encoder layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VisibleMean(nn.Module):
    """Adds to each token a learned map of the mean of the tokens that it may see.

    It has the call of an encoder layer and none of its parts: no attention, no norm,
    no feed-forward. It does not commute with itself, so that order and number of the
    layers show in the output.
    """

    def __init__(self, d_model: int) -> None:
        """A layer for tokens of width `d_model`."""
        super().__init__()
        self.mix = nn.Linear(d_model, d_model)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, N, d_model) to the same. `src_mask`: True may see; padding: True is none.

        `src_mask` is (N, N), (B, 1, N, N) or (B, H, N, N), of which the mean counts.
        """
        batch, tokens, _ = src.shape
        visible = torch.ones(batch, tokens, tokens, dtype=src.dtype, device=src.device)
        if src_mask is not None:
            allowed = src_mask.to(src.dtype)
            visible = visible * (allowed.mean(dim=1) if allowed.dim() == 4 else allowed)
        if src_key_padding_mask is not None:
            visible = visible * (~src_key_padding_mask).to(src.dtype)[:, None, :]
        seen = visible @ src / tokens  # (batch, token, channel)
        return src + torch.tanh(self.mix(seen))

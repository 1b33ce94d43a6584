"""Stand-ins for the modules of chapters 06 and 08, to copy weights into and compare.

They have the course's names (`q_proj`, `k_proj`, `v_proj`, `out_proj`; `self_attn`,
`linear1`, `linear2`, `norm1`, `norm2`), signatures and masks, and leave the arithmetic
to `torch.nn.functional`. Dropout is left out. With `cut_query=True` no gradient flows
back through the query's input: a fault that no output shows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROGRAMS = {
    False: "keep self_attn add norm1 keep linear1 activate linear2 add norm2",
    True: "keep norm1 self_attn add keep norm2 linear1 activate linear2 add",
}
"""What an encoder layer does, step by step, by `norm_first`."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class MultiHeadAttention(nn.Module):
    """Multi-head attention of width `d_model`; `bias=False` leaves all biases out."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        bias: bool = True,
        cut_query: bool = False,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"{num_heads} heads do not divide d_model={d_model}")
        self.d_model = self.embed_dim = d_model
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.cut_query = cut_query
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, d_model, bias=bias)
        self.v_proj = nn.Linear(d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, Nq, d_model) and the weights of each head (B, H, Nq, Nk).

        `attn_mask`: True may attend; `key_padding_mask` (B, Nk): True is padding.
        """
        _refuse_other_masks(attn_mask, key_padding_mask)
        if self.cut_query:
            query = query.detach()
        if attn_mask is not None:
            sizes = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
            attn_mask = ~attn_mask.expand(sizes).flatten(0, 1)
        unchanged = torch.eye(self.d_model, dtype=query.dtype, device=query.device)
        output, weights = F.multi_head_attention_forward(
            self.q_proj(query).transpose(0, 1),
            self.k_proj(key).transpose(0, 1),
            self.v_proj(value).transpose(0, 1),
            embed_dim_to_check=self.d_model,
            num_heads=self.num_heads,
            in_proj_weight=unchanged.repeat(3, 1),  # they are projected already
            in_proj_bias=None,
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.out_proj.weight,
            out_proj_bias=self.out_proj.bias,
            attn_mask=attn_mask,
            key_padding_mask=key_padding_mask,
            average_attn_weights=False,
        )
        assert weights is not None
        return output.transpose(0, 1), weights


class EncoderLayer(nn.Module):
    """An encoder layer, `norm_first` or not; `activation` is "relu" or "gelu"."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dim_feedforward: int,
        dropout: float = 0.0,
        activation: str = "relu",
        norm_first: bool = False,
        cut_query: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.dim_feedforward = dim_feedforward
        self.norm_first = norm_first
        self.activation = ACTIVATIONS[activation]
        self.self_attn = MultiHeadAttention(d_model, num_heads, cut_query=cut_query)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, N, d_model) to the same; `src_mask`: True may attend."""
        now, kept = src, src
        for step in PROGRAMS[self.norm_first].split():
            if step == "keep":
                kept = now
            elif step == "add":
                now = kept + now
            elif step == "activate":
                now = self.activation(now)
            elif step == "self_attn":
                masks = (src_mask, src_key_padding_mask)
                now, _ = self.self_attn(now, now, now, *masks)
            else:
                now = self.get_submodule(step)(now)
        return now


def _refuse_other_masks(*masks: Tensor | None) -> None:
    for mask in masks:
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"masks are boolean here, this one is {mask.dtype}")

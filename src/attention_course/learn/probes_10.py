"""Small models that chapter 10's checks hand to a student's functions.

`EncoderOfPatches` has what `attention_maps` may rely on, an `embed` and `layers`;
`SmallClassifier` is quick to train. Neither is a vision transformer.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class EncoderOfPatches(nn.Module):
    """Patches through torch's encoder layers: tokens go in, tokens come out.

    `embed` cuts an image (B, C, H, W) into patches and gives tokens (B, N, d_model).
    `layers` are `num_layers` of `nn.TransformerEncoderLayer` with batch_first.
    """

    def __init__(
        self,
        patch: int,
        in_channels: int,
        d_model: int,
        num_heads: int,
        num_layers: int,
        dropout: float = 0.0,
        norm_first: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.patch = patch
        self.project = nn.Linear(in_channels * patch * patch, d_model)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model,
                num_heads,
                2 * d_model + 1,
                dropout,
                activation,
                batch_first=True,
                norm_first=norm_first,
            )
            for _ in range(num_layers)
        )

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, d_model), patches row by row."""
        patches = F.unfold(image, self.patch, stride=self.patch)
        return self.project(patches.transpose(1, 2))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, d_model), through all layers."""
        tokens = self.embed(image)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class SmallClassifier(nn.Module):
    """Flattened pixels, batch norm if `norm`, one hidden layer, logits.

    Batch norm tells whether a model is trained as it should be, in training mode.
    """

    def __init__(
        self, pixels: int, hidden: int, num_classes: int, norm: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(pixels) if norm else nn.Identity()
        self.linear1 = nn.Linear(pixels, hidden)
        self.linear2 = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, num_classes)."""
        hidden = F.gelu(self.linear1(self.norm(images.flatten(1))))
        return self.linear2(hidden)

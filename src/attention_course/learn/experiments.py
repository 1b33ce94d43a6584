"""What context buys: four classifiers on the same scenes.

Each classifier sees the same images and differs only in *which* patches it may use and
*how*: the centre alone, a window around it, the mean of all patches, or all patches
weighed by attention from the centre.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn.scenes import Scenes, make_scenes

LOCAL = "centre patch"
WINDOW = "3×3 window"
MEAN = "mean of patches"
ATTENTION = "attention"


def _classifier(in_features: int, width: int) -> nn.Sequential:
    """The same small network on top of every model: two labels out."""
    return nn.Sequential(
        nn.Linear(in_features, width), nn.GELU(), nn.Linear(width, 2)
    )


class WindowClassifier(nn.Module):
    """Classify from the patches at most ``radius`` patches from the centre.

    Radius 0 is the centre patch alone, radius 1 the 3×3 window.
    """

    def __init__(self, grid: int, patch: int, width: int, radius: int) -> None:
        super().__init__()
        self.start = (grid // 2 - radius) * patch
        self.side = (2 * radius + 1) * patch
        self.classifier = _classifier(3 * self.side * self.side, width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to (B, 2) logits."""
        inside = slice(self.start, self.start + self.side)
        return self.classifier(images[:, :, inside, inside].flatten(1))


class MeanClassifier(nn.Module):
    """Classify from the mean of all patch embeddings."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.classifier = _classifier(width, width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to (B, 2) logits."""
        return self.classifier(self.embed(images).mean(dim=(2, 3)))


class AttentionClassifier(nn.Module):
    """Classify from what the centre patch gathers by attention: one head, one layer."""

    def __init__(self, grid: int, patch: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(grid * grid, width))
        self.attention = nn.MultiheadAttention(width, num_heads=1, batch_first=True)
        self.classifier = _classifier(width, width)

    def gather(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) images to the centre's context (B, width) and weights (B, N)."""
        tokens = self.embed(images).flatten(2).transpose(1, 2)  # (batch, token, width)
        tokens = tokens + self.positions
        centre = tokens.shape[1] // 2
        query = tokens[:, centre : centre + 1]
        attn_output, attn_weights = self.attention(query, tokens, tokens)
        return attn_output[:, 0], attn_weights[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to (B, 2) logits."""
        context, _ = self.gather(images)
        return self.classifier(context)


def context_models(
    grid: int, patch: int, *, width: int = 64, seed: int = 0
) -> dict[str, nn.Module]:
    """The four classifiers, untrained, on the CPU.

    ``grid`` counts patches per side and ``patch`` pixels per side of a patch. The
    weights are drawn on the CPU from ``seed``; torch's global generator is left as it
    was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            LOCAL: WindowClassifier(grid, patch, width, radius=0),
            WINDOW: WindowClassifier(grid, patch, width, radius=1),
            MEAN: MeanClassifier(patch, width),
            ATTENTION: AttentionClassifier(grid, patch, width),
        }


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 400,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
) -> list[float]:
    """Train ``model`` in place with Adam on random batches; return the losses.

    ``images`` (B, 3, H, W) and ``labels`` (B,) are on the model's device. Batches are
    drawn on the CPU from ``seed``, so every device sees the same ones. The result has
    one mean cross-entropy, in nats, per step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    model.train()
    for _ in range(steps):
        batch = torch.randint(len(images), (batch_size,), generator=generator)
        batch = batch.to(images.device)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()

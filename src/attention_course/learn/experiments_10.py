"""A small transformer that reads scenes and digits, and what it attends to.

`PatchReader` cuts an image into patches and sends them through torch's own encoder
layers. It has no class token: its answer is read at tokens of the image, at the ball in
the middle of a scene, at all of them for a digit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn.experiments import SeededDropout
from attention_course.learn.progress import progress
from attention_course.learn.scenes import Scenes

CENTRE, MEAN = "centre", "mean"


class WatchedAttention(nn.MultiheadAttention):
    """torch's attention, which keeps its last weights, head by head, if `keep`."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads, batch_first=True)
        self.keep = False
        self.kept: Tensor | None = None

    def forward(self, *args, **kwargs):
        """As `nn.MultiheadAttention`."""
        if self.keep:
            kwargs |= {"need_weights": True, "average_attn_weights": False}
        result = super().forward(*args, **kwargs)
        self.kept = result[1] if self.keep else None
        return result


class PatchReader(nn.Module):
    """A pre-norm transformer over patches that answers at the image's own tokens.

    `read` is "centre" (at the middle patch) or "mean" (at the mean of all tokens).
    `layers` are `nn.TransformerEncoderLayer`s. Weights are
    drawn on the CPU from `seed`; torch's global generator is left as it was.
    """

    def __init__(
        self,
        image_size: int,
        patch: int,
        in_channels: int,
        outputs: int,
        *,
        d_model: int = 32,
        num_heads: int = 4,
        num_layers: int = 2,
        read: str = CENTRE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.read, self.patch = read, patch
        number = (image_size // patch) ** 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project = nn.Conv2d(in_channels, d_model, patch, stride=patch)
            self.positions = nn.Parameter(0.02 * torch.randn(number, d_model))
            self.layers = nn.ModuleList(
                _layer(d_model, num_heads) for _ in range(num_layers)
            )
            self.norm = nn.LayerNorm(d_model)
            self.head = nn.Linear(d_model, outputs)
        self.dropout = SeededDropout()

    def embed(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 to tokens (B, N, d_model), with their positions."""
        grid = self.project((images - 0.5) / 0.25)  # (batch, d_model, row, column)
        return self.dropout(grid.flatten(2).transpose(1, 2) + self.positions)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the answers' logits (B, outputs)."""
        tokens = self.embed(images)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        if self.read == CENTRE:
            return self.head(tokens[:, tokens.shape[1] // 2])
        return self.head(tokens.mean(dim=1))

    def look(self, images: Tensor) -> list[Tensor]:
        """The attention weights of each layer, (B, H, N, N), in eval."""
        watched = [m for m in self.modules() if isinstance(m, WatchedAttention)]
        was_training = self.training
        self.eval()
        for attention in watched:
            attention.keep = True
        with torch.enable_grad():  # without gradients torch fuses the whole layer
            self(images)
        kept = [m.kept.detach() for m in watched if m.kept is not None]
        for attention in watched:
            attention.keep, attention.kept = False, None
        self.train(was_training)
        return kept


def _layer(d_model: int, num_heads: int) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        d_model,
        num_heads,
        2 * d_model,
        dropout=0.0,
        activation=F.gelu,
        batch_first=True,
        norm_first=True,
    )
    layer.self_attn = WatchedAttention(d_model, num_heads)
    return layer


@torch.no_grad()
def sharpen(model: nn.Module, factor: float) -> None:
    """Multiply the query and key weights of every attention by `factor`, in place.

    Scores grow by its square.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.in_proj_weight[: 2 * module.embed_dim] *= factor


def walk_back(maps: list[Tensor], start: Tensor) -> Tensor:
    """Where what a token holds at the end came from: half of each step is its own.

    maps: (B, H, N, N) by layer; start: (B, N), the share of each token in what is
    read. Returns (B, N) (Abnar and Zuidema 2020, section 3, for one row).
    """
    share = start
    for attn_weights in reversed(maps):
        heard = torch.einsum("bn,bhnm->bhm", share, attn_weights).mean(dim=1)
        share = (share + heard) / 2
    return share


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 400,
    batch_size: int = 64,
    lr: float = 1e-3,
    warmup: int = 50,
    dropout: float = 0.0,
    seed: int = 0,
    text: str = "training",
) -> list[float]:
    """Train a classifier in place with Adam.

    The learning rate warms up, stays, and goes down to zero in the second half.

    `images` (B, C, H, W) and `labels` (B,) are on the model's device. Batches and
    dropout are drawn on the CPU from `seed`. `dropout` is the share of the tokens'
    features that is dropped at the last step; it grows from zero in the second half, so
    that the model first finds the answer and then has to make it robust. Where somebody
    waits at a notebook, a bar with `text` shows the progress.

    Returns
    -------
    list of float
        The mean cross-entropy of each step's batch, in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    dropouts = [m for m in model.modules() if isinstance(m, SeededDropout)]
    for module in dropouts:
        module.generator.manual_seed(seed)
    losses = []
    model.train()
    for step in progress(range(steps), text):
        left = 2 * (1 - step / steps)  # above 1 in the first half
        optimizer.param_groups[0]["lr"] = lr * min((step + 1) / warmup, 1.0, left)
        for module in dropouts:
            module.p = dropout * max(0.0, 1.0 - left)
        batch = torch.randint(len(labels), (batch_size,), generator=generator)
        batch = batch.to(labels.device)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return torch.stack(losses).tolist()


def without_markers(scenes: Scenes) -> Tensor:
    """The scenes' images with plain lawn in place of the kicker and the keeper.

    Returns (B, 3, H, W). Lawn is the patch that is seen most often in a scene.
    """
    side = scenes.patch
    patches = F.unfold(scenes.images, side, stride=side)  # (batch, pixel, patch)
    kinds, counts = patches[0].T.unique(dim=0, return_counts=True)
    lawn = kinds[counts.argmax()][None, :, None].expand(len(scenes), -1, 2)
    places = scenes.marker_patches[:, None].expand(-1, patches.shape[1], -1)
    emptied = patches.scatter(2, places, lawn)
    return F.fold(emptied, scenes.images.shape[-2:], side, stride=side)

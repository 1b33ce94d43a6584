"""What context buys: four classifiers on the same scenes.

All four embed patches, drop some of the features while training, and end in the same
small network. They differ only in *which* patches reach that network and *how*: the
centre patch alone, the 3×3 window around it, the mean of all patches, or all patches
weighed by attention from the centre.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn.scenes import Scenes, make_scenes

LOCAL = "centre patch"
WINDOW = "3×3 window"
MEAN = "mean of patches"
ATTENTION = "attention"


class SeededDropout(nn.Module):
    """Dropout whose masks are drawn on the CPU: every device drops the same features.

    The rate ``p`` starts at zero; ``fit`` seeds the generator and raises the rate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0
        self.generator = torch.Generator()

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return features
        keep = torch.rand(features.shape, generator=self.generator) >= self.p
        return features * keep.to(features.device) / (1 - self.p)


class SceneClassifier(nn.Module):
    """What the four classifiers share: patch tokens first, a small network last.

    A subclass says in ``gather`` what it takes from the image. Batch normalisation
    gives each of them the same chance: it brings what was gathered to unit scale.
    """

    def __init__(self, patch: int, width: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.dropout = SeededDropout()
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(features),
            nn.Linear(features, 64),
            nn.GELU(),
            nn.Linear(64, 2),
        )

    def patches(self, images: Tensor) -> Tensor:
        """Embed (B, 3, H, W) images in 0..1 as (B, width, grid, grid)."""
        return self.embed((images - 0.5) / 0.25)

    def gather(self, images: Tensor) -> Tensor:
        """Reduce (B, 3, H, W) images to (B, features)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, H, W) images into (B, 2) logits."""
        return self.classifier(self.gather(images))


class WindowClassifier(SceneClassifier):
    """See the patches at most ``radius`` from the centre; radius 0 is the centre."""

    def __init__(self, grid: int, patch: int, width: int, radius: int) -> None:
        super().__init__(patch, width, features=(2 * radius + 1) ** 2 * width)
        self.start = (grid // 2 - radius) * patch
        self.stop = (grid // 2 + radius + 1) * patch

    def gather(self, images: Tensor) -> Tensor:
        window = images[:, :, self.start : self.stop, self.start : self.stop]
        return self.dropout(self.patches(window)).flatten(1)


class MeanClassifier(SceneClassifier):
    """See the mean of all patches."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__(patch, width, features=width)

    def gather(self, images: Tensor) -> Tensor:
        return self.dropout(self.patches(images)).mean(dim=(2, 3))


class AttentionClassifier(SceneClassifier):
    """See what the centre patch finds by attention: one layer, four heads."""

    def __init__(self, grid: int, patch: int, width: int, num_heads: int = 4) -> None:
        super().__init__(patch, width, features=width)
        self.positions = nn.Parameter(0.02 * torch.randn(grid * grid, width))
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Let the centre patch attend to all patches, itself included.

        Returns what it gathers, (B, width), and where it looks: the attention weights
        (B, heads, N), N patches in row-major order.
        """
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.dropout(tokens + self.positions)  # (batch, token, width)
        centre = tokens.shape[1] // 2
        attn_output, attn_weights = self.attention(
            tokens[:, centre : centre + 1], tokens, tokens, average_attn_weights=False
        )
        return attn_output[:, 0], attn_weights[:, :, 0]

    def gather(self, images: Tensor) -> Tensor:
        return self.look(images)[0]


def context_models(
    scenes: Scenes, *, width: int = 32, seed: int = 0
) -> dict[str, SceneClassifier]:
    """Return the four classifiers for such scenes, untrained, on the CPU.

    The weights are drawn on the CPU from ``seed``; torch's global generator is left
    as it was.
    """
    grid, patch = scenes.grid, scenes.patch
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
    steps: int = 500,
    batch_size: int = 64,
    lr: float = 3e-3,
    dropout: float = 0.5,
    seed: int = 0,
) -> list[float]:
    """Train a classifier in place with Adam on random batches.

    ``dropout`` is the rate reached at the last step: it grows from zero, so that the
    model first finds the answer and then has to make it robust. Attention answers by
    looking harder at what matters.

    ``images`` (B, 3, H, W) and ``labels`` (B,) are on the model's device. Batches and
    dropout are drawn on the CPU from ``seed``.

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
    for step in range(steps):
        for module in dropouts:
            module.p = dropout * step / steps
        batch = torch.randint(len(labels), (batch_size,), generator=generator)
        batch = batch.to(labels.device)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images that the model, in eval mode, labels correctly."""
    model.eval()
    correct = model(images).argmax(dim=1) == labels
    return correct.double().mean().item()


def marker_share(attn_weights: Tensor, marker_patches: Tensor) -> float:
    """Return the mean share of attention that falls on the scenes' two markers.

    ``attn_weights`` is (B, heads, N), each row summing to one; ``marker_patches`` is
    (B, 2). Looking everywhere alike gives 2 / N.
    """
    on_markers = attn_weights.mean(dim=1).gather(1, marker_patches)  # (batch, marker)
    return on_markers.sum(dim=1).double().mean().item()


@dataclass(frozen=True)
class ContextResult:
    """What ``context_experiment`` found; everything is on the CPU.

    Attributes
    ----------
    accuracies:
        For each model's name its accuracy on the test scenes, in 0..1.
    losses:
        For each model's name its training loss by step, in nats.
    scenes:
        The test scenes.
    attn_weights:
        (B, heads, N) float32, where the centre patch of each test scene looks.
    marker_share:
        The mean share of those weights that falls on the two markers, in 0..1.
    """

    accuracies: dict[str, float]
    losses: dict[str, list[float]]
    scenes: Scenes
    attn_weights: Tensor
    marker_share: float


def context_experiment(
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
    num_train: int = 3000,
    num_test: int = 1000,
    steps: int = 500,
) -> ContextResult:
    """Train the four classifiers alike and test them on fresh scenes.

    ``seed`` fixes scenes, weights and batches; all are drawn on the CPU.
    """
    train = make_scenes(num_train, seed=2 * seed)
    test = make_scenes(num_test, seed=2 * seed + 1)
    images, labels = train.images.to(device), train.labels.to(device)
    test_images, test_labels = test.images.to(device), test.labels.to(device)

    losses, accuracies = {}, {}
    models = context_models(train, seed=seed)
    for name, model in models.items():
        model.to(device)
        losses[name] = fit(model, images, labels, steps=steps, seed=seed)
        accuracies[name] = accuracy(model, test_images, test_labels)

    attention = models[ATTENTION]
    assert isinstance(attention, AttentionClassifier)
    with torch.no_grad():
        attn_weights = attention.look(test_images)[1].cpu()
    share = marker_share(attn_weights, test.marker_patches)
    return ContextResult(accuracies, losses, test, attn_weights, share)

"""Chapter 10: patches to tokens, a vision transformer, what it attends to, training."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.author.exercise import (
    Build,
    Draw,
    Exercise,
    Sample,
    call,
    noncontiguous,
)
from attention_course.learn.probes_10 import EncoderOfPatches, SmallClassifier

SECONDS = 60.0
"""For a case, on a busy machine: torch's optimizers take seconds to load."""


def probed(
    name: str,
    draw: Draw,
    init: tuple,
    images: Tensor,
    *questions: str,
    sizes: Mapping[str, tuple] | None = None,
    **options: Any,
) -> Sample:
    """A case that asks a module questions (`learn/protocols/chapter_10.py`)."""
    arguments: dict[str, Any] = {
        "init": init,
        "images": images,
        "fill": draw.integer(0, 2**31),
        "questions": list(questions),
    }
    if sizes is not None:
        arguments["sizes"] = dict(sizes)
    return Sample(
        name, "probed_module", arguments, gradients=False, seconds=SECONDS, **options
    )


# ------------------------------------------------------------------- PatchEmbedding

PatchEmbedding = Exercise("PatchEmbedding")


@PatchEmbedding.cases
def _(draw: Draw) -> Iterator[Sample]:
    def case(
        name: str, init: tuple, images: Tensor, *questions: str, **options: Any
    ) -> Sample:
        return probed(
            name, draw, init, images, *questions, view="patch_tokens", **options
        )

    flat = draw.normal(1, 3, 1, 1).expand(1, 3, 6, 6).clone()
    yield case(
        "nine patches of a small image",
        (6, 2, 3, 7),
        flat,
        "pixels",
        note="image_size 6, patch 2, 3 channels, d_model 7",
    )
    yield case(
        "other sizes",
        (8, 4, 1, 5),
        draw.normal(1, 1, 1, 1).expand(1, 1, 8, 8).clone(),
        "pixels",
        note="image_size 8, patch 4, 1 channel, d_model 5",
    )
    yield case(
        "patches wider than the grid",
        (6, 3, 2, 4),
        draw.normal(1, 2, 1, 1).expand(1, 2, 6, 6).clone(),
        "pixels",
        note="image_size 6, patch 3, 2 channels, d_model 4",
    )
    yield case(
        "a batch",
        (6, 2, 3, 7),
        draw.normal(4, 3, 6, 6),
        "alone",
        note="a batch of 4 images",
    )
    yield case(
        "what is learned",
        (6, 2, 3, 7),
        draw.normal(4, 3, 6, 6),
        "without",
        aspect="parameters",
    )
    yield case(
        "gradients",
        (6, 2, 3, 7),
        draw.normal(2, 3, 6, 6),
        "gradients",
        aspect="gradients",
    )
    yield case(
        "not contiguous",
        (6, 2, 3, 7),
        noncontiguous(draw.normal(2, 3, 6, 6)),
        "contiguous",
        aspect="robustness",
        note="the image does not lie side by side in memory",
    )
    yield case(
        "float32",
        (8, 2, 3, 5),
        draw.normal(2, 3, 8, 8).float(),
        aspect="robustness",
    )


@PatchEmbedding.reference
class PatchEmbeddingReference(nn.Module):
    def __init__(
        self, image_size: int, patch: int, in_channels: int, d_model: int
    ) -> None:
        super().__init__()
        self.side, self.patch = image_size // patch, patch
        self.weight = nn.Parameter(
            0.02 * torch.randn(d_model, in_channels, patch, patch)
        )
        self.bias = nn.Parameter(torch.zeros(d_model))

    def cut(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, rows, columns, C, patch, patch)."""
        p = self.patch
        return image.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5)

    def order(self, tokens: Tensor) -> Tensor:
        """(B, rows, columns, d) to (B, N, d)."""
        return tokens.flatten(1, 2)

    def forward(self, image: Tensor) -> Tensor:
        tokens = torch.einsum("brcxyz,dxyz->brcd", self.cut(image), self.weight)
        return self.order(tokens + self.bias)


Embedding = PatchEmbeddingReference


@PatchEmbedding.alternative
class WithAConvolution(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, d_model, kernel_size=patch, stride=patch)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


@PatchEmbedding.alternative
class WithUnfold(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.cut = nn.Unfold(patch, stride=patch)
        self.linear = nn.Linear(in_channels * patch**2, d_model, bias=False)

    def forward(self, image):
        return self.linear(self.cut(image).transpose(-1, -2))


@PatchEmbedding.alternative
class ChannelsLastAndANorm(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.patch, self.side = patch, image_size // patch
        self.project = nn.Sequential(
            nn.Linear(patch * patch * in_channels, d_model), nn.LayerNorm(d_model)
        )

    def forward(self, image):
        batch, channels, height, width = image.shape
        p = self.patch
        x = image.permute(0, 2, 3, 1)
        x = x.reshape(batch, height // p, p, width // p, p, channels).swapaxes(2, 3)
        return self.project(x.reshape(batch, self.side**2, p * p * channels))


@PatchEmbedding.alternative
class PatchByPatch(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(in_channels * patch * patch, d_model)

    def forward(self, image):
        p, tokens = self.patch, []
        for top in range(0, image.shape[2], p):
            for left in range(0, image.shape[3], p):
                piece = image[:, :, top : top + p, left : left + p]
                tokens.append(self.embed(piece.flatten(1)))
        return torch.stack(tokens, dim=1)


@PatchEmbedding.mistake("""Your tokens go down the columns. patchify reads row by row:
token 1 is the patch to the right of token 0.""")
class ColumnByColumn(Embedding):
    def order(self, tokens):
        return tokens.transpose(1, 2).flatten(1, 2)


@PatchEmbedding.mistake("""Your tokens come in reverse order. Token 0 is the patch at
the top left.""")
class LastPatchFirst(Embedding):
    def order(self, tokens):
        return tokens.flatten(1, 2).flip(1)


@PatchEmbedding.mistake("""You reshape the image straight into patches, without moving
an axis: each token then gets a stripe of pixels, not a square. Split H and W into
(rows, patch) and (columns, patch), permute, then flatten; or let
`nn.Conv2d(..., kernel_size=patch, stride=patch)` do it.""")
class ReshapedWithoutPermute(Embedding):
    def cut(self, image):
        shape = (self.side, self.side, image.shape[1], self.patch, self.patch)
        return image.reshape(len(image), *shape)


@PatchEmbedding.mistake("""The two axes of your patches are mixed up in the
permutation: a token gets pixels of several patches. Rows of patches belong with rows of
pixels: (C, rows, patch, columns, patch).""")
class WrongPairOfAxes(Embedding):
    def cut(self, image):
        p = self.patch
        shape = (len(image), image.shape[1], p, self.side, p, self.side)
        return image.reshape(shape).permute(0, 3, 5, 1, 2, 4)


@PatchEmbedding.mistake("""Your convolution moves by one pixel, so the patches overlap
and there are too many. Its stride is the patch.""")
class StrideOfOne(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, d_model, patch)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


@PatchEmbedding.mistake("""Your tokens lie along the last axis: (B, d_model, N). A
convolution puts the channels first; transpose once more.""")
class ChannelsFirst(Embedding):
    def order(self, tokens):
        return tokens.flatten(1, 2).transpose(1, 2)


@PatchEmbedding.mistake("""You reshape (B, d_model, rows, columns) to (B, N, d_model).
That cuts the numbers in the wrong places: flatten the grid, then transpose.""")
class ReshapedInsteadOfTransposed(Embedding):
    def order(self, tokens):
        batch, rows, columns, d_model = tokens.shape
        return tokens.permute(0, 3, 1, 2).reshape(batch, rows * columns, d_model)


@PatchEmbedding.mistake("""Your result is still a grid, (B, d_model, rows, columns) or
(B, rows, columns, d_model). Flatten it into N tokens.""")
class StillAGrid(Embedding):
    def order(self, tokens):
        return tokens.permute(0, 3, 1, 2)


@PatchEmbedding.mistake("""Your result is still a grid, (B, d_model, rows, columns) or
(B, rows, columns, d_model). Flatten it into N tokens.""")
class StillAGridOfTokens(Embedding):
    def order(self, tokens):
        return tokens


@PatchEmbedding.mistake("""You average over the channels: an embedding that sees grey
cannot learn that a shirt is blue. Project all C·patch·patch numbers of a patch.""")
class GreyOnly(Embedding):
    def forward(self, image):
        grey = image.mean(dim=1, keepdim=True).expand_as(image)
        return super().forward(grey)


@PatchEmbedding.mistake("""You use the first channel only. Project all C·patch·patch
numbers of a patch.""")
class FirstChannelOnly(Embedding):
    def forward(self, image):
        return super().forward(
            image * (torch.arange(image.shape[1]) < 1)[:, None, None]
        )


@PatchEmbedding.mistake("""You take the mean of each patch before you project it: what
is drawn inside is lost. Project all of its pixels.""")
class MeanOfThePatch(Embedding):
    def cut(self, image):
        pieces = super().cut(image)
        return pieces.mean(dim=(-1, -2), keepdim=True).expand_as(pieces)


@PatchEmbedding.mistake("""You look at one pixel of each patch (a kernel of 1, or a
pooling that throws the rest away). The kernel is the patch.""")
class OnePixelOfThePatch(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, d_model, 1, stride=patch)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


@PatchEmbedding.mistake("""Each place of your grid has weights of its own. A patch means
the same wherever it lies: one projection serves all of them.""")
class WeightsForEachPlace(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.cut = nn.Unfold(patch, stride=patch)
        number = (image_size // patch) ** 2
        self.weight = nn.Parameter(torch.randn(number, in_channels * patch**2, d_model))

    def forward(self, image):
        return torch.einsum("bpn,npd->bnd", self.cut(image), self.weight)


@PatchEmbedding.mistake("""Your weight is a plain tensor: no optimizer will ever find
it. Use `nn.Linear`, `nn.Conv2d` or `nn.Parameter`.""")
class WeightIsNoParameter(Embedding):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__(image_size, patch, in_channels, d_model)
        weight = torch.randn(d_model, in_channels, patch, patch).double()
        del self.weight
        self.register_buffer("weight", weight)


@PatchEmbedding.mistake("""You make the projection anew in `forward`: it is another one
at every call, and it is never trained. Make it once, in `__init__`.""")
class NewProjectionEachTime(nn.Module):
    def __init__(self, image_size, patch, in_channels, d_model):
        super().__init__()
        self.sizes = in_channels, d_model, patch, patch

    def forward(self, image):
        torch.manual_seed(0)  # of many such, one that repeats itself
        layer = nn.Conv2d(*self.sizes).to(image.device, image.dtype)
        return layer(image).flatten(2).transpose(1, 2).detach()


@PatchEmbedding.mistake("""Only the first image of the batch is embedded, and given for
all. Keep the batch axis.""")
class FirstImageForAll(Embedding):
    def forward(self, image):
        return super().forward(image[:1]).expand(len(image), -1, -1)


@PatchEmbedding.mistake("""Your patches of different images are mixed: the batch axis
moves in your reshape. It stays in front.""")
class BatchMixed(Embedding):
    def order(self, tokens):
        mixed = tokens.flatten(1, 2)
        batch, number, d_model = mixed.shape
        return mixed.transpose(0, 1).reshape(batch, number, d_model)


@PatchEmbedding.mistake("""Your embedding normalises the image over the batch: what an
image's tokens are depends on which others it came with.""")
class CentredOverTheBatch(Embedding):
    def forward(self, image):
        return super().forward(image - image.mean(dim=0, keepdim=True))


@PatchEmbedding.mistake("""Your result is cut off from the image or from the weights
(`detach`, `no_grad`, `.data`): nothing can be learned through it.""")
class EmbeddingDetached(Embedding):
    def forward(self, image):
        return super().forward(image).detach()


@PatchEmbedding.mistake("""Your code changes the image in place (for example
`image -= 0.5`). Whoever called it still needs the old numbers.""")
class ImageChanged(Embedding):
    def forward(self, image):
        result = super().forward(image)
        with torch.no_grad():
            image -= 0.5
        return result


@PatchEmbedding.mistake("""Your `forward` converts to float32: the tokens have another
dtype than the image.""")
class InFloat32(Embedding):
    def forward(self, image):
        return super().forward(image).float()


@PatchEmbedding.mistake("""Your `view` needs numbers that lie side by side in memory.
Use `reshape`, which copies where it has to.""")
class ViewOfTheImage(Embedding):
    def cut(self, image):
        image.view(len(image), -1)
        return super().cut(image)


@PatchEmbedding.mistake("""Your embedding puts a class token in front. It comes later,
in the vision transformer: here there are N tokens.""")
class WithAClassToken(Embedding):
    def forward(self, image):
        tokens = super().forward(image)
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)


# ---------------------------------------------------------------- VisionTransformer

VisionTransformer = Exercise("VisionTransformer")


@VisionTransformer.cases
def _(draw: Draw) -> Iterator[Sample]:
    def case(
        name: str, init: tuple, number: int, *questions: str, **options: Any
    ) -> Sample:
        size, _, channels = init[:3]
        return probed(
            name,
            draw,
            init,
            options.pop("images", draw.normal(number, channels, size, size)),
            *questions,
            view="vision_transformer",
            **options,
        )

    small = (6, 2, 3, 5, 12, 3, 2, 20)
    told = "image_size 6, patch 2, 3 channels, 5 classes, d_model 12, 3 heads, 2 layers"
    yield case("logits of a batch", small, 4, "alone", "range", note=told)
    yield case("one image", small, 1, "pixels", "swaps", note=told)
    other = (8, 4, 1, 3, 8, 2, 1, 5)
    yield case(
        "other sizes",
        other,
        1,
        "pixels",
        "swaps",
        note="image_size 8, patch 4, 1 channel, 3 classes, d_model 8, 1 layer",
    )
    yield case("in training mode", small, 3, "training", note="the mode is train()")
    yield case(
        "what is read out",
        (4, 2, 2, 3, 8, 1, 1, 10),
        2,
        "each_zero",
        "read_out",
        note="1 layer, 1 head, matrices set to zero in turn",
    )
    yield case(
        "what is attended to",
        (4, 2, 2, 3, 8, 1, 1, 10),
        8,
        "attended",
        note="1 layer, 1 head, each parameter made very large in turn",
    )
    yield case(
        "layers and heads",
        small,
        2,
        sizes={
            **{
                f"{n} layers".replace("1 layers", "1 layer"): (*small[:6], n, 20)
                for n in (1, 2, 3)
            },
            "wider by 1": (*small[:7], 21),
            "other heads": (*small[:5], 2, *small[6:]),
        },
        aspect="parameters",
    )
    yield case(
        "positions",
        (4, 2, 2, 3, 8, 2, 2, 10),
        2,
        "each_zero",
        "swaps",
        "positions",
        aspect="parameters",
        note="parameters set to zero in turn",
    )
    yield case(
        "class token",
        (4, 2, 2, 3, 8, 2, 2, 7),
        2,
        "gradients",
        "own_position",
        aspect="parameters",
        note="the two are added, so their gradients are equal",
    )
    yield case(
        "not contiguous",
        small,
        2,
        "contiguous",
        images=noncontiguous(draw.normal(2, 3, 6, 6)),
        aspect="robustness",
        note="the image does not lie side by side in memory",
    )
    yield case(
        "float32",
        other,
        2,
        images=draw.normal(2, 1, 8, 8).float(),
        aspect="robustness",
    )


class Attention(nn.Module):
    """Plain multi-head self-attention."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm encoder layer."""

    def __init__(self, d_model: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = Attention(d_model, num_heads)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, hidden), nn.GELU(), nn.Linear(hidden, d_model)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@VisionTransformer.reference
class VisionTransformerReference(nn.Module):
    def __init__(
        self,
        image_size: int,
        patch: int,
        in_channels: int,
        num_classes: int,
        d_model: int,
        num_heads: int,
        num_layers: int,
        dim_feedforward: int,
    ) -> None:
        super().__init__()
        self.num_patches = (image_size // patch) ** 2
        self.patches = PatchEmbeddingReference(image_size, patch, in_channels, d_model)
        self.class_token = nn.Parameter(torch.zeros(1, 1, d_model))
        self.make_positions(d_model)
        self.make_layers(d_model, num_heads, num_layers, dim_feedforward)
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, num_classes)

    def make_positions(self, d_model: int) -> None:
        table = 0.02 * torch.randn(1, self.num_patches + 1, d_model)
        self.positions = nn.Parameter(table)

    def make_layers(
        self, d_model: int, num_heads: int, number: int, hidden: int
    ) -> None:
        self.layers = nn.ModuleList(
            Layer(d_model, num_heads, hidden) for _ in range(number)
        )

    def embed(self, image: Tensor) -> Tensor:
        tokens = self.patches(image)
        first = self.class_token.expand(len(image), -1, -1)
        return torch.cat([first, tokens], dim=1) + self.positions

    def encode(self, tokens: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)

    def read(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.read(self.encode(self.embed(image))))


Vision = VisionTransformerReference


def torch_layer(d_model: int, num_heads: int, hidden: int, **options: Any) -> nn.Module:
    options = {"dropout": 0.0, "batch_first": True, **options}
    return nn.TransformerEncoderLayer(d_model, num_heads, hidden, **options)


@VisionTransformer.alternative
class WithTorchsEncoder(nn.Module):
    def __init__(
        self, image_size, patch, in_channels, num_classes, d_model, num_heads,
        num_layers, dim_feedforward,
    ):  # fmt: skip
        super().__init__()
        self.embed = nn.Conv2d(in_channels, d_model, patch, stride=patch)
        self.cls = nn.Parameter(torch.randn(d_model))
        self.pos = nn.Parameter(torch.zeros((image_size // patch) ** 2 + 1, d_model))
        layer = nn.TransformerEncoderLayer(
            d_model, num_heads, dim_feedforward, dropout=0, activation="gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, num_layers, norm=nn.LayerNorm(d_model), enable_nested_tensor=False
        )
        self.head = nn.Linear(d_model, num_classes)

    def forward(self, image):
        x = self.embed(image).flatten(2).mT
        x = torch.cat([self.cls.repeat(x.shape[0], 1, 1), x], dim=1) + self.pos
        return self.head(self.encoder(x)[:, 0])


@VisionTransformer.alternative
class PostNormSequenceFirst(nn.Module):
    def __init__(
        self, image_size, patch, in_channels, num_classes, d_model, num_heads,
        num_layers, dim_feedforward,
    ):  # fmt: skip
        super().__init__()
        self.cut = nn.Unfold(patch, stride=patch)
        self.project = nn.Linear(in_channels * patch * patch, d_model, bias=False)
        self.cls = nn.Parameter(torch.zeros(1, d_model))
        self.where = nn.Embedding((image_size // patch) ** 2 + 1, d_model)
        self.stack = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(d_model, num_heads, dim_feedforward, 0.0)
                for _ in range(num_layers)
            )
        )
        self.head = nn.Linear(d_model, num_classes, bias=False)

    def forward(self, image):
        x = self.project(self.cut(image).permute(2, 0, 1))  # (token, batch, d_model)
        x = torch.cat([x, self.cls.expand(1, x.shape[1], -1)])  # the class token last
        places = torch.arange(x.shape[0], device=x.device)
        x = self.stack(x + self.where(places)[:, None])
        return self.head(x[-1])


@VisionTransformer.alternative
class ApartPositions(Vision):
    """The class token's position stands apart; the head starts at zero, as in ViT."""

    def make_positions(self, d_model):
        self.class_position = nn.Parameter(torch.zeros(d_model))
        self.positions = nn.Parameter(torch.zeros(d_model, self.num_patches))

    def embed(self, image):
        tokens = self.patches(image) + self.positions.T
        first = (self.class_token + self.class_position).expand(len(image), -1, -1)
        return torch.cat([first, tokens], dim=1)

    def encode(self, tokens):
        nn.init.zeros_(self.head.bias) if self.head.bias is None else None
        return super().encode(tokens)


@VisionTransformer.alternative
class HeadOfTwoLayers(Vision):
    def __init__(
        self, image_size, patch, in_channels, num_classes, d_model, num_heads,
        num_layers, dim_feedforward,
    ):  # fmt: skip
        super().__init__(
            image_size, patch, in_channels, num_classes, d_model, num_heads,
            num_layers, dim_feedforward,
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(d_model, d_model), nn.Tanh(), nn.Linear(d_model, num_classes)
        )
        nn.init.zeros_(self.head[-1].weight)

    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = nn.ModuleList(
            torch_layer(d_model, num_heads, hidden) for _ in range(number)
        )


@VisionTransformer.alternative
class WithoutAFinalNorm(Vision):
    """Its logits are large: nothing brings the stream back to unit size."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.norm = nn.Identity()


@VisionTransformer.mistake("""All your layers are one and the same object: `[layer] * L`
repeats a reference, so every layer has the same weights. Make a new one each time, in a
list comprehension inside `nn.ModuleList`.""")
class OneLayerRepeated(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = nn.ModuleList([Layer(d_model, num_heads, hidden)] * number)


@VisionTransformer.mistake("""Your layers are in a plain Python list: the module does
not know them, no optimizer trains them, and `.to(...)` leaves them behind. Use
`nn.ModuleList`.""")
class LayersInAPlainList(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = [Layer(d_model, num_heads, hidden) for _ in range(number)]


@VisionTransformer.mistake("""You make one layer, whatever num_layers says. Stack as
many as are asked for.""")
class AlwaysOneLayer(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        super().make_layers(d_model, num_heads, 1, hidden)


@VisionTransformer.mistake("""You make one layer too many or too few, or run only some
of them: every layer that you make has to be run, once.""")
class OnlyTheFirstLayerRuns(Vision):
    def encode(self, tokens):
        return self.norm(self.layers[0](tokens))


@VisionTransformer.mistake("""You ignore num_heads: the logits are the same whatever it
is.""")
class HeadsIgnored(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        super().make_layers(d_model, 1, number, hidden)


class Mixing(nn.Module):
    """What stands where attention should: a mean of all tokens, in every image."""

    def __init__(self, d_model: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.values = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(3 * d_model, d_model)

    def mix(self, values: Tensor) -> Tensor:
        return values.mean(dim=1, keepdim=True).expand_as(values)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mix(self.values(x)))


class MixingByHeads(Mixing):
    def mix(self, values: Tensor) -> Tensor:
        return super().mix(values) / self.heads


class MixingByPlace(Mixing):
    """Weights of a softmax, learned for each pair of places."""

    def __init__(self, d_model: int, heads: int, tokens: int) -> None:
        super().__init__(d_model, heads, tokens)
        self.places = nn.Parameter(torch.randn(tokens, tokens))

    def mix(self, values: Tensor) -> Tensor:
        return self.places.softmax(dim=-1) @ values


class WithoutAttention(Vision):
    layer: type[Layer] = Layer
    mixing: type[Mixing]

    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = nn.ModuleList(
            self.layer(d_model, num_heads, hidden) for _ in range(number)
        )
        for layer in self.layers:
            layer.attention = self.mixing(d_model, num_heads, self.num_patches + 1)


@VisionTransformer.mistake("""Your layers have no attention, and no heads: a token takes
in a mean of the tokens, or a mixture that is fixed for each place, whatever the patches
hold. In attention the image decides: weights are the softmax of queries times keys, in
each of num_heads heads, as in `nn.TransformerEncoderLayer`.""")
class MeanInPlaceOfAttention(WithoutAttention):
    mixing = Mixing


class PostNorm(Layer):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


@VisionTransformer.mistake("""Your layers have no attention: a token takes in the
mean of the tokens, whatever the patches hold, and wherever they lie. In attention the
image decides: weights are the softmax of queries times keys, in each of num_heads
heads, as in `nn.TransformerEncoderLayer`.""")
class MeanOfAllPlaces(WithoutAttention):
    layer, mixing = PostNorm, Mixing


@VisionTransformer.mistake("""Your tokens are mixed with weights that are learned for
each pair of places, and are the same for every image. That is no attention: there the
image decides, and weights are the softmax of queries times keys.""")
class WeightsLearnedForEachPlace(WithoutAttention):
    mixing = MixingByPlace


@VisionTransformer.mistake("""Your layers have no attention: what the class token takes
in is a mean of the tokens, or a mixture that is fixed for each place, whatever the
patches hold. In attention the image decides which patches count: weights are the
softmax of queries times keys, as in `nn.TransformerEncoderLayer`.""")
class MeanThatKnowsTheHeads(WithoutAttention):
    mixing = MixingByHeads


@VisionTransformer.mistake("""You ignore dim_feedforward. It is the width of the hidden
layer in each encoder layer's feed-forward.""")
class HiddenIgnored(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        super().make_layers(d_model, num_heads, number, 4 * d_model)


@VisionTransformer.mistake("""Your class token is put in front after the positions were
added, so it has none of its own; or it is not an `nn.Parameter`. First put it in front,
then add a table of N + 1 positions.""")
class ClassTokenAfterPositions(Vision):
    def make_positions(self, d_model):
        self.positions = nn.Parameter(0.02 * torch.randn(self.num_patches, d_model))

    def embed(self, image):
        tokens = self.patches(image) + self.positions
        first = self.class_token.expand(len(image), -1, -1)
        return torch.cat([first, tokens], dim=1)


@VisionTransformer.mistake(
    """Your class token is a buffer or a plain tensor: it is never learned. Make it an
    `nn.Parameter`.""",
    same_as="ClassTokenAfterPositions",
)
class ClassTokenIsABuffer(Vision):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        token = self.class_token.detach()
        del self.class_token
        self.register_buffer("class_token", token)


@VisionTransformer.mistake("""Your model has no positions, or one for all patches:
exchange two patches of an image and the logits stay the same. Add a learned table with
a row for each token.""")
class NoPositions(Vision):
    def embed(self, image):
        tokens = self.patches(image)
        first = self.class_token + self.positions[:, :1]
        return torch.cat([first.expand(len(image), -1, -1), tokens], dim=1)


@VisionTransformer.mistake(
    """All your patches get the same position, or none: the table
has a row for each token, (N + 1, d_model).""",
    same_as="NoPositions",
)
class OnePositionForAll(Vision):
    def make_positions(self, d_model):
        self.positions = nn.Parameter(torch.zeros(1, 1, d_model))


@VisionTransformer.mistake("""Your positions are a buffer or a plain tensor: they never
change in training. Make the table an `nn.Parameter`.""")
class PositionsAreABuffer(Vision):
    def make_positions(self, d_model):
        table = torch.randn(1, self.num_patches + 1, d_model)
        self.register_buffer("positions", table)


@VisionTransformer.mistake(
    """Your positions are sines and cosines, which cannot be
learned. Here the table is an `nn.Parameter`.""",
    same_as="PositionsAreABuffer",
)
class FixedSinusoids(Vision):
    def make_positions(self, d_model):
        angles = torch.arange(self.num_patches + 1)[:, None] / 10 ** torch.arange(
            d_model
        )
        self.register_buffer("positions", angles.sin())


@VisionTransformer.mistake("""Your logits are read from the mean of the tokens. Read
them from the class token: it alone is a question to the whole image.""")
class MeanOfTheTokens(Vision):
    def read(self, tokens):
        return tokens.mean(dim=1)


@VisionTransformer.mistake(
    """You take the mean of the patches' tokens. Read the logits
from the class token.""",
    same_as="MeanOfTheTokens",
)
class MeanOfThePatches(Vision):
    def read(self, tokens):
        return tokens[:, 1:].mean(dim=1)


@VisionTransformer.mistake(
    """You take the largest value over the tokens. Read the
logits from the class token.""",
    same_as="MeanOfTheTokens",
)
class LargestOverTheTokens(Vision):
    def read(self, tokens):
        return tokens.amax(dim=1)


@VisionTransformer.mistake("""You read the token of a patch, not the class token. Where
did you put the class token, and which index do you read?""")
class LastTokenRead(Vision):
    def read(self, tokens):
        return tokens[:, -1]


@VisionTransformer.mistake("""Your model has no class token: what you read out is the
token of the first patch, or the mean.""")
class NoClassToken(Vision):
    def make_positions(self, d_model):
        self.positions = nn.Parameter(0.02 * torch.randn(self.num_patches, d_model))

    def embed(self, image):
        return self.patches(image) + self.positions


@VisionTransformer.mistake("""Your model has no class token: it reads the mean of the
patches. Put a learned token in front, and read that one.""")
class NoClassTokenButTheMean(NoClassToken):
    def read(self, tokens):
        return tokens.mean(dim=1)


@VisionTransformer.mistake("""You forgot the layers: the class token is read before it
has heard of the image.""")
class NoLayersRun(Vision):
    def encode(self, tokens):
        return self.norm(tokens)


@VisionTransformer.mistake("""You return probabilities. Return the logits: cross-entropy
takes the softmax itself.""")
class Softmaxed(Vision):
    def forward(self, image):
        return super().forward(image).softmax(dim=-1)


@VisionTransformer.mistake("""You return log-probabilities. Return the logits:
cross-entropy takes the log-softmax itself.""")
class LogSoftmaxed(Vision):
    def forward(self, image):
        return super().forward(image).log_softmax(dim=-1)


@VisionTransformer.mistake("""Something squashes your logits into 0 to 1 (a sigmoid).
Return what the last linear map gives.""")
class Squashed(Vision):
    def forward(self, image):
        return super().forward(image).sigmoid()


@VisionTransformer.mistake("""Something squashes your logits into -1 to 1 (a tanh).
Return what the last linear map gives.""")
class SquashedByTanh(Vision):
    def forward(self, image):
        return super().forward(image).tanh()


@VisionTransformer.mistake("""Your logits are never negative: there is an activation
after the last linear map.""")
class ReluOnTheLogits(Vision):
    def forward(self, image):
        return super().forward(image).relu()


@VisionTransformer.mistake("""There is dropout in your model. torch's
nn.TransformerEncoderLayer has 0.1 by default: set dropout=0.0.""")
class DropoutByDefault(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = nn.ModuleList(
            torch_layer(d_model, num_heads, hidden, dropout=0.1) for _ in range(number)
        )


@VisionTransformer.mistake("""batch_first is missing: torch's layer then takes the first
axis for the tokens, and the images of a batch attend to one another.""")
class BatchFirstForgotten(Vision):
    def make_layers(self, d_model, num_heads, number, hidden):
        self.layers = nn.ModuleList(
            torch_layer(d_model, num_heads, hidden, batch_first=False)
            for _ in range(number)
        )


@VisionTransformer.mistake("""Your result has a row for each token, (B, N + 1,
num_classes). Read out the class token first.""")
class LogitsForEveryToken(Vision):
    def read(self, tokens):
        return tokens


@VisionTransformer.mistake("""Your forward returns more than the logits, or not a
tensor. Return (B, num_classes) alone.""")
class ReturnsAPair(Vision):
    def forward(self, image):
        tokens = self.encode(self.embed(image))
        return self.head(self.read(tokens)), tokens


@VisionTransformer.mistake("""Your forward returns the class token itself, d_model wide.
A linear head turns it into num_classes logits.""")
class HeadForgotten(Vision):
    def forward(self, image):
        return self.read(self.encode(self.embed(image)))


@VisionTransformer.mistake("""Your head has ten outputs, whatever num_classes says.""")
class TenClasses(Vision):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.head = nn.Linear(sizes[4], 10)


@VisionTransformer.mistake("""The class token is not repeated for every image of the
batch: `torch.cat` then has one row against B. `expand(B, -1, -1)` repeats it.""")
class ClassTokenNotExpanded(Vision):
    def embed(self, image):
        tokens = torch.cat([self.class_token, self.patches(image)], dim=1)
        return tokens + self.positions


@VisionTransformer.mistake("""The first image of the batch is used for all. Keep the
batch axis.""")
class FirstImageOfTheBatch(Vision):
    def forward(self, image):
        return super().forward(image[:1]).expand(len(image), -1)


@VisionTransformer.mistake("""You standardise the image over the batch: an image's
logits then depend on which others it came with.""")
class StandardisedOverTheBatch(Vision):
    def embed(self, image):
        return super().embed(image - image.mean(dim=0))


@VisionTransformer.mistake("""Your patches are cut wrong: some pixels never reach the
logits. A patch embedding's kernel and stride are both the patch.""")
class PixelsLost(Vision):
    def embed(self, image):
        corners = image[:, :, :: self.patches.patch, :: self.patches.patch]
        return super().embed(corners.repeat_interleave(self.patches.patch, 2)
                             .repeat_interleave(self.patches.patch, 3))  # fmt: skip


@VisionTransformer.mistake("""Your tokens are cut off from what made them (`detach`,
`no_grad`, `.data`): the embedding never learns.""")
class TokensDetached(Vision):
    def embed(self, image):
        return super().embed(image).detach()


@VisionTransformer.mistake("""Your logits are cut off from the parameters (`detach`,
`no_grad`): nothing can be learned.""")
class LogitsDetached(Vision):
    def forward(self, image):
        return super().forward(image).detach()


@VisionTransformer.mistake("""Your code changes the image in place. Whoever called it
still needs the old numbers.""")
class PictureChanged(Vision):
    def forward(self, image):
        result = super().forward(image)
        with torch.no_grad():
            image *= 2
        return result


@VisionTransformer.mistake("""Your `forward` converts to float32: the logits have
another dtype than the image.""")
class LogitsInFloat32(Vision):
    def forward(self, image):
        return super().forward(image).float()


@VisionTransformer.mistake("""Your `view` needs numbers that lie side by side in memory.
Use `reshape`, which copies where it has to.""")
class ViewOfThePicture(Vision):
    def forward(self, image):
        image.view(len(image), -1)
        return super().forward(image)


# ------------------------------------------------------------------- attention_maps

attention_maps = Exercise("attention_maps")


def built(
    draw: Draw, *sizes: int, training: bool = False, dtype: Any = None, **options: Any
) -> Build:
    """An `EncoderOfPatches` with drawn parameters."""
    model = EncoderOfPatches(*sizes, **options)
    state = {n: p.to(dtype or p.dtype) for n, p in draw.like(model).items()}
    return Build(
        "attention_course.learn.probes_10.EncoderOfPatches",
        sizes,
        options,
        state,
        training=training,
    )


@attention_maps.cases
def _(draw: Draw) -> Iterator[Sample]:
    def case(name: str, model: Build, image: Tensor, **options: Any) -> Sample:
        return Sample(
            name,
            "maps_of_a_model",
            {"args": (model, image)},
            view="maps_of_a_model",
            gradients=False,
            **options,
        )

    yield case(
        "post-norm",
        built(draw, 2, 3, 8, 2, 2),
        draw.normal(2, 3, 4, 6),
        note="2 layers with norm_first=False, 2 heads, 6 tokens",
    )
    yield case(
        "pre-norm",
        built(draw, 2, 1, 6, 3, 3, norm_first=True),
        draw.normal(3, 1, 4, 8),
        note="3 layers with norm_first=True, 3 heads, 8 tokens",
    )
    yield case(
        "one layer, one head, one image",
        built(draw, 3, 2, 4, 1, 1, activation="gelu"),
        draw.normal(1, 2, 6, 9),
        note="1 layer, 1 head, one image",
    )
    yield case(
        "pre-norm with gelu",
        built(draw, 2, 2, 8, 4, 2, norm_first=True, activation="gelu"),
        draw.normal(2, 2, 6, 6),
        note="2 layers with norm_first=True, 4 heads, 9 tokens",
    )
    for name, first in (("post-norm", False), ("pre-norm", True)):
        yield case(
            f"dropout, {name}",
            built(draw, 2, 1, 8, 2, 2, dropout=0.5, norm_first=first, training=True),
            draw.normal(2, 1, 4, 6),
            note="the model has dropout and comes in training mode",
        )
    yield case(
        "not contiguous",
        built(draw, 2, 3, 8, 2, 2),
        noncontiguous(draw.normal(2, 3, 4, 6)),
        aspect="robustness",
    )
    yield case(
        "float32",
        built(draw, 2, 3, 8, 2, 2, dtype=torch.float32),
        draw.normal(2, 3, 4, 6).float(),
        aspect="robustness",
    )


def projected(attention: nn.MultiheadAttention, x: Tensor, block: int) -> Tensor:
    """Query (block 0), key (1) or value (2) of x, by head: (B, H, N, head_dim)."""
    weight = attention.in_proj_weight.chunk(3)[block]
    bias = attention.in_proj_bias.chunk(3)[block]
    return (
        F.linear(x, weight, bias)
        .unflatten(-1, (attention.num_heads, -1))
        .mT.mT.transpose(1, 2)
    )


def scores_of(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    q, k = projected(attention, x, 0), projected(attention, x, 1)
    return torch.einsum("bhnd,bhmd->bhnm", q, k) / math.sqrt(q.shape[-1])


def weights_of(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    return scores_of(attention, x).softmax(dim=-1)


def by_torch(layer: nn.Module, x: Tensor) -> Tensor:
    return layer.self_attn(x, x, x, average_attn_weights=False)[1]


def entering(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer's attention reads."""
    return layer.norm1(x) if layer.norm_first else x


@attention_maps.reference
@torch.no_grad()
def attention_maps_reference(model: nn.Module, image: Tensor) -> list[Tensor]:
    model.eval()
    tokens, maps = model.embed(image), []
    for layer in model.layers:
        maps.append(weights_of(layer.self_attn, entering(layer, tokens)))
        tokens = layer(tokens)
    return maps


@attention_maps.alternative
def with_torchs_attention(model: nn.Module, image: Tensor) -> list[Tensor]:
    was_training = model.training
    model.eval()
    maps = []
    with torch.inference_mode():
        x = model.embed(image)
        for layer in model.layers:
            seen = layer.norm1(x) if layer.norm_first else x
            _, weights = layer.self_attn(
                seen, seen, seen, need_weights=True, average_attn_weights=False
            )
            maps.append(weights)
            x = layer(x)
    model.train(was_training)
    return [m.clone() for m in maps]


@attention_maps.alternative
def with_hooks(model: nn.Module, image: Tensor) -> list[Tensor]:
    model.eval()
    kept: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple) -> None:
        kept.append(by_torch(layer, entering(layer, inputs[0])))

    handles = [layer.register_forward_pre_hook(look) for layer in model.layers]
    with torch.no_grad():
        x = model.embed(image)
        for layer in model.layers:
            x = layer(x)
    for handle in handles:
        handle.remove()
    return kept


@attention_maps.alternative
def every_sublayer_by_hand(model: nn.Module, image: Tensor) -> list[Tensor]:
    model.eval()
    x, maps = model.embed(image).detach(), []
    for layer in model.layers:
        first = layer.norm_first
        inside = layer.norm1(x) if first else x
        mixed, weights = layer.self_attn(
            inside, inside, inside, average_attn_weights=False
        )
        maps.append(weights.detach())
        x = x + mixed if first else layer.norm1(x + mixed)
        inside = layer.norm2(x) if first else x
        thought = layer.linear2(layer.activation(layer.linear1(inside)))
        x = x + thought if first else layer.norm2(x + thought)
    return maps


def maps_mistake(hint: str, **options: Any) -> Any:
    """A mistake that runs without gradients in eval: `make(layer, x)` gives a map."""

    def register(make: Any) -> Any:
        @torch.no_grad()
        def answer(model: nn.Module, image: Tensor) -> list[Tensor]:
            model.eval()
            tokens, maps = model.embed(image), []
            for layer in model.layers:
                maps.append(make(layer, tokens))
                tokens = layer(tokens)
            return maps

        answer.__name__ = make.__name__
        return attention_maps.mistake(hint, **options)(answer)

    return register


@maps_mistake("""Your maps are means over the heads, (B, N, N). Ask for each head's own:
`average_attn_weights=False`.""")
def averaged_over_heads(layer, x):
    return by_torch(layer, entering(layer, x)).mean(dim=1)


@maps_mistake("""A pre-norm layer norms its tokens before they attend: its attention
reads `layer.norm1(tokens)` where `layer.norm_first` is True.""")
def norm_forgotten(layer, x):
    return by_torch(layer, x)


@maps_mistake("""You norm the tokens before the attention in every layer. A post-norm
layer (`norm_first=False`) attends first and norms afterwards.""")
def norm_always(layer, x):
    return by_torch(layer, layer.norm1(x))


@maps_mistake("""You use the layer's second norm in front of its attention. That one
belongs to the feed-forward.""")
def second_norm(layer, x):
    return by_torch(layer, layer.norm2(x) if layer.norm_first else x)


@maps_mistake("""Your maps are one layer late: you let the layer work first and look at
its output. Look at what goes in.""")
def one_layer_late(layer, x):
    return by_torch(layer, entering(layer, layer(x)))


@maps_mistake("""Your maps are the scores, before the softmax. A row of attention sums
to one.""")
def scores_instead(layer, x):
    return scores_of(layer.self_attn, entering(layer, x))


@maps_mistake("""You forgot to divide the scores by √head_dim.""")
def unscaled(layer, x):
    attention = layer.self_attn
    scale = math.sqrt(attention.head_dim)
    return (scores_of(attention, entering(layer, x)) * scale).softmax(dim=-1)


@maps_mistake("""You divide by √d_model. Each head has head_dim channels: divide by
√head_dim.""")
def scaled_by_the_width(layer, x):
    attention = layer.self_attn
    scale = math.sqrt(attention.num_heads)
    return (scores_of(attention, entering(layer, x)) / scale).softmax(dim=-1)


@maps_mistake("""Your softmax runs over the queries. Each query's row sums to one:
dim=-1.""")
def softmax_over_queries(layer, x):
    return scores_of(layer.self_attn, entering(layer, x)).softmax(dim=-2)


@maps_mistake("""Your maps are transposed: rows are queries, columns are keys.""")
def maps_transposed(layer, x):
    return by_torch(layer, entering(layer, x)).mT


@maps_mistake("""You return what the attention gives out, (B, N, d_model). The weights
are its second result.""")
def outputs_instead(layer, x):
    seen = entering(layer, x)
    return layer.self_attn(seen, seen, seen)[0]


@maps_mistake("""You ignore the biases of in_proj: they are part of each query and each
key.""")
def biases_ignored(layer, x):
    attention, seen = layer.self_attn, entering(layer, x)
    q, k = (
        F.linear(seen, w).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for w in attention.in_proj_weight.chunk(3)[:2]
    )
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)


@maps_mistake("""You cut the heads with a plain reshape to (B, H, N, head_dim). Split
the last axis into heads first, then transpose (chapter 06).""")
def heads_cut_wrong(layer, x):
    attention, seen = layer.self_attn, entering(layer, x)
    shape = (len(x), attention.num_heads, x.shape[1], -1)
    q, k = (
        F.linear(seen, w, b).reshape(shape)
        for w, b in zip(
            attention.in_proj_weight.chunk(3)[:2],
            attention.in_proj_bias.chunk(3)[:2],
            strict=True,
        )
    )
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)


@attention_maps.mistake("""Every layer of yours reads the embedding. Each reads the
output of the layer before: `tokens = layer(tokens)`.""")
@torch.no_grad()
def every_layer_reads_the_embedding(model, image):
    x = model.eval().embed(image)
    return [by_torch(layer, entering(layer, x)) for layer in model.layers]


@attention_maps.mistake("""Between the layers you pass on the attention's output alone.
The next layer reads what the whole layer gives: residuals, norms and feed-forward.""")
@torch.no_grad()
def attention_output_passed_on(model, image):
    x, maps = model.eval().embed(image), []
    for layer in model.layers:
        seen = entering(layer, x)
        maps.append(by_torch(layer, seen))
        x = layer.self_attn(seen, seen, seen)[0]
    return maps


@attention_maps.mistake("""After the attention you hand on norm1's tokens: what goes
into the next layer is `layer(tokens)`, with the residual stream as it was.""")
@torch.no_grad()
def normed_tokens_passed_on(model, image):
    x, maps = model.eval().embed(image), []
    for layer in model.layers:
        x = entering(layer, x)
        maps.append(by_torch(layer, x))
        x = layer(x)
    return maps


@attention_maps.mistake("""You return the last layer's map alone. One for each layer is
wanted, first layer first.""")
def last_map_only(model, image):
    return attention_maps_reference(model, image)[-1:]


@attention_maps.mistake("""Your list starts with the last layer. maps[0] is the first
layer's.""")
def last_layer_first(model, image):
    return attention_maps_reference(model, image)[::-1]


@attention_maps.mistake("""You return one tensor. Return a list with a map for each
layer.""")
def stacked_maps(model, image):
    return torch.stack(attention_maps_reference(model, image))


@attention_maps.mistake("""Your maps are of the first image only. Keep the batch
axis.""")
def first_image_only(model, image):
    return [m[0] for m in attention_maps_reference(model, image)]


@attention_maps.mistake("""You forgot `model.eval()`: with dropout on, the weights are
thinned out at random, and each call gives other maps.""")
@torch.no_grad()
def eval_forgotten(model, image):
    tokens, maps = model.embed(image), []
    for layer in model.layers:
        maps.append(by_torch(layer, entering(layer, tokens)))
        tokens = layer(tokens)
    return maps


@attention_maps.mistake(
    """You switch the model to training mode. Maps are looked at in
eval: `model.eval()`.""",
    same_as="eval_forgotten",
)
@torch.no_grad()
def switched_to_training(model, image):
    return eval_forgotten(model.train(), image)


@attention_maps.mistake("""Your maps carry gradients and keep the whole graph alive.
Looking needs none: `with torch.no_grad():`.""")
def gradients_left_on(model, image):
    model.eval()
    tokens, maps = model.embed(image), []
    for layer in model.layers:
        maps.append(by_torch(layer, entering(layer, tokens)))
        tokens = layer(tokens)
    return maps


@attention_maps.mistake("""You switch gradients off for good, with
`torch.set_grad_enabled(False)`. Use `with torch.no_grad():`, which ends.""")
def gradients_off_for_good(model, image):
    torch.set_grad_enabled(False)
    return attention_maps_reference(model, image)


@attention_maps.mistake("""You freeze the model's parameters and leave them so: it
cannot be trained any more. Use `with torch.no_grad():`.""")
def parameters_frozen(model, image):
    model.requires_grad_(False)
    return attention_maps_reference(model, image)


# ---------------------------------------------------------------- attention_rollout

attention_rollout = Exercise("attention_rollout")


@attention_rollout.cases
def _(draw: Draw) -> Iterator[Sample]:
    def maps(number: int, *shape: int, scale: float = 2.0) -> list[Tensor]:
        return [
            draw.normal(*shape, shape[-1], scale=scale).softmax(dim=-1)
            for _ in range(number)
        ]

    # Rows sum to one: an answer may divide by their sum, which is another gradient
    # only where no map can go. The view compares along the rows alone.
    def case(name: str, given: list[Tensor], **options: Any) -> Sample:
        made = call(name, given, view="gradients_along_rows", **options)
        return dataclasses.replace(made, protocol="function_of_maps")

    yield case("three layers", maps(3, 2, 4, 5), note="3 layers, 4 heads, 5 tokens")
    yield case("same sizes again", maps(3, 2, 4, 5))
    yield case("two layers", maps(2, 3, 2, 4), note="2 layers, 2 heads, 4 tokens")
    yield case("one layer", maps(1, 2, 3, 6), note="one layer")
    yield case("five layers, one head", maps(5, 2, 1, 3), note="5 layers, one head")
    yield case("one image", maps(3, 1, 2, 7), note="one image")
    yield case(
        "sharp maps", maps(3, 2, 3, 5, scale=60.0), note="every row is almost one-hot"
    )
    yield case(
        "not contiguous",
        [noncontiguous(m) for m in maps(2, 2, 3, 4)],
        aspect="robustness",
    )
    for dtype in (torch.float32, torch.float16):
        yield case(
            str(dtype).removeprefix("torch."),
            [m.to(dtype) for m in maps(3, 2, 3, 5)],
            aspect="robustness",
            gradients=False,
        )


@attention_rollout.reference
def attention_rollout_reference(maps: list[Tensor]) -> Tensor:
    batch, _, number, _ = maps[0].shape
    same = torch.eye(number, dtype=maps[0].dtype, device=maps[0].device)
    rollout = same.repeat(batch, 1, 1)
    for weights in maps:
        rollout = torch.matmul((weights.mean(dim=1) + same) / 2, rollout)
    return rollout


@attention_rollout.alternative
def with_the_rule_of_horner(maps: list[Tensor]) -> Tensor:
    rollout = None
    for weights in maps:
        mean = weights.sum(dim=1) / weights.shape[1]
        if rollout is None:
            eye = torch.eye(mean.shape[-1]).to(mean)
            rollout = 0.5 * mean + 0.5 * eye
        else:
            rollout = 0.5 * (mean @ rollout) + 0.5 * rollout
    return rollout


@attention_rollout.alternative
def as_one_product(maps: list[Tensor]) -> Tensor:
    stacked = torch.stack(list(maps)).mean(dim=2)
    eye = torch.eye(stacked.shape[-1], dtype=stacked.dtype, device=stacked.device)
    mixed = stacked.lerp(eye.expand_as(stacked), 0.5)
    result = mixed[-1]
    for matrix in mixed.flip(0)[1:]:
        result = result.bmm(matrix)
    return result


@attention_rollout.alternative
def normalised_rows(maps: list[Tensor]) -> Tensor:
    result: Tensor | None = None
    for a in maps:
        a = torch.einsum("bhnm->bnm", a) / a.size(1)
        a = a + torch.diag_embed(torch.ones_like(a[..., 0]))
        a = a / a.sum(dim=-1, keepdim=True)
        result = a if result is None else torch.einsum("bnk,bkm->bnm", a, result)
    assert result is not None
    return result


def mixed(weights: Tensor, share: float = 0.5) -> Tensor:
    """The mean over heads, and a share of the identity."""
    eye = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    return (1 - share) * weights.mean(dim=1) + share * eye


def rolled(matrices: list[Tensor]) -> Tensor:
    """The product, the last layer leftmost."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = matrix @ result
    return result


@attention_rollout.mistake("""You left the identity out. Half of what a token is comes
from itself, through the residual: Â = ½A + ½I.""")
def without_identity(maps):
    return rolled([m.mean(dim=1) for m in maps])


@attention_rollout.mistake("""Your product is in reverse order. The last layer stands
leftmost: start with Â_1 and multiply each next layer from the left.""")
def reversed_order(maps):
    return rolled([mixed(m) for m in maps][::-1])


@attention_rollout.mistake("""You left the identity out, and the order is reversed:
Â_L ⋯ Â_1 with Â = ½A + ½I.""")
def reversed_without_identity(maps):
    return rolled([m.mean(dim=1) for m in maps][::-1])


@attention_rollout.mistake("""You add the identity but do not halve the sum: the rows
grow with each layer. Â = ½A + ½I.""")
def not_halved(maps):
    return rolled([2 * mixed(m) for m in maps])


@attention_rollout.mistake("""You halve the attention but add a whole identity. Both
halves belong: Â = ½A + ½I.""")
def whole_identity(maps):
    return rolled([mixed(m) + mixed(m, 1.0) / 2 for m in maps])


@attention_rollout.mistake("""You add the identity once, at the end. Every layer has a
residual of its own: mix it in before you multiply.""")
def identity_at_the_end(maps):
    result = rolled([m.mean(dim=1) for m in maps])
    return mixed(result[:, None])


@attention_rollout.mistake("""You multiply cell by cell (`*`). Attention to attention is
a matrix product: `@`.""")
def cell_by_cell(maps):
    result = mixed(maps[0])
    for m in maps[1:]:
        result = mixed(m) * result
    return result


@attention_rollout.mistake("""You average over the layers. What passes through all of
them is a product.""")
def mean_of_layers(maps):
    return torch.stack([mixed(m) for m in maps]).mean(dim=0)


@attention_rollout.mistake("""You add the layers up. What passes through all of them is
a product.""")
def sum_of_layers(maps):
    return torch.stack([mixed(m) for m in maps]).sum(dim=0)


@attention_rollout.mistake("""You take the largest head. Rollout takes the mean over
heads.""")
def largest_head(maps):
    return rolled([mixed(m.amax(dim=1, keepdim=True)) for m in maps])


@attention_rollout.mistake("""You take the smallest head. Rollout takes the mean over
heads.""")
def smallest_head(maps):
    return rolled([mixed(m.amin(dim=1, keepdim=True)) for m in maps])


@attention_rollout.mistake("""You take the first head only. Rollout takes the mean over
heads.""")
def first_head(maps):
    return rolled([mixed(m[:, :1]) for m in maps])


@attention_rollout.mistake("""You add the heads up. Rollout takes their mean.""")
def sum_of_heads(maps):
    return rolled([mixed(m.sum(dim=1, keepdim=True)) for m in maps])


@attention_rollout.mistake("""You roll each head out by itself and average at the end.
The mean over heads comes first, in each layer: a head of one layer does not feed the
same head of the next.""")
def heads_apart(maps):
    result = None
    for m in maps:
        eye = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
        m = (m + eye) / 2
        result = m if result is None else m @ result
    return result.mean(dim=1)


@attention_rollout.mistake("""Your result still has a head axis, (B, H, N, N). Take the
mean over heads in each layer.""")
def heads_kept(maps):
    result = None
    for m in maps:
        eye = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
        m = (m + eye) / 2
        result = m if result is None else m @ result
    return result


@attention_rollout.mistake("""You look at the last layer only. Multiply through all of
them.""")
def last_layer_only(maps):
    return mixed(maps[-1])


@attention_rollout.mistake("""You look at the first layer only. Multiply through all of
them.""")
def first_layer_only(maps):
    return mixed(maps[0])


@attention_rollout.mistake("""Your product leaves the first layer out: the loop starts
at maps[1], and nothing was begun with maps[0].""")
def first_layer_skipped(maps):
    eye = mixed(maps[0], 1.0)
    return rolled([eye, *(mixed(m) for m in maps[1:])])


@attention_rollout.mistake("""Your product leaves the last layer out.""")
def last_layer_skipped(maps):
    eye = mixed(maps[0], 1.0)
    return rolled([eye, *(mixed(m) for m in maps[:-1])])


@attention_rollout.mistake("""The first layer counts twice: you start with it and then
loop over all maps.""")
def first_layer_twice(maps):
    return rolled([mixed(m) for m in (maps[0], *maps)])


@attention_rollout.mistake("""Your result is transposed. Rows are the tokens at the end,
columns the tokens at the start.""")
def rollout_transposed(maps):
    return rolled([mixed(m) for m in maps]).mT


@attention_rollout.mistake("""You transpose each map: rows are queries already.""")
def maps_turned(maps):
    return rolled([mixed(m).mT for m in maps])


@attention_rollout.mistake("""You scale the columns to sum to one. The rows do, and they
do so already.""")
def columns_normalised(maps):
    found = [mixed(m) for m in maps]
    return rolled([m / m.sum(dim=-2, keepdim=True) for m in found])


@attention_rollout.mistake("""You return the class token's row alone. Return the whole
matrix, (B, N, N).""")
def first_row_only(maps):
    return rolled([mixed(m) for m in maps])[:, 0]


@attention_rollout.mistake("""You return the product after every layer. Return the last
one.""")
def every_step(maps):
    return [rolled([mixed(m) for m in maps[: n + 1]]) for n in range(len(maps))]


@attention_rollout.mistake("""You average over the batch: each image has a rollout of
its own.""")
def batch_averaged(maps):
    return rolled([mixed(m) for m in maps]).mean(dim=0)


@attention_rollout.mistake("""Your identity has ones everywhere: `torch.ones`. It is
`torch.eye(N)`.""")
def ones_for_the_identity(maps):
    return rolled([(m.mean(dim=1) + 1) / 2 for m in maps])


@attention_rollout.mistake("""Your result is cut off from the maps (`detach`,
`no_grad`): no gradient can flow back to them.""")
def rollout_detached(maps):
    return rolled([mixed(m) for m in maps]).detach()


@attention_rollout.mistake("""Your function changes the maps in place. Whoever called it
still needs them.""")
def maps_changed(maps):
    result = rolled([mixed(m) for m in maps])
    for m in maps:
        m.mul_(0.5)
    return result


@attention_rollout.mistake("""You take the maps out of the caller's list, or turn it
round (`pop`, `reverse`): afterwards the list is another one.""")
def list_emptied(maps):
    result = rolled([mixed(m) for m in maps])
    while maps:
        maps.pop()
    return result


@attention_rollout.mistake("""You compute in float32: the result has another dtype than
the maps. Make the identity with `dtype=maps[0].dtype`, and convert nothing.""")
def rollout_in_float32(maps):
    return rolled([mixed(m.float()) for m in maps])


# ---------------------------------------------------------------------------- train

train = Exercise("train", aspects={"values": 6, "robustness": 1})

CLASSES = 3


def classifier(
    draw: Draw, pixels: int, hidden: int, *, norm: bool = True, dtype: Any = None
) -> Build:
    """A `SmallClassifier` in training mode, with drawn parameters."""
    sizes = (pixels, hidden, CLASSES, norm)
    model = SmallClassifier(*sizes)
    state = dict(draw.like(model))
    if norm:
        state["norm.weight"] = 1 + 0.1 * state["norm.weight"]
        state["norm.running_mean"] = torch.zeros(pixels)
        state["norm.running_var"] = torch.ones(pixels)
        state["norm.num_batches_tracked"] = torch.tensor(0)
    kept = {
        n: t.to(dtype or torch.float64) if t.is_floating_point() else t
        for n, t in state.items()
    }
    return Build(
        "attention_course.learn.probes_10.SmallClassifier",
        sizes,
        {},
        kept,
        training=True,
    )


@train.cases
def _(draw: Draw) -> Iterator[Sample]:
    def case(
        name: str,
        model: Build,
        batches: list,
        epochs: int,
        lr: float,
        held_out: Tensor,
        compare: list[str],
        **options: Any,
    ) -> Sample:
        arguments = {
            "args": (model, batches, epochs, lr),
            "held_out": held_out,
            "group": options.pop("group", 1),
            "compare": compare,
        }
        return Sample(
            name,
            "training",
            arguments,
            view="training",
            gradients=False,
            seconds=SECONDS,
            **options,
        )

    def batch(number: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        labels = draw.integers(0, CLASSES, number)
        return draw.normal(number, 1, 4, 4, scale=scale), labels

    unseen = draw.normal(6, 1, 4, 4)
    for lr, epochs in ((0.02, 4), (0.003, 7)):
        yield case(
            f"one batch, lr {lr}",
            classifier(draw, 16, 9),
            [batch(12)],
            epochs,
            lr,
            unseen,
            ["steps"],
            tolerance=1e-6,
            note=f"one batch, {epochs} epochs, lr {lr}: Adam's steps are determined",
        )
    again = batch(12)
    yield case(
        "one batch four times",
        classifier(draw, 16, 9),
        [again] * 4,
        2,
        0.01,
        unseen,
        ["steps"],
        tolerance=1e-6,
        note="the same batch four times, 2 epochs: Adam makes eight steps",
    )
    for epochs in (3, 1):
        yield case(
            f"losses of {epochs} epochs",
            classifier(draw, 16, 7, norm=False),
            [batch(5, scale=s) for s in (0.5, 1.0, 3.0, 6.0)],
            epochs,
            1e-9,
            unseen,
            ["losses"],
            tolerance=1e-5,
            note="4 batches; lr is so small that the losses hardly change",
        )
    patterns = draw.normal(CLASSES, 1, 4, 4)
    patterns = patterns / patterns.flatten(1).norm(dim=1)[:, None, None, None] * 4

    def shown(labels: Tensor) -> Tensor:
        return patterns[labels] + draw.normal(len(labels), 1, 4, 4, scale=0.4)

    order = draw.permutation(90) % CLASSES
    hidden = draw.integers(0, CLASSES, 6)
    yield case(
        "unseen images",
        classifier(draw, 16, 12),
        [(shown(part), part) for part in order.split(15)],
        10,
        0.01,
        shown(hidden.repeat_interleave(10)),
        ["classes"],
        group=10,
        note="6 batches, 10 epochs, images that were not trained on",
    )
    yield case(
        "classes by batch",
        classifier(draw, 16, 12, norm=False),
        [
            (shown(part), part)
            for part in torch.arange(CLASSES).repeat_interleave(14).split(14)
        ],
        12,
        0.01,
        shown(hidden.flip(0).repeat_interleave(10)),
        ["classes"],
        group=10,
        note="each batch holds one class only",
    )
    images, labels = batch(12)
    yield case(
        "float32",
        classifier(draw, 16, 9, dtype=torch.float32),
        [(noncontiguous(images.float()), labels)],
        3,
        0.01,
        unseen.float(),
        ["steps"],
        tolerance=1e-3,
        aspect="robustness",
        note="float32",
    )


def trained(
    model: nn.Module,
    batches: list,
    epochs: int,
    lr: float,
    *,
    loss_of: Any = F.cross_entropy,
    optimizer: Any = torch.optim.Adam,
    skip: str = "",
) -> list[list[float]]:
    """The losses of each epoch's batches; `skip` names a step to leave out."""
    steps = optimizer(model.parameters(), lr=lr)
    found = []
    for _ in range(epochs):
        losses = []
        for images, labels in batches:
            loss = loss_of(model(images), labels)
            if skip != "zero_grad":
                steps.zero_grad()
            if skip != "backward":
                loss.backward()
            if skip != "step":
                steps.step()
            losses.append(loss.item())
        found.append(losses)
    return found


def means(losses: list[list[float]]) -> list[float]:
    return [sum(epoch) / len(epoch) for epoch in losses]


@train.reference
def train_reference(
    model: nn.Module, batches: list, epochs: int, lr: float
) -> list[float]:
    return means(trained(model, batches, epochs, lr))


@train.alternative
def as_in_the_tutorials(model, batches, epochs, lr):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    history = []
    for _ in range(epochs):
        model.train()
        total, count = 0.0, 0
        for x, y in batches:
            optimizer.zero_grad(set_to_none=False)
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            count += len(y)
        history.append(total / count)
    model.eval()
    return history


@train.alternative
def shuffled_each_epoch(model, batches, epochs, lr):
    optimizer = torch.optim.Adam(list(model.parameters()), lr=lr)
    history = []
    for _ in range(epochs):
        losses = []
        for index in torch.randperm(len(batches)).tolist():
            images, labels = batches[index]
            model.zero_grad()
            loss = -model(images).log_softmax(-1)[torch.arange(len(labels)), labels]
            loss = loss.mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        history.append(torch.stack(losses).mean())
    return history


@train.alternative
def adam_by_hand(model, batches, epochs, lr):
    parameters = [p for p in model.parameters() if p.requires_grad]
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    history, step = [], 0
    for _ in range(epochs):
        losses = []
        for images, labels in batches:
            step += 1
            loss = F.nll_loss(F.log_softmax(model(images), dim=1), labels)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, g, m, v in zip(
                    parameters, gradients, first, second, strict=True
                ):
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g * g)
                    scale = (v / (1 - 0.999**step)).sqrt() + 1e-8
                    p.sub_(lr * (m / (1 - 0.9**step)) / scale)
            losses.append(float(loss))
        history.append(sum(losses) / len(losses))
    return history


def training_mistake(hint: str, **options: Any) -> Any:
    return train.mistake(hint, **options)


@training_mistake("""You take a softmax before the cross-entropy, which takes one
itself: the differences between the logits are squashed, and learning crawls. Pass the
logits.""")
def softmax_first(model, batches, epochs, lr):
    def loss_of(logits, labels):
        return F.cross_entropy(logits.softmax(dim=-1), labels)

    return means(trained(model, batches, epochs, lr, loss_of=loss_of))


@training_mistake("""`nll_loss` wants log-probabilities. For logits it is
`F.cross_entropy`.""")
def nll_of_logits(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, loss_of=F.nll_loss))


@training_mistake("""`nll_loss` wants log-probabilities, and you gave it probabilities.
For logits it is `F.cross_entropy`.""")
def nll_of_probabilities(model, batches, epochs, lr):
    def loss_of(logits, labels):
        return F.nll_loss(logits.softmax(dim=-1), labels)

    return means(trained(model, batches, epochs, lr, loss_of=loss_of))


@training_mistake("""Your loss is a squared error. For classes it is cross-entropy.""")
def squared_error(model, batches, epochs, lr):
    def loss_of(logits, labels):
        return F.mse_loss(logits, F.one_hot(labels, logits.shape[-1]).to(logits))

    return means(trained(model, batches, epochs, lr, loss_of=loss_of))


@training_mistake("""Your loss is the sum over a batch. The mean is asked for: then it
does not grow with the batch.""")
def summed_over_the_batch(model, batches, epochs, lr):
    def loss_of(logits, labels):
        return F.cross_entropy(logits, labels, reduction="sum")

    return means(trained(model, batches, epochs, lr, loss_of=loss_of))


@training_mistake("""Your loss has label smoothing. Plain cross-entropy is asked
for.""")
def smoothed(model, batches, epochs, lr):
    def loss_of(logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=0.1)

    return means(trained(model, batches, epochs, lr, loss_of=loss_of))


@training_mistake("""You forgot `optimizer.zero_grad()`: `backward` adds to the old
gradients, so that each step goes in the direction of all before.""")
def no_zero_grad(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, skip="zero_grad"))


@training_mistake("""The parameters of the model have not changed. Is there a
`backward()` and then a `step()`, with no `zero_grad()` between the two? And do you
train the model that you were given, not a copy?""")
def zeroed_before_the_step(model, batches, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    history = []
    for _ in range(epochs):
        losses = []
        for images, labels in batches:
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.zero_grad()
            optimizer.step()
            losses.append(loss.item())
        history.append(sum(losses) / len(losses))
    return history


@training_mistake("""The parameters have not changed: `optimizer.step()` or
`loss.backward()` is missing, or the gradients are wiped out between the two.""",
same_as="zeroed_before_the_step")  # fmt: skip
def no_step(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, skip="step"))


@training_mistake("""The parameters have not changed: `loss.backward()` is missing.""",
same_as="zeroed_before_the_step")  # fmt: skip
def no_backward(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, skip="backward"))


@training_mistake(
    """The parameters have not changed: you trained a copy of the model.
Train the one you were given.""",
    same_as="zeroed_before_the_step",
)
def a_copy_is_trained(model, batches, epochs, lr):
    return means(trained(copy.deepcopy(model), batches, epochs, lr))


@training_mistake("""You ignore lr and take Adam's default of 0.001.""")
def lr_ignored(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, 1e-3))


@training_mistake("""Your optimizer is SGD. The exercise asks for Adam.""")
def plain_sgd(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, optimizer=torch.optim.SGD))


@training_mistake("""Your optimizer is AdamW, which also pulls every weight towards
zero. The exercise asks for Adam.""")
def adamw(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, optimizer=torch.optim.AdamW))


@training_mistake("""Your optimizer is RMSprop. The exercise asks for Adam.""")
def rmsprop(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr, optimizer=torch.optim.RMSprop))


@training_mistake("""You make a new optimizer in every epoch, or for every batch: Adam
forgets its running means each time. Make it once, before the loops.""")
def optimizer_in_the_loop(model, batches, epochs, lr):
    return [means(trained(model, batches, 1, lr))[0] for _ in range(epochs)]


@training_mistake("""You train in eval mode: batch norm then uses stale statistics, and
dropout is off. Call `model.train()` before you train.""")
def trained_in_eval_mode(model, batches, epochs, lr):
    return means(trained(model.eval(), batches, epochs, lr))


@training_mistake("""You add up the batches' losses and do not divide by their
number.""")
def sums_of_losses(model, batches, epochs, lr):
    return [sum(epoch) for epoch in trained(model, batches, epochs, lr)]


@training_mistake("""You divide the sum of the batches' mean losses by the number of
images. Each is a mean already: divide by the number of batches.""")
def divided_by_images(model, batches, epochs, lr):
    images = sum(len(labels) for _, labels in batches)
    return [sum(epoch) / images for epoch in trained(model, batches, epochs, lr)]


@training_mistake("""You return the last batch's loss of each epoch. The mean over the
epoch's batches is asked for.""")
def last_batch_counts(model, batches, epochs, lr):
    return [epoch[-1] for epoch in trained(model, batches, epochs, lr)]


@training_mistake("""You return the first batch's loss of each epoch. The mean over the
epoch's batches is asked for.""")
def first_batch_counts(model, batches, epochs, lr):
    return [epoch[0] for epoch in trained(model, batches, epochs, lr)]


@training_mistake("""You do not set your sum back to zero at the start of an epoch: the
losses of all epochs pile up.""")
def losses_pile_up(model, batches, epochs, lr):
    found = means(trained(model, batches, epochs, lr))
    return [sum(found[: n + 1]) for n in range(len(found))]


@training_mistake("""Your list has an entry for each batch. One mean loss for each epoch
is asked for.""")
def an_entry_for_each_batch(model, batches, epochs, lr):
    return [loss for epoch in trained(model, batches, epochs, lr) for loss in epoch]


@training_mistake("""You run through the batches once, whatever epochs says.""")
def one_epoch_only(model, batches, epochs, lr):
    return means(trained(model, batches, 1, lr))


@training_mistake(
    """Your `return` stands inside the loop over epochs: it ends after the
first. Move it out.""",
    same_as="one_epoch_only",
)
def returned_inside_the_loop(model, batches, epochs, lr):
    return means(trained(model, batches, min(epochs, 1), lr))


@training_mistake("""You train one epoch too many.""")
def one_epoch_too_many(model, batches, epochs, lr):
    return means(trained(model, batches, epochs + 1, lr))


@training_mistake("""You run one epoch less than asked for: `range(1, epochs)`.""")
def one_epoch_too_few(model, batches, epochs, lr):
    return means(trained(model, batches, epochs - 1, lr))


@training_mistake("""You use the first batch only. Each epoch runs through all of
them.""")
def first_batch_only(model, batches, epochs, lr):
    return means(trained(model, batches[:1], epochs, lr))


@training_mistake("""Only the last layer is trained: hand all of `model.parameters()` to
Adam.""")
def last_layer_trained(model, batches, epochs, lr):
    def adam(parameters, lr):
        return torch.optim.Adam(list(parameters)[-2:], lr=lr)

    return means(trained(model, batches, epochs, lr, optimizer=adam))


@training_mistake("""You step once for each epoch, after all of its batches. Adam steps
after every batch.""")
def one_step_for_each_epoch(model, batches, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    history = []
    for _ in range(epochs):
        optimizer.zero_grad()
        losses = [F.cross_entropy(model(x), y) for x, y in batches]
        torch.stack(losses).mean().backward()
        optimizer.step()
        history.append(float(torch.stack(losses).mean()))
    return history


@training_mistake("""Your function returns nothing. Return the list of mean losses.""")
def returns_none(model, batches, epochs, lr):
    trained(model, batches, epochs, lr)


@training_mistake("""You return the model. It was trained in place; return the list of
mean losses.""")
def returns_the_model(model, batches, epochs, lr):
    trained(model, batches, epochs, lr)
    return model


@training_mistake("""You return one number. One mean loss for each epoch is asked for,
in a list.""")
def returns_the_last_loss(model, batches, epochs, lr):
    return means(trained(model, batches, epochs, lr))[-1]


@training_mistake("""Your losses are tensors that keep their graphs alive: every epoch
costs more memory. Take the number with `.item()`.""")
def losses_with_graphs(model, batches, epochs, lr):
    found = means(trained(model, batches, epochs, lr))
    return [torch.tensor(loss, requires_grad=True) for loss in found]


@training_mistake("""You return accuracies. The mean loss of each epoch is asked
for.""")
def accuracies_instead(model, batches, epochs, lr):
    history = []
    steps = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        right = []
        for images, labels in batches:
            logits = model(images)
            steps.zero_grad()
            F.cross_entropy(logits, labels).backward()
            steps.step()
            right.append((logits.argmax(dim=1) == labels).double().mean().item())
        history.append(sum(right) / len(right))
    return history


@training_mistake("""Your Adam has weight decay. Plain Adam is asked for.""")
def with_weight_decay(model, batches, epochs, lr):
    def adam(parameters, lr):
        return torch.optim.Adam(parameters, lr=lr, weight_decay=1e-2)

    return means(trained(model, batches, epochs, lr, optimizer=adam))


@training_mistake("""Your function changes the images in place (`images -= ...`). The
next epoch then sees other images, and so does whoever called you.""")
def batches_changed(model, batches, epochs, lr):
    found = means(trained(model, batches, epochs, lr))
    for images, _ in batches:
        images *= 0.5
    return found

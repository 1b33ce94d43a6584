# %% [markdown]
# # 10 · A vision transformer
#
# **A ball lies on a lawn. Is it a shot or a back pass? Chapter 01 built a model for just this
# question. How do you build one that reads *any* picture, and how do you find out what it
# looked at?**
#
# You have all the parts: patches, positions, many heads, encoder layers. In this chapter you
# put them together, see the result fail, find out why, and then look inside.

# %% [markdown]
# ## What you will be able to do
#
# - turn an image into tokens with one linear map;
# - build a vision transformer with a class token and learned positions;
# - write the training loop, and recognise its classic mistakes by their traces;
# - say why a model does not start to learn, and mend it;
# - draw what a trained model attends to, through all of its layers.
#
# **Time**: about 120 minutes. **You need** chapters 01 (patches and the
# scenes), 02 (entropy), 06, 07, 08 and 09 (torch's own modules).

# %%
import io
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from attention_course.learn import check, device, figures
from attention_course.learn.experiments import accuracy
from attention_course.learn.experiments_10 import (
    CENTRE,
    MEAN,
    PatchReader,
    fit,
    sharpen,
    walk_back,
    without_markers,
)
from attention_course.learn.photos import CREDITS, photographs
from attention_course.learn.scenes import make_scenes

# %% [markdown]
# ## A picture becomes a sentence
#
# Dosovitskiy et al. (2021) call it "an image is worth 16×16 words". Cut the picture into patches.
# Flatten each. Multiply by **one** matrix, the same for all of them. What comes out is a token.
#
# By hand, on a picture of 4 × 4 pixels, with patches of 2 × 2 and tokens of a single number.
# **Predict** token 3, the patch at the bottom right.

# %%
picture = torch.arange(16, dtype=torch.float64, device=device).view(1, 1, 4, 4)
weight = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=torch.float64, device=device)
print(picture[0, 0].long().tolist())
corner = picture[0, 0, 2:, 2:]  # 10, 11 over 14, 15
print("token 3 by hand:", (corner * weight).sum().item(), "=", 10 - 11 + 2 * 15)

# %% [markdown]
# A convolution whose stride is as large as its kernel does exactly this: the kernel is laid on a
# patch, multiplied and summed, then moved on by a whole patch. **Predict** the shape it returns.

# %%
tokens = F.conv2d(picture, weight[None, None], stride=2)
print("shape:", list(tokens.shape))
print(tokens[0, 0].tolist())

# %% [markdown] exercise="PatchEmbedding"
# ### Exercise: the patch embedding  ·  12 min  ·  ●○○
#
# A module that turns images (B, C, H, W), square with side `image_size`, into tokens (B, N, d_model):
# each patch's C·patch·patch numbers times one learned matrix.
#
# The tokens come in the order of `patchify` (chapter 01): row by row. The check does not care how you
# name your parameters, or whether there is a bias.
#
# <details><summary>Hint</summary>
#
# A convolution gives (B, d_model, rows, columns). Two steps are left: make one axis of rows and columns,
# and bring the channels to the end. A `reshape` alone would cut the numbers in the wrong places.
# </details>


# %% answer="PatchEmbedding"
class PatchEmbedding(nn.Module):
    """One linear map for all patches of an image."""

    def __init__(
        self, image_size: int, patch: int, in_channels: int, d_model: int
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.projection = nn.Conv2d(in_channels, d_model, patch, stride=patch)
        ### END SOLUTION

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, d_model), patches row by row."""
        ### BEGIN SOLUTION
        grid_of_tokens = self.projection(image)  # (batch, d_model, row, column)
        return grid_of_tokens.flatten(2).transpose(1, 2)
        ### END SOLUTION


# %% check="PatchEmbedding" points=2
check(PatchEmbedding)

# %% [markdown]
# **One matrix for every place.** What does that buy? Move a picture by one patch, and its tokens move
# along, unchanged. **Predict** which tokens of the two rows agree.

# %%
row = torch.tensor(
    [[0.0, 0, 3, 1, 0, 0, 0, 0], [0, 0, 2, 5, 0, 0, 0, 0]], device=device
)
moved = row.roll(2, dims=1)  # one patch to the right
for name, strip in {"here": row, "moved": moved}.items():
    found = F.conv2d(strip.double()[None, None], weight[None, None], stride=2)
    print(f"{name:6}", [round(v, 1) for v in found[0, 0, 0].tolist()])

# %% [markdown]
# ## A token that only asks
#
# A classifier needs one answer for the whole image. Which token should give it? In our scenes it
# could be the ball's. Most images have no such patch.
#
# So a **class token** is put in front: a learned vector with no picture behind it. It attends to all
# patches, and in the end the answer is read from it alone. BERT does the same with its `[CLS]`.

# %% [markdown]
# By hand: three patches with values 1, 5 and 9. The class token's scores are 0 for itself, then
# 0, ln 2 and 0. Its own value is 0. **Predict** its weights, and what it has heard.

# %%
scores = torch.tensor([0.0, 0.0, math.log(2), 0.0], dtype=torch.float64, device=device)
values = torch.tensor([0.0, 1.0, 5.0, 9.0], dtype=torch.float64, device=device)
weights = scores.softmax(dim=0)
print("weights:", [round(w, 4) for w in weights.tolist()])
print("it has heard:", round((weights @ values).item(), 4))

# %% [markdown]
# The class token comes first; *then* a table of N + 1 learned positions is added, so the class
# token has a position of its own. Strictly, it does not need one: the two vectors are only ever
# added, so one could be both. But one table for all tokens is the simplest code, and it is what
# ViT has.
#
# Follow the shapes, with torch's own layer in the middle:

# %%
torch.manual_seed(0)
image = torch.rand(2, 3, 8, 8, dtype=torch.float64, device=device)
pieces = F.unfold(image, 4, stride=4)  # (batch, pixel, patch)
words = torch.randn(2, 4, 16, dtype=torch.float64, device=device)  # from `pieces`
asking = torch.randn(2, 1, 16, dtype=torch.float64, device=device)
stream = torch.cat([asking, words], dim=1)
layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True).double()
heard = layer.to(device)(stream)
answer = heard[:, 0, :3]  # a head would be a linear map

# %%
figure = figures.shape_flow(
    [
        ("image", image, "batch channel row column"),
        ("pieces", pieces, "batch pixel patch", "unfold"),
        ("words", words, "batch token d_model", "one matrix"),
        ("stream", stream, "batch token d_model", "class token, positions"),
        ("heard", heard, "batch token d_model", "encoder layers"),
        ("logits", answer, "batch class", "token 0, head"),
    ],
    title="From pixels to logits: the class token makes N tokens N + 1",
)
figures.show(
    figure,
    alt="Boxes with shapes, joined by arrows: image, pieces, words, stream, heard, logits. From "
    "words to stream the token axis grows from 4 to 5.",
)

# %% [markdown] exercise="VisionTransformer"
# ### Exercise: the vision transformer  ·  30 min  ·  ●●●
#
# Images (B, C, H, W) to logits (B, num_classes): patch tokens, a learned class token in front,
# learned positions (an `nn.Parameter`) for all N + 1 tokens, `num_layers` encoder layers of your choice
# with softmax attention among all tokens, and a linear head that reads the class token.
#
# No dropout. Logits, not probabilities. Post-norm or pre-norm, a final norm or none, and all
# inner names: up to you.
#
# <details><summary>Hint 1: layers</summary>
#
# `nn.TransformerEncoderLayer` may do the work. Look at its defaults: `dropout` is 0.1, and
# `batch_first` is False. Chapter 08 tells what `[layer] * num_layers` does.
# </details>
#
# <details><summary>Hint 2: the class token</summary>
#
# As a parameter it is (1, 1, d_model). `expand(B, -1, -1)` gives each image one without copying.
# Concatenate first, add positions second.
# </details>


# %% answer="VisionTransformer"
class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, encoder layers, and a head."""

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
        ### BEGIN SOLUTION
        num_patches = (image_size // patch) ** 2
        self.patches = nn.Conv2d(in_channels, d_model, patch, stride=patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, d_model))
        self.positions = nn.Parameter(0.02 * torch.randn(1, num_patches + 1, d_model))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model,
                num_heads,
                dim_feedforward,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, num_classes)

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N + 1, d_model)."""
        patch_tokens = self.patches(image).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(len(image), -1, -1)
        return torch.cat([class_token, patch_tokens], dim=1) + self.positions
        ### END SOLUTION

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, num_classes)."""
        ### BEGIN SOLUTION
        x = self.embed(image)
        for encoder_layer in self.layers:
            x = encoder_layer(x)
        return self.head(self.norm(x[:, 0]))
        ### END SOLUTION


# %% check="VisionTransformer" points=5
check(VisionTransformer)

# %% [markdown]
# ## Four lines that train
#
# Loss, gradients to zero, backward, step: every training loop is these four. Two of its classic
# mistakes run without an error. First: **gradients add up** until somebody sets them to zero.
# **Predict** the three numbers.

# %%
w = torch.tensor(2.0, dtype=torch.float64, device=device, requires_grad=True)
for number in range(3):
    (w**2).backward()  # the gradient of w² at 2 is 4
    print(f"after {number + 1} backward:", w.grad.item())

# %% [markdown]
# Second: **cross-entropy contains the softmax.** Give it probabilities, and it takes a softmax of
# a softmax. Here are the logits of a model that is almost sure, and right.
#
# **Predict**: how large is the loss of its probabilities, 0.98 and twice 0.01?

# %%
logits = torch.tensor([[4.6, 0.0, 0.0]], dtype=torch.float64, device=device)
truth = torch.tensor([0], device=device)
for name, given in {"logits": logits, "probabilities": logits.softmax(dim=1)}.items():
    print(f"{name:14}{F.cross_entropy(given, truth).item():.4f}")
sure = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64, device=device)
print(f"the least      {F.cross_entropy(sure, truth).item():.4f}")

# %% [markdown]
# With three classes, even perfect probabilities cost 0.55. The loss can't fall below that, the
# gradients stay small, and you'd think that the model is at fault.

# %% [markdown] exercise="train"
# ### Exercise: the training loop  ·  15 min  ·  ●●○
#
# Train `model` in place with `torch.optim.Adam` and cross-entropy: `epochs` times through all `batches`,
# a list of (images, labels), a step after each batch.
#
# Return a list with one number for each epoch: the mean of its batches' losses.
#
# The check trains a small model of its own, and asks it about images that your loop has not
# seen: at least 90 % have to be right.
#
# <details><summary>Hint</summary>
#
# Make the optimizer once, before both loops: Adam remembers. `loss.item()` is a plain number; a list of
# `loss` tensors would keep every graph alive.
# </details>


# %% answer="train"
def train(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], epochs: int, lr: float
) -> list[float]:
    """Train in place with Adam and cross-entropy.

    batches: (images, labels) each. Returns the mean loss of each epoch.
    """
    ### BEGIN SOLUTION
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    history = []
    model.train()
    for _ in range(epochs):
        total = 0.0
        for batch_images, batch_labels in batches:
            batch_loss = F.cross_entropy(model(batch_images), batch_labels)
            adam.zero_grad()
            batch_loss.backward()
            adam.step()
            total += batch_loss.item()
        history.append(total / len(batches))
    return history
    ### END SOLUTION


# %% check="train" points=3
check(train)

# %% [markdown]
# ## First, something easy: digits
#
# The lesson has a model of its own, so that it runs whatever you have written: `PatchReader`, torch's
# encoder layers over patches. It has no class token. For digits it reads the **mean** of all
# tokens, as some vision transformers do.
#
# 1297 pictures of 8 × 8 pixels to learn from, 500 kept apart. (In Lab a bar shows how far it is.)

# %%
digits = load_digits()
pictures = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None].to(device)
names = torch.tensor(digits.target).to(device)
order = torch.randperm(len(names), generator=torch.Generator().manual_seed(1))
known, unseen = order[:1297].to(device), order[1297:].to(device)
digit_reader = PatchReader(8, 2, 1, 10, read=MEAN).to(device)
fit(
    digit_reader, pictures[known], names[known], steps=500, lr=4e-3, text="digits"
)  # returns the losses
share = accuracy(digit_reader, pictures[unseen], names[unseen])
print("more than 85 % of the unseen digits are right:", share > 0.85)

# %% [markdown]
# Guessing gives 10 %. But one number hides *which* digits are hard. Count, for each true digit, what
# it was called. **Predict** which digit is mistaken most often.

# %%
with torch.no_grad():
    called = digit_reader(pictures[unseen]).argmax(dim=1)
confusion = torch.zeros(10, 10, dtype=torch.float64)
for true, name in zip(names[unseen].tolist(), called.tolist(), strict=True):
    confusion[true, name] += 1
rates = confusion / confusion.sum(dim=1, keepdim=True)  # (true digit, called)
print("every digit is called by its own name most often:",
      bool((rates.argmax(dim=1) == torch.arange(10)).all()))  # fmt: skip

# %%
labels = [str(digit) for digit in range(10)]
figure = figures.attention_maps(
    {"unseen digits": rates.clamp(max=0.2)},
    labels,
    labels,
    title="Nearly every digit is called by its name; the mistakes are few",
    annotate=False,
    maximum=0.2,
    axis_names=("true digit", "called"),
    label="share of the true digit (0.2 and more)",
)
figures.show(
    figure,
    alt="A 10 by 10 map, true digit against the name it was given. The diagonal is as dark as "
    "the scale allows; off it there are a few pale cells.",
)

# %% [markdown]
# The 8: its row has the darkest cell off the diagonal. At 8 × 8 pixels it shares its strokes with
# most of the others.

# %% [markdown]
# ## The scenes: nothing happens
#
# Now chapter 01's scenes: if the kicker and the keeper wear the same shirt, the ball is a back pass; if
# not, a shot. Here the reader answers **at the ball**, patch 24: its token is asked what it is.
#
# Two layers, four heads, warm-up, 400 steps on 3000 scenes, and a little dropout that grows in the
# second half. **Predict** the accuracy on new scenes, where guessing gives 50 %.

# %%
scenes, test = make_scenes(3000, seed=0), make_scenes(1000, seed=1)
images, marks = scenes.images.to(device), scenes.labels.to(device)
test_images, test_marks = test.images.to(device), test.labels.to(device)
options = {"steps": 400, "dropout": 0.2}
plain = PatchReader(56, 8, 3, 2, read=CENTRE).to(device)
plain_losses = fit(plain, images, marks, text="scenes, plain", **options)
share = accuracy(plain, test_images, test_marks)
print("between 40 % and 60 %:", 0.4 < share < 0.6)

# %% [markdown]
# It has learned nothing at all. The parts are right, the loop is right, the learning rate is
# sensible. More steps, other seeds: nothing. What would you look at?
#
# Look at the very beginning. A fresh model, the ball's row of attention: how even is it? Entropy
# (chapter 02) divided by ln 49 is 1 if all 49 patches get the same. **Predict** it.


# %%
def evenness(reader: PatchReader) -> float:
    """Entropy of the ball's first attention, divided by its largest value."""
    row = reader.look(test_images[:200])[0][:, :, 24].double()  # (batch, head, patch)
    return (torch.special.entr(row).sum(dim=-1).mean() / math.log(49)).item()


fresh = PatchReader(56, 8, 3, 2, read=CENTRE).to(device)
print("evenness above 0.97:", evenness(fresh) > 0.97)

# %% [markdown]
# Almost perfectly even: fresh queries and keys are small, so all scores are near zero. Then
# attention takes the plain **mean** of the patches. And what did chapter 01 show about the mean
# patch? It is *the same in every scene*, bit for bit.
#
# So what the ball hears is *almost* the same for every scene. Measure how much it differs from
# scene to scene, as a share of its size:


# %%
@torch.no_grad()
def difference(reader: PatchReader) -> float:
    """How far what the ball hears first lies from its mean over scenes, in its size."""
    first = reader.layers[0]
    x = first.norm1(reader.embed(test_images[:200]))
    said = first.self_attn(x, x, x, need_weights=False)[0][:, 24].double()
    return ((said - said.mean(dim=0)).norm() / said.norm()).item()


print("less than 3 %:", difference(fresh) < 0.03)

# %% [markdown]
# The scene drowns in what all scenes share. So does the gradient: training
# starts on flat ground, with no slope to follow.
#
# The cure: let the heads look *somewhere* from the start, anywhere. Multiply the fresh query and key
# weights by 3, so that scores grow ninefold. Nothing else changes. **Predict** both numbers.

# %%
sharp = PatchReader(56, 8, 3, 2, read=CENTRE).to(device)
sharpen(sharp, 3.0)  # in_proj_weight[: 2 * d_model] *= 3, in each layer
print("evenness below 0.8:", evenness(sharp) < 0.8)
print("difference above 5 %:", difference(sharp) > 0.05)

# %%
sharp_losses = fit(sharp, images, marks, text="scenes, sharpened", **options)
share = accuracy(sharp, test_images, test_marks)
print("above 95 %:", share > 0.95)


# %%
def smooth(losses: list[float]) -> Tensor:
    """The mean over 20 steps at a time."""
    return torch.tensor(losses).unfold(0, 20, 1).mean(dim=1)


figure = figures.curves(
    {"plain": smooth(plain_losses), "sharpened": smooth(sharp_losses)},
    xlabel="step",
    ylabel="loss, nats (mean of 20 steps)",
    title="The same model, the same data: only the one that looks somewhere learns",
    reference={"guessing": math.log(2)},
)
figures.show(
    figure,
    alt="Two loss curves over 400 steps. The plain one stays at 0.69, the loss of guessing. The "
    "sharpened one leaves it early and falls close to zero.",
)

# %% [markdown]
# A better start makes the difference between guessing and nearly 100 %. (The little rise at the end
# comes from the dropout, which grows there.) Chapter 01's attention model had another way out:
# batch norm on what the ball heard, which takes away what all scenes share. In photographs the mean
# patch does tell one image from another; there even a fresh ViT hears something.

# %% [markdown] exercise="attention_maps"
# ### Exercise: the attention maps  ·  20 min  ·  ●●○
#
# Now look inside. `model.embed(image)` gives tokens (B, N, d_model), `model.layers` holds
# `nn.TransformerEncoderLayer`s with batch_first, of **either** norm order (`layer.norm_first`).
#
# Return a list with the attention weights of each layer, (B, H, N, N), first layer first. Work in
# eval mode, without gradients. Then try yours on the trained reader: `attention_maps(sharp, test_images[:1])`.
#
# <details><summary>Hint</summary>
#
# `layer.self_attn(x, x, x)` returns weights as its second result, averaged over heads unless you say
# otherwise. What is x? In a pre-norm layer, attention does not read the tokens themselves. And what
# do you hand to the next layer?
# </details>


# %% answer="attention_maps"
def attention_maps(model: nn.Module, image: Tensor) -> list[Tensor]:
    """Each layer's attention weights (B, H, N, N), the first layer's first."""
    ### BEGIN SOLUTION
    model.eval()
    maps = []
    with torch.no_grad():
        x = model.embed(image)
        for encoder_layer in model.layers:
            read = encoder_layer.norm1(x) if encoder_layer.norm_first else x
            _, attn_weights = encoder_layer.self_attn(
                read, read, read, average_attn_weights=False
            )
            maps.append(attn_weights)
            x = encoder_layer(x)
    return maps
    ### END SOLUTION


# %% check="attention_maps" points=4
check(attention_maps)

# %% [markdown]
# The reader keeps its weights itself (`look`). Here is one unseen scene, and where the ball looks, head by
# head, in the first layer. The kicker stands on the spot of sand, the keeper in the goal.
# **Predict**: will every head look at the two?

# %%
number = 3  # of the unseen scenes
maps = sharp.look(test_images)  # by layer: (batch, head, patch, patch)
heads = {f"head {h + 1}": maps[0][number, h, 24].cpu() for h in range(4)}
figure = figures.attention_on_image(
    test.images[number],
    heads,
    patch=8,
    query=24,
    title="Layer 1: each of the ball's heads looks for something of its own",
    columns=5,
)
figures.show(
    figure,
    alt="A scene of 7 by 7 patches with the ball outlined in the middle, and four maps of its "
    "attention in layer 1. Each head's weights fall on different patches.",
)

# %% [markdown]
# No: the heads share the work, and a single map is hard to read. Maps also leave out the most
# important thing: a token listens to
# tokens *that have listened before*. The keeper may already have told a neighbour, and the ball asks
# the neighbour.
#
# **Rollout** (Abnar and Zuidema 2020) follows these ways. Each layer has a residual: half of what a token
# holds stays its own, half comes from attention, $\hat A = \tfrac12 A + \tfrac12 I$.

# %% [markdown]
# By hand: three tokens, two layers. In layer 1 token 1 listens to token 2; in layer 2 token 0 listens to
# token 1. All else keeps to itself. Token 0 *never* attends to token 2.
#
# **Predict** how much of token 0 comes from token 2 in the end. Walk back from the last layer.

# %%
layer_1 = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]], device=device).double()
layer_2 = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1]], device=device).double()
part = torch.tensor([1.0, 0, 0], device=device).double()  # token 0 at the end
for name, attention in {"layer 2": layer_2, "layer 1": layer_1}.items():
    part = 0.5 * part + 0.5 * (part @ attention)
    print(f"before {name}:", part.tolist())

# %% [markdown]
# A quarter. The news went from 2 to 1 to 0, and each step halved it. Walk in the wrong order, layer 1 first,
# and it is lost: token 0 listened to nobody there.

# %% [markdown] exercise="attention_rollout"
# ### Exercise: rollout  ·  12 min  ·  ●●○
#
# For all tokens at once. `maps` is a list of (B, H, N, N), maps[0] from the first layer, every row summing to
# one. Take the mean over heads, then $\hat A = \tfrac12 A + \tfrac12 I$, and return
#
# $$\hat A_L \cdots \hat A_2\, \hat A_1 \qquad (B, N, N)$$
#
# Row i tells where token i's content came from.
#
# <details><summary>Hint</summary>
#
# `@` multiplies batches of matrices. Start with the first layer, and multiply each next one from the
# *left*. The identity needs the maps' dtype and device.
# </details>


# %% answer="attention_rollout"
def attention_rollout(maps: list[Tensor]) -> Tensor:
    """How much of each token at the end comes from each token at the start.

    maps: by layer (B, H, N, N), first layer first. Returns (B, N, N).
    """
    ### BEGIN SOLUTION
    tokens = maps[0].shape[-1]
    identity = torch.eye(tokens, dtype=maps[0].dtype, device=maps[0].device)
    rollout = identity.expand(len(maps[0]), -1, -1)
    for attn_weights in maps:
        step = 0.5 * attn_weights.mean(dim=1) + 0.5 * identity
        rollout = step @ rollout  # the later layer stands on the left
    return rollout
    ### END SOLUTION


# %% check="attention_rollout" points=3
check(attention_rollout)

# %% [markdown]
# ## What the ball has read
#
# The way back from the ball, for every unseen scene. A good part of the ball's token is the ball itself;
# leave that out, and compare the rest with an even share, 1/48 for each patch.
#
# **Predict**: which patches get more than an even share?


# %%
def sources(reader: PatchReader, pictures: Tensor) -> Tensor:
    """(B, 49): where the ball's content came from, in even shares, without itself."""
    at_ball = F.one_hot(torch.tensor([24]), 49).to(device).expand(len(pictures), -1)
    came = walk_back(reader.look(pictures), at_ball.float()).cpu()
    came[:, 24] = 0.0
    return 48 * came / came.sum(dim=1, keepdim=True)


rollout = sources(sharp, test_images)
kicker, keeper = rollout.gather(1, test.marker_patches).double().mean(dim=0).tolist()
rest = (48 - kicker - keeper) / 46
print("kicker and keeper, each more than 3 even shares:", min(kicker, keeper) > 3)
print("any other patch, on the mean less than one:", rest < 1)

# %%
figure = figures.attention_on_image(
    test.images[number],
    {
        "layer 1, mean of heads": maps[0][number, :, 24].mean(dim=0).cpu(),
        "layer 2, mean of heads": maps[1][number, :, 24].mean(dim=0).cpu(),
        "rollout without the ball": rollout[number] / 48,
    },
    patch=8,
    query=24,
    title="Through both layers, the ball has read the kicker and the keeper",
)
figures.show(
    figure,
    alt="A scene and three maps over its patches. In the rollout, the patches of the kicker on "
    "the sand and of the keeper in the goal stand out.",
)

# %% [markdown]
# One scene can be luck. Here is the mean over a thousand:

# %%
figure = figures.bars(
    {"kicker": kicker, "keeper": keeper, "any other patch": rest},
    ylabel="rollout, in even shares",
    title="In a thousand scenes, the ball read the two players that decide",
)
figures.show(
    figure,
    alt="Three bars. Kicker and keeper get many times an even share, any other patch less than "
    "one.",
)

# %% [markdown]
# Nobody told the model where to look. It was told only "shot" or "back pass".

# %% [markdown]
# ## Take the context away
#
# Is that really what it uses? Attention maps alone don't prove it (Jain and Wallace 2019). So
# intervene: put plain lawn where kicker and keeper stood. Seven watchers, trees and the ball remain.
#
# **Predict** the accuracy, and where the ball will look.

# %%
emptied = without_markers(test).to(device)
changed = (emptied != test_images).any(dim=1).double().mean().item()
share = accuracy(sharp, emptied, test_marks)
print(f"pixels changed: {changed:.1%}")
print("accuracy between 40 % and 60 %:", 0.4 < share < 0.6)
lost = sources(sharp, emptied)
where = lost.gather(1, test.marker_patches).double().mean().item()
print("the two empty places, less than one even share each:", where < 1)

# %%
figure = figures.attention_on_image(
    emptied[number].cpu(),
    {
        "rollout, whole scene": rollout[number] / 48,
        "rollout, players gone": lost[number] / 48,
    },
    patch=8,
    query=24,
    title="Without the two players the ball looks elsewhere, and guesses",
)
figures.show(
    figure,
    alt="The scene with lawn in place of kicker and keeper, and two maps of the ball's rollout. "
    "With the players it stands out on them; without, on other patches.",
)

# %% [markdown]
# 4 % of the pixels, and the answer is gone, though every pixel of the ball is still there. The
# question "what is this?" was answered by the context, and by the right part of it.

# %% [markdown]
# ## Keep what was learned
#
# A model is its class and its parameters. Save the second, build the first again, and load.
# `weights_only=True` refuses anything but tensors: a file from somebody else can't run code.

# %%
file = io.BytesIO()  # a path works the same
torch.save(sharp.state_dict(), file)
file.seek(0)
again = PatchReader(56, 8, 3, 2, read=CENTRE, seed=7).to(device).eval()
again.load_state_dict(torch.load(file, weights_only=True))
with torch.no_grad():
    same = torch.equal(again(test_images), sharp(test_images))
print("the same answers, bit for bit:", same)

# %% [markdown]
# ## A real photograph
#
# Our two models know lawns and digits, and nothing about cats. So take a simpler attention: no
# training, each patch is its own query, key and value. Patches are centred and scaled to length one; the score
# is eight times their cosine.
#
# **Predict** what the patch on the left eye attends to. And the one on the fur at the top right?

# %%
name, side = "chelsea", 12
photo = photographs(192)[name]  # (3, 192, 192)
cut = F.unfold(photo[None].double(), side, stride=side)[0].T  # (patch, pixel)
cut = F.normalize(cut - cut.mean(dim=0), dim=1)
cosines = cut @ cut.T
asked = {"left eye": 85, "nose": 152, "fur": 14}
looks = {spot: (8 * cosines[place]).softmax(dim=0) for spot, place in asked.items()}
eyes = looks["left eye"].topk(2).indices.tolist()
print("photograph:", CREDITS[name].author, "·", CREDITS[name].licence)
print("the eye's two favourites lie at (row, column):", [divmod(e, 16) for e in eyes])

# %%
figure = figures.attention_on_image(
    photo,
    looks,
    patch=side,
    query=asked,
    title="Untrained attention finds what looks alike: an eye finds the other eye",
)
figures.show(
    figure,
    alt="A cat's face and three maps. The patch on the left eye attends to itself and to the other "
    "eye, the one on the nose to the nose, the one on the fur to fur.",
)

# %% [markdown]
# An eye finds the other eye: by its *looks*. That it is an eye, and whose, no patch knows. This is
# where chapter 01 began: what looks alike may mean different things. To read a photograph as our
# model reads its lawn, a transformer has to be trained on millions of them; then its class token's maps follow
# whole animals (Caron et al. 2021).

# %% [markdown]
# ## The answer
#
# How do you build a model that reads any picture? Patches through one matrix, a token that asks, learned
# positions, encoder layers, a head. Nothing in it knows about images except the cutting.
#
# How do you find out what it looked at? Take its weights, follow them back through the layers. Then *test*
# what they say: take away what it looked at, and see the answer go.

# %% [markdown]
# ## Where this leads
#
# Our scenes have 49 patches. A photograph in 16 × 16 patches has hundreds, a video many thousands, and every
# one attends to every other. What that costs, and how to pay less, is chapter 11.

# %% [markdown]
# ## References
#
# - Dosovitskiy et al., *An Image is Worth 16x16 Words* (2021), section 3.1: patches, class token,
#   positions; appendix D.3: class token or mean.
# - Devlin et al., *BERT* (2019), section 3: the `[CLS]` token.
# - Abnar and Zuidema, *Quantifying Attention Flow in Transformers* (2020), section 3: rollout.
# - Jain and Wallace, *Attention is not Explanation* (2019), section 4: why maps alone don't prove.
# - Touvron et al., *Training Data-Efficient Image Transformers* (2021): what training on less data takes.
# - Caron et al., *Emerging Properties in Self-Supervised Vision Transformers* (2021), figure 1.
# - Kingma and Ba, *Adam* (2015), algorithm 1.

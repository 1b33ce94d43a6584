# %% [markdown]
# # 07 · Positions
#
# **"The dog bites the man." "The man bites the dog." To the attention you have built, these
# are the same sentence. How does order get in?**
#
# Chapter 04 ended with a debt: attention sees *what* the tokens are, never *where*. In this
# chapter you pay it, in three ways that models really use, and you measure what it was worth.

# %% [markdown]
# ## What you will be able to do
#
# - build the sine and cosine table of the Transformer paper, and say why it is made that way;
# - give the patches of an image a row and a column;
# - turn queries and keys by position, so that a score depends on the distance alone;
# - resize a learned table for an image of another size;
# - measure what a model loses without positions.
#
# **Time**: about 90 minutes. **You need** chapters 01 (patches), 04 (attention) and, for the
# experiment, 06 (heads).

# %%
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from attention_course.learn import check, device, figures

# %% [markdown]
# ## A bag of patches
#
# Here is a handwritten digit, 8 × 8 pixels. Cut it into 16 patches and put them together in
# another order. **Predict**: could *you* still read it?

# %%
digits = load_digits()
pictures = torch.tensor(digits.images / 16)  # (picture, row, column), from 0 to 1
generator = torch.Generator().manual_seed(7)
order = torch.randperm(16, generator=generator)
patches = F.unfold(pictures[3, None, None], 2, stride=2)[
    0
].T  # (token, pixel) = (16, 4)
shuffled = F.fold(patches[order].T[None], (8, 8), 2, stride=2)[0, 0]

# %%
figure = figures.images(
    [pictures[3], shuffled],
    ["in order", "shuffled"],
    title="The same 16 patches, but only one of the two is a 3",
)
figures.show(
    figure,
    alt="Two small grey pictures. In the left one a handwritten 3 is seen, in the right one "
    "scattered pieces of strokes.",
)

# %% [markdown]
# You need the order. Now ask attention: each patch attends to all, and we take the mean of what
# comes out, as a classifier would. **Predict** the largest difference between the two pictures.


# %%
def attend(tokens: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(tokens[None], tokens[None], tokens[None])[0]


in_order = attend(patches.to(device)).mean(dim=0)
out_of_order = attend(patches[order].to(device)).mean(dim=0)
print("difference below 1e-12:", bool((in_order - out_of_order).abs().max() < 1e-12))

# %% [markdown]
# None, but for rounding. Whatever stands behind that mean cannot tell the 3 from the scatter.
#
# The cure is simple to say: **write the place into the token**. A token becomes "this stroke, at
# this place". What should we write?

# %% [markdown]
# ## First try: the number itself
#
# Add 0 to the first token, 1 to the second, and so on. Take a token with the numbers below and
# put it at position 500. **Predict** what a dot product will notice, the token or the position.

# %%
token = torch.tensor([0.3, -0.8, 0.5, 0.1], dtype=torch.float64)
other = torch.tensor([-0.6, 0.2, -0.4, 0.9], dtype=torch.float64)
for position in (0, 500):
    score = (token + position) @ (other + position)
    print(f"position {position:3d}: score {score.item():.4f}")

# %% [markdown]
# At position 500 the score is a million, whatever the token. Dividing by the length does not help
# either: then 0.5 means token 2 of 4 in one sentence and token 500 of 1000 in the next.
#
# We want numbers that stay small, that differ for each position, and that mean the same in
# every sentence. You know such a system. It counts with bits:

# %%
for position in range(8):
    bits = [position >> shift & 1 for shift in range(3)]
    print(position, bits)

# %% [markdown]
# The first bit flips at every step, the second at every other step, the third at every fourth. Fast
# channels tell neighbours apart, slow channels tell far places apart. All numbers are 0 or 1.
#
# Bits jump, however: from 3 to 4 all three change. Make them smooth, and you get clocks.

# %% [markdown]
# ## A clock
#
# A hand turns by an angle of 1 at every step. Its tip has two coordinates, sine and cosine.
# **Predict** which two positions below you could not tell apart with the sine alone.

# %%
for position in range(4):
    angle = torch.tensor(float(position), dtype=torch.float64)
    print(position, f"sin {angle.sin():7.4f}  cos {angle.cos():7.4f}")

# %% [markdown]
# 1 and 2: their sines are 0.84 and 0.91, close together, one on the way up, one on the way down. The
# cosines, 0.54 and -0.42, settle it. So each clock needs **both**.
#
# One clock comes round again after $2\pi \approx 6.3$ steps. We need slower ones beside it, as an
# hour hand stands beside the minute hand:

# %%
steps = torch.arange(0, 60.5, 0.5, dtype=torch.float64)
hands = {
    f"turns by {speed:g} a step": (steps, (steps * speed).sin())
    for speed in (1.0, 0.1, 0.01)
}

# %%
figure = figures.curves(
    hands,
    xlabel="position",
    ylabel="sine of the angle",
    title="Fast clocks tell neighbours apart, slow clocks tell far places apart",
)
figures.show(
    figure,
    alt="Three sine curves over positions 0 to 60: one with many waves, one with about one "
    "wave, and one that only rises slowly.",
)

# %% [markdown]
# ## The paper's table
#
# Vaswani et al. 2017, section 3.5. Channel $2i$ and channel $2i+1$ are one clock:
#
# $$PE_{(pos,\,2i)} = \sin\!\left(pos / 10000^{2i/d_{model}}\right) \qquad
# PE_{(pos,\,2i+1)} = \cos\!\left(pos / 10000^{2i/d_{model}}\right)$$
#
# **Predict** the speeds of the two clocks for $d_{model} = 4$, by hand. Then of the four for
# $d_{model} = 8$.

# %%
for d_model in (4, 8):
    speeds = [10000 ** (-2 * i / d_model) for i in range(d_model // 2)]
    print(f"d_model = {d_model}:", [f"{speed:.4f}" for speed in speeds])

# %% [markdown]
# The number $i$ counts *pairs*, and $2i$ is the even channel of the pair. This is where most wrong
# tables go wrong: with $i$ in place of $2i$, the slow clock for $d_{model} = 4$ turns by 0.1.
#
# At position 3 and $d_{model} = 4$, the row is $\sin 3,\ \cos 3,\ \sin 0.03,\ \cos 0.03$:

# %%
row = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
print([f"{number:.4f}" for number in row])

# %% [markdown] exercise="sinusoidal_positions"
# ### Exercise: the sinusoidal table  ·  15 min  ·  ●●○
#
# Build the table $PE$: (num_positions, d_model), positions from 0 on. Sine in the even channels,
# cosine in the odd ones, interleaved.
#
# `d_model` may be odd. Then the last channel is a sine, without its cosine; the exponents are
# still $2i/d_{model}$. The table has torch's default dtype.
#
# <details><summary>Hint</summary>
#
# `torch.arange(0, d_model, 2)` is $2i$. Angles are a column of positions divided by a row of
# wavelengths. How many odd channels are there? `d_model // 2`.
# </details>


# %% answer="sinusoidal_positions"
def sinusoidal_positions(num_positions: int, d_model: int) -> Tensor:
    """The table of Vaswani et al. 2017, section 3.5.

    Returns (num_positions, d_model): sin in even channels, cos in odd ones.
    """
    ### BEGIN SOLUTION
    positions = torch.arange(num_positions, dtype=torch.float64)
    even_channel = torch.arange(0, d_model, 2, dtype=torch.float64)  # 2i
    angles = positions[:, None] / 10000 ** (even_channel / d_model)  # (position, pair)
    table = torch.empty(num_positions, d_model)
    table[:, 0::2] = angles.sin()
    table[:, 1::2] = angles.cos()[:, : d_model // 2]
    return table
    ### END SOLUTION


# %% check="sinusoidal_positions" points=4
check(sinusoidal_positions)

# %% [markdown]
# ## What the table knows
#
# Multiply the rows of two positions $p$ and $q$. Each clock adds
# $\sin a \sin b + \cos a \cos b = \cos(a - b)$. Check it with angles 5 and 3:

# %%
a, b = 5.0, 3.0
product = math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b)
print(f"product {product:.4f}, cos(a - b) {math.cos(a - b):.4f}")

# %% [markdown]
# So the dot product of two rows is $\sum_i \cos((p - q)\, \omega_i)$, where $\omega_i$ is the speed of
# clock $i$. **Predict** what it depends on: on both positions, or on less?

# %%
speeds = 10000 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)  # 32 clocks
place = torch.arange(40)
distance = place[:, None] - place  # (position, position)
similarity = (distance[..., None] * speeds).cos().mean(dim=-1)
print("positions  3 and  5:", f"{similarity[3, 5]:.4f}")
print("positions 33 and 35:", f"{similarity[33, 35]:.4f}")

# %%
figure = figures.attention_maps(
    {"rows of the table multiplied": similarity},
    title="The table's rows agree most with their neighbours, everywhere alike",
    annotate=False,
    label="mean of the clocks' cosines",
    axis_names=("position", "position"),
)
figures.show(
    figure,
    alt="A 40 by 40 heat map, darkest on the diagonal, fading away from it in stripes "
    "parallel to the diagonal.",
    data={"row of position 0": similarity[0], "row of position 20": similarity[20]},
)

# %% [markdown]
# Only the distance counts. "Near" is written into the table, and it means the same at the start and at
# the end of a sentence. A head that wants its neighbours finds them with one dot product.
#
# Why 10000? It sets the slowest clock: a turn takes up to $2\pi \cdot 10000$ steps, longer than
# any sentence, so no two rows are alike.

# %% [markdown]
# ## Two dimensions
#
# The patches of an image lie on a grid. Numbered row by row, 4 patches wide, patch 3 ends the first
# row and patch 4 begins the second. **Predict** which pair the numbers call nearer: 3 and 4, or 3
# and 7?

# %%
for one, two in ((3, 4), (3, 7)):
    (row_1, column_1), (row_2, column_2) = divmod(one, 4), divmod(two, 4)
    apart = math.hypot(row_1 - row_2, column_1 - column_2)
    print(
        f"patches {one} and {two}: numbers differ by {two - one}, grid by {apart:.4f}"
    )

# %% [markdown]
# The line has it upside down: 7 lies right below 3, while 4 is at the other end of the picture.
#
# So give each patch two positions, a row and a column. Half of the channels tell one, half the other.
# `divmod(token, width)` above gave both. Mind that it divides by the *width*; in a square grid you
# would never notice the difference.

# %% [markdown] exercise="sincos_2d"
# ### Exercise: rows and columns  ·  15 min  ·  ●●○
#
# Return (height · width, d_model), tokens row by row. First half of the channels: the sinusoidal table
# of width d_model/2, at the token's row. Second half: the same at its column.
#
# `d_model` is divisible by 4. Default dtype again.
#
# <details><summary>Hint</summary>
#
# Write the table of one axis as a helper in this cell. In row-major order each row number comes `width`
# times in a row (`repeat_interleave`), and the column numbers start anew in each row (`repeat`).
# </details>


# %% answer="sincos_2d"
def sincos_2d(height: int, width: int, d_model: int) -> Tensor:
    """Sinusoidal positions for a grid of height x width tokens, row-major.

    Returns (height * width, d_model): half the channels tell the row, half the column.
    """

    ### BEGIN SOLUTION
    def axis(length: int) -> Tensor:
        positions = torch.arange(length, dtype=torch.float64)
        even_channel = torch.arange(0, d_model // 2, 2, dtype=torch.float64)
        angles = positions[:, None] / 10000 ** (even_channel / (d_model // 2))
        pairs = torch.stack([angles.sin(), angles.cos()], dim=-1)
        return pairs.flatten(1).to(torch.get_default_dtype())  # (length, d_model / 2)

    rows = axis(height).repeat_interleave(width, dim=0)
    columns = axis(width).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)
    ### END SOLUTION


# %% check="sincos_2d" points=3
check(sincos_2d)

# %% [markdown]
# What does one patch see? Take the patch in row 2, column 4 of a grid of 6 × 10. A head looks for the
# positions most like its own: the softmax of 40 times the similarity. First with the patches numbered
# in one line, then with rows and columns. **Predict** where it looks.

# %%
token_places = torch.arange(60)
rows, columns = token_places // 10, token_places % 10


def similarity_to(place: Tensor, clocks: Tensor) -> Tensor:
    """How much each place is like token 24's: the mean over the clocks."""
    return ((place - place[24])[:, None] * clocks).cos().mean(dim=1)


halves = speeds[::2]  # 16 clocks for each axis
on_grid = (similarity_to(rows, halves) + similarity_to(columns, halves)) / 2
panels = {
    "numbered in one line": similarity_to(token_places, speeds),
    "row and column": on_grid,
}

# %%
looks = {name: (40 * s).softmax(dim=0).view(6, 10) for name, s in panels.items()}
figure = figures.attention_maps(
    looks,
    title="In one line a patch looks left and right; on a grid, up and down as well",
    annotate=False,
    maximum="largest",
    axis_names=("row", "column"),
)
figures.show(
    figure,
    alt="Two 6 by 10 heat maps of attention. Left: only row 2 is coloured, darkest at column "
    "4. Right: a round spot about row 2, column 4, in several rows and columns.",
)

# %% [markdown]
# ## Turning instead of adding
#
# Adding has a price. With positions $p$ and $q$ added to tokens $x$ and $y$, a score becomes
#
# $$(x + p) \cdot (y + q) = x \cdot y + x \cdot q + p \cdot y + p \cdot q.$$

# %% [markdown]
# What and where are mixed in one vector, and the model has to learn to take them apart. Can the *score*
# know the distance while the vectors add nothing? **Rotary** positions (Su et al. 2021): turn the query
# by its position, and the key by its own.

# %% [markdown]
# A rotation by $\theta$ takes $(a, b)$ to $(a \cos\theta - b \sin\theta,\; a \sin\theta + b \cos\theta)$.
# **Predict** where a quarter turn takes (3, 1), on paper first. And what happens to its length?

# %%
a, b = 3.0, 1.0
cos, sin = 0.0, 1.0  # of a quarter turn
turned = (a * cos - b * sin, a * sin + b * cos)
print("turned: ", turned)
print("lengths:", f"{math.hypot(a, b):.4f}", f"{math.hypot(*turned):.4f}")

# %% [markdown]
# Turning keeps lengths. Now a query and a key of two channels, each turned by its position. A pair of
# numbers turns most easily as one complex number, times $e^{i\theta}$. **Predict** which two of the
# three scores are the same.

# %%
query, key = complex(2, 1), complex(1, -1)
for m, n in ((5, 3), (105, 103), (5, 4)):
    q = query * complex(math.cos(m), math.sin(m))
    k = key * complex(math.cos(n), math.sin(n))
    score = q.real * k.real + q.imag * k.imag
    print(f"query at {m:3d}, key at {n:3d}: score {score:.4f}")

# %% [markdown]
# The first two. If both turn by 100 more, the angle between them stays. The score depends on the
# distance $m - n$ and on the two vectors, on nothing else. Nothing is added, and the values are not
# touched at all.
#
# With $d$ channels there are $d/2$ pairs, and each turns at a speed of its own, the speeds of the
# sinusoidal table.

# %% [markdown] exercise="rotary"
# ### Exercise: rotary positions  ·  20 min  ·  ●●○
#
# x is (…, N, d), positions (N,). Turn each pair of neighbouring channels $(2i, 2i+1)$ by
# $\theta = \text{position} \cdot 10000^{-2i/d}$:
#
# $$(a, b) \to (a \cos\theta - b \sin\theta,\; a \sin\theta + b \cos\theta)$$
#
# Return a tensor like x. Any number of axes may stand in front; d is even. Compute the angles in x's
# dtype. Positions need not begin at 0.
#
# <details><summary>Hint</summary>
#
# `x[..., 0::2]` is every $a$, `x[..., 1::2]` every $b$. Angles are (N, d/2) and broadcast against both.
# `torch.stack([first, second], dim=-1).flatten(-2)` interleaves the results.
# </details>


# %% answer="rotary"
def rotary(x: Tensor, positions: Tensor) -> Tensor:
    """Turn neighbouring channels by their token's position (Su et al. 2021, section 3.2).

    x: (..., N, d), d even; positions: (N,). Returns a tensor like x.
    """
    ### BEGIN SOLUTION
    d = x.shape[-1]
    even_channel = torch.arange(0, d, 2, dtype=x.dtype, device=x.device)  # 2i
    speeds = 10000 ** (-even_channel / d)
    angles = positions.to(x.dtype)[:, None] * speeds  # (token, pair)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    return turned.flatten(-2)
    ### END SOLUTION


# %% check="rotary" points=4
check(rotary)

# %% [markdown]
# Say a query and a key are equal, and their length is spread evenly over the pairs. Then each pair adds
# $\cos((m-n)\,\omega_i)$ to the score. How does it fall with the distance? **Predict** the curve for
# one pair, then for 32 pairs.

# %%
far = torch.arange(0, 101, dtype=torch.float64)
cosines = (far[:, None] * speeds).cos()  # (distance, pair)

# %%
figure = figures.curves(
    {
        "first pair alone": (far[:41], cosines[:41, 0]),
        "mean of 32 pairs": (far, cosines.mean(dim=1)),
    },
    xlabel="distance of query and key, tokens",
    ylabel="score, 1 at distance 0",
    title="One pair forgets how far it is; many pairs together fade with distance",
)
figures.show(
    figure,
    alt="The first pair's score goes up and down between 1 and -1, with a new peak about every "
    "six tokens. The mean of 32 pairs falls from 1, quickly at first, with small ripples.",
)

# %% [markdown]
# A token far away starts with a lower score. Nobody trained that. The model may still undo it: it chooses
# queries and keys with more weight in the slow pairs.
#
# Two conventions are in use for the pairs: neighbours, as here and in the paper, or channel $i$ with
# channel $i + d/2$. They are equally good. They are not interchangeable: weights trained with one give
# nonsense with the other.

# %% [markdown]
# ## Learned tables, and pictures of another size
#
# The Vision Transformer does something simpler: a table of free numbers, one row for each patch,
# learned like any weight. It works as well as sines (Vaswani et al., Table 3, row E).
#
# But a 4 × 4 grid has 16 rows. Show the model a larger picture, with 6 × 6 patches, and there are
# 36 tokens. Which positions do they get? The new grid covers the *same picture*, more finely, so
# interpolate. Along one line:

# %%
line = torch.tensor([[[0.0, 10.0]]], dtype=torch.float64)  # two places
for aligned in (True, False):
    finer = F.interpolate(line, size=4, mode="linear", align_corners=aligned)
    rounded = [f"{number:.2f}" for number in finer[0, 0].tolist()]
    print(f"align_corners={aligned!s:5}:", rounded)

# %% [markdown]
# Which one is right for patches? Two patches, each half of the picture wide, have their centres at 1/4 and
# 3/4. Four patches: at 1/8, 3/8, 5/8, 7/8. The new centre 3/8 lies a *quarter* of the way from 1/4 to 3/4:
# 2.5. So corners are not aligned; what meets is the picture's edge.
#
# On a grid we use cubic curves in place of straight lines: "bicubic". They use four neighbours
# on each axis, so slopes do not jump.

# %% [markdown] exercise="interpolate_positions"
# ### Exercise: resize a table of positions  ·  15 min  ·  ●●○
#
# table is (h·w, d), row-major, for the grid `old` = (h, w). Return (h'·w', d) for the grid `new` =
# (h', w'); both are (rows, columns). Bicubic, corners not aligned, no antialiasing. Every row of the
# table belongs to a place.
#
# <details><summary>Hint</summary>
#
# `F.interpolate` wants pictures (batch, channel, row, column): here 1 picture with d channels. Reshape
# to (h, w, d), move the channels to the front, and afterwards back again.
# </details>


# %% answer="interpolate_positions"
def interpolate_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int]
) -> Tensor:
    """Resize a table of positions to another grid (Dosovitskiy et al. 2021, section 3.2).

    table: (h * w, d) for old = (h, w). Returns (h' * w', d) for new = (h', w').
    """
    ### BEGIN SOLUTION
    grid = table.reshape(*old, -1)  # (row, column, channel)
    picture = grid.permute(2, 0, 1)[None]  # (1, channel, row, column)
    resized = F.interpolate(picture, size=new, mode="bicubic", align_corners=False)
    return resized[0].permute(1, 2, 0).reshape(new[0] * new[1], -1)
    ### END SOLUTION


# %% check="interpolate_positions" points=3
check(interpolate_positions)

# %% [markdown]
# Two traps of real models. Many put a **class token** before the patches, an extra token that gathers the
# answer (chapter 10). Its row of the table belongs to no place: take it off before you resize and put it
# back after, or every patch is shifted by one. And pass the grid's size: 36 tokens may be 6 × 6 or 4 × 9.

# %% [markdown]
# ## The experiment: what is order worth?
#
# 1797 digits, 16 patches each. The model: embed the patches, one layer of attention with four heads, a
# small network, the mean over all tokens, ten classes. Attention and network *add* to a token instead of
# replacing it; chapter 08 says why. The positions are learned, kept as a picture of 32 channels.


# %%
class DigitReader(nn.Module):
    """Names the digit in a bag of patches; `positions` says whether it sees places."""

    def __init__(self, positions: bool, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.places = nn.Parameter(0.3 * torch.randn(width, 4, 4), positions)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.network = nn.Sequential(
            nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)
        )
        self.classify = nn.Linear(width, 10)
        if not positions:
            self.places.zero_()

    def forward(self, patches: Tensor, places: Tensor | None = None) -> Tensor:
        """patches (B, N, 4) -> logits (B, 10)."""
        places = self.places if places is None else places
        x = self.embed(patches) + places.flatten(1).T  # (batch, token, width)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.network(x)
        return self.classify(x.mean(dim=1))


# %% [markdown]
# We train on 1200 digits and test on the other 597, which the model never sees in training.


# %%
def cut(pictures: Tensor) -> Tensor:
    """Patches of 2 x 2 pixels, row by row: (B, H, W) -> (B, N, 4)."""
    return F.unfold(pictures[:, None], 2, stride=2).mT


# %%
def train_reader(positions: bool, run: int) -> DigitReader:
    """25 passes over the first 1200 digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run)
        reader = DigitReader(positions).to(device)
    learned = [p for p in reader.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=5e-3)
    stream = torch.Generator().manual_seed(run)
    for _ in range(25):
        for batch in torch.randperm(1200, generator=stream).split(100):
            logits = reader(tokens[batch])
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
    return reader


# %%
mixed = torch.randperm(len(pictures), generator=generator)
scans = pictures[mixed].float().to(device)
labels = torch.tensor(digits.target)[mixed].to(device)
tokens = cut(scans)  # (picture, token, pixel)
with_places = train_reader(positions=True, run=0)
without_places = train_reader(positions=False, run=0)


@torch.no_grad()
def accuracy(reader: DigitReader, tokens: Tensor, *places: Tensor) -> float:
    """The share of the 597 test digits that are named rightly."""
    return (
        (reader(tokens, *places).argmax(dim=1) == labels[1200:]).double().mean().item()
    )


# %% [markdown]
# **Predict** both: how many digits does the model with positions name, and how many the one
# without? Guessing gives 10 %. And what happens to either if we shuffle the patches of the test
# pictures?

# %%
test, order = tokens[1200:], order.to(device)
results = {
    name: {
        "in order": accuracy(reader, test),
        "patches shuffled": accuracy(reader, test[:, order]),
    }
    for name, reader in (("positions", with_places), ("no positions", without_places))
}
print("with positions, above 86 %:   ", results["positions"]["in order"] > 0.86)
print("shuffled, below 40 %:         ", results["positions"]["patches shuffled"] < 0.4)
print(
    "without positions, 45 to 75 %:", 0.45 < results["no positions"]["in order"] < 0.75
)

# %%
figure = figures.grouped_bars(
    results,
    ylabel="digits named rightly",
    title="Without positions many more digits are missed, and shuffling changes nothing",
    reference={"guessing": 0.1},
    percent=True,
)
figures.show(
    figure,
    alt="Bars of right answers. With positions: high in order, near guessing when shuffled. "
    "Without positions: clearly lower than that, and the same height in both cases.",
)

# %% [markdown]
# Is the same height a coincidence? Compare the logits themselves, in float64:

# %%
exact = without_places.double()
with torch.no_grad():
    before, after = exact(test.double()), exact(test[:, order].double())
largest = (before - after).abs().max()
print("every logit the same to 1e-10:", bool(largest < 1e-10))
print(
    "every answer the same:        ", bool((before.argmax(1) == after.argmax(1)).all())
)

# %% [markdown]
# No coincidence: a theorem. Attention commutes with shuffling, the network works on each token alone, and
# a mean does not know about order.
#
# Notice what the bag can do, too: about half of the digits named from loose strokes. *What* is there
# carries much of the meaning; *where* carries the rest.

# %% [markdown]
# ## A larger picture
#
# We blow the test pictures up to 12 × 12 pixels: 6 × 6 patches, 36 tokens. The model was never trained on that.
# Three tables: interpolated; the 16 old rows over and over; and no places at all. **Predict** the order.

# %%
large = cut(F.interpolate(scans[1200:, None], size=(12, 12), mode="bilinear")[:, 0])
places = with_places.places.detach()  # (width, row, column)
resized = F.interpolate(places[None], size=(6, 6), mode="bicubic")[0]
repeated = places.flatten(1)[:, torch.arange(36) % 16].view(-1, 6, 6)
shares = {
    "interpolated": accuracy(with_places, large, resized),
    "old rows repeated": accuracy(with_places, large, repeated),
    "no places": accuracy(with_places, large, torch.zeros_like(resized)),
}
print("interpolated, above 35 %:", shares["interpolated"] > 0.35)
print("each of the others below 25 %:", max(list(shares.values())[1:]) < 0.25)

# %%
figure = figures.bars(
    shares,
    ylabel="digits named rightly",
    title="Only an interpolated table still fits a picture of another size",
    reference={"guessing": 0.1},
    percent=True,
)
figures.show(
    figure,
    alt="Three bars of right answers on larger pictures. Interpolated is far ahead; the old "
    "rows repeated and no places lie near guessing.",
)

# %% [markdown]
# Interpolation keeps a good part of what was learned, without any training. Not all: in the larger picture a patch
# holds a smaller piece of a stroke than the model has ever seen. Hence the usual recipe: train small,
# interpolate, then *fine-tune* briefly at the larger size (Dosovitskiy et al. 2021, section 3.2).

# %% [markdown]
# ## Which one, then?
#
# | | says where by | longer than trained | used in |
# |---|---|---|---|
# | sinusoidal | adding fixed sines | computed for any length | the 2017 Transformer |
# | learned | adding free numbers | has to be interpolated | BERT, the Vision Transformer |
# | rotary | turning queries and keys | any distance; trained ones work best | most large language models |
#
# "Computed for any length" does not mean "works at any length": a model still has to have met such distances.

# %% [markdown]
# ## The answer
#
# How does order get in? Not through attention, which sees a bag, and provably so. You write it into the
# tokens: add a code that differs for each place, or turn queries and keys by their place. Good codes stay
# small, change smoothly, and let a dot product see the distance. With places, the digits become readable;
# without them, a scattered picture and a whole one are the same.

# %% [markdown]
# ## Where this leads
#
# You have tokens that know their place, and heads that look at several of them. Chapter 08 builds the layer
# around them: residual connections, normalisation and the small network you saw above. Chapter 10 puts
# learned positions, and the class token with a position of its own, into a Vision Transformer.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), section 3.5: the sinusoidal table; Table 3, row E:
#   learned positions do as well.
# - Su et al., *RoFormer: Enhanced Transformer with Rotary Position Embedding* (2021), sections 3.2 to 3.4.
# - Dosovitskiy et al., *An Image is Worth 16×16 Words* (2021), section 3.2: interpolation; appendix D.4:
#   what kinds of positions are worth.
# - Keys, *Cubic Convolution Interpolation for Digital Image Processing* (1981).
# - Shaw, Uszkoreit, Vaswani, *Self-Attention with Relative Position Representations* (2018): distances
#   in the score, before rotations.
# - Lee et al., *Set Transformer* (2019), section 3: attention as a function of sets.

# %% [markdown]
# # 00 · Orientation
#
# **Wrong tensor code often runs. It returns the right shape, filled with the wrong numbers.
# How would you notice?**
#
# Attention is a handful of lines: two matrix products with a softmax between them. Every one
# of those lines has a wrong twin that raises no error. In this chapter you learn to read and
# write such lines, and how this course tells you when a twin has slipped in.

# %% [markdown]
# ## What you will be able to do
#
# - name every dimension of a tensor, and predict the shape after each step;
# - multiply batches of matrices, with `@` and with `einsum`, without mixing the items;
# - write a softmax that survives any number;
# - say what a check looks at, and use what it tells you.
#
# **Time**: about 75 minutes. **You need** Python, and to have seen a matrix product before.

# %%
import math

import numpy as np
import torch
from torch import Tensor

from attention_course.learn import check, device, figures

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## How to work here
#
# Each chapter comes in two editions. The **lesson** has been run for you: every result is in
# it, and no exercise. The **release** is yours: the same text, with functions to write and a
# check after each. Keep `checks.safetensors` beside it: a check reads its inputs there.
#
# Work through the release from top to bottom, and run every cell.

# %% [markdown]
# Before a cell that prints, you are often asked to **predict**. Do it, on paper: a wrong
# prediction shows you what there is to learn.
#
# No cell of the text needs one of your answers, and no check needs another answer than its
# own. If an exercise keeps you, go on and come back. Some figures get a slider beneath them when
# you run their cell in JupyterLab. Words that you meet and miss stand in `docs/glossary.md`.

# %% [markdown]
# Tensors live on `device`: a GPU if there is one, otherwise the CPU. The results printed here
# are the same on both. Where rounding could show, numbers are float64, with about 16
# digits; torch's own default is float32, with 7.

# %% [markdown]
# ## Every dimension has a name
#
# Take two sentences of three words, each word described by four numbers: a tensor of shape
# (2, 3, 4). The sizes say little. The names say all: **(batch, token, channel)**. A *token* is
# one element of a sequence: here a word, in chapter 01 a piece of an image.
#
# To see where numbers go, let each one say where it stands: 120 is sentence 1, token 2,
# channel 0.

# %%
places = [
    [[100 * b + 10 * n + c for c in range(4)] for n in range(3)] for b in range(2)
]
x = torch.tensor(places, dtype=torch.float64, device=device)  # (batch, token, channel)
print("shape", tuple(x.shape))
print(x[1].cpu().numpy())

# %% [markdown]
# An index takes its dimension away; a slice keeps it. **Predict** the three shapes.

# %%
print("x[1, 2]  ", tuple(x[1, 2].shape), x[1, 2].tolist())
print("x[:, 2]  ", tuple(x[:, 2].shape), x[:, 2].tolist())
print("x[1:, 2:]", tuple(x[1:, 2:].shape), x[1:, 2:].tolist())

# %% [markdown]
# Negative numbers count from the end: dimension -1 is the last one, whatever comes in front.
# That is why most code of this course says `dim=-1`. It works for one sentence and for a
# batch of them.
#
# A sum over a dimension makes that name disappear. **Predict** each shape, and the first
# number of each result.

# %%
for dim in (0, 1, -1):
    total = x.sum(dim=dim)
    kept = x.sum(dim=dim, keepdim=True)
    shapes = f"{tuple(total.shape)}, keepdim {tuple(kept.shape)}"
    print(f"dim={dim:2d}: {shapes}, first {total.flatten()[0].item():.0f}")

# %% [markdown]
# With `keepdim=True` the name stays, with size 1. You will see in a moment what that is good
# for.
#
# We write the names in a comment behind the line, `# (batch, token, channel)`. If you cannot
# write that comment, you do not know yet what the line does.

# %% [markdown]
# ## Broadcasting
#
# Tensors of different shapes can be combined. Torch lines the shapes up **at the right**, and
# stretches every size 1:
#
# | | | |
# |---|---|---|
# | column | 3 | 1 |
# | row | | 4 |
# | result | 3 | 4 |
#
# **Predict** the whole table before you run the cell.

# %%
column = torch.tensor([[0.0], [10.0], [20.0]], device=device)  # (3, 1)
row = torch.tensor([0.0, 1.0, 2.0, 3.0], device=device)  # (4,)
print((column + row).cpu().numpy())

# %% [markdown]
# Useful, and dangerous. Say you want to subtract from each row of a matrix its own mean, so
# that each row sums to 0. Here is the attempt without `keepdim`.
#
# **Predict**: for a matrix of 2 rows and 3 columns, does it run? And for 3 and 3?

# %%
for rows in (2, 3):
    matrix = torch.arange(1.0, 3.0 * rows + 1, dtype=torch.float64, device=device)
    matrix = matrix.square().view(rows, 3)
    try:
        centred = matrix - matrix.mean(dim=-1)
        print(f"({rows}, 3): runs, the rows sum to", centred.sum(dim=-1).cpu().numpy())
    except RuntimeError as error:
        print(f"({rows}, 3): {type(error).__name__}")

# %% [markdown]
# With 2 rows torch protests. With 3 it lines the three means up with the *columns* and says
# nothing. The square hid the mistake.
#
# With `keepdim=True` the means form a column, and each one meets its own row:

# %%
centred = matrix - matrix.mean(dim=-1, keepdim=True)  # (3, 3) - (3, 1)
print("the rows sum to zero:", bool((centred.sum(dim=-1).abs() < 1e-12).all()))

# %% [markdown]
# ## Tables of dot products
#
# The dot product of two vectors multiplies entry by entry and sums: $q \cdot k = \sum_c q_c k_c$.
# It is large when two vectors point the same way, and it is the heart of attention.
#
# Vectors that ask are called *queries*, those they are compared with *keys* (chapter 02 says
# why), and a dot product of the two is a *score*. Here are two queries and three keys.
# **Predict** the score of query 0 with each key.

# %%
q = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64).to(device)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], dtype=torch.float64).to(device)
for j in range(3):
    print(f"query 0 with key {j}: {(q[0] * k[j]).sum().item():.0f}")

# %% [markdown]
# All pairs at once are one matrix product. `a @ b` sums over the **last** dimension of a and
# the **last but one** of b. Both q and k have their channels last, so k has to be turned:
# $Q K^\top$.

# %%
table = q @ k.T  # (query, channel) @ (channel, key) = (query, key)
print(table.cpu().numpy())

# %% [markdown]
# Row 0 is what you predicted. A row belongs to a query, a column to a key. It stays like that
# through the whole course.
#
# ## A batch
#
# A batch is several such problems in one tensor, with a dimension in front. `@` treats each
# item by itself. Let us look at the first item alone, and at the first item of the batch:

# %%
generator = torch.Generator().manual_seed(0)
left = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).to(device)
right = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64).to(device)
product = left @ right  # (batch, 3, 4) @ (batch, 4, 5) = (batch, 3, 5)
print("shape", tuple(product.shape))
alone = left[0] @ right[0]
print("item 0 by itself:", torch.allclose(product[0], alone, rtol=0, atol=1e-12))

# %% [markdown]
# Items of a batch never see each other. Code that lets them is the worst kind of wrong: it
# works in every test with one item.
#
# And `.T`? It turns *all* dimensions around, also the batch. **Predict** which of these three
# turns the keys of each item, (key, channel) into (channel, key).

# %%
keys = torch.zeros(2, 3, 4, device=device)  # (batch, key, channel)
turned = {
    "what .T does": keys.permute(2, 1, 0),
    "transpose(0, 1)": keys.transpose(0, 1),
    "transpose(-2, -1)": keys.transpose(-2, -1),
}
for name, result in turned.items():
    print(f"{name:18s} {tuple(keys.shape)} -> {tuple(result.shape)}")

# %% [markdown]
# The last one: batch stays in front, the other two change places. `keys.mT` is short for it.
#
# ## Einsum: write the names
#
# Instead of turning tensors until they fit, you can say what you mean. `einsum` takes a letter
# for each dimension, and what is left after the arrow:
#
# - a letter in both inputs: multiply along it;
# - a letter that is missing after the arrow: sum over it.

# %%
print("i,i->  ", torch.einsum("i,i->", q[0], k[2]).item())
print("qc,kc->qk", torch.einsum("qc,kc->qk", q, k).tolist())
print("qc->q  ", torch.einsum("qc->q", q).tolist())

# %% [markdown]
# A dot product, the table from above, the sum of each row. A batch is one more letter, in both
# inputs and in the result.
#
# Mind the letters. **Predict**: what does `"qc,kd->qk"` compute, with two *different* letters
# for the channels?

# %%
print(torch.einsum("qc,kd->qk", q, k).tolist())
print(torch.outer(q.sum(dim=-1), k.sum(dim=-1)).tolist())

# %% [markdown]
# It sums each vector by itself and multiplies the sums. No error, the right shape, and nothing
# to do with a dot product.

# %% [markdown]
# ## The experiment: who finds your mistake?
#
# Here are nine wrong ways to compute all dot products in a batch. Each is an easy slip. We run
# each one twice: once with all sizes 3, once with all sizes different.
#
# **Predict**: how many raise an error in each?

# %%
wrong = {
    "no transpose": lambda q, k: q @ k,
    "transpose(0, 1)": lambda q, k: q @ k.transpose(0, 1),
    "what .T does": lambda q, k: q @ k.permute(2, 1, 0),
    "entry by entry": lambda q, k: q * k,
    "pairs only": lambda q, k: (q * k).sum(dim=-1),
    "reshape": lambda q, k: q @ k.reshape(k.shape[0], k.shape[2], k.shape[1]),
    "two letters": lambda q, k: torch.einsum("bqc,bkd->bqk", q, k),
    "rows are keys": lambda q, k: torch.einsum("bqc,bkc->bkq", q, k),
    "first item's keys": lambda q, k: q @ k[0].T,
}


# %%
def what_happens(mistake, batch: int, queries: int, keys: int, channels: int) -> str:
    """Run a wrong answer on random numbers and say how it shows."""
    q = torch.randn(batch, queries, channels, generator=generator, dtype=torch.float64)
    k = torch.randn(batch, keys, channels, generator=generator, dtype=torch.float64)
    try:
        result = mistake(q, k)
    except RuntimeError:
        return "an error"
    if result.shape != (batch, queries, keys):
        return "a wrong shape"
    last = (q[-1, 0] * k[-1, -1]).sum()  # one entry, by hand
    return "right" if torch.isclose(result[-1, 0, -1], last) else "wrong numbers only"


# %%
sizes = {"all sizes 3": (3, 3, 3, 3), "sizes 2, 4, 5, 7": (2, 4, 5, 7)}
ways = ("an error", "a wrong shape", "wrong numbers only")
counts = {}
for name, shape in sizes.items():
    seen = [what_happens(mistake, *shape) for mistake in wrong.values()]
    counts[name] = {way: seen.count(way) for way in ways}
    print(f"{name:17s}", counts[name])

# %%
figure = figures.grouped_bars(
    counts,
    ylabel="wrong answers, of nine",
    title="Equal sizes hide eight mistakes of nine, different sizes hide three",
)
figures.show(
    figure,
    alt="Bars of how nine wrong answers show. With all sizes 3, none raises an error, one has a "
    "wrong shape and eight show in their numbers only. With sizes 2, 4, 5 and 7, five raise an "
    "error, one has a wrong shape and three show in their numbers only.",
)

# %% [markdown]
# So here is the first habit: **try your code with sizes that all differ.** Torch will find most
# mistakes for you. Every check of this course does that.
#
# The other three can be seen in the numbers alone: `reshape`, two letters, and the first
# item's keys. For these you need the second habit: **one entry by hand.**

# %% [markdown]
# ## Memory: views and copies
#
# Why is `reshape` wrong where `transpose` is right? A tensor is one strip of numbers, and a
# rule for reading it: the **strides** say how far to jump for the next index of each
# dimension.
#
# **Predict**: what changes in a transpose, the strip or the rule?

# %%
strip = torch.arange(6.0, device=device)  # 0 1 2 3 4 5
m = strip.view(2, 3)
print("m         ", m.tolist(), "strides", m.stride())
print("transposed", m.T.tolist(), "strides", m.T.stride())
print("reshaped  ", m.reshape(3, 2).tolist())

# %% [markdown]
# Only the rule: same strip, jumps exchanged. `reshape(3, 2)` reads the strip in order and
# cuts it into other rows: right shape, other numbers.
#
# `view` is a `reshape` that never copies. After a transpose the numbers no longer lie in the
# order in which you read them, and there is no rule for the new shape. **Predict** what
# happens.

# %%
try:
    m.T.view(6)
except RuntimeError as error:
    print("view raises", type(error).__name__)
print("reshape copies:", m.T.reshape(6).tolist())
for name, tensor in {"m": m, "m.T": m.T, "m.T.contiguous()": m.T.contiguous()}.items():
    print(f"{name:17s} contiguous: {tensor.is_contiguous()}")

# %% [markdown]
# A tensor that comes from outside may be somebody's transpose. Code that uses `view` on it works
# until that day. `reshape` always works: it copies when it has to.
#
# A view shares the strip. **Predict** what `m` holds after this cell.

# %%
last_row = m[1]  # a view: no number is copied
last_row += 100
print("m    ", m.tolist())
print("strip", strip.tolist())

# %% [markdown]
# Both changed. `+=`, `*=`, `x[0] = ...`, `masked_fill_` and every other method that ends in `_`
# write **in place**. Inside a function that means: into the caller's data.


# %%
def centre(values: Tensor) -> Tensor:
    values -= values.mean()
    return values


measured = torch.tensor([1.0, 2.0, 6.0], device=device)
print("result      ", centre(measured).tolist())
print("the caller's", measured.tolist())

# %% [markdown]
# The measurements are gone. `values = values - values.mean()` would have made a new tensor. So
# the third habit: **never write into what you were given.**

# %% [markdown]
# ## Gradients
#
# A model learns because torch follows each number back to where it came from. For
# $y = \sum_i a_i^2$ the gradient is $2a$. **Predict** the second line: `detach` gives the same
# numbers, without their history.

# %%
a = torch.tensor([1.0, -2.0, 3.0], device=device, requires_grad=True)
gradient = torch.autograd.grad(a.square().sum(), a)[0]
print("gradient:", gradient.tolist())

y = (a * a.detach()).sum()  # same value
print("same value:", y.item() == a.square().sum().item())
print("gradient:", torch.autograd.grad(y, a)[0].tolist())

# %% [markdown]
# The same value, half the gradient. Here is a mistake that no look at the result can find. You
# cut history with `detach`, `.data`, `.item()`, `torch.no_grad` and `torch.tensor(...)`: they are for
# printing and plotting, not for the middle of a model.

# %% [markdown]
# ## What a check looks at
#
# A check runs your function on many inputs, and looks at three things:
#
# - **values**: sizes that all differ, a batch of one, two calls of the same shape;
# - **gradients**: does every input get the right one?
# - **robustness**: very large numbers, transposed views, float32 and float16 (the result
#   keeps the dtype), and your inputs afterwards.
#
# Each earns its share of the points. Gradients and robustness count once the values are right.

# %% [markdown]
# ## A failing check, read together
#
# Somebody used `reshape` to turn the keys in `pairwise_dots`, the first exercise. The check says:
#
# ```text
# ✗ pairwise_dots: not yet, 0 of 3 points
#   You turn k with `reshape` or `view`. They cut the same row of numbers into
#   other rows; a transpose swaps rows and columns.
#   Not yet: values, gradients, robustness.
# ```
#
# A headline, a **hint**, and what is left. The results equal those of a known wrong answer,
# number for number.

# %% [markdown]
# If your mistake is not a known one, you get the first number that differs:
#
# ```text
# ✗ pairwise_dots: not yet, 0 of 3 points
#   `output`[0, 0, 2] is 1.23, expected -1.23 (q (2, 4, 7), k (2, 5, 7)).
#   Not yet: values, gradients, robustness.
# ```
#
# **Predict** before you read on: the entries [0, 0, 0] and [0, 0, 1] were right, this one has the
# wrong sign. What might the author have written?

# %% [markdown]
# Probably an `abs`: it leaves positive numbers as they are. Read such a message in three steps:
# *where* (item 0, query 0, key 2), *what* (the sign), *for which input* (in brackets, with
# shapes).
#
# You can do the same for yourself: a small input, the right numbers by hand, and the first
# place that differs. Here it is for `reshape`:

# %%
expected = q @ k.T  # you checked row 0 by hand
observed = q @ k.reshape(2, 3)
where = (expected != observed).nonzero()[0].tolist()
print("expected", expected.tolist())
print("observed", observed.tolist())
print("first difference at", where)

# %% [markdown]
# [0, 0]: query 0, key 0. Expected 1, observed 3. So look at what query 0 was multiplied with.
# **Predict** the columns of the reshaped keys; they should be the three keys.

# %%
print("keys            ", k.tolist())
print("reshaped columns", k.reshape(2, 3).T.tolist())

# %% [markdown]
# The first column is (1, 1), and no key looks like that: one 1 comes from key 0, the other from
# key 1. Now the hint makes sense: the strip was cut in other places.

# %% [markdown] exercise="pairwise_dots"
# ### Exercise: all dot products, in a batch  ·  6 min  ·  ●○○
#
# Sizes have letters from here on: B batch items, Nq queries, Nk keys, d channels.
#
# `q` is (B, Nq, d), `k` is (B, Nk, d). Return the dot product of every query with every key
# of its own batch item, (B, Nq, Nk):
#
# $$S_{bij} = \sum_c q_{bic}\, k_{bjc}$$
#
# Nothing is scaled. Replace `raise NotImplementedError()`, run the cell, then run the check.
#
# <details><summary>Hint</summary>
#
# Two ways: turn the last two dimensions of k and multiply with `@`; or give each index of the
# formula to `einsum` as a letter.
# </details>


# %% answer="pairwise_dots"
def pairwise_dots(q: Tensor, k: Tensor) -> Tensor:
    """Dot products of all queries with all keys of the same batch item.

    q: (B, Nq, d), k: (B, Nk, d). Returns (B, Nq, Nk).
    """
    ### BEGIN SOLUTION
    return q @ k.transpose(-2, -1)  # (batch, query, key)
    ### END SOLUTION


# %% check="pairwise_dots" points=3
check(pairwise_dots)

# %% [markdown]
# What are such tables good for? Describe five things by three numbers: *alive*, *has wheels*,
# *lives with people*. **Predict**: which two different things have the largest dot product? And
# will any animal be positive with a vehicle?

# %%
traits = {  # alive, wheels, people
    "cat": [1, -1, 1.0],
    "dog": [1, -1, 1.2],
    "wolf": [1, -1, -1.0],
    "bicycle": [-1, 1, 0.8],
    "train": [-1, 1, -0.5],
}
vectors = torch.tensor(list(traits.values()), dtype=torch.float64, device=device)
dots = vectors @ vectors.T  # (thing, thing)

# %%
things = list(traits)
figure = figures.attention_map(
    dots,
    things,
    things,
    title="Cat and dog agree most; animals and vehicles disagree",
    signed=True,
    label="dot product",
)
figures.show(
    figure,
    alt="Heat map of 5 by 5 dot products. Cat, dog and wolf are positive with each other, cat "
    "with dog most of all. Bicycle and train are positive with each other. Every animal is "
    "negative with every vehicle.",
)

# %% [markdown]
# A dot product measures how much two vectors agree. Attention uses that to decide who should
# listen to whom.

# %% [markdown]
# ## Mixing with weights
#
# The second product of attention takes a weighted mean. Three values, and one row of weights
# that sum to 1. **Predict** the mix: half of the first, a quarter of each of the others.

# %%
values = torch.tensor([[8.0, 0.0], [0.0, 4.0], [4.0, 4.0]], device=device)
weights = torch.tensor([0.5, 0.25, 0.25], device=device)

print("by hand:", sum(weights[j] * values[j] for j in range(3)).tolist())
print("with @: ", (weights @ values).tolist())

# %% [markdown]
# The sum runs over the keys, and their name disappears: (key,) @ (key, channel) gives
# (channel,). Weights (1, 0, 0) would pick out the first value; equal weights would give the
# plain mean. Everything between is a soft choice.

# %% [markdown] exercise="weighted_mix"
# ### Exercise: weighted mix, in a batch  ·  5 min  ·  ●○○
#
# `weights` is (B, Nq, Nk), `v` is (B, Nk, e): a value has e channels. For every query, return the
# sum of the values, each times its weight, (B, Nq, e):
#
# $$O_{bie} = \sum_j w_{bij}\, v_{bje}$$
#
# Use the weights as they are, whatever they sum to.
#
# <details><summary>Hint</summary>
#
# Which dimension disappears? Where does it stand in `weights`, and where in `v`? Look again at
# what `@` sums over.
# </details>


# %% answer="weighted_mix"
def weighted_mix(weights: Tensor, v: Tensor) -> Tensor:
    """Weighted sums of the values of each batch item.

    weights: (B, Nq, Nk), v: (B, Nk, e). Returns (B, Nq, e).
    """
    ### BEGIN SOLUTION
    return weights @ v  # (batch, query, channel of v)
    ### END SOLUTION


# %% check="weighted_mix" points=2
check(weighted_mix)

# %% [markdown]
# Now you have both products. Put a softmax between them (the next section writes it), and you
# have the whole of attention, for one item. The diagram below reads its numbers from the
# tensors. **Predict**: which names will be left at the end?

# %%
queries = torch.randn(4, 7, generator=generator, dtype=torch.float64).to(device)
keys = torch.randn(5, 7, generator=generator, dtype=torch.float64).to(device)
values = torch.randn(5, 6, generator=generator, dtype=torch.float64).to(device)

attn_scores = queries @ keys.T
attn_weights = torch.softmax(attn_scores, dim=-1)
attn_output = attn_weights @ values

# %%
steps = [
    ("q", queries, "query d"),
    ("k turned", keys.T, "d key", "with"),
    ("scores", attn_scores, "query key", "sum over d"),
    ("weights", attn_weights, "query key", "softmax"),
    ("v", values, "key e", "with"),
    ("output", attn_output, "query e", "sum over key"),
]

# %%
figure = figures.shape_flow(
    steps,
    title="Each product sums one name away: first d, then key",
)
figures.show(
    figure,
    alt="Six boxes, joined by arrows, in two rows. q is query by d, k turned is d by key; "
    "summing over d gives scores, query by key; softmax keeps that shape; v is key by e; "
    "summing over key gives the output, query by e.",
)

# %% [markdown]
# The queries go in and come out; each gets a mix of values. A batch puts one more cell in front
# of every box and changes nothing else.

# %% [markdown]
# ## Softmax, by hand
#
# Scores can be any numbers; weights should be positive and sum to 1. Softmax does it in two
# steps: take $e^x$, then divide by the sum.
#
# $$w_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# **Predict**: one score is larger than another by 1. By which factor is its weight larger?

# %%
scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, device=device)
powers = scores.exp()
shares = powers / powers.sum()
print("powers", powers.cpu().numpy())
print("shares", shares.cpu().numpy(), "sum", round(shares.sum().item(), 4))
print("ratio ", round((shares[2] / shares[1]).item(), 4))

# %% [markdown]
# By $e \approx 2.718$, wherever the two scores lie.
#
# In a matrix you have to say which numbers share the 1. **Predict** which of the two calls
# makes the *rows* sum to 1.

# %%
numbers = [[1.0, 2.0, 3.0], [3.0, 3.0, 3.0]]
matrix = torch.tensor(numbers, dtype=torch.float64, device=device)
for dim in (0, 1):
    result = torch.softmax(matrix, dim=dim)
    print(f"dim={dim}: rows sum to", result.sum(dim=1).cpu().numpy())
    print("       columns sum to", result.sum(dim=0).cpu().numpy())

# %% [markdown]
# `dim=1`: the dimension you name is the one that is *summed over*, the numbers along it share
# the 1. For a table (query, key) that is the keys, and `dim=-1` says so for any batch.

# %% [markdown]
# ## Where exp breaks
#
# Floating-point numbers end somewhere. Here is the largest $x$ for which $e^x$ still fits:

# %%
for dtype in (torch.float16, torch.float32, torch.float64):
    limit = math.log(torch.finfo(dtype).max)
    print(f"{dtype!s:14s} e^x fits up to x = {limit:.1f}")

# %% [markdown]
# A score of 12 is nothing special, and in float16 it is too much already. **Predict** what the two
# steps give for the scores 1000 and 1001, and for -1000 and -1001.

# %%
for low in (1000.0, -1001.0):
    pair = torch.tensor([low, low + 1], dtype=torch.float64, device=device)
    powers = pair.exp()
    shares = powers / powers.sum()
    print(pair.tolist(), "powers", powers.tolist(), "shares", shares.tolist())

# %% [markdown]
# Infinity over infinity, zero over zero: both are NaN, "not a number". From there NaN spreads
# into every later result.
#
# The cure costs one subtraction. Numerator and denominator may be divided by the same number
# $e^m$:
#
# $$\frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}$$
#
# for any $m$. Now choose it well.

# %% [markdown] exercise="stable_softmax"
# ### Exercise: a softmax that holds  ·  12 min  ·  ●●○
#
# Softmax of `x` along `dim`, for any number of dimensions; `dim` may be negative. Same shape and
# dtype as x; x stays as it was.
#
# It must hold for numbers of any size, and when one row lies thousands above another. Some
# entries may be -inf: their weight is 0.
#
# `torch.softmax` would pass the check. Write it yourself all the same.
#
# <details><summary>Hint</summary>
#
# Which $m$ makes the largest exponent 0, in every row? `torch.amax` takes `dim` and `keepdim`.
# Think of the square matrix above before you leave `keepdim` out.
# </details>


# %% answer="stable_softmax"
def stable_softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax along one dimension that neither overflows nor divides zero by zero.

    x: any shape. dim: from -x.dim() to x.dim() - 1. Returns the shape and dtype of x.
    """
    ### BEGIN SOLUTION
    shifted = x - x.amax(dim=dim, keepdim=True)  # the largest exponent is 0
    numerator = shifted.exp()
    return numerator / numerator.sum(dim=dim, keepdim=True)
    ### END SOLUTION


# %% check="stable_softmax" points=4
check(stable_softmax)

# %% [markdown]
# A good $m$ is the maximum: then the largest exponent is 0. But the maximum of what? Take two rows
# and move the second one up. Softmax sees differences alone, so the weights should not change.
#
# `torch.softmax` takes each row's own maximum; our suspect takes the largest number of all.
# **Predict** when it breaks, and in which row.

# %%
rows = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64, device=device)
for level in (0, 20, 800):
    moved = rows + torch.tensor([[0.0], [level]], dtype=torch.float64, device=device)
    suspect = (moved - moved.max()).exp()
    suspect = suspect / suspect.sum(dim=-1, keepdim=True)
    right = torch.softmax(moved, dim=-1)
    for name, result in {"torch": right, "suspect": suspect}.items():
        first, second = result.cpu().numpy()
        print(f"level {level:3d}, {name:7s}", first, second)

# %% [markdown]
# At level 20 nothing shows. At 800 the *first* row is 0/0: it did not move at all, its neighbour
# did. A row's result must not depend on another row, so the maximum has to be the row's own.
#
# That is also a batch whose items are mixed, in a place where nobody looks.

# %% [markdown]
# ## The answer
#
# How would you notice? Not by the shape, and not by running it once. Name the dimensions in a
# comment. Choose sizes that all differ, so that torch notices for you. Work out one entry by hand,
# in the *second* item of the batch. Then the three looks of a check: values, gradients,
# robustness.
#
# And when a check fails, read where, what, and for which input.

# %% [markdown]
# ## Where this leads
#
# You have the tools. Chapter 01 has the reason to use them: a patch of an image that means one thing
# in one picture and something else in the next, so that no model can read it without looking at
# the others.
#
# Outside Jupyter, `attention-course check 00 answers.py` gives the same verdicts for a plain
# Python file.

# %% [markdown]
# ## References
#
# - Harris et al., *Array programming with NumPy* (2020), figure 1: shapes, strides, views and
#   broadcasting on one page.
# - Paszke et al., *PyTorch: An Imperative Style, High-Performance Deep Learning Library* (2019),
#   section 4.3: how gradients are recorded.
# - Chiang, Rush, Barak, *Named Tensor Notation* (2021), sections 1 and 2: mathematics with
#   names for dimensions.
# - Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 4.1: overflow and underflow.
# - Blanchard, Higham, Higham, *Accurately computing the log-sum-exp and softmax functions* (2021): why
#   the shift by the maximum is safe.

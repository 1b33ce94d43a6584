# %% [markdown]
# # 05 · Masks
#
# **How can a model learn to predict the next word, when the next word is lying right there in
# its input?**
#
# It must not look. And a sentence of 3 words, stored beside one of 8, must not look at the 5
# cells that only fill up its row. *Must not look* is a table of yes and no, a **mask**. With a
# wrong one, a model trains well. Too well.

# %% [markdown]
# ## What you will be able to do
#
# - hide a key so that nothing of it is left, and say why $-\infty$ does it and $-10$ does not;
# - build causal and padding masks, also where queries and keys differ in number, and combine them;
# - keep a row that may look at nothing from turning your whole model into NaN;
# - tell the three conventions of PyTorch's masks apart;
# - prove with one picture that a model does not leak.
#
# **Time**: about 80 minutes. **You need** chapter 04: scores, softmax, weights.

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right

from attention_course.learn import check, device, figures

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## To hide one key
#
# One query, three keys, scores $\ln 1, \ln 2, \ln 5$. Softmax undoes the logarithm, so the
# weights are $\tfrac18, \tfrac28, \tfrac58$. Now the last key is forbidden.
#
# **Work out** what the other two should get before you go on.

# %%
scores = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64, device=device).log()
print("all three:", torch.softmax(scores, dim=0).cpu().numpy())
print("only two: ", torch.softmax(scores[:2], dim=0).cpu().numpy())

# %% [markdown]
# One third and two thirds, as if the key had never been there. That is the standard: **a hidden
# key must leave no trace.**
#
# Here are four ways to hide it without cutting it off. **Predict** which of them give
# $\tfrac13, \tfrac23, 0$.

# %%
visible = torch.tensor([True, True, False], device=device)
ways = {
    "weights times 0": torch.softmax(scores, dim=0) * visible,
    "score times 0": torch.softmax(scores * visible, dim=0),
    "score set to -10": torch.softmax(scores.masked_fill(~visible, -10.0), dim=0),
    "score set to -inf": torch.softmax(scores.masked_fill(~visible, -math.inf), dim=0),
}
for name, weights in ways.items():
    first, second, last = weights.tolist()
    print(
        f"{name:18s} {first:.4f} {second:.4f}, hidden {last:.1e}, sum {sum(weights):.4f}"
    )

# %% [markdown]
# - *Weights times 0*: the hidden key has taken its $\tfrac58$ already; the row sums to $\tfrac38$.
# - *Score times 0*: a score of 0 is no small score. $e^0 = 1$.
# - *-10*: almost. A trace of $e^{-10}$ remains, and beside real scores of -20 it would win.
# - *-inf*: $e^{-\infty} = 0$ exactly, whatever the others are.

# %% [markdown]
# ## A table of permissions
#
# For every query a row, for every key a column. This course says:
#
# > **attn_mask: boolean, True means *may attend*.**
#
# Three tokens of a sentence that is written from left to right: each may see itself and what
# came before.

# %%
may_attend = torch.tensor(
    [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ],
    device=device,
)
flat_scores = torch.zeros(3, 3, dtype=torch.float64, device=device)
print(
    torch.softmax(flat_scores.masked_fill(~may_attend, -math.inf), dim=-1).cpu().numpy()
)

# %% [markdown]
# With equal scores a row shares its attention out evenly among the keys it may see: one, two,
# three.
#
# This **causal** mask is what lets a model read a sentence of N tokens and learn N predictions
# at once: row $i$ computes as if the sentence ended at $i$.

# %% [markdown]
# ## More keys than queries
#
# When a model writes, it has read 5 tokens already, kept their keys, and now asks with the last
# two. Two queries, five keys: **the last query belongs to the last key.**
#
# | | key 0 | key 1 | key 2 | key 3 | key 4 |
# |---|---|---|---|---|---|
# | query 0 (at place 3) | ✓ | ✓ | ✓ | ✓ | |
# | query 1 (at place 4) | ✓ | ✓ | ✓ | ✓ | ✓ |
#
# So query $i$ stands at place $i + (N_k - N_q)$. With more queries than keys, the first ones stand
# *before* the first key: they see nothing.

# %% [markdown] exercise="causal_mask"
# ### Exercise: the causal mask  ·  6 min  ·  ●○○
#
# Return a boolean tensor of shape (Nq, Nk). Query $i$ may attend to key $j$, True, if and only if
#
# $$j \le i + (N_k - N_q)$$
#
# Either number may be the larger one, and both may be 1. Rows may come out empty: leave them so.
#
# <details><summary>Hint</summary>
#
# `torch.tril` has an argument `diagonal`. Or compare two `torch.arange`, one of them as a
# column: `[:, None]`.
# </details>


# %% answer="causal_mask"
def causal_mask(num_queries: int, num_keys: int) -> Tensor:
    """Which keys each query may see, aligned with the last key.

    Returns (Nq, Nk), bool: True where query i may attend to key j.
    """
    ### BEGIN SOLUTION
    ones = torch.ones(num_queries, num_keys, dtype=torch.bool)
    return ones.tril(diagonal=num_keys - num_queries)
    ### END SOLUTION


# %% check="causal_mask" points=3
check(causal_mask)

# %% [markdown]
# **Is that what torch does?** `F.scaled_dot_product_attention` has a switch, `is_causal=True`.
# Let us read its weights: if the values are the identity matrix, the output *is* the weights.
#
# **Predict**: two queries, five keys. What will query 0 see?

# %%
queries = torch.zeros(1, 2, 4, dtype=torch.float64, device=device)
keys = torch.zeros(1, 5, 4, dtype=torch.float64, device=device)
identity = torch.eye(5, dtype=torch.float64, device=device)[None]  # (1, key, key)
read = F.scaled_dot_product_attention(queries, keys, identity, is_causal=True)
print(read[0].cpu().numpy())

# %% [markdown]
# Key 0 alone! Torch aligns `is_causal` with the *first* key, top left. For equal numbers it makes
# no difference; for a model that writes with stored keys it hides almost everything.
#
# The rule of this course has a name there too, `causal_lower_right`:

# %%
lower_right = causal_lower_right(2, 5)
aligned = F.scaled_dot_product_attention(queries, keys, identity, attn_mask=lower_right)
figure = figures.attention_maps(
    {"is_causal=True": read[0], "causal_lower_right": aligned[0]},
    title="Two causal masks: only the right one lets the last query see all",
)
figures.show(
    figure,
    alt="Two maps of weights, two queries by five keys. Left: query 0 sees key 0 only, query 1 "
    "sees keys 0 and 1. Right: query 0 sees four keys, query 1 all five.",
)

# %% [markdown]
# ## Padding
#
# A batch is a block, sentences are not. Short ones are filled up with something: zeros, a
# special token, leftovers. Its numbers mean nothing, so nothing may depend on them.
#
# One sentence of 2 tokens in a row of 4. We fill the row with two kinds of rubbish and attend.

# %%
real = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
for filling in (0.0, 3.0):
    rubbish = torch.full((2, 2), filling, dtype=torch.float64)
    row = torch.cat([real, rubbish]).to(device)[None]  # (batch, token, d) = (1, 4, 2)
    output = F.scaled_dot_product_attention(row, row, row)
    print(f"filled with {filling:.0f}: token 0 becomes", output[0, 0].cpu().numpy())

# %% [markdown]
# The real token changes with the filling. Even zeros are no way out: a key of zeros scores 0,
# and takes its share.
#
# The mask for this is shorter: a key is padding for *all* queries. Here the course follows
# torch's name and meaning:
#
# > **key_padding_mask: boolean, (B, Nk), True means *is padding*.**
#
# Mind the change of sense: True was "yes, look" above, and is "no" here.

# %% [markdown] exercise="padding_mask"
# ### Exercise: from lengths to a padding mask  ·  5 min  ·  ●○○
#
# `lengths` is (B,), integers. Item $b$ has real tokens at places $0 \dots \text{lengths}[b] - 1$;
# the rest of its `num_keys` places is padding. Return (B, Nk), True on padding, on the device of
# `lengths`.
#
# A length may be 0 or num_keys, and num_keys may be larger than the longest.
#
# <details><summary>Hint</summary>
#
# Compare every place with every length: one as a row, the other as a column.
# </details>


# %% answer="padding_mask"
def padding_mask(lengths: Tensor, num_keys: int) -> Tensor:
    """Which keys of each item only fill up its row.

    lengths: (B,), integers from 0 to num_keys. Returns (B, Nk), bool: True is padding.
    """
    ### BEGIN SOLUTION
    places = torch.arange(num_keys, device=lengths.device)  # (key,)
    return places >= lengths[:, None]  # (batch, key)
    ### END SOLUTION


# %% check="padding_mask" points=3
check(padding_mask)

# %% [markdown]
# ## Three conventions
#
# Why not simply "True means look" everywhere? Because you will meet all of these:
#
# | where | mask | True means |
# |---|---|---|
# | this course | `attn_mask` | may attend |
# | this course | `key_padding_mask` | is padding |
# | `F.scaled_dot_product_attention` | `attn_mask` | may attend |
# | `nn.MultiheadAttention` | `attn_mask` | **ignore** |
# | `nn.MultiheadAttention` | `key_padding_mask` | is padding |
# | all of torch | any *float* mask | no True: it is **added** to the scores |
#
# **Predict** what happens if you hand our table of three tokens to both of torch's functions. (The
# module's numbers are its width, 2, and how many heads it has, 1: chapter 06.)

# %%
tokens = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64, device=device)
official = nn.MultiheadAttention(2, 1, batch_first=True).to(device, torch.float64)
batch = tokens[None]  # (batch, token, d) = (1, 3, 2)
identity = torch.eye(3, dtype=torch.float64, device=device)[None]

by_function = F.scaled_dot_product_attention(
    batch, batch, identity, attn_mask=may_attend
)
by_module = official(batch, batch, batch, attn_mask=may_attend)[1]
for name, weights in {"function": by_function, "module": by_module}.items():
    seen = [torch.nonzero(row > 0).flatten().tolist() for row in weights[0]]
    print(f"{name:9s} queries 0, 1, 2 see keys {seen}")

# %% [markdown]
# Same tensor, same argument name, opposite meaning. Nothing complains. The module shows each
# query only its future, and the last one nothing at all: such a row will trouble us soon.
#
# So write down what True means beside every mask you make. For the module, pass `~may_attend`.

# %% [markdown]
# ## Two masks at once
#
# A batch of sentences that are written from left to right needs both. A query may see a key if
# the table allows it **and** the key is no padding. In shapes:
#
# | | shape | as seen from (B, H, Nq, Nk) |
# |---|---|---|
# | `attn_mask` | (Nq, Nk) | the same for all items and heads |
# | `key_padding_mask` | (B, Nk) | the same for all heads and queries |
#
# The result is (B, 1, Nq, Nk). The 1 is for the heads of chapter 06.

# %% [markdown] exercise="combine_masks"
# ### Exercise: combine the masks  ·  6 min  ·  ●●○
#
# `attn_mask` is (Nq, Nk), True may attend. `key_padding_mask` is (B, Nk), True is padding. Return
# one boolean mask of shape (B, 1, Nq, Nk), True may attend.
#
# Padding may stand anywhere, a row may come out empty, and padded *queries* are no affair of this
# mask. Leave both inputs as they are.
#
# <details><summary>Hint</summary>
#
# Broadcasting lines shapes up from the right. Which axes does (B, Nk) lack, and where?
# Indexing with `None` makes an axis of length 1.
# </details>


# %% answer="combine_masks"
def combine_masks(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    """One mask of what each query of each item may see.

    attn_mask: (Nq, Nk), bool, True may attend. key_padding_mask: (B, Nk), bool, True is
    padding. Returns (B, 1, Nq, Nk), bool, True may attend.
    """
    ### BEGIN SOLUTION
    is_real = ~key_padding_mask[:, None, None, :]  # (batch, 1, 1, key)
    return attn_mask & is_real  # (batch, 1, query, key)
    ### END SOLUTION


# %% check="combine_masks" points=3
check(combine_masks)

# %% [markdown]
# Look at both together: three sentences, causal, all scores equal. The third is padded at the
# *start*, as models that write often do, so that all sentences end at the same place.
# **Predict** the first row of the third map.
#
# The official module combines the two for us; its signs are those of the table above.

# %%
is_padding = torch.tensor(
    [
        [False, False, False, False],
        [False, False, True, True],
        [True, True, False, False],
    ],
    device=device,
)
blank = torch.zeros(3, 4, 2, dtype=torch.float64, device=device)
future = nn.Transformer.generate_square_subsequent_mask(4, device=device) < 0
_, weights = official(
    blank, blank, blank, attn_mask=future, key_padding_mask=is_padding
)

# %%
names = ("no padding", "padded at the end", "padded at the start")
figure = figures.attention_maps(
    dict(zip(names, weights.detach(), strict=True)),
    annotate=True,
    title="Padding at the start and a causal mask: two rows are left with nothing",
)
figures.show(
    figure,
    alt="Three maps of weights, four queries by four keys. The first is a lower triangle. In the "
    "second the last two columns are zero. In the third the first two rows are not numbers, "
    "drawn grey, and the other two use keys 2 and 3 only.",
)

# %% [markdown]
# ## The empty row
#
# The grey cells are NaN: not a number. A row with all its keys hidden asks softmax for
#
# $$\frac{e^{-\infty}}{e^{-\infty} + e^{-\infty}} = \frac{0}{0}$$
#
# "I don't care", you may say, "those are padded queries. I throw their outputs away."
#
# **Predict**: three tokens, the last row empty. The loss uses rows 0 and 1 only. Does the
# weight $W_V$ get a clean gradient?

# %%
w_v = torch.eye(2, dtype=torch.float64, device=device, requires_grad=True)
mask = torch.tensor(
    [[True, True, True], [True, True, False], [False] * 3], device=device
)
attn_scores = (tokens @ tokens.T).masked_fill(~mask, -math.inf)  # (query, key)
attn_output = torch.softmax(attn_scores, dim=-1) @ (tokens @ w_v)
loss = attn_output[:2].sum()
loss.backward()
print("loss:", f"{loss.item():.4f}")
print("gradient of W_V:", w_v.grad.tolist())

# %% [markdown]
# The loss looks fine. Every gradient is gone, and after one step of training, every weight.
#
# Going back, the thrown-away row is multiplied by an upstream gradient of 0. But
# $0 \cdot \mathrm{NaN} = \mathrm{NaN}$, and the sum over rows takes it everywhere. You cannot
# throw a NaN away. You have to not make it.

# %% [markdown]
# So what *should* an empty row give? All its weights are 0: the query reads nothing, its output
# is the zero vector, its gradient zero.
#
# And one more trap. Values may be right and the gradient still NaN, if a NaN was made on the way
# and only covered up:

# %%
row = torch.zeros(2, dtype=torch.float64, device=device, requires_grad=True)
hidden = torch.full((2,), -math.inf, dtype=torch.float64, device=device)
covered = torch.softmax(row + hidden, dim=0).nan_to_num(0.0)
covered.sum().backward()
print("values  ", covered.tolist())
print("gradient", row.grad.tolist())

# %% [markdown] exercise="masked_softmax"
# ### Exercise: masked softmax  ·  15 min  ·  ●●●
#
# Softmax over the keys that may be seen. `scores` is (…, Nq, Nk); `attn_mask` is boolean, True
# may attend, and broadcasts to it. Return weights of the shape and dtype of `scores`.
#
# - A fully masked row gives zeros, and a gradient of zeros. No NaN in either.
# - Right however large a score is, masked or not.
#
# <details><summary>Hint</summary>
#
# *Replacing* scores (`masked_fill`, `torch.where`) also cuts the gradient behind them; adding
# -inf does not. After the softmax, what should every masked weight be?
# </details>


# %% answer="masked_softmax"
def masked_softmax(scores: Tensor, attn_mask: Tensor) -> Tensor:
    """Softmax over the last dimension, among the keys that may be seen.

    scores: (..., Nq, Nk). attn_mask: bool, broadcastable to scores, True may attend.
    Returns weights like scores; a row without any visible key is all zeros.
    """
    ### BEGIN SOLUTION
    hidden = ~attn_mask
    weights = torch.softmax(scores.masked_fill(hidden, -math.inf), dim=-1)
    return weights.masked_fill(hidden, 0.0)
    ### END SOLUTION


# %% check="masked_softmax" points=5
check(masked_softmax)

# %% [markdown]
# What does torch say about the empty row? **Predict**: do its two functions agree?

# %%
by_function = F.scaled_dot_product_attention(batch, batch, identity, attn_mask=mask)[0]
by_module = official(batch, batch, batch, attn_mask=~mask)[1][0].detach()
print("function, last row:", by_function[2].tolist())
print("module, last row:  ", by_module[2].tolist())

# %% [markdown]
# The function gives zeros. The module gives NaN in this mode, and in others it
# differs again: chapter 09 has the list. Of the conventions to choose from, zeros are the one
# that cannot spread.

# %% [markdown]
# ## Masks that are added
#
# The third convention: turn yes and no into 0 and $-\infty$, and *add* it to the scores.
#
# It has two merits. A score plus 0 is unchanged and a score plus $-\infty$ is $-\infty$, so one
# addition does it. And the numbers in between are free: a *bias* of -2 says "rather not". ALiBi,
# for one, subtracts a little for every step of distance.

# %%
distance = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64)
for slope in (0.0, math.log(2)):
    weights = torch.softmax(-slope * distance, dim=0)
    print(f"bias of {-slope + 0.0:.4f} a step:", weights.numpy())

# %% [markdown]
# A bias of $-\ln 2$ a step: each step back halves the weight, $\tfrac1{15}, \tfrac2{15},
# \tfrac4{15}, \tfrac8{15}$.
#
# A lot of code writes $-10^9$ for $-\infty$. **Predict** each of these lines.

# %%
large = 1e30
print("float64, 1e30 - 1e9 is still 1e30:", large - 1e9 == large)
print("lowest number of float16:", torch.finfo(torch.float16).min)
print("-1e9 in float16:", torch.tensor(-1e9).to(torch.float16).item())
all_hidden = torch.full((4,), -1e9, dtype=torch.float64)
print("an empty row of -1e9:", torch.softmax(all_hidden, dim=0).tolist())

# %% [markdown]
# $-10^9$ does not hide a score that is large enough, and turns an empty row into an even look at
# everything forbidden. In half precision it does not exist: `.to` makes it -inf, `masked_fill`
# raises an error. Say what you mean: `-inf`.

# %% [markdown] exercise="to_additive"
# ### Exercise: to an additive mask  ·  5 min  ·  ●○○
#
# Turn a boolean mask of any shape, True may attend, into a float mask of the same shape and of
# the given `dtype`: 0 where attention is allowed, $-\infty$ where it is not. The dtype may be
# `torch.float16`, `torch.float32` or `torch.float64`.
#
# <details><summary>Hint</summary>
#
# Don't multiply: $0 \cdot \infty$ is NaN. Choose.
# </details>


# %% answer="to_additive"
def to_additive(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as numbers to add to scores.

    attn_mask: bool, any shape, True may attend. Returns the same shape in `dtype`: 0 where
    True, -inf where False.
    """
    ### BEGIN SOLUTION
    zeros = torch.zeros(attn_mask.shape, dtype=dtype, device=attn_mask.device)
    return zeros.masked_fill(~attn_mask, -math.inf)
    ### END SOLUTION


# %% check="to_additive" points=2
check(to_additive)

# %% [markdown]
# There is one mistake that no error message will ever show you: a boolean mask that became a
# float one on its way, by `.float()`, and is *added* as 1 and 0. **Predict** the weights of
# query 0, with equal scores. It may see key 0 only.

# %%
zeros = torch.zeros(1, 3, 2, dtype=torch.float64, device=device)
for name, given in {
    "boolean": may_attend,
    "its .double()": may_attend.double(),
}.items():
    weights = F.scaled_dot_product_attention(zeros, zeros, identity, attn_mask=given)
    print(f"{name:14s}", weights[0, 0].cpu().numpy())

# %% [markdown]
# The allowed key gets a bonus of 1, a factor of $e \approx 2.7$. The future keeps 42 % of the
# attention. It runs, it trains, and it cheats.

# %% [markdown]
# ## The leak detector
#
# How would you notice? Not from the mask: it may be right, and a *different* part of the model
# may carry the future past it. So ask the whole model: **if I nudge input $j$, does output $i$
# move?** That is a derivative, and autograd has it:
#
# $$\text{influence}_{ij} \;=\; \left\lVert \frac{\partial\, \text{output}_i}
# {\partial\, \text{input}_j} \right\rVert$$
#
# In a causal model every entry with $j > i$ is exactly 0.


# %%
def influence(model, x: Tensor) -> Tensor:
    """How much each output token moves with each input token.

    x: (N, d). Returns (output token, input token), each entry the norm of a d x d block.
    """
    blocks = torch.autograd.functional.jacobian(model, x)  # (N, d, N, d)
    return blocks.norm(dim=(1, 3))


# %% [markdown]
# Four small models, each of which claims to be causal. **Predict** which of them leak, and where
# in the picture you will see it.

# %%
generator = torch.Generator().manual_seed(5)
N, width = 6, 4
x = torch.randn(N, width, generator=generator, dtype=torch.float64).to(device)


# %%
def attend(x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Self-attention with x as queries, keys and values; causal unless masked otherwise."""
    y = x[None]
    causal = attn_mask is None
    return F.scaled_dot_product_attention(y, y, y, attn_mask, is_causal=causal)[0]


# %%
one_too_many = torch.ones(N, N, dtype=torch.bool, device=device).tril(1)
models = {
    "causal": lambda x: x + attend(x),
    "mask off by one": lambda x: x + attend(x, one_too_many),
    "norm over tokens": lambda x: attend((x - x.mean(0)) / x.std(0)),
    "plus the mean": lambda x: attend(x) + x.mean(0),
}
maps = {name: influence(model, x) for name, model in models.items()}


# %%
def mark_leaks(figure, maps: dict[str, Tensor], allowed: Tensor) -> None:
    """Put a cross on every cell that ought to be zero and is not."""
    for axes, values in zip(figure.axes, maps.values(), strict=False):
        rows, columns = torch.nonzero((values > 0) & ~allowed).T.cpu().numpy()
        axes.scatter(
            columns,
            rows,
            marker="x",
            s=45,
            linewidths=2.2,
            color=figures.INK,
            label="leak",
        )


# %%
order = torch.arange(N, device=device)
past = order[None, :] - order[:, None] < 1

# %%
figure = figures.attention_maps(
    maps,
    maximum="largest",
    annotate=False,
    label="influence",
    axis_names=("output token", "input token"),
    title="Three of four 'causal' models see the future (crosses)",
)
mark_leaks(figure, maps, past)
figures.show(
    figure,
    alt="Four maps of influence, six output tokens by six input tokens. The causal model is zero "
    "above the diagonal. The mask off by one has crosses on the first diagonal above it. The "
    "norm over tokens and the added mean have crosses on every cell above the diagonal.",
)

# %%
for name, values in maps.items():
    print(
        f"{name:18s} cells that see the future: {int((values[~past] > 0).sum())} of 15"
    )

# %% [markdown]
# The last two have a flawless mask. The mean and the spread over tokens are computed from *all*
# tokens, and reach every one of them.
#
# It is a popular mistake: a normalisation over the wrong axis, a mean over the sequence "as
# context", a reversed convolution. Chapter 08's layer norm works inside one token, and does not
# leak.

# %% [markdown]
# ## The same for padding
#
# Real tokens must not depend on padded ones. Tokens 4 and 5 of six are padding: in the rows of
# real tokens, their columns have to be 0. The rows of padded tokens are free.

# %%
is_real = order < 4
keys_only = is_real.expand(N, N)
poolers = {
    "keys masked": lambda x: x + attend(x, keys_only),
    "no mask": lambda x: x + attend(x, torch.ones_like(keys_only)),
    "mean over all": lambda x: attend(x, keys_only) + x.mean(0),
}
maps = {name: influence(model, x) for name, model in poolers.items()}
allowed = is_real | ~is_real[:, None]  # only rows of real tokens are bound

# %%
figure = figures.attention_maps(
    maps,
    maximum="largest",
    annotate=False,
    label="influence",
    axis_names=("output token", "input token"),
    title="Padding (tokens 4 and 5) leaks into real tokens by two ways",
)
mark_leaks(figure, maps, allowed)
figures.show(
    figure,
    alt="Three maps of influence, six by six. With masked keys the real rows are zero in the "
    "last two columns. Without a mask, and with a mean over all tokens, the last two columns "
    "have crosses in the four rows of real tokens.",
)

# %% [markdown]
# The last two rows of the first map: padded tokens do compute something, from the real ones. That
# is harmless as long as nobody reads it, and it is why a `key_padding_mask` hides keys and leaves
# queries alone. Hiding queries too would only make empty rows.

# %% [markdown]
# **One blind spot.** The detector reads slopes. A step has no slope: round the mean, compare it,
# take an argmax, and the derivative is 0 while the information passes. So also *change* the
# future and compare. **Predict** what each of the two tests says.


# %%
def by_step(x: Tensor) -> Tensor:
    return attend(x) + (x.sum(0) > 0)  # a yes or no from all tokens


changed = x.clone()
changed[-1] += 100.0
moved = (by_step(changed) - by_step(x))[:-1].abs().max().item() > 0
print(
    "cells with a slope into the future:", int((influence(by_step, x)[~past] > 0).sum())
)
print("earlier outputs change with the last input:", moved)

# %% [markdown]
# ## The experiment: too good to be true
#
# Does one diagonal matter? A language with 8 words: with probability 0.6 the next word is the
# current one plus 1, otherwise it is drawn at random. Nobody can predict it better than
# $0.6 + 0.4/8 = 65\,\%$.

# %%
WORDS, LENGTH = 8, 16


def sentences(number: int, generator: torch.Generator) -> Tensor:
    """Sentences of the language, (number, LENGTH), int64, on the CPU."""
    text = torch.randint(WORDS, (number, LENGTH), generator=generator)
    follows = torch.rand(number, LENGTH, generator=generator) < 0.6
    for place in range(1, LENGTH):
        successor = (text[:, place - 1] + 1) % WORDS
        text[:, place] = torch.where(follows[:, place], successor, text[:, place])
    return text


print(sentences(2, torch.Generator().manual_seed(1)).tolist())

# %% [markdown]
# The model: words and places as vectors, one attention, two layers on top. It returns a score for
# each word that could come next; such scores, before their softmax, are called *logits*. `leak=1`
# raises the diagonal by one.


# %%
class NextWord(nn.Module):
    """Scores for the word after each place; leak is how far it may look ahead."""

    def __init__(self, leak: int, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.places = nn.Embedding(LENGTH, width)
        self.in_proj = nn.Linear(width, 3 * width)
        self.read_out = nn.Sequential(
            nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, WORDS)
        )
        self.leak = leak

    def forward(self, text: Tensor) -> Tensor:
        """text: (B, N), int64. Returns (B, N, words)."""
        x = self.words(text) + self.places.weight
        query, key, value = self.in_proj(x).chunk(3, dim=-1)
        place = torch.arange(LENGTH, device=text.device)
        may_attend = place - place[:, None] <= self.leak
        attn_output = F.scaled_dot_product_attention(query, key, value, may_attend)
        return self.read_out(torch.cat([x, attn_output], dim=-1))


# %%
def train(leak: int) -> NextWord:
    """300 steps on fresh sentences."""
    generator = torch.Generator().manual_seed(2)
    model = NextWord(leak)
    with torch.no_grad():
        for parameter in model.parameters():
            start = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(start / parameter.shape[-1] ** 0.5)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        text = sentences(64, generator).to(device)
        logits = model(text)[:, :-1]  # the last word has no next one
        loss = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


# %%
trained = {"causal": train(0), "off by one": train(1)}

# %% [markdown]
# Two tests on 500 new sentences. *As in training*: the whole sentence is in the input. *As in
# use*: what comes after place $i$ is not written yet, so we put random words there.
#
# **Predict** the four accuracies.


# %%
@torch.no_grad()
def accuracy(model: NextWord, in_use: bool) -> float:
    """Share of words that are predicted right, place by place."""
    generator = torch.Generator().manual_seed(3)
    text = sentences(500, generator).to(device)
    noise = torch.randint(WORDS, text.shape, generator=generator).to(device)
    right = 0
    for place in range(LENGTH - 1):
        given = text.clone()
        if in_use:
            given[:, place + 1 :] = noise[:, place + 1 :]
        guess = model(given)[:, place].argmax(dim=-1)
        right += int((guess == text[:, place + 1]).sum())
    return right / text[:, 1:].numel()


# %%
measured = {
    name: {"as in training": accuracy(model, False), "as in use": accuracy(model, True)}
    for name, model in trained.items()
}

# %%
figure = figures.grouped_bars(
    measured,
    ylabel="next word right",
    title="One diagonal too many: perfect in training, worthless in use",
    reference={"best possible": 0.65},
    percent=True,
)
figures.show(
    figure,
    alt="Bars of accuracy for two models in two tests. The causal model reaches the best "
    "possible value in both. The model with a mask off by one is perfect as in training and "
    "near chance as in use.",
)

# %%
causal, leaky = measured["causal"], measured["off by one"]
print("causal, same in both tests:", causal["as in training"] == causal["as in use"])
print("causal, between 60 % and 70 %:", 0.6 < causal["as in use"] < 0.7)
print("off by one, in training above 95 %:", leaky["as in training"] > 0.95)
print("off by one, in use below 25 %:", leaky["as in use"] < 0.25)

# %% [markdown]
# The broken model has the better training curve, the better validation score, the better
# everything, until the day it is used. It learned one thing: to copy the word that it should
# have guessed.
#
# Remember the tell: **a model that beats what is possible is looking.** Then run the detector.

# %% [markdown]
# ## The answer
#
# How can a model learn to predict what lies in its input? A mask sets the scores of the future to
# $-\infty$ before the softmax, so that no trace of it is left: no share, no gradient. Each row
# learns as if the sentence ended there.
#
# One wrong diagonal, one flipped True or one mean over tokens lets the future in without any
# error. So check the *model*, not the mask.

# %% [markdown]
# ## Where this leads
#
# Chapter 06 gives every mask its axis for heads. Chapter 08 hands masks through layers, where
# they are easily lost. Chapter 09 shows what the official modules do with empty rows. Chapter 11
# writes word by word with stored keys, where Nq is 1 and the alignment with the last key is the
# whole point.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), section 3.2.3: "setting to $-\infty$" what
#   the decoder must not see.
# - Press, Smith, Lewis, *Train Short, Test Long: Attention with Linear Biases Enables Input
#   Length Extrapolation* (2022), section 3: a mask with numbers in between.
# - Germain et al., *MADE: Masked Autoencoder for Distribution Estimation* (2015), section 4:
#   masks that make each output depend on earlier inputs only.
# - PyTorch documentation, `torch.nn.functional.scaled_dot_product_attention` and
#   `torch.nn.MultiheadAttention`: what True means in each.

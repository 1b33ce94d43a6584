# %% [markdown]
# # 06 · Multi-head attention
#
# **A token may need two things at once, from two places. One softmax gives it one
# average. How do you look at two things without blurring them?**
#
# The paper's answer is one sentence: "With a single attention head, averaging inhibits
# this." So it runs several small attentions side by side. At the end of this chapter you
# will have built them, and you will have measured what one head cannot do.

# %% [markdown]
# ## What you will be able to do
#
# - cut a model's width into heads and join them again, without mixing up the tokens;
# - write multi-head attention as the paper does, with masks, and wrap it in a module;
# - say how much each head contributes to an output;
# - explain when two heads can do what one cannot, and when one head is enough.
#
# **Time**: about 110 minutes. **You need** chapters 04 (scaled dot-product attention) and 05
# (masks).

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn import check, device, figures, seed
from attention_course.learn.experiments_06 import (
    PLACES,
    answered,
    make_questions,
    silence,
    train_reader,
)
from attention_course.learn.widgets import explore

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## One head, one average
#
# Two scenes, two places each. Your query asks two questions: what is on the left, and what
# is on the right? Both places matter, so one head gives each half of its attention.
#
# **Predict**: can you tell the two scenes apart from what the head brings back?

# %%
red, blue = torch.eye(2, dtype=torch.float64, device=device)
scenes = {
    "red left, blue right": torch.stack([red, blue]),  # (place, channel)
    "blue left, red right": torch.stack([blue, red]),
}
half_half = torch.tensor([0.5, 0.5], dtype=torch.float64, device=device)
for name, values in scenes.items():
    print(f"{name}: {(half_half @ values).tolist()}")

# %% [markdown]
# You cannot. "Some red and some blue", twice. The average kept *what* and lost *which is
# which*. Now let two heads look, each at one place, and put what they bring side by side:

# %%
left = torch.tensor([1.0, 0.0], dtype=torch.float64, device=device)
right = torch.tensor([0.0, 1.0], dtype=torch.float64, device=device)
for name, values in scenes.items():
    print(f"{name}: {torch.cat([left @ values, right @ values]).tolist()}")

# %% [markdown]
# Four numbers in place of two, and nothing is lost.
#
# You may object: weights of 0.7 and 0.3 also tell the scenes apart, with one head! Keep
# the objection. The experiment at the end of the chapter puts it to the test.

# %% [markdown]
# ## Two heads out of one
#
# Where does a second head come from? You have one already and did not know it. The score of
# token 0 in chapter 04 was a sum over $d_k = 2$ channels. Here are its two terms:

# %%
Q = (seed.X @ seed.W_Q).to(device)  # (query, d_k) = (8, 2)
K = (seed.X @ seed.W_K).to(device)  # (key, d_k) = (8, 2)

by_channel = Q[0, :, None] * K.T  # (channel, key): token 0's query
print("channel 0:", by_channel[0].cpu().numpy())
print("channel 1:", by_channel[1].cpu().numpy())
print("score:    ", by_channel.sum(dim=0).cpu().numpy())

# %% [markdown]
# Channel 0 wants token 6. Channel 1 wants token 7. The sum hears the louder voice.
#
# Two heads do not add up. Each takes a softmax of its own, over the scores from its own
# channel. **Predict** which token gets the largest weight in each line.

# %%
one_head = torch.softmax(by_channel.sum(dim=0) / math.sqrt(2), dim=0)
two_heads = torch.softmax(by_channel / math.sqrt(1), dim=1)
print("one head:", one_head.cpu().numpy())
print("head 0:  ", two_heads[0].cpu().numpy())
print("head 1:  ", two_heads[1].cpu().numpy())

# %% [markdown]
# With one head, token 7 gets 12 %. With two, it gets 46 % of a head of its own. The same
# numbers $Q$ and $K$, cut in two. All eight tokens:

# %%
tokens = [f"token {i}" for i in range(8)]
maps = {"one head": torch.softmax(Q @ K.T / math.sqrt(2), dim=1)}
for head in range(2):
    scores = Q[:, head : head + 1] @ K[:, head : head + 1].T  # (query, key)
    maps[f"head {head}"] = torch.softmax(scores, dim=1)

# %%
figure = figures.attention_maps(
    maps,
    tokens,
    tokens,
    title="One head hears token 6; a second head also hears token 7",
)
figures.show(
    figure,
    alt="Three 8 by 8 heat maps. With one head the column of token 6 is darkest. Head 0 "
    "looks much the same. Head 1 puts rows 0, 1, 2, 4 and 5 on token 7 instead.",
)

# %% [markdown]
# That is the whole idea. The **width** $d_{model}$ is shared out: $h$ heads with
# $d_k = d_{model} / h$ channels each. Every head does what chapter 04 did, on its own
# channels. What remains is bookkeeping, and that is where almost every bug lives.

# %% [markdown]
# ## Splitting: cut channels, not tokens
#
# Three tokens with four channels. Each number tells where it belongs: 23 is token 2,
# channel 3. Two heads: head 0 owns channels 0 and 1 of *every* token.

# %%
x = (10 * torch.arange(3)[:, None] + torch.arange(4)).to(device)  # (token, channel)
print("x:\n", x.cpu().numpy())
print("head 0:\n", x[:, :2].cpu().numpy())
print("head 1:\n", x[:, 2:].cpu().numpy())

# %% [markdown]
# We want one tensor (head, token, channel), here (2, 3, 2). It is tempting to ask torch for
# that shape directly. **Predict** what head 0 will hold.

# %%
print(x.reshape(2, 3, 2).cpu().numpy())

# %% [markdown]
# The shape is right and the content is wrong. `reshape` walks through memory row by row, so
# head 0 got token 0, whole, and half of token 1. It will never see token 2, and no error will
# tell you.
#
# `reshape` may cut the last axis in two. Moving an axis is a different operation. Heads have to
# come before tokens because `@` multiplies the last two axes and takes all others as a batch.

# %% [markdown] exercise="split_heads"
# ### Exercise: split the heads  ·  10 min  ·  ●○○
#
# Turn x (B, N, d_model) into (B, H, N, head_dim), where head_dim = d_model / H. Head 0 owns
# the first head_dim channels of every token, head 1 the next, and so on.
#
# If `num_heads` does not divide d_model, raise a `ValueError`.
#
# <details><summary>Hint</summary>
#
# Two steps. First cut the last axis: (B, N, H, head_dim). Then let heads and tokens change
# places with `transpose`.
# </details>


# %% answer="split_heads"
def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Cut the channels into heads.

    x: (B, N, d_model). Returns (B, num_heads, N, d_model / num_heads).
    Raises ValueError if num_heads does not divide d_model.
    """
    ### BEGIN SOLUTION
    batch, num_tokens, d_model = x.shape
    if d_model % num_heads:
        raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
    heads = x.reshape(batch, num_tokens, num_heads, d_model // num_heads)
    return heads.transpose(1, 2)  # (batch, heads, token, channel)
    ### END SOLUTION


# %% check="split_heads" points=3
check(split_heads)

# %% [markdown]
# How bad is the plain reshape? Take 8 tokens with 16 channels and 2 heads, and colour every
# number by the token it belongs to. A good head 0 has one row for each token.

# %%
owner = torch.arange(8)[:, None].expand(8, 16)  # (token, channel)
panels = {"cut by channels": owner[:, :8], "plain reshape": owner.reshape(2, 8, 8)[0]}
figure = figures.attention_maps(
    panels,
    title="A plain reshape hides half of the tokens from head 0",
    annotate=False,
    maximum=7,
    label="token a number belongs to",
    axis_names=("row of head 0", "channel of head 0"),
)
figures.show(
    figure,
    alt="Two 8 by 8 tables coloured by token. Cut by channels, the rows are token 0 to 7. "
    "After a plain reshape the rows are token 0, 0, 1, 1, 2, 2, 3, 3.",
)

# %% [markdown]
# ## Merging: side by side again
#
# After attention, each head holds one row for each token. A token's row is put together
# again from its pieces, head after head. The paper writes $\mathrm{Concat}$.
#
# Now the trap of the chapter. Somebody splits with a plain reshape, and merges with a plain
# reshape. **Predict** both lines:

# %%
head_0, head_1 = x[:, :2], x[:, 2:]  # (token, channel) each
concatenated = torch.cat([head_0, head_1], dim=1)
print("side by side gives x back: ", torch.equal(concatenated, x))

wrong_heads = x.reshape(2, 3, 2)
print("two reshapes give x back:  ", torch.equal(wrong_heads.reshape(3, 4), x))

# %% [markdown]
# True as well, so a test of the round trip passes. The two errors hide each other as long as
# nothing happens in between.
#
# Let something happen: the simplest attention, in which each head replaces its rows by their
# mean. Every token should then hold the mean of tokens 0, 1 and 2: 10, 11, 12, 13.


# %%
def mean_of_rows(head: Tensor) -> Tensor:
    return head.double().mean(dim=-2, keepdim=True).expand(head.shape)


good = torch.cat([mean_of_rows(head_0), mean_of_rows(head_1)], dim=1)
bad = mean_of_rows(wrong_heads).reshape(3, 4)
print("good:\n", good.cpu().numpy())
print("bad:\n", bad.cpu().numpy())

# %% [markdown] exercise="merge_heads"
# ### Exercise: merge the heads  ·  10 min  ·  ●○○
#
# The way back: x (B, H, N, head_dim) becomes (B, N, H · head_dim), for each token the
# channels of head 0, then those of head 1, and so on.
#
# <details><summary>Hint</summary>
#
# The steps of the split in reverse order. After `transpose` the memory is no longer in
# order: `view` refuses then, `reshape` copies.
# </details>


# %% answer="merge_heads"
def merge_heads(x: Tensor) -> Tensor:
    """Put the heads' channels side by side.

    x: (B, H, N, head_dim). Returns (B, N, H * head_dim).
    """
    ### BEGIN SOLUTION
    batch, num_heads, num_tokens, head_dim = x.shape
    tokens_first = x.transpose(1, 2)  # (batch, token, heads, channel)
    return tokens_first.reshape(batch, num_tokens, num_heads * head_dim)
    ### END SOLUTION


# %% check="merge_heads" points=2
check(merge_heads)

# %% [markdown]
# The whole way of one sentence of 6 tokens, width 8, through 2 heads. The boxes are read from
# live tensors. Follow the axis "token": it never mixes with the others.

# %%
generator = torch.Generator().manual_seed(6)
sentence = torch.randn(6, 8, generator=generator).to(device)
q = torch.stack([sentence[:, :4], sentence[:, 4:]])
weights = torch.softmax(q @ q.mT / math.sqrt(4), dim=-1)
z = weights @ q
merged = torch.cat([z[0], z[1]], dim=1)
steps = [
    ("q", sentence, "token d_model"),
    ("q in heads", q, "head token channel", "split"),
    ("attn_weights", weights, "head token token", "q kᵀ, softmax"),
    ("each head reads", z, "head token channel", "· v"),
    ("merged", merged, "token d_model", "merge"),
]

# %%
figure = figures.shape_flow(steps, title="Heads are a detour: width 8 in, width 8 out")
figures.show(
    figure,
    alt="Flow of boxes: (6, 8) tokens by width; (2, 6, 4) heads by tokens by channels; "
    "(2, 6, 6) weights; (2, 6, 4) again; (6, 8) merged.",
)

# %% [markdown]
# ## Masks get an axis for heads
#
# Masks stay what chapter 05 made them: in `attn_mask`, **True means "may attend"**, and a query
# that may attend to nothing has zero weights. All heads live in one tensor of scores, (B, H, Nq,
# Nk), so a mask has three sizes that broadcast to it:
#
# - (Nq, Nk): the same for all items and heads;
# - (B, 1, Nq, Nk): one for each item, as `combine_masks` returned it;
# - (B, H, Nq, Nk): one for each head.

# %% [markdown]
# ## The formula
#
# Vaswani et al. 2017, section 3.2.2:
#
# $$\mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \dots,
# \mathrm{head}_h)\,W^O$$
#
# $$\mathrm{head}_i = \mathrm{Attention}(Q W_i^Q,\; K W_i^K,\; V W_i^V)$$
#
# Here $Q$, $K$ and $V$ are the inputs, still $d_{model}$ wide. Each head has three small
# projections of its own, and $W^O$ mixes what the heads found.
#
# Try it with two heads of two channels and no projection at all:

# %%
query = torch.tensor([[2.0, 0.0, 0.0, 2.0]], dtype=torch.float64, device=device)
key = torch.tensor(
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64, device=device
)
whole = torch.softmax(query @ key.T / math.sqrt(4), dim=-1)
print("one head:", whole.cpu().numpy())
for name, own in {"head 0": slice(0, 2), "head 1": slice(2, 4)}.items():
    attn_scores = query[:, own] @ key[:, own].T / math.sqrt(2)  # (query, key)
    print(f"{name}:  ", torch.softmax(attn_scores, dim=-1).cpu().numpy())

# %% [markdown]
# For one head it is a tie, so it blurs. The two heads know what they want: head 0 takes key
# 0, head 1 takes key 1, with 80 % each.
#
# Now three details, in which most wrong versions differ from the right one.

# %% [markdown]
# **Which root?** A head's score is a sum over head_dim channels, so chapter 04 says
# $\sqrt{\text{head\_dim}}$. **Predict** the spread of the scores if you divide by
# $\sqrt{d_{model}}$ instead, with 8 heads and $d_{model} = 64$.

# %%
q, k = torch.randn(2, 500, 8, generator=generator, dtype=torch.float64)  # one head
for name, width in {"head_dim": 8, "d_model": 64}.items():
    spread = (q @ k.T / math.sqrt(width)).std().item()
    print(f"divided by the root of {name:8s} standard deviation {spread:.2f}")

# %% [markdown]
# A third of the spread: the rows are almost uniform, each head is half blind, and training has
# to make up for it. Nothing crashes.
#
# **One matrix, all heads.** The three projections of $h$ heads are stored as *one* layer of
# width $d_{model}$. In `nn.Linear`'s layout (out, in), head 0's projection is the first
# head_dim rows:

# %%
w_q = torch.randn(8, 8, generator=generator, dtype=torch.float64)
inputs = torch.randn(5, 8, generator=generator, dtype=torch.float64)
all_heads = F.linear(inputs, w_q)  # (token, d_model): x @ w_q.T
print(
    "equal:", torch.allclose(all_heads[:, :4], inputs @ w_q[:4].T, rtol=0, atol=1e-12)
)

# %% [markdown]
# So you project once at full width, and split afterwards.
#
# **What do more heads cost?** **Predict** how the number of parameters changes when the same
# width is shared by more heads.

# %%
for num_heads in (1, 2, 8, 64):
    official = nn.MultiheadAttention(64, num_heads, batch_first=True)
    parameters = sum(p.numel() for p in official.parameters())
    print(
        f"{num_heads:2d} heads of {64 // num_heads:2d} channels: {parameters} parameters"
    )

# %% [markdown]
# Nothing. The multiplications stay the same as well: $h$ heads times $N^2$ scores times
# $d_{model} / h$ channels. Heads share the width, they don't add to it.

# %% [markdown] exercise="multi_head_attention"
# ### Exercise: multi-head attention  ·  20 min  ·  ●●○
#
# Project, split, attend in each head, merge, multiply with `w_o`. The four weights are
# (d_model, d_model) in `nn.Linear`'s layout, without biases; Nq and Nk may differ.
#
# `attn_mask` (True = may attend) is (Nq, Nk), (B, 1, Nq, Nk) or (B, H, Nq, Nk). A query that
# may attend to nothing has zero weights and no NaN, not even in the gradient.
#
# Return `(attn_output, attn_weights)`: (B, Nq, d_model) and (B, H, Nq, Nk).
#
# <details><summary>Hint</summary>
#
# Copy the lines of your split and merge, or write them as helpers in this cell, and those of
# chapter 05's `masked_softmax`: `masked_fill` with -inf, softmax, `masked_fill` with 0.
# `F.linear(x, w)` is `x @ w.T`.
# </details>


# %% answer="multi_head_attention"
def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention without biases (Vaswani et al. 2017, section 3.2.2).

    query: (B, Nq, d_model); key, value: (B, Nk, d_model).
    w_q, w_k, w_v, w_o: (d_model, d_model), out by in, as in nn.Linear.
    attn_mask: boolean, True may attend: (Nq, Nk), (B, 1, Nq, Nk) or (B, H, Nq, Nk).
    Returns attn_output (B, Nq, d_model) and attn_weights (B, H, Nq, Nk).
    """

    ### BEGIN SOLUTION
    def in_heads(x: Tensor, weight: Tensor) -> Tensor:
        projected = F.linear(x, weight)  # (batch, token, d_model)
        return projected.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    q, k, v = in_heads(query, w_q), in_heads(key, w_k), in_heads(value, w_v)
    attn_scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if attn_mask is not None:
        attn_scores = attn_scores.masked_fill(~attn_mask, -torch.inf)
    attn_weights = torch.softmax(attn_scores, dim=-1)  # (batch, heads, query, key)
    if attn_mask is not None:
        attn_weights = attn_weights.masked_fill(~attn_mask, 0.0)
    merged = (attn_weights @ v).transpose(1, 2).flatten(2)  # (batch, query, d_model)
    return F.linear(merged, w_o), attn_weights
    ### END SOLUTION


# %% check="multi_head_attention" points=5
check(multi_head_attention)

# %% [markdown]
# PyTorch's module does the same, and by default it shows you the *mean* of the heads' maps.
# **Predict**: two heads look at two different tokens, with full weight. What does their mean
# look like?

# %%
sharp = torch.eye(2, dtype=torch.float64)  # (head, key): each head its own key
print("head 0:", sharp[0].tolist(), " head 1:", sharp[1].tolist())
print("mean:  ", sharp.mean(dim=0).tolist())

# %% [markdown]
# Like one undecided head: the averaged map hides the very thing that heads are for. That is
# why yours returns (B, H, Nq, Nk), and why you ask torch with `average_attn_weights=False`.

# %% [markdown]
# ## The module, and padding
#
# A module owns the four projections as `nn.Linear` layers: `q_proj`, `k_proj`, `v_proj` and
# `out_proj`, this time with biases.
#
# It takes both masks of chapter 05: `attn_mask` says who is in, `key_padding_mask` (B, Nk) says who
# is out, **True means "is padding"**. For the scores (B, H, Nq, Nk), the padding mask has to
# become (B, 1, 1, Nk): it hides *keys*, from every head and every query. A padded query still
# gets an output; nobody will look at it.

# %% [markdown] exercise="MultiHeadAttention"
# ### Exercise: the module  ·  20 min  ·  ●●○
#
# `MultiHeadAttention(d_model, num_heads)` owns `q_proj`, `k_proj`, `v_proj` and `out_proj`, each
# `nn.Linear(d_model, d_model)` with bias. The constructor raises a `ValueError` if
# `num_heads` does not divide d_model.
#
# `forward` takes the two masks, one, both or none: a key must be allowed by both. It returns
# `(attn_output, attn_weights)`, the weights per head. An empty row has zero weights, so its
# output is `out_proj`'s bias.
#
# <details><summary>Hint</summary>
#
# First make one mask "may attend" out of the two: `~key_padding_mask[:, None, None, :]`, and
# `&` with `attn_mask` if there is one. Not `&=`: the caller still needs the mask.
# </details>


# %% answer="MultiHeadAttention"
class MultiHeadAttention(nn.Module):
    """Multi-head attention with biases and two masks.

    d_model: width of tokens and output. num_heads: has to divide d_model.
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        if d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def in_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        ### END SOLUTION

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """query (B, Nq, d_model); key, value (B, Nk, d_model).

        attn_mask: True may attend, as in multi_head_attention.
        key_padding_mask: (B, Nk), True is padding.
        Returns attn_output (B, Nq, d_model) and attn_weights (B, H, Nq, Nk).
        """
        ### BEGIN SOLUTION
        allowed = attn_mask
        if key_padding_mask is not None:
            allowed = ~key_padding_mask[:, None, None, :]  # (batch, 1, 1, key)
            allowed = allowed if attn_mask is None else allowed & attn_mask
        q = self.in_heads(self.q_proj(query))
        k = self.in_heads(self.k_proj(key))
        v = self.in_heads(self.v_proj(value))
        attn_scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if allowed is not None:
            attn_scores = attn_scores.masked_fill(~allowed, -torch.inf)
        attn_weights = torch.softmax(attn_scores, dim=-1)
        if allowed is not None:
            attn_weights = attn_weights.masked_fill(~allowed, 0.0)
        merged = (attn_weights @ v).transpose(1, 2).flatten(2)
        return self.out_proj(merged), attn_weights
        ### END SOLUTION


# %% check="MultiHeadAttention" points=5
check(MultiHeadAttention)

# %% [markdown]
# Your parameters beside those of torch's own module: the same numbers, packed differently.
# **Predict** why `in_proj_weight` is three times as tall.

# %%
official = nn.MultiheadAttention(8, num_heads=2, batch_first=True)
for name, parameter in official.named_parameters():
    print(f"{name:16s} {tuple(parameter.shape)}")

# %% [markdown]
# It holds the query, key and value projections, one below the other. Chapter 09 copies the one
# into the other and compares them to the last digit. Remember what chapter 05 showed: torch's
# module reads `attn_mask` the other way round.

# %% [markdown]
# ## What each head contributes
#
# $W^O$ seems to stir everything together. Does it still make sense to ask what *one* head
# contributed? Multiply a row of two heads' channels with a small $W^O$ by hand:

# %%
merged = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)  # head 0 | head 1
w_o = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
print("output:     ", (w_o @ merged).tolist())
print("from head 0:", (w_o[:, :2] @ merged[:2]).tolist())
print("from head 1:", (w_o[:, 2:] @ merged[2:]).tolist())

# %% [markdown]
# The two parts add up: $[1, 2] + [6, -4] = [7, -2]$. A product with a long row is a sum over
# pieces of it. So "concatenate, then multiply with $W^O$" is the same as
#
# $$\mathrm{MultiHead}(Q, K, V) = \sum_{i=1}^{h} \mathrm{head}_i \, W_i^O .$$
#
# Heads don't stir, they **add**. Each one writes a message of full width into the same
# output, on its own.

# %% [markdown] exercise="head_contributions"
# ### Exercise: head contributions  ·  15 min  ·  ●●○
#
# Same arguments as `multi_head_attention`. Return (B, H, Nq, d_model): what each head adds to
# the output, $\mathrm{head}_i W_i^O$. The sum over the heads is attn_output.
#
# $W_i^O$ is the part of `w_o` that meets head $i$'s channels. Masks and empty rows as before.
#
# <details><summary>Hint</summary>
#
# In the cell above `w_o` was cut by *columns*. `w_o.T` cut into (H, head_dim, d_model) has
# one block for each head, and `@` pairs them with (B, H, Nq, head_dim).
# </details>


# %% answer="head_contributions"
def head_contributions(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
) -> Tensor:
    """What each head adds to the output of multi_head_attention.

    Arguments as there. Returns (B, H, Nq, d_model), which sum over H to attn_output.
    """

    ### BEGIN SOLUTION
    def in_heads(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight).unflatten(-1, (num_heads, -1)).transpose(1, 2)

    q, k, v = in_heads(query, w_q), in_heads(key, w_k), in_heads(value, w_v)
    attn_scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if attn_mask is not None:
        attn_scores = attn_scores.masked_fill(~attn_mask, -torch.inf)
    attn_weights = torch.softmax(attn_scores, dim=-1)
    if attn_mask is not None:
        attn_weights = attn_weights.masked_fill(~attn_mask, 0.0)
    blocks = w_o.T.unflatten(0, (num_heads, -1))  # (heads, head_dim, d_model)
    return attn_weights @ v @ blocks  # (batch, heads, query, d_model)
    ### END SOLUTION


# %% check="head_contributions" points=4
check(head_contributions)

# %% [markdown]
# If heads add, you can take one away and the others do not notice. You will do that to a
# trained model in a minute.
#
# ## The experiment: two questions
#
# A scene has 8 places, each of one of 4 colours. A query asks for two places, in order. Here is
# one such question:

# %%
names = ["red", "green", "blue", "white"]
example = make_questions(1, torch.Generator().manual_seed(6))
first, second = example.asked[0].tolist()
print("scene: ", ", ".join(names[c] for c in example.scenes[0].tolist()))
print(f"asked:  first place {first}, then place {second}")
print("answer:", ", then ".join(names[c] for c in example.answers[0].tolist()))

# %% [markdown]
# The model is one layer of torch's multi-head attention, width 32. The query looks at the
# scene, and a linear layer reads both colours off what it brings back. We train it with one
# head and with two, three times each, on fresh scenes.
#
# **Predict**: how many of the answers will one head get right? Guessing gives 25 %.

# %%
test = make_questions(4000, torch.Generator().manual_seed(1000)).to(device)
readers = {
    name: [train_reader(num_heads, seed=run) for run in range(3)]
    for name, num_heads in {"one head": 1, "two heads": 2}.items()
}
results = {  # (run, question), the better answered question of a run first
    name: torch.stack([answered(r, test).sort(descending=True).values for r in trained])
    for name, trained in readers.items()
}
sizes = {sum(p.numel() for p in runs[0].parameters()) for runs in readers.values()}
print("the same number of parameters:", len(sizes) == 1)
print(
    "two heads, both questions above 99 %:", bool((results["two heads"] > 0.99).all())
)
share = results["one head"].mean().item()
print("one head, between 55 % and 70 % of all answers:", 0.55 < share < 0.70)

# %% [markdown]
# Not quite two thirds. Is it a little bad at both questions?

# %%
groups = {
    name: {
        "question it answers better": shares[:, 0].mean(),
        "its other question": shares[:, 1].mean(),
    }
    for name, shares in results.items()
}

# %%
figure = figures.grouped_bars(
    groups,
    ylabel="right answers",
    title="One head answers one question and guesses the other",
    reference={"guessing": 0.25},
    percent=True,
)
figures.show(
    figure,
    alt="Bars of right answers, means of three runs. One head: almost all for one question, "
    "about chance for the other. Two heads: all for both.",
)

# %% [markdown]
# No: it gave up one of the two, and which one depends on the run. Look where the heads look.
# We ask about places 0 and 7, then 1 and 6, and so on: the first questions lie on the
# diagonal, the second ones on the other diagonal.

# %%
asked = torch.stack([torch.arange(PLACES), PLACES - 1 - torch.arange(PLACES)], dim=1)
same_scene = test.scenes[:1].expand(PLACES, -1)
looks = {}
for name, trained in readers.items():
    _, attn_weights = trained[0].look(same_scene, asked.to(device))  # (query, H, place)
    for head, weights in enumerate(attn_weights.unbind(dim=1)):
        looks[name if name == "one head" else f"{name}: head {head}"] = weights


def draw_look(axes, head: str) -> None:
    """Where one head looks, for each pair of places asked for."""
    pairs = [f"{i} and {j}" for i, j in asked.tolist()]
    figures.draw_map(axes, looks[head], pairs, annotate=False)
    axes.set(xlabel="place looked at", ylabel="places asked for")


# %%
explore(
    draw_look,
    title="One head shares its look between both places; two heads take one each",
    alt="Three 8 by 8 heat maps. One head: both diagonals, one darker than the other. Two "
    "heads: one map has one diagonal alone, the other map the other diagonal.",
    scale="attention weight",
    height=2.5,
    head={name: name for name in looks},
)

# %% [markdown]
# ## Why one head cannot
#
# One softmax is one distribution. What the head brings back is $\alpha v_1 + \beta v_2$, and
# everything behind it is linear:
#
# $$W(\alpha v_1 + \beta v_2) = \alpha\, W v_1 + \beta\, W v_2 .$$
#
# Both colours cast votes, and the place with the larger share has the louder voice, *for
# both questions*. With equal shares it is a tie. So the head serves one question and more or
# less guesses the other: about $(100\,\% + 25\,\%)/2 \approx 63\,\%$.

# %% [markdown]
# <details><summary>Could the second readout not listen for the quieter voice?</summary>
#
# No, if there are three colours or more. Say $\alpha > \beta$. The votes are a matrix: colour
# $c$ gets $\alpha M_{ca} + \beta M_{cb}$ when the places hold $a$ and $b$. If some $M$ made
# $b$ win for all $a \ne b$, so would the mean of $M$ over all ways to rename the colours,
# which has one number $s$ on its diagonal and one number $t$ beside it. For $b$ to beat $a$
# you need $\alpha t + \beta s > \alpha s + \beta t$, so $s < t$. For $b$ to beat a third colour
# you need $\alpha t + \beta s > \alpha t + \beta t$, so $s > t$.
# </details>

# %% [markdown]
# **Is it a matter of size?** One head of twice the width has three and a half times as many
# parameters. Two heads of half the width have less than a third. **Predict** who wins.

# %%
large = train_reader(1, width=64)
small = train_reader(2, width=16)
for name, reader in {"large, one head": large, "small, two heads": small}.items():
    shares = answered(reader, test)
    count = sum(p.numel() for p in reader.parameters())
    print(
        f"{name}: {count} parameters, both questions above 95 %: "
        f"{bool((shares > 0.95).all())}"
    )

# %% [markdown]
# Size does not help. Eleven times as many parameters lose against one more softmax.
#
# **Who does what?** Heads add, so we can silence one: its columns of `out_proj` become zero.
# **Predict** what a reader with one head silenced still knows.

# %%
reader = readers["two heads"][0]
silenced = {"both heads": answered(reader, test)}
for head in range(2):
    silenced[f"head {head} silenced"] = answered(silence(reader, head), test)
    kept, lost = silenced[f"head {head} silenced"].sort(descending=True).values
    print(
        f"without head {head}: one question above 95 %: {bool(kept > 0.95)}, "
        f"the other below 35 %: {bool(lost < 0.35)}"
    )

# %%
figure = figures.grouped_bars(
    {
        name: {"first question": shares[0], "second question": shares[1]}
        for name, shares in silenced.items()
    },
    ylabel="right answers",
    title="Silence a head, and exactly one question is lost",
    reference={"guessing": 0.25},
    percent=True,
)
figures.show(
    figure,
    alt="Bars of right answers to the first and second question. With both heads all are "
    "right. With either head silenced one question falls to chance, the other stays.",
)

# %% [markdown]
# Nobody told the heads to divide the work. Training did, because each softmax can be sharp
# about one thing.

# %% [markdown]
# ## Back to your objection
#
# Shares of 0.7 and 0.3 do tell the scenes apart. Only the *linear* readout could not use it.
# Put a small network with one hidden layer behind one single head. **Predict**: above 90 %?

# %%
clever = train_reader(1, hidden=128)
print("both questions above 90 %:", bool((answered(clever, test) > 0.9).all()))

_, attn_weights = clever.look(test.scenes, test.asked)  # (query, 1, place)
shares = attn_weights[:, 0].gather(1, test.asked).mean(dim=0).sort().values
print("larger share more than twice the smaller:", bool(shares[1] > 2 * shares[0]))

# %% [markdown]
# Your objection was right. The head learned to look at one place more than twice as much as
# at the other, and the network sorts a large share from a small one.
#
# So say it precisely: one head, **read linearly**, cannot keep two things apart. And $W^O$,
# the next layer's $W_Q$, $W_K$ and $W_V$ all read linearly. Heads make easy, at no cost, what
# would otherwise need a detour through the feed-forward network of chapter 08.

# %% [markdown]
# ## How many heads, then?
#
# If they cost nothing, why not 64 heads of one channel? A head's scores are $QK^\top$, with
# $Q$ only head_dim wide. **Predict** the rank of the scores among 64 tokens, $d_{model} = 64$.

# %%
everything = torch.randn(2, 64, 64, generator=generator, dtype=torch.float64)
for num_heads in (1, 4, 16, 64):
    q, k = everything[..., : 64 // num_heads]  # the first head's channels
    rank = torch.linalg.matrix_rank(q @ k.T).item()
    print(f"{num_heads:2d} heads of {64 // num_heads:2d} channels: rank {rank}")

# %% [markdown]
# A head of one channel can only say "more of this" or "less of it": all its rows of scores are
# multiples of one row. The paper measured both ends: compared with 8 heads, one head costs 0.9
# points of BLEU, a score for translations, and 32 lose some of the gain again (Table 3, rows A).

# %% [markdown]
# In practice head_dim stays near 64 or 128. Nor is every head needed: after training, many can be
# taken away with little loss (Michel et al. 2019).

# %% [markdown]
# ## The answer
#
# How do you look at two things without blurring them? With two softmaxes. Share the width out
# among heads: split the channels, never the tokens; attend in each; put the results side by
# side; let $W^O$ add up the messages. It costs no parameter and no multiplication. What one head
# blurs, because a linear reader of an average hears only the louder part, two heads keep apart.

# %% [markdown]
# ## Where this leads
#
# Your heads know *what* the other tokens are. In the experiment we had to write each token's
# place into it: without that, place 2 and place 5 would have been the same to every head.
# Chapter 07 looks at how order gets in. Chapter 08 builds the encoder layer around your module.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), section 3.2.2; Table 3, rows A, for the
#   number of heads.
# - Elhage et al., *A Mathematical Framework for Transformer Circuits* (2021), section "Attention
#   Heads are Independent and Additive".
# - Michel, Levy, Neubig, *Are Sixteen Heads Really Better than One?* (2019), section 3: heads
#   taken away one by one, and all but one.
# - Voita et al., *Analyzing Multi-Head Self-Attention* (2019): what the important heads do.
# - Bhojanapalli et al., *Low-Rank Bottleneck in Multi-head Attention Models* (2020): the price of
#   narrow heads.
# - Cordonnier, Loukas, Jaggi, *On the Relationship between Self-Attention and Convolutional
#   Layers* (2020), Theorem 1: with one head for each neighbour, attention can be a convolution.

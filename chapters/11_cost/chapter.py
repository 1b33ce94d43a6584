# %% [markdown]
# # 11 · The cost
#
# **How can a model read a whole book, when every word has to look at every other?**
#
# A book has about 150 000 tokens. Each compares itself with each: 22 billion scores, for one head
# of one layer. And the answer is written word by word, with the whole book to look at for every
# single word.
#
# It can be done. Not one number of the result has to change.

# %% [markdown]
# ## What you will be able to do
#
# - count what attention costs, in operations and in bytes, before you run it;
# - compute softmax over keys that you never see all at once;
# - measure time and memory honestly, and read an exponent off a line;
# - write text token by token without paying for the past again;
# - say what a window saves, and what a mask alone does not.

# %% [markdown]
# **Time**: about 85 minutes. **You need** chapters 04 (softmax and its shift), 05 (masks), 06
# (heads) and 08 (layers and their residual).

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from attention_course.learn import check, device, experiments_11, figures
from attention_course.learn.probes_11 import PreparedCache

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## Count before you run
#
# One entry of a matrix product is a sum of products. A matrix (2, 3) times a matrix (3, 4) has 8
# entries, and each takes 3 multiplications and 3 additions (the first one adds to zero).
#
# **Work out** the number of operations, counting both. Torch can count, too:

# %%
left, right = torch.ones(2, 3, device=device), torch.ones(3, 4, device=device)
with FlopCounterMode(display=False) as counter:
    left @ right
print("operations:", counter.get_total_flops())

# %% [markdown]
# $2 \cdot 2 \cdot 3 \cdot 4 = 48$. In general, $(n, k)$ times $(k, m)$ costs $2\,n\,k\,m$. Such a
# pair, one multiplication and one addition, is a *multiply-add*. The operations are called FLOPs,
# floating-point operations.
#
# Attention has two such products: the scores $QK^\top$, and the weights times $V$. Each score
# costs $2\,d_k$ operations in either; softmax, scale and mask add only a few more, so they are left
# out.

# %% [markdown] exercise="attention_flops"
# ### Exercise: count attention  ·  5 min  ·  ●○○
#
# Return the number of operations of attention for `batch` items and `num_heads` heads, each with
# `num_queries` queries, `num_keys` keys, and queries, keys and values of width `head_dim`.
#
# A multiply-add counts two. Count $QK^\top$ and the product with $V$, and nothing else. Return a
# Python `int`, which never overflows and never rounds.
#
# <details><summary>Hint</summary>
#
# Write the shapes of both products down first. What do the two costs have in common?
# </details>


# %% answer="attention_flops"
def attention_flops(
    batch: int, num_heads: int, num_queries: int, num_keys: int, head_dim: int
) -> int:
    """Operations of QK^T and of the product with V; a multiply-add counts two."""
    ### BEGIN SOLUTION
    scores = 2 * num_queries * head_dim * num_keys  # (Nq, d) @ (d, Nk)
    mixing = 2 * num_queries * num_keys * head_dim  # (Nq, Nk) @ (Nk, d)
    return batch * num_heads * (scores + mixing)
    ### END SOLUTION


# %% check="attention_flops" points=2
check(attention_flops)

# %% [markdown]
# Let torch count the textbook form of attention while it runs. **Predict** the factor from one
# line to the next.


# %%
def naive_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as the formula says it: all scores, all weights, then the mix."""
    attn_scores = query @ key.mT / math.sqrt(key.shape[-1])  # (…, query, key)
    return torch.softmax(attn_scores, dim=-1) @ value


for tokens in (64, 128, 256):
    x = torch.ones(1, 2, tokens, 32, device=device)  # (batch, head, token, d)
    with FlopCounterMode(display=False) as counter:
        naive_attention(x, x, x)
    print(f"{tokens:3d} tokens: {counter.get_total_flops():>10,} operations")

# %% [markdown]
# Twice the tokens, four times the work: **quadratic**. For the book it is $1.2 \cdot 10^{13}$
# operations a head and layer, at $d_k = 128$. That is a lot, but a graphics card does $10^{14}$
# in a second.
#
# The operations are not what stops you. **Predict**: how many bytes do the book's scores take, in
# half precision, two bytes each? And the queries?

# %%
book, width, size = 150_000, 128, 2  # tokens, d_k, bytes of a number
print(f"queries, keys, values: {3 * book * width * size / 1e9:8.3f} GB")
print(f"scores:                {book * book * size / 1e9:8.3f} GB")

# %%
lengths = np.array([100, 1_000, 10_000, 100_000, 1_000_000])
figure = figures.curves(
    {
        "the scores": (lengths, lengths**2 * size),
        "queries, keys and values": (lengths, 3 * lengths * width * size),
    },
    xlabel="tokens N",
    ylabel="bytes, one head of one layer",
    title="The scores outgrow any memory; what they are made of does not",
    logx=True,
    logy=True,
    reference={"80 GB, a large graphics card": 80e9},
)
figures.show(
    figure,
    alt="Two straight lines of bytes against tokens on logarithmic axes. The scores' line is "
    "twice as steep; it starts below, crosses the other at a few hundred tokens, and passes 80 "
    "gigabytes between a hundred thousand and a million.",
)

# %% [markdown]
# 45 GB, for one head of one layer, written down to be read once. The inputs are a tenth of a
# gigabyte, and the output is as small.
#
# So here is the idea of this chapter: **never write the scores down.** Take some keys, use their
# scores, forget them, take the next. One thing stands in the way. Softmax divides by a sum over
# *all* keys, and needs the largest of *all* scores first.

# %% [markdown]
# ## Softmax, a piece at a time
#
# One query, four keys in two blocks. Its scores are $\ln 1, \ln 2$, then $\ln 4, \ln 1$; the
# values are 10, 20, 30, 40. Softmax undoes the logarithm, so the weights are $\tfrac18, \tfrac28,
# \tfrac48, \tfrac18$.
#
# **Work out** the output by hand before you go on.

# %%
scores = torch.tensor([1.0, 2.0, 4.0, 1.0], dtype=torch.float64).log().to(device)
values = torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=torch.float64, device=device)
print("all at once:", f"{(torch.softmax(scores, dim=0) @ values).item():.4f}")

# %% [markdown]
# Now see only the first block. Its largest score is $\ln 2$; relative to that, the exponentials
# are $\tfrac12$ and $1$. We keep three numbers: the **maximum**, the **sum** of exponentials, and
# the **output** that is not yet divided.

# %%
largest = math.log(2)
halves = (scores[:2] - largest).exp()  # 1/2 and 1
total, output = halves.sum().item(), (halves @ values[:2]).item()
print(f"maximum ln 2, sum {total:.4f}, output {output:.4f}")
print(f"if this were all: {output / total:.4f}")

# %% [markdown]
# The second block has a larger score, $\ln 4$. Everything so far was measured against $\ln 2$.
# Against $\ln 4$ it is worth half: $e^{\ln 2 - \ln 4} = \tfrac12$.
#
# So: shrink what you have, then add the new block. **Predict** the three lines.

# %%
shrink = math.exp(math.log(2) - math.log(4))  # one half
fresh = (scores[2:] - math.log(4)).exp()  # 1 and 1/4
print("shrunk:", f"sum {total * shrink:.4f}, output {output * shrink:.4f}")
total = total * shrink + fresh.sum().item()
output = output * shrink + (fresh @ values[2:]).item()
print("added: ", f"sum {total:.4f}, output {output:.4f}")
print("divide:", f"{output / total:.4f}")

# %% [markdown]
# The very same 26.25, and nobody ever held four scores. This is **online softmax** (Milakov and
# Gimelshein 2018). It is no approximation: dividing numerator and denominator by the same number
# changes nothing.
#
# Here it is on twelve keys in blocks of three. Each row shows the weights as if the keys so far
# were all there are.

# %%
generator = torch.Generator().manual_seed(11)
row = torch.randn(12, generator=generator, dtype=torch.float64)
row[4], row[10] = 2.5, 3.5  # two keys that stand out
so_far = torch.full((4, 12), math.nan, dtype=torch.float64)
for number in range(4):
    seen = 3 * (number + 1)
    so_far[number, :seen] = torch.softmax(row[:seen], dim=0)

# %%
figure = figures.attention_map(
    so_far,
    [f"after block {number}" for number in (1, 2, 3, 4)],
    title="Every block re-weighs all that came before",
)
axes = figure.axes[0]
axes.set_ylabel("one query")
for text in axes.texts:  # grey is enough for what was not seen yet
    text.set_text(text.get_text().replace("NaN", ""))
figures.show(
    figure,
    alt="Heat map with a row for each of four blocks and a column for each of twelve keys; keys "
    "that were not seen yet are grey. In the first row key 1 has most of the weight. In the second "
    "row key 4 takes over. In the last row key 10 has most, and every earlier key has less than in "
    "the row above.",
)

# %% [markdown]
# Down a column, a key's weight can only fall: new keys take their share. Among the keys
# of the past, the *ratios* never change. That is why one factor a query, $e^{\text{old maximum} - \text{new
# maximum}}$, mends sum and output at once.
#
# (You may also go over the keys twice: once for the maximum, once for the sums. It is simpler,
# and computes each score two times.)

# %% [markdown] exercise="tiled_attention"
# ### Exercise: tiled attention  ·  25 min  ·  ●●●
#
# Attention over `block` keys at a time: the result of scaled dot-product attention, without ever
# making a tensor of Nq·Nk elements for a head.
#
# `query` (…, Nq, d_k), `key` (…, Nk, d_k), `value` (…, Nk, d_v), with any leading dimensions.
# `block` need not divide Nk, and may be larger. Scale by $1/\sqrt{d_k}$. Scores may be large,
# near or far from zero; gradients must flow. Return the output alone.
#
# <details><summary>Hint</summary>
#
# `key[..., start : start + block, :]` may be shorter at the end; that is fine. Every query has a
# maximum and a sum of its own: keep them as (…, Nq, 1). What should the maximum be before the
# first block, so that its shrink factor is 0?
# </details>


# %% answer="tiled_attention"
def tiled_attention(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    """Scaled dot-product attention, `block` keys at a time.

    query: (..., Nq, d_k), key: (..., Nk, d_k), value: (..., Nk, d_v).
    Returns attn_output (..., Nq, d_v); no tensor has Nq * Nk elements per head.
    """
    ### BEGIN SOLUTION
    query = query / math.sqrt(query.shape[-1])
    maximum = query.new_full((*query.shape[:-1], 1), -math.inf)  # (..., query, 1)
    total = torch.zeros_like(maximum)
    output = query.new_zeros((*query.shape[:-1], value.shape[-1]))
    for start in range(0, key.shape[-2], block):
        keys = key[..., start : start + block, :]
        values = value[..., start : start + block, :]
        scores = query @ keys.mT  # (..., query, block)
        larger = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        rescale = torch.exp(maximum - larger)
        weights = torch.exp(scores - larger)
        total = rescale * total + weights.sum(dim=-1, keepdim=True)
        output = rescale * output + weights @ values
        maximum = larger
    return output / total
    ### END SOLUTION


# %% check="tiled_attention" points=5
check(tiled_attention)

# %% [markdown]
# ## The experiment: time and memory against N
#
# Three ways to the same numbers: the textbook form, PyTorch's `F.scaled_dot_product_attention`,
# which is *fused* (scores live and die inside one operation), and, if you have written it, your
# tiled form. For twice the tokens, **predict** two factors for each: how much longer, and how
# much more memory?

# %% [markdown]
# How we measure, without gradients. **Time**: the fastest of many calls, on one thread; on a CPU,
# its processor time. **Memory**: the most that a call holds at a time, beyond its inputs. On a
# CPU the profiler writes down every allocation, also those inside an operation; on a GPU we ask
# its allocator.
#
# Your `tiled_attention` joins as soon as it is right; until then the cell runs without it.

# %%
forms = {"naive": naive_attention, "PyTorch": F.scaled_dot_product_attention}
forms |= experiments_11.fused_kernels()  # on a GPU: each of its kernels
mine = globals().get("tiled_attention")
if experiments_11.works(mine):
    forms["yours, tiled"] = lambda q, k, v: mine(q, k, v, 128)

lengths = [256, 512, 1024, 2048, 4096, 8192]
measured = experiments_11.measure(forms, lengths)

# %% [markdown]
# A straight line on logarithmic axes is a power, $c \cdot N^p$, and its slope is the exponent
# $p$. We fit it to the longer half of the lengths. The naive form stops where it has held 100 MB.


# %%
def draw_growth(measured: dict, kind: str, axes, ylabel: str) -> dict[str, float]:
    """Draw one quantity of all forms against N; returns the fitted exponents."""
    exponents = {}
    for place, (name, growth) in enumerate(measured.items()):
        amounts = getattr(growth, kind)
        exponents[name] = experiments_11.exponent(growth.tokens, amounts)
        label = f"{name}: $N^{{{exponents[name]:.1f}}}$"
        colour, marker = figures.PALETTE[place], "osDv^P"[place]
        axes.plot(growth.tokens, amounts, color=colour, marker=marker, label=label)
    axes.set(xscale="log", yscale="log", xlabel="tokens N", ylabel=ylabel)
    axes.set_xticks(lengths, [str(tokens) for tokens in lengths])
    axes.minorticks_off()
    figures.label_lines(axes)
    return exponents


# %%
figure, (left, right) = figures.small_multiples(
    2,
    width=4.6,
    height=3.2,
    title="Four times the memory for twice the tokens: only where the scores are kept",
    titles=[f"time ({experiments_11.where()})", "memory"],
)
times = draw_growth(measured, "seconds", left, "seconds for one call")
memory = draw_growth(measured, "bytes", right, "peak bytes of one call")
figures.show(
    figure,
    alt="Two panels with logarithmic axes, a line for each form of attention. Time: all lines rise "
    "steeply and about alike. Memory: the naive line rises twice as steeply as the others and "
    "ends early, far above them.",
    data={"time": times, "memory": memory, "where": experiments_11.where()},
)

# %%
print("naive memory grows like N^2:", 1.9 < memory.pop("naive") < 2.1)
print("all others at most like N:", max(memory.values()) < 1.1)

# %% [markdown]
# On the left nobody escapes: every form computes all $N^2$ scores, and the fits lie around 2, or
# above where the scores have outgrown the processor's cache. On the right the tiled forms hold
# little more than their output. (PyTorch's line is flatter still: a fixed working space, beside
# which the output hardly counts.)
#
# The title of the left panel says where this was measured. Your machine draws other lines.

# %% [markdown]
# **Then why is the fused form also faster?** It does the same operations. But a processor
# computes far faster than its memory delivers. The naive form writes $N^2$ scores out, reads them
# for the softmax, writes the weights, reads them for the mix. The fused one keeps a tile where
# the arithmetic is.
#
# That is FlashAttention (Dao et al. 2022): tiles, online softmax, and for the gradient the tiles
# are simply computed *again*.

# %% [markdown]
# ## Writing, word by word
#
# So much for reading the book. Now the model answers: it writes one token, appends it to the
# text, and runs again for the next one. Every time the whole text goes through all layers.
#
# **Predict**: a causal layer has seen six tokens. A seventh arrives. Which of the six old outputs
# change?

# %%
text = torch.randn(1, 1, 7, 4, generator=generator, dtype=torch.float64).to(device)
six = text[:, :, :6]
for name, causal in (("causal", True), ("not causal", False)):
    before = F.scaled_dot_product_attention(six, six, six, is_causal=causal)
    after = F.scaled_dot_product_attention(text, text, text, is_causal=causal)
    change = (after[:, :, :6] - before).abs().amax(dim=-1).flatten()
    print(f"{name:10s} rows that changed: {int((change > 1e-12).sum())} of 6")

# %% [markdown]
# In a causal model the past is finished. Old rows never change, whatever the layer, and neither do
# their keys and values. Computing them again is pure waste.
#
# Keep them: the **KV cache**. A new token computes its own query, key and value, appends the last
# two, and attends with the one query. Old queries? Nobody will ever ask with them again.

# %% [markdown] exercise="KVCache"
# ### Exercise: the cache  ·  8 min  ·  ●●○
#
# Write the class `KVCache`. `KVCache()` makes an empty one. `append(key, value)`, both (B, H, t,
# d), adds t tokens at the end (one, or the many of a prompt) and returns the pair *all keys, all
# values* so far, each (B, H, tokens so far, d).
#
# Every cache has its own memory. What it returned earlier must not change later. Keep the dtype;
# gradients reach everything that was appended.
#
# <details><summary>Hint</summary>
#
# An empty cache doesn't know B, H and d yet: `None` will do. Count the dimensions to find the
# tokens'.
# </details>


# %% answer="KVCache"
class KVCache:
    """Keys and values of all tokens so far."""

    def __init__(self) -> None:
        ### BEGIN SOLUTION
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        ### END SOLUTION

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add t tokens.

        key, value: (B, H, t, d). Returns all keys and all values, (B, H, tokens, d) each.
        """
        ### BEGIN SOLUTION
        if self.keys is None:
            self.keys, self.values = key, value
        else:
            self.keys = torch.cat([self.keys, key], dim=2)
            self.values = torch.cat([self.values, value], dim=2)
        return self.keys, self.values
        ### END SOLUTION


# %% check="KVCache" points=3
check(KVCache)

# %% [markdown]
# ### One query against all keys
#
# With the cache, one step of writing is attention with Nq = 1. It has to give the last row of the
# causal attention over the whole text. Does a single query need a mask? Chapter 05 left a trap
# here. **Predict** which keys the query sees:

# %%
identity = torch.eye(5, dtype=torch.float64, device=device)[None, None]
flat = torch.zeros(1, 1, 5, 4, dtype=torch.float64, device=device)
for causal in (False, True):
    weights = F.scaled_dot_product_attention(
        flat[:, :, :1], flat, identity, is_causal=causal
    )
    print(f"is_causal={causal!s:5s}", weights[0, 0, 0].cpu().numpy())

# %% [markdown]
# The newest token may see everything: all the rest is its past. No mask at all is right.
# `is_causal` aligns with the *first* key, and leaves it that one alone.

# %% [markdown] exercise="cached_step"
# ### Exercise: one step of writing  ·  8 min  ·  ●●○
#
# `cache` is anything with the `append` above. `query`, `key` and `value` are those of one new
# token, (B, H, 1, d). Append the key and the value, then attend with the query to all that is in
# the cache, scaled by $1/\sqrt{d_k}$. Return (B, H, 1, d).
#
# Step after step, the outputs must be the rows of causal attention. Leave what the cache holds as
# it is.
#
# <details><summary>Hint</summary>
#
# Everything you need is what `append` returns. Two lines, if you call torch.
# </details>


# %% answer="cached_step"
def cached_step(cache, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Append one token's key and value, and attend with its query to all so far.

    cache: has append(key, value) -> all keys, all values. query, key, value: (B, H, 1, d).
    Returns attn_output (B, H, 1, d).
    """
    ### BEGIN SOLUTION
    all_keys, all_values = cache.append(key, value)
    return F.scaled_dot_product_attention(query, all_keys, all_values)
    ### END SOLUTION


# %% check="cached_step" points=3
check(cached_step)

# %% [markdown]
# A cache at work, token by token, with a stand-in that has its memory set aside (so that this
# runs whatever your answers do). Its rows, beside causal attention over the whole text:

# %%
cache = PreparedCache(7)
rows = []
for place in range(7):
    new = text[:, :, place : place + 1]  # (batch, head, 1, d)
    past, mixed = cache.append(new, new)
    row_scores = (past @ new.mT)[..., 0] / 2  # the root of d_k = 4
    rows.append(torch.softmax(row_scores, dim=-1)[:, :, None] @ mixed)
whole = F.scaled_dot_product_attention(text, text, text, is_causal=True)
print("same rows:", torch.allclose(torch.cat(rows, dim=2), whole, rtol=0, atol=1e-12))

# %% [markdown]
# ### What it saves
#
# A layer of width 256 with 4 heads writes its $t$-th token. Without a cache: project all $t$
# tokens, causal attention over all of them, keep the last row. With a cache: project one token,
# one query against $t$ keys.
#
# **Predict** the ratio of the operations at $t = 1024$.

# %%
heads, model_width = 4, 256
weight = torch.randn(3 * model_width, model_width, generator=generator) / 16
weight = weight.to(device, experiments_11.dtype())
story = torch.randn(1, 1024, model_width, generator=generator)
story = story.to(device, experiments_11.dtype())  # (batch, token, channel)


def projected(x: Tensor) -> Tensor:
    """Queries, keys and values of (B, t, 256): (3, B, H, t, 64)."""
    return F.linear(x, weight).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)


# %%
stored = projected(story)  # what a cache holds at the end


def without_cache(t: int) -> Tensor:
    query, key, value = projected(story[:, :t])
    return naive_attention(query, key, value)[:, :, -1:]


def with_cache(t: int) -> Tensor:
    new = projected(story[:, t - 1 : t])
    stored[:, :, :, t - 1 : t] = new  # written to its place
    return naive_attention(new[0], stored[1, :, :, :t], stored[2, :, :, :t])


# %%
steps = [16, 64, 256, 1024]
operations = {}
for name, write in (("without a cache", without_cache), ("with a cache", with_cache)):
    operations[name] = []
    for t in steps:
        with FlopCounterMode(display=False) as counter:
            write(t)
        operations[name].append(counter.get_total_flops())

pairs = zip(*operations.values(), strict=True)
for t, (recomputed, cached) in zip(steps, pairs, strict=True):
    print(f"token {t:4d}: {cached:>9,} with, times {recomputed // cached} without")

# %% [markdown]
# Exactly $t$ times: all $t$ rows are computed, and one is used. (Here without the mask, which
# changes no count.) Now with a clock:


# %%
def draw_steps(axes, amounts: dict[str, list], ylabel: str) -> None:
    """Draw what a token costs, with and without a cache."""
    for place, (name, values) in enumerate(amounts.items()):
        colour, marker = figures.PALETTE[place], "os"[place]
        axes.plot(steps, values, color=colour, marker=marker, label=name)
    axes.set(xscale="log", yscale="log", ylabel=ylabel)
    axes.set_xlabel("tokens so far, t")
    axes.set_xticks(steps, [str(t) for t in steps])
    axes.minorticks_off()
    figures.label_lines(axes)


writers = {"without a cache": without_cache, "with a cache": with_cache}
clocked = {
    name: [experiments_11.seconds(lambda w=write, t=t: w(t)) for t in steps]
    for name, write in writers.items()
}

# %%
figure, (left, right) = figures.small_multiples(
    2,
    width=4.4,
    height=3.1,
    title="Without a cache, the t-th token costs t times as many operations",
    titles=["counted", f"measured ({experiments_11.where()})"],
)
draw_steps(left, operations, "operations for one token")
draw_steps(right, clocked, "seconds for one token")
figures.show(
    figure,
    alt="Two panels with logarithmic axes: operations, and seconds, for the t-th token, with and "
    "without a cache. Without a cache both rise steeply; with a cache both rise slowly, and the gap "
    "widens to a factor of a thousand operations at a thousand tokens.",
    data={"where": experiments_11.where()},
)

# %% [markdown]
# The clock is not as strict as the count: a step with a cache is so little work that starting it
# takes longer than doing it. Still, a text of a thousand tokens is written many times faster.

# %% [markdown]
# ### What it costs
#
# Nothing is free. The cache grows with every token, in every layer, for every text that is being
# written. A model with 32 layers, 32 heads of width 128, in half precision. **Predict**: how
# large is its cache for the book?

# %%
layers, head_width = 32, 128
for kind, stored_heads in (
    ("every head its own", 32),
    ("8 groups", 8),
    ("one for all", 1),
):
    per_token = 2 * layers * stored_heads * head_width * 2  # keys and values, 2 bytes
    gigabytes = per_token * book / 1e9
    print(
        f"{kind:19s} {per_token // 1024:3d} KiB a token, the book {gigabytes:6.2f} GB"
    )

# %% [markdown]
# 79 GB for one reader of one book. And all of it has to be read from memory again for *each* new
# token: that, and not the arithmetic, sets the speed of writing.
#
# **Multi-query attention** (Shazeer 2019) keeps all query heads but lets them share one head of
# keys and values. Most of today's models meet in the middle, with a few groups (Ainslie et al.
# 2023).

# %% [markdown]
# ## See less
#
# Tiles and caches change nothing in the result. The third way does. Most tokens need, above all,
# their neighbours. So let each see only a **window**, `radius` tokens to either side.
#
# A mask for that is quickly made. Here for six tokens and a radius of 1, drawn by hand:

# %%
by_hand = ["xx....", "xxx...", ".xxx..", "..xxx.", "...xxx", "....xx"]
near = torch.tensor([[mark == "x" for mark in row] for row in by_hand])
print("each token sees:", near.sum(dim=1).tolist())

# %% [markdown] exercise="window_mask"
# ### Exercise: the window  ·  4 min  ·  ●○○
#
# Return a boolean mask (N, N) for `num_tokens` tokens: True, may attend, if and only if
#
# $$|i - j| \le \text{radius}$$
#
# The radius may be 0, and may be larger than the number of tokens.
#
# <details><summary>Hint</summary>
#
# Places as a row minus places as a column: that is a table of all distances.
# </details>


# %% answer="window_mask"
def window_mask(num_tokens: int, radius: int) -> Tensor:
    """Which tokens each token may see: those at most `radius` places away.

    Returns (N, N), bool: True where token i may attend to token j.
    """
    ### BEGIN SOLUTION
    places = torch.arange(num_tokens)
    return (places[:, None] - places).abs() <= radius
    ### END SOLUTION


# %% check="window_mask" points=2
check(window_mask)

# %% [markdown]
# **Does such a mask save anything?** No! A mask hides scores that have been computed. To save
# them, don't compute them: cut out each token's window, and compare with that alone. `unfold`
# gives overlapping windows without a copy.


# %%
def local_attention(x: Tensor, radius: int) -> Tensor:
    """Each token of (N, d) attends to its window; the scores are (N, 2 radius + 1)."""
    span = 2 * radius + 1
    windows = F.pad(x, (0, 0, radius, radius)).unfold(0, span, 1)  # (token, d, place)
    real = F.pad(torch.ones(len(x), device=x.device), (radius, radius))
    outside = real.unfold(0, span, 1) == 0  # beyond the ends of the text
    scores = torch.einsum("td,tdp->tp", x, windows) / math.sqrt(x.shape[1])
    weights = scores.masked_fill(outside, -math.inf).softmax(dim=-1)
    return torch.einsum("tp,tdp->td", weights, windows)


# %%
print("tokens   all keys     window of 16 to each side")
for number in (512, 1024, 2048):
    x = torch.randn(number, 64, generator=generator).to(device)
    counts = []
    for attend in (
        lambda x: naive_attention(x, x, x),
        lambda x: local_attention(x, 16),
    ):
        with FlopCounterMode(display=False) as counter:
            attend(x)
        counts.append(counter.get_total_flops())
    print(f"{number:6d} {counts[0]:>12,} {counts[1]:>12,}")

# %% [markdown]
# Twice the tokens, twice the work: **linear**. But now a token in chapter 1 of the book cannot
# see chapter 20. Or can it? Its neighbour has seen a little further, and so on.
#
# We stack layers of `x + local_attention(x)` with a radius of 3, and ask with chapter 05's
# detector how far an input is heard. **Predict** the reach of 1, 2, 4 and 8 layers.

# %%
radius, number = 3, 61
depths = [1, 2, 4, 8]
tokens = torch.randn(number, 4, generator=generator, dtype=torch.float64).to(device)


def stack(x: Tensor, depth: int) -> Tensor:
    """The middle token after `depth` layers, (d,)."""
    for _ in range(depth):
        x = x + local_attention(x, radius)
        x = x / x.norm(dim=-1, keepdim=True)  # keeps the numbers near 1
    return x[number // 2]


# %%
heard = {}
for depth in depths:
    slopes = torch.autograd.functional.jacobian(lambda x, n=depth: stack(x, n), tokens)
    heard[depth] = slopes.norm(dim=(0, 2)).cpu()  # influence of each token, (token,)
    reach = int((torch.nonzero(heard[depth]) - number // 2).abs().max())
    print(f"depth {depth}: the farthest token heard is {reach} places away")

# %%
figure, panels = figures.small_multiples(
    4,
    columns=1,
    width=7.0,
    height=1.15,
    title="Every layer widens what is heard by the radius; the far ends are faint",
    share=True,
    titles=[f"{depth} layer{'s' * (depth > 1)}" for depth in depths],
)
for axes, influence in zip(panels, heard.values(), strict=True):
    places = np.arange(number) - number // 2
    axes.bar(places, influence.numpy(), width=0.8, color=figures.PALETTE[0])
    axes.set(yscale="log", ylim=(1e-12, 10), yticks=(1e-10, 1e-5, 1))
panels[-1].set_xlabel("place of the input token, from the middle")
figure.supylabel("influence on the middle token", fontsize=10)
figures.show(
    figure,
    alt="Four panels, one above the other, for 1, 2, 4 and 8 layers: bars of influence by place, on a "
    "logarithmic axis. They form a hill around the middle that reaches 3, 6, 12 and 24 places to each "
    "side and falls steeply towards its ends.",
)

# %% [markdown]
# Depth times radius: as in a convolution, whispers go from neighbour to neighbour. Faint ones,
# though. So **Longformer** (Beltagy et al. 2020) adds a few *global* tokens that see all and are
# seen by all, such as the class token of chapter 10: any two tokens are then at most two steps apart, and
# the cost stays linear.

# %% [markdown]
# ## The answer
#
# How can a model read a whole book? It never writes the scores down: softmax can be computed
# piece by piece, exactly, so memory grows with N and not with N². It never computes the past
# twice: in a causal model keys and values stay what they are. Where N² operations are still too
# many, it looks at less, and depth carries news from afar.
#
# Only the third changes a number of the result.

# %% [markdown]
# ## The course, looking back
#
# In chapter 01 you asked: **how can the same patch of pixels mean different things?** A
# classifier that saw one patch could only guess; one that saw everything, but as a mean, could
# only guess as well. What was missing was a way for a patch to ask for what *it* needs.

# %% [markdown]
# You have built that way since, piece by piece:
#
# | chapter | what a token can do |
# |---|---|
# | 02, 03 | look something up: ask with a query, be found by a key, give a value |
# | 04 | share its attention out so that it can still learn |
# | 05 | not look where it must not |
# | 06 | ask several things at once |
# | 07 | know where it stands |
# | 08, 09 | do it in layers, as everybody's code does |
# | 10 | read a scene |
# | 11 | afford it |

# %% [markdown]
# And the answer? A patch of pixels means nothing by itself. Its meaning is what it becomes when
# it has looked around. Attention is a *learned way to look around*: weights that depend on what
# is asked and on who is there, shared out by a softmax. All the rest makes it trainable, fast and
# safe.
#
# There is no magic left in it. You have written every line.

# %% [markdown]
# ## Where to go next
#
# - **Train something of your own**: chapter 10's model on your photographs, chapter 05's next
#   word on your letters. Run the leak detector first.
# - **Read a real one.** Open the source of a language model. You will recognise every name.
# - **Go down**: FlashAttention's kernels, quantised caches.
# - **Go beyond**: linear attention (Katharopoulos et al. 2020) swaps softmax for something that
#   needs no growing cache; state-space models (Gu and Dao 2023) leave attention behind.

# %% [markdown]
# ## References
#
# - Milakov, Gimelshein, *Online normalizer calculation for softmax* (2018), section 3: maximum
#   and sum in one pass.
# - Rabe, Staats, *Self-attention Does Not Need O(n²) Memory* (2021), sections 2 and 3: the
#   algorithm, and its numerical stability.
# - Dao et al., *FlashAttention* (2022), section 2.1 (why memory is what counts) and 3.1 (tiles,
#   and recomputation).
# - Shazeer, *Fast Transformer Decoding: One Write-Head is All You Need* (2019), sections 2.4 and
#   3.
# - Ainslie et al., *GQA: Training Generalized Multi-Query Transformer Models* (2023), section
#   2.2.
# - Beltagy, Peters, Cohan, *Longformer* (2020), section 3.1: windows, reach with depth, global
#   tokens.
# - Vaswani et al., *Attention Is All You Need* (2017), section 4: the table of costs,
#   "restricted" attention included.
# - Katharopoulos et al., *Transformers are RNNs* (2020), section 3; Gu, Dao, *Mamba* (2023),
#   section 3.

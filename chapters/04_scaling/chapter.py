# %% [markdown]
# # 04 · Scaling
#
# **Why is there a square root in the most used formula of machine learning?**
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# Leave the root out and a small model still works. Make the model wider and it stops
# learning, without any error. At the end of this chapter you will know what breaks, why
# $\sqrt{d_k}$ mends it, and why $d_k$ would not.

# %% [markdown]
# ## What you will be able to do
#
# - turn scores into weights, and say what the weights do to the values;
# - write the derivative of softmax, and see from it when attention stops learning;
# - predict how large dot products get, and so what to divide by;
# - write scaled dot-product attention for any batch, and wrap it in a module.
#
# **Time**: about 75 minutes. **You need** chapters 02 (temperature, entropy) and 03 (how $Q$,
# $K$ and $V$ are made).

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn import check, device, figures, seed
from attention_course.learn.widgets import explore

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## From scores to weights, by hand
#
# You left chapter 03 with eight tokens and their queries, keys and values, two numbers
# each. Here they are as the lecture notes print them, to four digits. The score of a pair
# is the dot product of a query and a key.

# %%
Q = seed.PRINTED_Q.to(device)  # (query, d_k) = (8, 2)
K = seed.PRINTED_K.to(device)  # (key, d_k) = (8, 2)
V = seed.PRINTED_V.to(device)  # (key, d_v) = (8, 2)

attn_scores = Q @ K.T  # (query, key) = (8, 8)
print(attn_scores.cpu().numpy())

# %% [markdown]
# Read the first row: how much token 0 "asks for" each of the eight tokens.
#
# **Predict**: which token will get most of token 0's attention? And will any token get
# exactly none?

# %%
d_k = K.shape[1]
attn_weights = torch.softmax(attn_scores / math.sqrt(d_k), dim=1)

print("first row:", attn_weights[0].cpu().numpy())
print("its sum:  ", round(attn_weights[0].sum().item(), 4))

# %% [markdown]
# Token 6, with 40 %. Nobody gets zero: $e^x$ is positive for every $x$, so softmax can
# only make a weight small.
#
# Every row is a share-out of one unit of attention:

# %%
print("sums of the rows:   ", attn_weights.sum(dim=1).cpu().numpy())
print("sums of the columns:", attn_weights.sum(dim=0).cpu().numpy())

# %% [markdown]
# The columns don't sum to 1, and shouldn't. A token may be looked at by everybody, or by
# nobody. Token 6 gets almost half of all the attention there is.

# %%
tokens = [f"token {i}" for i in range(8)]
figure = figures.attention_map(
    attn_weights,
    tokens,
    tokens,
    title="Most tokens look at token 6; token 7 does not",
)
figures.show(
    figure,
    alt="Heat map of 8 by 8 attention weights. The column of token 6 is darkest in "
    "rows 0, 1, 2, 4 and 5; row 7 puts its weight on tokens 0 and 3.",
)

# %% [markdown]
# Last step: each token's new vector is the weighted mean of the values.

# %%
attn_output = attn_weights @ V  # (query, d_v) = (8, 2)
by_hand = sum(attn_weights[0, j] * V[j] for j in range(8))

print("token 0:", attn_output[0].cpu().numpy())
print("by hand:", by_hand.cpu().numpy())

# %% [markdown]
# **Where to divide?** The notes this course grew from divide $Q$ first: 16 divisions in
# place of 64. **Predict**: does the result change?

# %%
early = torch.softmax((Q / math.sqrt(d_k)) @ K.T, dim=1)
print("same weights:", torch.allclose(early, attn_weights, rtol=0, atol=1e-12))

# %% [markdown]
# ## What softmax does to large numbers
#
# Take three scores and multiply them all by 1, 4, 16. The order stays, the gaps grow.
# **Predict** the weights in the last line.

# %%
scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, device=device)
for factor in (1, 4, 16):
    print(f"x {factor:2d}: ", torch.softmax(factor * scores, dim=0).cpu().numpy())

# %% [markdown]
# Softmax sees differences alone: a gap of 1 is a ratio of $e \approx 2.7$, a gap of 16 one
# of nine million. So the *spread* of the scores decides between "look around" and "look
# at one". Multiplying by 16 is a temperature of 1/16: the dial of chapter 02.
#
# Large scores also overflow a plain `exp`. `torch.softmax` subtracts each row's maximum for you; if
# you write `exp` yourself, you have to (chapter 00).

# %% [markdown]
# ## When softmax stops listening
#
# A model learns by nudging scores. So ask: if I raise one score a little, how much do the
# weights move? Try it on two keys, once with a close race and once with a clear winner.

# %%
for gap in (0.0, 2.0, 8.0):
    pair = torch.tensor([gap, 0.0], dtype=torch.float64)
    nudged = pair + torch.tensor([1e-6, 0.0], dtype=torch.float64)
    before, after = torch.softmax(pair, 0)[0], torch.softmax(nudged, 0)[0]
    slope = ((after - before) / 1e-6).item()
    print(f"gap {gap:.0f}: first weight {before.item():.4f}, its slope {slope:.4f}")

# %% [markdown]
# With a clear winner, the slope is almost zero. The weight is stuck, whether it is right or
# wrong: **a softmax that is sure of itself passes no gradient back.**
#
# To see this for any number of keys you need all slopes at once. That is the Jacobian: row
# $i$, column $j$ says how weight $i$ moves when score $j$ does.

# %% [markdown] exercise="softmax_jacobian"
# ### Exercise: the Jacobian of softmax  ·  10 min  ·  ●●○
#
# From $w_i = e^{s_i} / \sum_k e^{s_k}$ follows
# $\;\partial w_i / \partial s_i = w_i(1 - w_i)\;$ and, for $i \ne j$,
# $\;\partial w_i / \partial s_j = -\,w_i w_j$.
#
# You are given the *weights* `(N,)`, which sum to 1. Return the matrix `(N, N)`. No
# `autograd`: the formula is short enough.
#
# <details><summary>Hint</summary>
#
# Both lines at once: $\mathrm{diag}(w) - w w^\top$. Look up `torch.outer`.
# </details>


# %% answer="softmax_jacobian"
def softmax_jacobian(weights: Tensor) -> Tensor:
    """Jacobian of softmax at the given weights.

    weights: (N,), the output of a softmax, summing to 1.
    Returns (N, N): entry [i, j] is d weights[i] / d scores[j].
    """
    ### BEGIN SOLUTION
    return torch.diag(weights) - torch.outer(weights, weights)
    ### END SOLUTION


# %% check="softmax_jacobian" points=3
check(softmax_jacobian)

# %% [markdown]
# Here is the Jacobian of token 0's row, as `autograd` finds it, beside the Jacobians of the
# same row with scores three and ten times as large. **Predict** what will be left of the
# colours.


# %%
def jacobian_of_row(factor: float) -> Tensor:
    row = factor * attn_scores[0] / math.sqrt(d_k)
    return torch.autograd.functional.jacobian(lambda s: torch.softmax(s, 0), row)


def draw_slopes(axes, factor: float) -> None:
    jacobian = jacobian_of_row(factor)
    figures.draw_map(axes, jacobian, annotate=False, signed=True, maximum=0.25)
    axes.set(xlabel="score that is nudged", ylabel="weight that moves")


# %%
explore(
    draw_slopes,
    title="Ten times larger scores: every slope is gone",
    alt="Three 8 by 8 heat maps of slopes. With the scores as they are the diagonal is positive "
    "and the row and column of token 6 are negative. With three times larger scores the "
    "colours are paler, with ten times larger scores every cell is almost zero.",
    scale="slope",
    height=2.7,
    factor={"scores as they are": 1.0, "scores times 3": 3.0, "scores times 10": 10.0},
)

# %%
for factor in (1, 10):
    jacobian = jacobian_of_row(factor)
    sums_to_zero = bool((jacobian.sum(dim=0).abs() < 1e-12).all())
    trace = jacobian.trace().item()
    print(
        f"scores times {factor:2d}: columns sum to 0: {sums_to_zero}, trace {trace:.4f}"
    )

# %% [markdown]
# The trace, $\sum_i w_i(1 - w_i) = 1 - \sum_i w_i^2$, sums up how much a softmax still
# listens: 0 for a one-hot row, $1 - 1/N$ for a uniform one. Keep it in mind as our meter.

# %% [markdown]
# ## How large do scores get?
#
# A score is a sum of $d_k$ products. Say the entries of a query and a key are independent,
# with mean 0 and variance 1. Then each product has
#
# - mean $\;E[q]\,E[k] = 0$,
# - variance $\;E[q^2]\,E[k^2] = 1$,
#
# and variances of independent terms add up: the score has variance $d_k$, and so a
# standard deviation of $\sqrt{d_k}$.
#
# **Predict** the standard deviation for $d_k = 64$ before you run the cell.

# %%
generator = torch.Generator().manual_seed(4)
widths = [4, 16, 64, 256, 1024]
spread = {}
for width in widths:
    queries = torch.randn(500, width, generator=generator, dtype=torch.float64)
    keys = torch.randn(500, width, generator=generator, dtype=torch.float64)
    spread[width] = (queries.to(device) @ keys.to(device).T).std().item()
    print(
        f"d_k = {width:4d}: standard deviation {spread[width]:6.2f}, "
        f"root of d_k {math.sqrt(width):6.2f}"
    )

# %% [markdown]
# So at $d_k = 64$, the size of the heads in the original Transformer, two scores of one
# row typically lie ten apart before anything has been learned. Dividing by $\sqrt{d_k}$
# brings the spread back to 1, for every width.

# %% [markdown]
# ## The experiment: three ways to divide
#
# 64 random keys, 200 random queries, widths from 4 to 1024. We read our meter, the trace of
# the softmax Jacobian, for scores that are left alone, divided by $\sqrt{d_k}$, and divided
# by $d_k$.
#
# **Predict**: dividing by $d_k$ makes the scores smaller still. Is that safer?


# %%
def trace_and_entropy(width: int, divisor: float) -> tuple[float, float]:
    """Mean trace of the Jacobian, and mean entropy, of 200 rows over 64 keys."""
    stream = torch.Generator().manual_seed(width)
    queries = torch.randn(200, width, generator=stream, dtype=torch.float64).to(device)
    keys = torch.randn(64, width, generator=stream, dtype=torch.float64).to(device)
    weights = torch.softmax(queries @ keys.T / divisor, dim=-1)  # (query, key)
    trace = 1 - weights.square().sum(dim=-1)
    entropy = torch.special.entr(weights).sum(dim=-1)
    return trace.mean().item(), entropy.mean().item()


# %%
divisors = {
    "unscaled": lambda d: 1.0,
    "divided by √d_k": math.sqrt,
    "divided by d_k": float,
}
measured = {
    name: [trace_and_entropy(width, divisor(width)) for width in widths]
    for name, divisor in divisors.items()
}
for name, pairs in measured.items():
    print(f"{name:16s} trace", " ".join(f"{trace:.2f}" for trace, _ in pairs))

# %%
figure = figures.curves(
    {name: (widths, [trace for trace, _ in pairs]) for name, pairs in measured.items()},
    xlabel="width of queries and keys, d_k",
    ylabel="trace of the softmax Jacobian",
    title="Without the root, softmax stops listening as the model gets wider",
    logx=True,
)
figures.show(
    figure,
    alt="Lines of the Jacobian's trace against d_k from 4 to 1024. Unscaled falls from "
    "0.85 to below 0.1. Divided by the root of d_k stays flat near 0.96. Divided by d_k "
    "rises to the largest possible value.",
)

# %% [markdown]
# Unscaled, wide attention starts its life one-hot: it looks at one token, by chance, and
# passes hardly any gradient to change its mind.
#
# Dividing by $d_k$ has the highest trace. So is it best? Look at the other meter, chapter 02's
# entropy of a row, between 0 (looks at one key) and $\ln 64 \approx 4.16$ (looks at all
# alike).

# %%
figure = figures.curves(
    {
        name: (widths, [entropy for _, entropy in pairs])
        for name, pairs in measured.items()
    },
    xlabel="width of queries and keys, d_k",
    ylabel="entropy of a row of weights (nats)",
    title="Divided by d_k, attention goes blind: every key gets the same weight",
    logx=True,
    reference={"all keys alike: ln 64": math.log(64)},
)
figures.show(
    figure,
    alt="Lines of entropy against d_k. Unscaled falls towards 0. Divided by the root of "
    "d_k stays near 3.7. Divided by d_k rises to ln 64, the value for uniform weights.",
)

# %% [markdown]
# Blind: the weights no longer depend on what the query asks. Of the three, only
# $\sqrt{d_k}$ gives the same attention at every width.
#
# One honest footnote: the derivation assumed *independent* queries and keys. Training
# lines them up, and an aligned dot product grows like $d_k$. There is a school that divides by
# $d_k$ for that reason, with other choices to match (Yang et al. 2022).

# %% [markdown] exercise="scaled_dot_product_attention"
# ### Exercise: scaled dot-product attention  ·  10 min  ·  ●●○
#
# Write the formula at the top, for any number of leading dimensions:
#
# | | shape |
# |---|---|
# | `query` | (…, Nq, d_k) |
# | `key` | (…, Nk, d_k) |
# | `value` | (…, Nk, d_v) |
#
# Return `(attn_output, attn_weights)` of shapes (…, Nq, d_v) and (…, Nq, Nk). There may be as
# many queries as you like, and d_v need not be d_k. Leave the inputs as they are.
#
# <details><summary>Hint</summary>
#
# `.T` turns *all* dimensions around. You want the last two: `key.transpose(-2, -1)`.
# Count dimensions from the end, and the batch takes care of itself.
# </details>


# %% answer="scaled_dot_product_attention"
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    query: (..., Nq, d_k), key: (..., Nk, d_k), value: (..., Nk, d_v).
    Returns attn_output (..., Nq, d_v) and attn_weights (..., Nq, Nk).
    """
    ### BEGIN SOLUTION
    attn_scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    attn_weights = torch.softmax(attn_scores, dim=-1)  # (..., query, key)
    return attn_weights @ value, attn_weights
    ### END SOLUTION


# %% check="scaled_dot_product_attention" points=4
check(scaled_dot_product_attention)

# %% [markdown]
# Everything in this section so far was one call. PyTorch has it as
# `F.scaled_dot_product_attention`, which is what later chapters use. On the notes' numbers:

# %%
official = F.scaled_dot_product_attention(Q[None], K[None], V[None])[0]
print("PyTorch's output for token 0:", official[0].cpu().numpy())
print("equal to ours:", torch.allclose(official, attn_output, rtol=0, atol=1e-12))

# %% [markdown]
# ## The gradient, by hand
#
# Follow a change in the query all the way to the output: scores, weights, mix. Three links,
# and you know each of them:
#
# $$\frac{\partial\, (u \cdot o)}{\partial q} \;=\;
# \underbrace{\tfrac{1}{\sqrt d} K^\top}_{\text{scores}}\;
# \underbrace{(\mathrm{diag}(w) - ww^\top)}_{\text{softmax}}\;
# \underbrace{V u}_{\text{mix}}$$
#
# Here $u$ says how much each output channel counts. Note what stands in the middle.

# %% [markdown] exercise="score_gradient"
# ### Exercise: the gradient of attention  ·  10 min  ·  ●●●
#
# One query `(d,)`, `keys` (Nk, d), `values` (Nk, e), `upstream` (e,). With
# $w = \mathrm{softmax}(K q / \sqrt d)$ and output $o = V^\top w$, return the gradient of
# $u \cdot o$ with respect to `query`, a vector `(d,)`. Write it out; don't call `backward`.
#
# <details><summary>Hint</summary>
#
# Start at the end: `values @ upstream` says what each key's weight is worth, (Nk,). The
# Jacobian turns that into what each *score* is worth. `keys.T` brings it to the query.
# </details>


# %% answer="score_gradient"
def score_gradient(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    """Gradient of upstream . (softmax(keys @ query / sqrt(d)) @ values) in query.

    query: (d,), keys: (Nk, d), values: (Nk, e), upstream: (e,). Returns (d,).
    """
    ### BEGIN SOLUTION
    root = math.sqrt(query.shape[0])
    weights = torch.softmax(keys @ query / root, dim=0)  # (key,)
    worth = values @ upstream  # of each weight
    score_worth = weights * (worth - weights @ worth)  # the Jacobian times worth
    return score_worth @ keys / root
    ### END SOLUTION


# %% check="score_gradient" points=4
check(score_gradient)

# %% [markdown]
# With the softmax's Jacobian in the middle, a one-hot row should mean no gradient. Let
# `autograd` measure how long the gradient is that reaches each of 1000 random queries.
#
# **Predict**: as $d_k$ grows, does the *mean* length shrink when nothing is scaled?


# %%
def gradient_lengths(width: int, divisor: float) -> Tensor:
    """Length of the gradient that each of 1000 random queries receives, (1000,)."""
    stream = torch.Generator().manual_seed(width)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream, dtype=torch.float64).to(device)

    queries, keys, values = normal(1000, width), normal(64, width), normal(64, 8)
    queries.requires_grad_()
    output = torch.softmax(queries @ keys.T / divisor, dim=-1) @ values
    gradient = torch.autograd.grad((output * normal(1000, 8)).sum(), queries)[0]
    return gradient.norm(dim=-1)


for width in (4, 1024):
    for name in ("unscaled", "divided by √d_k"):
        lengths = gradient_lengths(width, divisors[name](width))
        print(
            f"d_k = {width:4d}, {name:16s} mean {lengths.mean().item():.2f}, "
            f"median {lengths.median().item():.2f}"
        )

# %% [markdown]
# A surprise: unscaled, the mean *grows*. Look at the median. A few queries, caught between
# two keys, get a huge push; more than half get next to nothing. That is worse than a small
# gradient, which a larger learning rate would mend.
#
# Call a query deaf if its gradient is below a tenth of what is usual with the root, and
# count the deaf:

# %%
usual = gradient_lengths(64, math.sqrt(64)).median()
deaf = {"unscaled": [], "divided by √d_k": []}
for name, shares in deaf.items():
    for width in widths:
        is_deaf = gradient_lengths(width, divisors[name](width)) < usual / 10
        shares.append(is_deaf.double().mean().item())

# %%
figure = figures.curves(
    {name: (widths, shares) for name, shares in deaf.items()},
    xlabel="width of queries and keys, d_k",
    ylabel="share of deaf queries",
    title="Unscaled, at width 1024 every second query hears almost nothing",
    logx=True,
    percent=True,
)
figures.show(
    figure,
    alt="Two lines of the share of queries with almost no gradient against d_k. Unscaled "
    "rises from 0 to more than half; with the root it stays at 0.",
)

# %% [markdown]
# ## The attention block
#
# Now put the parts in a box that learns: three linear maps, then attention. Torch calls such
# a box a module. It owns its parameters, and whoever holds the module can train, save and
# move them.

# %%
linear = nn.Linear(3, 2).to(device)  # in: d_model = 3, out: d_k = 2
for name, parameter in linear.named_parameters():
    print(f"{name:6s} {tuple(parameter.shape)}")

# %% [markdown]
# As in chapter 03, the weight is (out, in), the transpose of the notes' $W_Q$. And there is a
# bias, which the notes' formula has not; it comes with `nn.Linear` unless you switch it off.

# %% [markdown] exercise="AttentionBlock"
# ### Exercise: the attention block  ·  15 min  ·  ●●○
#
# Write the module: `q_proj`, `k_proj`, `v_proj` are `nn.Linear(d_model, d_k)` with biases;
# `forward` takes x of shape (B, N, d_model) and returns the output (B, N, d_k), and only that.
# The scores are divided by $\sqrt{d_k}$.
#
# You may use `F.scaled_dot_product_attention`: you know now what it does.
#
# <details><summary>Hint</summary>
#
# Begin `__init__` with `super().__init__()`. Without it torch cannot register parameters.
# </details>


# %% answer="AttentionBlock"
class AttentionBlock(nn.Module):
    """Single-head self-attention with learned projections.

    d_model: width of a token. d_k: width of queries, keys, values and of the output.
    """

    def __init__(self, d_model: int, d_k: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.q_proj = nn.Linear(d_model, d_k)
        self.k_proj = nn.Linear(d_model, d_k)
        self.v_proj = nn.Linear(d_model, d_k)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, d_model). Returns (B, N, d_k)."""
        ### BEGIN SOLUTION
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return F.scaled_dot_product_attention(query, key, value)
        ### END SOLUTION


# %% check="AttentionBlock" points=4
check(AttentionBlock)

# %% [markdown]
# ## What the block cannot see
#
# One last prediction. We shuffle the eight tokens, and attend. Will each token's new vector
# change?

# %%
order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4], device=device)


def attend(x: Tensor) -> Tensor:
    queries, keys, values = (x @ w.to(device) for w in (seed.W_Q, seed.W_K, seed.W_V))
    return F.scaled_dot_product_attention(queries[None], keys[None], values[None])[0]


tokens_in_order = seed.X.to(device)
shuffled = attend(tokens_in_order[order])
print(
    "same vectors, in the new order:",
    torch.allclose(shuffled, attend(tokens_in_order)[order]),
)

# %% [markdown]
# Not one digit. To attention, a sentence is a bag of words and an image a bag of patches:
# each token sees *what* the others are, never *where*. That is a gift (no order is
# built in) and a debt, which chapter 07 pays.

# %% [markdown]
# ## The answer
#
# Why the square root? A dot product of $d_k$ random terms spreads over $\sqrt{d_k}$. Softmax
# turns a wide spread into a one-hot row, whose Jacobian is zero, so nothing behind it learns.
# Dividing by $\sqrt{d_k}$ sets the spread to 1 at every width: enough to prefer, not enough to
# be deaf. Dividing by $d_k$ overshoots, and the row goes uniform: blind.

# %% [markdown]
# ## Where this leads
#
# In your block every token may look at every other one. Sometimes it must not: the next word is
# the answer, and padding means nothing. Chapter 05 says so with masks.
#
# And a block makes one share-out of attention per token. What if a token needs two things at once,
# from two places? Chapter 06 runs several small blocks side by side.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), section 3.2.1 and its footnote 4: the
#   variance argument in two lines.
# - Bridle, *Training Stochastic Model Recognition Algorithms as Networks Can Lead to Maximum
#   Mutual Information Estimation of Parameters* (1990), section 2: softmax and its derivative.
# - Zhai et al., *Stabilizing Transformer Training by Preventing Attention Entropy Collapse*
#   (2023), section 3: what happens when rows turn one-hot in large models.
# - Yang et al., *Tensor Programs V* (2022), section 5: the case for $1/d_k$.

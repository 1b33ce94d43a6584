# %% [markdown]
# # 09 · PyTorch's own
#
# **You wrote multi-head attention and the encoder layer yourself. Is that really what
# everybody else runs?**
#
# The names of PyTorch's modules promise it, and so do their shapes. But two functions can have
# the same shapes and disagree in every number. In this chapter you put your classes beside
# PyTorch's, with the same weights in both, and don't stop until outputs, attention weights and
# gradients agree to ten digits. On the way lie nine traps.

# %% [markdown]
# ## What you will be able to do
#
# - carry weights from PyTorch's modules into your own, and know when that must fail;
# - call `F.scaled_dot_product_attention` with any pair of masks;
# - prove that two modules compute the same, forward and backward;
# - recognise nine ways in which the official modules surprise people.
#
# **Time**: about 90 minutes. **You need** chapters 05 (masks), 06 (heads) and 08 (encoder layer).

# %%
import copy
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn import check, device, figures
from attention_course.learn.probes_09 import EncoderLayer, MultiHeadAttention

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# The last import brings stand-ins for your own `MultiHeadAttention` and `EncoderLayer`: the
# same names, signatures and masks, so that this chapter runs whether or not your chapters 06
# and 08 are complete.
#
# | yours | PyTorch's |
# |---|---|
# | `scaled_dot_product_attention` (04) | `F.scaled_dot_product_attention` |
# | `MultiHeadAttention` (06) | `nn.MultiheadAttention` |
# | `EncoderLayer` (08) | `nn.TransformerEncoderLayer` |
# | `Encoder` (08) | `nn.TransformerEncoder` |

# %% [markdown]
# ## One matrix for three
#
# Your attention module has four linear maps, so four weights and four biases.
# **Predict**: how many parameters does PyTorch's have?

# %%
mine = MultiHeadAttention(4, num_heads=2)
official = nn.MultiheadAttention(4, num_heads=2, batch_first=True)

for title, module in (("mine", mine), ("official", official)):
    print(title)
    for name, parameter in module.named_parameters():
        print(f"  {name:16s} {tuple(parameter.shape)}")

# %% [markdown]
# Four in all. `q_proj`, `k_proj` and `v_proj` are gone; in their place stands one matrix with
# three times as many rows. One large product is faster than three small ones.
#
# In which order are the three packed? You could read the source. It is more fun to ask the
# gradients.


# %%
def in_order(module: nn.Module) -> list[nn.Parameter]:
    """The parameters: matrices first, then vectors, each as they were defined."""
    return sorted(module.parameters(), key=lambda parameter: -parameter.dim())


def fill(module: nn.Module, number: int) -> nn.Module:
    """Fill the parameters, in that order, from one stream of numbers in [-0.5, 0.5)."""
    stream = torch.Generator().manual_seed(number)
    module.double().to(device)
    with torch.no_grad():
        for parameter in in_order(module):
            numbers = torch.rand(parameter.shape, generator=stream, dtype=torch.float64)
            parameter.copy_(numbers - 0.5)
    return module


# %% [markdown]
# `fill` gives a module weights that are neither zero nor special. (Remember how it does it:
# matrix after matrix, from one stream. That will matter.)
#
# **First question to the gradients.** Let attention look at a *single* token of width 2.
# Softmax over one score is 1, whatever the score. **Predict**: which of the six rows of
# `in_proj_weight` get a gradient?

# %%
attention = fill(nn.MultiheadAttention(2, num_heads=1, batch_first=True), 9)
token = torch.tensor([[[1.0, 2.0]]]).double().to(device)  # (batch, token, channel)

attn_output, _ = attention(token, token, token)
attn_output.sum().backward()
moved = attention.in_proj_weight.grad.abs().sum(dim=1) > 1e-10  # (row,)
print("rows with a gradient:", moved.nonzero().flatten().tolist())

# %% [markdown]
# Rows 4 and 5: with nothing to choose from, queries and keys don't matter. So **the value's
# rows come last**.
#
# **Second question.** Now the query is a zero vector, and there are two keys. The gradient of
# a weight is (gradient of its output) × (its input), so the query's rows must stay without
# one. **Predict** which rows those are.

# %%
attention.zero_grad()
query = torch.zeros_like(token)
memory = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]]).double().to(device)

attn_output, _ = attention(query, memory, memory)
attn_output.sum().backward()
moved = attention.in_proj_weight.grad.abs().sum(dim=1) > 1e-10
print("rows with a gradient:", moved.nonzero().flatten().tolist())

# %% [markdown]
# Rows 0 and 1 belong to the query. So the order is $W_Q$, $W_K$, $W_V$, under each other: one
# block of $d_{model}$ rows each, whatever the number of heads. The layout within a block is that
# of `nn.Linear`: one row for each output channel. `in_proj_bias` is packed the same way.

# %% [markdown] exercise="pack_in_proj"
# ### Exercise: pack three projections  ·  5 min  ·  ●○○
#
# You are given `w_q`, `w_k` and `w_v`, each `(d_model, d_model)` in `nn.Linear`'s layout. Return
# what `in_proj_weight` would hold: `(3*d_model, d_model)`, first the rows of the query, then
# those of the key, then those of the value. A gradient that reaches the result must reach all
# three.
#
# <details><summary>Hint</summary>
#
# Under each other, not side by side. Nothing is transposed.
# </details>


# %% answer="pack_in_proj"
def pack_in_proj(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    """The packed weight of nn.MultiheadAttention.

    w_q, w_k, w_v: (d_model, d_model), in nn.Linear's layout (out, in).
    Returns (3 * d_model, d_model): the rows of the query, the key and the value.
    """
    ### BEGIN SOLUTION
    return torch.cat((w_q, w_k, w_v), dim=0)
    ### END SOLUTION


# %% check="pack_in_proj" points=2
check(pack_in_proj)

# %% [markdown]
# Now the trick of `fill`. It takes matrix after matrix from one stream. Your module takes
# $W_Q$, then $W_K$, then $W_V$; PyTorch's takes one large matrix, row by row. If the packing is
# what we think, **both end up with the very same weights**, without any copying.
#
# **Predict**: what if only the order of the three blocks were another one? Would anything
# complain?


# %%
def agree(left: Tensor, right: Tensor) -> bool:
    """Whether no entry differs by more than 1e-10."""
    return torch.allclose(left, right, rtol=0, atol=1e-10)


def normal(*shape: int, number: int = 0) -> Tensor:
    """Standard normal numbers in float64, the same on every device."""
    stream = torch.Generator().manual_seed(number)
    return torch.randn(*shape, generator=stream, dtype=torch.float64).to(device)


# %%
mine = fill(MultiHeadAttention(6, num_heads=3), 9)
official = fill(nn.MultiheadAttention(6, num_heads=3, batch_first=True), 9)
x, context = normal(2, 4, 6, number=1), normal(2, 5, 6, number=2)

ours, _ = mine(x, context, context)
theirs, _ = official(x, context, context)
print("same outputs:", agree(ours, theirs))

with torch.no_grad():
    blocks = official.in_proj_weight.unflatten(0, (3, 6))
    blocks.copy_(blocks.flip(0))  # the blocks in another order
shuffled, _ = official(x, context, context)
print("blocks in another order: same shape:", shuffled.shape == ours.shape)
print("                         same outputs:", agree(shuffled, ours))

# %% [markdown]
# No error, no warning, other numbers. That is the character of everything in this chapter:
# mistakes between two right modules are silent. So you need a way to carry weights over
# that cannot go wrong, and a way to prove it.

# %% [markdown]
# ## Trap 1: a state dict that loads nothing
#
# "Just load the state dict." The names differ, so it raises. Many a forum answer then says:
# add `strict=False`. **Predict** what arrives in `mine`.

# %%
mine = MultiHeadAttention(4, num_heads=2)
official = nn.MultiheadAttention(4, num_heads=2, batch_first=True)
report = mine.load_state_dict(official.state_dict(), strict=False)

print("left as they were:", *report.missing_keys[:3])
print("                  ", *report.missing_keys[3:])
print("never used:       ", *report.unexpected_keys)

# %% [markdown]
# Only `out_proj` arrived. The call says so in its return value, which nobody reads.
#
# There is a second reason why such a copy may pass a quick test. **Predict**: what do the
# biases of a fresh `nn.MultiheadAttention` look like?

# %%
fresh = nn.MultiheadAttention(4, num_heads=2, batch_first=True)
print("in_proj_bias all zero: ", not fresh.in_proj_bias.any())
print("out_proj.bias all zero:", not fresh.out_proj.bias.any())

# %% [markdown]
# All zero. Forget the biases, or mix them up, and on a fresh module nobody can tell. Test
# with weights that look trained: that is why this chapter fills everything first.

# %% [markdown]
# ### When there is nothing to unpack
#
# Keys and values may have a width of their own: `kdim`, `vdim`. Then three matrices of
# different shapes can't be packed.

# %%
separate = nn.MultiheadAttention(4, num_heads=2, kdim=6, vdim=5, batch_first=True)
for name, parameter in separate.named_parameters():
    print(f"{name:16s} {tuple(parameter.shape)}")
print("in_proj_weight is", separate.in_proj_weight)

# %% [markdown]
# Your module has no such thing, so copying from this one has to fail, loudly and *early*: a
# module of which half the weights are new is worse than an error.
#
# One more mismatch is easily missed. Three heads or four: **predict** whether a shape tells
# them apart.

# %%
three = nn.MultiheadAttention(12, num_heads=3).state_dict()
four = nn.MultiheadAttention(12, num_heads=4).state_dict()
print("all shapes equal:", all(three[name].shape == four[name].shape for name in three))

# %% [markdown] exercise="copy_attention"
# ### Exercise: copy attention  ·  15 min  ·  ●●○
#
# Copy the weights and biases of `official` into your `MultiHeadAttention` `mine` (`q_proj`,
# `k_proj`, `v_proj`, `out_proj`; `d_model`, `num_heads`). Work in place and return `mine`. The two
# share no memory; every parameter of `mine` keeps its `requires_grad`.
#
# Raise `ValueError`, before anything changes, if `d_model`, `num_heads` or the biases don't match,
# or if `official` has separate weights for `kdim` or `vdim`.
#
# <details><summary>Hint</summary>
#
# Check first, then copy. `torch.no_grad()` lets you write into parameters: `target.copy_(source)`.
# `chunk(3)` cuts a packed tensor in three. A missing bias is `None`.
# </details>


# %% answer="copy_attention"
def copy_attention(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    """Copy the parameters of PyTorch's attention into the course's, in place.

    mine: a MultiHeadAttention with q_proj, k_proj, v_proj, out_proj and num_heads.
    Returns mine. Raises ValueError, with mine unchanged, if the two do not match.
    """
    ### BEGIN SOLUTION
    if official.in_proj_weight is None:
        raise ValueError("official has separate weights for another kdim or vdim")
    if mine.q_proj.in_features != official.embed_dim:
        raise ValueError(f"d_model: {mine.q_proj.in_features} and {official.embed_dim}")
    if mine.num_heads != official.num_heads:
        raise ValueError(f"num_heads: {mine.num_heads} and {official.num_heads}")
    if (mine.q_proj.bias is None) != (official.in_proj_bias is None):
        raise ValueError("only one of the two modules has biases")
    projections = (mine.q_proj, mine.k_proj, mine.v_proj)
    with torch.no_grad():
        for kind in ("weight", "bias"):
            packed = getattr(official, f"in_proj_{kind}")
            if packed is None:
                continue
            for projection, part in zip(projections, packed.chunk(3), strict=True):
                getattr(projection, kind).copy_(part)
            getattr(mine.out_proj, kind).copy_(getattr(official.out_proj, kind))
    return mine
    ### END SOLUTION


# %% check="copy_attention" points=5
check(copy_attention)

# %% [markdown]
# Outputs can agree by luck; heads can't. With equal weights on both sides, here is what each
# head looks at, in your module and in PyTorch's:

# %%
mine = fill(MultiHeadAttention(8, num_heads=2), 4)
official = fill(nn.MultiheadAttention(8, num_heads=2, batch_first=True), 4)
tokens = 3 * normal(1, 6, 8, number=3)

_, ours = mine(tokens, tokens, tokens)  # (batch, head, query, key)
_, theirs = official(tokens, tokens, tokens, average_attn_weights=False)
print("same weights in every head:", agree(ours, theirs))

# %%
panels = {f"mine, head {i}": ours[0, i] for i in range(2)}
panels |= {f"official, head {i}": theirs[0, i] for i in range(2)}
figure = figures.attention_maps(
    panels,
    title="Head for head, both modules look at the same tokens",
    columns=4,
    annotate=False,
)
figures.show(
    figure,
    alt="Four heat maps of 6 by 6 attention weights. The two heads differ from each other, "
    "and each head of mine shows the same pattern as that head of official.",
)

# %% [markdown]
# ## Trap 2: the batch comes second
#
# Did you notice `batch_first=True` in nearly every line so far? The default is `False`: PyTorch then
# reads `(token, batch, channel)`. Give it your `(batch, token, channel)`, with 2 items of 3
# tokens. **Predict**: an error?

# %%
attention = fill(nn.MultiheadAttention(4, num_heads=2), 5)  # batch_first left out
x = normal(2, 3, 4)  # meant: 2 items of 3 tokens
attn_output, attn_weights = attention(x, x, x)
print("output", tuple(attn_output.shape), " weights", tuple(attn_weights.shape))

other = x.clone()
other[1] += 1  # another second item
changed, _ = attention(other, other, other)
print("the first item's output is the same:", agree(changed[0], attn_output[0]))

# %% [markdown]
# The output has the right shape. But the items of the batch talk to each other: token 1 of
# your first image attends to token 1 of the second. Only the weights' shape gives it away:
# three "items" of 2 × 2.

# %% [markdown]
# ## Trap 3: what True means
#
# You know this one from chapter 05: in the function, as in this course, True means *may attend*; in
# `nn.MultiheadAttention` it means *must not*. The layers pass their mask to that module. **Predict**:
# with a causal mask of ours, does token 0 react to the last token?

# %%
layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
fill(layer, 6)
may_attend = torch.ones(3, 3, dtype=torch.bool, device=device).tril()
x = normal(1, 3, 4)
other = x.clone()
other[:, -1] += 1  # another last token

for name, mask in {"may_attend": may_attend, "~may_attend": ~may_attend}.items():
    first, second = layer(x, src_mask=mask), layer(other, src_mask=mask)
    print(f"src_mask={name:12s} token 0 reacts:", not agree(first[0, 0], second[0, 0]))

# %% [markdown]
# Without the `~`, your causal layer sees the future, and nothing else of the others.
#
# The one mask that means the same everywhere is `key_padding_mask`: True is padding. The
# function has no such argument; there you must join it in.

# %% [markdown]
# ## Trap 4: a mask of ones and zeros
#
# This, too, is chapter 05's: a float mask is *added* to the scores, so ones and zeros are a mild
# preference of $e$ to 1, and every token still sees the future. A float mask must hold 0 and
# $-\infty$.
#
# New here: mixed kinds, one mask boolean and one float, are on their way out.

# %%
attention = fill(nn.MultiheadAttention(4, num_heads=2, batch_first=True), 5)
x = normal(2, 3, 4)
float_mask = torch.zeros(3, 3, dtype=torch.float64, device=device)
no_padding = torch.zeros(2, 3, dtype=torch.bool, device=device)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    attention(x, x, x, attn_mask=float_mask, key_padding_mask=no_padding)
print(caught[0].category.__name__, "-", str(caught[0].message).split(". ")[0])

# %% [markdown] exercise="official_attention"
# ### Exercise: the course's masks for PyTorch's function  ·  15 min  ·  ●●○
#
# Call `F.scaled_dot_product_attention` on `(B, N, d)` or `(B, H, N, d)`, with the course's masks:
#
# | | shape | True means |
# |---|---|---|
# | `attn_mask` | broadcasts to `(…, Nq, Nk)` | may attend |
# | `key_padding_mask` | `(B, Nk)` | is padding |
#
# Either may be `None`. A key counts if both masks allow it. Rows without any key won't occur.
#
# <details><summary>Hint</summary>
#
# Turn the padding round, then give it one size-1 dimension for each dimension between B and Nk:
# how many depends on `query.dim()`.
# </details>


# %% answer="official_attention"
def official_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
) -> Tensor:
    """Attention through F.scaled_dot_product_attention, with the course's masks.

    query: (B, Nq, d) or (B, H, Nq, d); key, value: (B, Nk, d) or (B, H, Nk, d).
    attn_mask: boolean, broadcastable to (..., Nq, Nk), True may attend, or None.
    key_padding_mask: boolean (B, Nk), True is padding, or None.
    Returns the output, shaped like query.
    """
    ### BEGIN SOLUTION
    mask = attn_mask
    if key_padding_mask is not None:
        between = (1,) * (query.dim() - 2)
        is_real = ~key_padding_mask.reshape(len(key_padding_mask), *between, -1)
        mask = is_real if mask is None else mask & is_real
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    ### END SOLUTION


# %% check="official_attention" points=4
check(official_attention)

# %% [markdown]
# Here is your module beside PyTorch's with both masks at once. Mind the `~`: it stands
# before one mask and not before the other.

# %%
mine = fill(MultiHeadAttention(6, num_heads=3), 9)
official = fill(nn.MultiheadAttention(6, num_heads=3, batch_first=True), 9)
x = normal(2, 4, 6, number=1)
causal = torch.ones(4, 4, dtype=torch.bool, device=device).tril()
padding = torch.tensor([[False, False, False, True], [False] * 4], device=device)

ours = mine(x, x, x, attn_mask=causal, key_padding_mask=padding)
theirs = official(
    x, x, x, attn_mask=~causal, key_padding_mask=padding, average_attn_weights=False
)
print("same outputs:", agree(ours[0], theirs[0]))
print("same weights:", agree(ours[1], theirs[1]))

# %% [markdown]
# ## Trap 5: weights that nobody used
#
# Without `average_attn_weights=False` you get one map, not one for each head. To see what is
# lost, build two heads by hand: two one-hot tokens A and B, keys equal to the tokens, and
# queries that are always 9. So head 0 looks at A and head 1 at B. **Predict** the default map.

# %%
attention = nn.MultiheadAttention(2, num_heads=2, batch_first=True).double().to(device)
a_and_b = torch.eye(2).double().to(device)[None]  # (batch, token, channel)
with torch.no_grad():
    attention.in_proj_weight.zero_()
    attention.in_proj_weight[2:4] = a_and_b[0]  # the key's rows
    attention.in_proj_bias[0:2] = 9  # the query's
    _, heads = attention(a_and_b, a_and_b, a_and_b, average_attn_weights=False)
    _, average = attention(a_and_b, a_and_b, a_and_b)

print("head 0, from A, to A and B:", heads[0, 0, 0].cpu().numpy())
print("head 1, from A, to A and B:", heads[0, 1, 0].cpu().numpy())
print("the default map:           ", average[0, 0].cpu().numpy())

# %% [markdown]
# Two heads, each sure of itself. The mean says "undecided", and no head ever used it. A paper's
# figure that shows mean weights shows this.

# %% [markdown]
# ## Trap 6: causal, from the wrong corner
#
# Chapter 05 again: `is_causal=True` draws its triangle from the top left corner, the course's mask
# from the lower right. While a model trains, both are the same. Then it writes: the newest token is
# the only query, four keys are stored, all scores are equal, and the values are 0, 1, 2, 3. It may
# see all four: their mean is 1.5. **Predict** what `is_causal=True` gives.

# %%
query = torch.zeros(1, 1, 2, dtype=torch.float64, device=device)
keys = torch.zeros(1, 4, 2, dtype=torch.float64, device=device)
values = torch.arange(4.0, dtype=torch.float64, device=device)[None, :, None]

for is_causal in (False, True):
    seen = F.scaled_dot_product_attention(query, keys, values, is_causal=is_causal)
    print(f"is_causal={is_causal}: {seen.item():.1f}")

# %% [markdown]
# Zero: the *oldest* token alone. A model that was right in training forgets all but its first
# word in use. With a cache, pass a mask.

# %% [markdown]
# ## Trap 7: a hint that overrules you
#
# The modules have `is_causal`, too. There it is no mask but a *hint* about the mask that you
# pass. Suppose that mask isn't causal: every token may see only itself. **Predict**: which of
# the two counts?

# %%
official = fill(nn.MultiheadAttention(4, num_heads=2, batch_first=True), 5)
x = normal(1, 3, 4)
itself = ~torch.eye(3, dtype=torch.bool, device=device)  # True: must not
future = torch.ones(3, 3, dtype=torch.bool, device=device).triu(1)
by_mask, by_causal = (official(x, x, x, attn_mask=m)[0] for m in (itself, future))

for need_weights in (True, False):
    output, _ = official(
        x, x, x, attn_mask=itself, is_causal=True, need_weights=need_weights
    )
    print(f"need_weights={need_weights}")
    print("  as the mask says:      ", agree(output, by_mask))
    print("  as a causal mask would:", agree(output, by_causal))

# %% [markdown]
# Both, in turn. With `need_weights=True` (the default) your mask counts. Without, PyTorch
# believes the hint, drops your mask, and calls the fused function with `is_causal=True`. Asking
# for the weights changed the result. Give the hint only if it is true.

# %% [markdown]
# ## Trap 8: dropout that you did not ask for
#
# **Predict** the default dropout of each module, and which mode a new module is in.

# %%
layer = nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8, batch_first=True)
attention = nn.MultiheadAttention(4, num_heads=2, batch_first=True)
print("attention:", attention.dropout, " layer:", layer.dropout.p)
print("training: ", layer.training)

fill(layer, 6)
x = normal(2, 3, 4)
print("two calls agree in train:", agree(layer(x), layer(x)))
layer.eval()
print("two calls agree in eval: ", agree(layer(x), layer(x)))

# %% [markdown]
# A tenth of the numbers is dropped unless you say otherwise. Compare two layers without
# `dropout=0.0` or `eval()`, and they never agree.
#
# The function knows no `eval()`. Its `dropout_p` is applied in every call, also when your model
# is only being used: pass `self.dropout if self.training else 0.0`.

# %%
dropped = [F.scaled_dot_product_attention(x, x, x, dropout_p=0.5) for _ in range(2)]
print("two calls of the function agree:", agree(*dropped))

# %% [markdown]
# ## Trap 9: three answers for an empty row
#
# In a batch, one text may be all padding. Its tokens have no key to look at: chapter 05's empty
# row. Your modules say: zero weights. PyTorch's answer depends on the path that a call takes.
#
# In `eval()` *and* under `no_grad`, layers with an even number of heads switch to a fast path:
# one fused call. `nn.TransformerEncoder` of post-norm layers even cuts the padding out before
# the first of them, and puts zeros back after the last.

# %%
# On the CPU, because the machine, too, decides about the path.
layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
layer = fill(layer, 6).cpu()
encoder = nn.TransformerEncoder(layer, num_layers=1).eval()
encoder.layers[0].load_state_dict(layer.state_dict())
x = normal(2, 3, 4).cpu()
padding = torch.tensor([[False, False, True], [True, True, True]])


def describe(rows: Tensor) -> str:
    """What kind of numbers these are."""
    if rows.isnan().any():
        return "NaN"
    return "numbers" if rows.any() else "zeros"


# %% [markdown]
# **Predict**: item 0 has one padded token, item 1 nothing but padding. For which of the two do
# the paths disagree?

# %%
slow = layer.train()(x, src_key_padding_mask=padding)
with torch.no_grad(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors call themselves a prototype
    fast = layer.eval()(x, src_key_padding_mask=padding)
    cut = encoder(x, src_key_padding_mask=padding)

paths = {"layer, train": slow, "layer, no_grad": fast, "encoder, no_grad": cut}
for name, output in paths.items():
    same = agree(output[0, :2], slow[0, :2])
    token, item = describe(output[0, 2]), describe(output[1])
    print(f"{name:16s} real tokens agree: {same}, padded: {token:7s}, empty: {item}")

# %% [markdown]
# Three paths, three answers: numbers, NaN, zeros. Where there is something to see, they agree.
#
# So never let padded positions reach a mean or a loss; one NaN there is NaN everywhere. And
# don't pin down what the padded positions hold: it changes when you call `eval()`.

# %% [markdown]
# ## Proof, forward and backward
#
# Equal outputs are half of parity. A module that trains needs equal gradients: of the input,
# and of every parameter. You need a scalar to differentiate. The sum of the output looks
# handy. **Predict**: what is its gradient for a fresh post-norm layer?

# %%
fresh = nn.TransformerEncoderLayer(6, 3, 10, dropout=0.0, batch_first=True)
fresh.double().to(device)
x = normal(2, 4, 6, number=1)
upstream = normal(2, 4, 6, number=2)  # one number for each output

for name, factors in (("sum", torch.ones_like(x)), ("random mix", upstream)):
    inputs = x.clone().requires_grad_()
    (fresh(inputs) * factors).sum().backward()
    largest = inputs.grad.abs().max().item()
    print(f"{name:10s} every gradient below 1e-10: {largest < 1e-10}")

# %% [markdown]
# A fresh layer norm makes every token sum to zero. The sum of the output is constant: no
# gradient at all, on both sides, and any two layers would "agree". Mix the outputs with random
# numbers, the *same* for both modules.
#
# Comparing *names* is the other half: a gradient for `in_proj_weight` has no partner in your
# module until it is split.

# %% [markdown] exercise="parity_report"
# ### Exercise: a parity report  ·  20 min  ·  ●●●
#
# Compare `mine` with `official` on `x`: two encoder layers, called as `module(x)`, or two attention
# modules, called as `module(x, x, x)[0]`. Return a dict of three Python floats, each a largest
# absolute error:
#
# - `"output"`;
# - `"input_gradient"`: of a scalar of the output, with respect to x;
# - `"parameter_gradients"`: over all parameters, compared by name, with `in_proj` split.
#
# Leave `x` and the modules as they are; a second report must not count the first one's gradients.
#
# <details><summary>Hint</summary>
#
# `torch.autograd.grad(scalar, [inputs, *parameters])` collects nothing in `.grad`. Rename
# official's gradients first: from `…in_proj_weight` make three entries, `…q_proj.weight` and so
# on.
# </details>


# %% answer="parity_report"
def parity_report(mine: nn.Module, official: nn.Module, x: Tensor) -> dict[str, float]:
    """Largest absolute errors between two modules that should be the same.

    mine, official: encoder layers, or attention modules with their weights by name.
    x: (B, N, d_model). Returns "output", "input_gradient" and "parameter_gradients".
    """
    ### BEGIN SOLUTION
    stream = torch.Generator().manual_seed(0)
    upstream = torch.randn(x.shape, generator=stream, dtype=torch.float64).to(x)

    def run(module: nn.Module) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        inputs = x.detach().clone().requires_grad_()
        is_layer = hasattr(module, "linear1")
        output = module(inputs) if is_layer else module(inputs, inputs, inputs)[0]
        parameters = dict(module.named_parameters())
        leaves = [inputs, *parameters.values()]
        first, *rest = torch.autograd.grad((output * upstream).sum(), leaves)
        named = {}
        for name, gradient in zip(parameters, rest, strict=True):
            if "in_proj_" not in name:
                named[name] = gradient
                continue
            for part, rows in zip("qkv", gradient.chunk(3), strict=True):
                named[name.replace("in_proj_", f"{part}_proj.")] = rows
        return output.detach(), first, named

    def largest(left: Tensor, right: Tensor) -> float:
        return (left - right).abs().max().item()

    ours, theirs = run(mine), run(official)
    return {
        "output": largest(ours[0], theirs[0]),
        "input_gradient": largest(ours[1], theirs[1]),
        "parameter_gradients": max(largest(ours[2][n], theirs[2][n]) for n in ours[2]),
    }
    ### END SOLUTION


# %% check="parity_report" points=5
check(parity_report)

# %% [markdown]
# ## A whole layer
#
# An encoder layer adds four more pieces: `linear1`, `linear2`, `norm1`, `norm2`. Here names and
# shapes are the same on both sides. **Predict**: how many of PyTorch's 12 parameter names does
# your layer have as well?

# %%
mine = EncoderLayer(6, 3, 10)
official = nn.TransformerEncoderLayer(6, 3, 10, dropout=0.0, batch_first=True)
ours = {name for name, _ in mine.named_parameters()}
theirs = {name for name, _ in official.named_parameters()}

print("in both:      ", len(ours & theirs))
print("only official:", *sorted(theirs - ours))
print("only mine:    ", len(ours - theirs))

# %% [markdown] exercise="copy_encoder_layer"
# ### Exercise: copy an encoder layer  ·  10 min  ·  ●●○
#
# Copy every parameter of `official` into your `EncoderLayer` `mine`: `self_attn` with its packed
# projections, `linear1`, `linear2`, `norm1`, `norm2`, weights and biases. Work in place, share no
# memory, return `mine`. Both layers have the same sizes.
#
# <details><summary>Hint</summary>
#
# Each check stands alone, so don't call your `copy_attention`. Go through
# `mine.named_parameters()`: most names exist in `official.state_dict()` as they are, six don't.
# </details>


# %% answer="copy_encoder_layer"
def copy_encoder_layer(
    mine: nn.Module, official: nn.TransformerEncoderLayer
) -> nn.Module:
    """Copy the parameters of PyTorch's encoder layer into the course's, in place.

    mine: an EncoderLayer with self_attn, linear1, linear2, norm1, norm2. Returns mine.
    """
    ### BEGIN SOLUTION
    state = official.state_dict()
    for kind in ("weight", "bias"):
        parts = state.pop(f"self_attn.in_proj_{kind}").chunk(3)
        for letter, part in zip("qkv", parts, strict=True):
            state[f"self_attn.{letter}_proj.{kind}"] = part
    mine.load_state_dict(state)  # strict: every name has to be there
    return mine
    ### END SOLUTION


# %% check="copy_encoder_layer" points=3
check(copy_encoder_layer)

# %% [markdown]
# ### Every kind of layer
#
# Now the proof in full: post-norm and pre-norm, ReLU and GELU, without masks and with both. For
# each of the eight we compare outputs, the input's gradient, and the gradient of all parameters
# in one long vector. (`fill` made both sides equal, and `in_order` puts both in one order.)
#
# Float64 carries 16 digits. **Predict**: how many will agree?


# %%
def run(layer: nn.Module, masks: tuple) -> list[Tensor]:
    """Output, input gradient and all parameter gradients of one layer."""
    inputs = normal(2, 5, 12, number=1).requires_grad_()
    output = layer(inputs, *masks)
    output.backward(normal(2, 5, 12, number=2))
    gradients = [parameter.grad.flatten() for parameter in in_order(layer)]
    return [output.detach(), inputs.grad, torch.cat(gradients)]


# %%
def errors(norm_first: bool, activation: str, masked: bool) -> list[float]:
    """Largest difference between the two layers, for each of the three."""
    options = {"dropout": 0.0, "activation": activation, "norm_first": norm_first}
    mine = fill(EncoderLayer(12, 3, 20, **options), 7)
    official = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, **options)
    fill(official, 7)
    causal = torch.ones(5, 5, dtype=torch.bool, device=device).tril()
    padding = (torch.arange(5, device=device) >= 4).expand(2, 5)  # the last token
    ours = run(mine, (causal, padding) if masked else ())
    theirs = run(official, (~causal, padding) if masked else ())
    return [(a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)]


# %%
measured = {}
for norm_first in (False, True):
    for activation in ("relu", "gelu"):
        for masked in (False, True):
            name = f"{'pre' if norm_first else 'post'}-norm, {activation}"
            name += ", masks" if masked else ""
            measured[name] = errors(norm_first, activation, masked)

for name, found in measured.items():
    print(f"{name:24s} all three errors below 1e-10: {max(found) < 1e-10}")

# %% [markdown]
# Drawn on a scale of powers of ten, with the promised 1e-10 as a line. (A difference of exactly
# zero is drawn at 1e-17.)


# %%
def dots(rows: dict[str, list[float]], names: list[str], title: str, limit: float = 0):
    """One row of marks for each entry, on a logarithmic axis; zero is drawn at 1e-17."""
    figure, axes = figures.new_figure(7.4, 0.9 + 0.36 * len(rows), title)
    with figures.style():
        for place, name in enumerate(names):
            values = [max(found[place], 1e-17) for found in rows.values()]
            heights = [row + 0.16 * (place - 1) for row in range(len(rows))]
            colour, marker = figures.PALETTE[place], "osDv"[place]
            axes.plot(values, heights, marker, label=name, color=colour, linestyle="")
        if limit:
            axes.axvline(limit, color=figures.MUTED, linestyle="--", label="asked for")
        axes.set(xscale="log", xlim=(5e-18, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(range(len(rows)), list(rows))
        axes.grid(axis="both")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


# %%
figure = dots(
    measured,
    ["output", "input gradient", "parameter gradients"],
    "All eight layers agree with PyTorch's, far below 1e-10",
    limit=1e-10,
)
figure.axes[0].set_xlabel("largest absolute difference in float64")
figures.show(
    figure,
    alt="Dots on a logarithmic axis, three for each of eight layers. All lie several "
    "powers of ten left of the dashed line at 1e-10.",
)

# %% [markdown]
# Not one comparison comes near the line. What is left are the last digits of float64: the same
# sums in another order.
#
# A stack is layers one after the other, and a norm at the end. So `nn.TransformerEncoder` has to
# agree as well:

# %%
options = {"dropout": 0.0, "activation": "gelu", "norm_first": True}
layers = [EncoderLayer(12, 3, 20, **options) for _ in range(3)]
mine = fill(nn.Sequential(*layers, nn.LayerNorm(12)), 8)
layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, **options)
official = nn.TransformerEncoder(layer, 3, nn.LayerNorm(12), enable_nested_tensor=False)
fill(official, 8)

ours, theirs = run(mine, ()), run(official, ())
compared = ("outputs", "input gradients", "parameter gradients")
for name, left, right in zip(compared, ours, theirs, strict=True):
    print(f"same {name}: {agree(left, right)}")

# %% [markdown]
# ## The experiment: which path, which dtype?
#
# You have met several paths through the same layer: training, `eval()`, the fast path, the fast
# path with padding cut out; and attention with and without weights. And a model rarely runs in
# float64.
#
# Truth is the course's layer in float64. **Predict**: which costs more digits, the path or the dtype?

# %%
# On the CPU again: the paths of trap 9.
options = {"dropout": 0.0, "activation": "relu"}
tokens = normal(8, 32, 64, number=5).cpu()
lengths = torch.tensor([32, 20, 32, 11, 25, 32, 7, 32])
padding = torch.arange(32) >= lengths[:, None]  # (batch, key)
mine = fill(EncoderLayer(64, 4, 128, **options), 10).cpu()
reference = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, **options)
reference = fill(reference, 10).cpu()
with torch.no_grad():
    truth = mine(tokens, None, padding)
    attention_truth, _ = mine.self_attn(tokens, tokens, tokens, None, padding)


def relative_error(output: Tensor, expected: Tensor) -> float:
    """Largest error at the real tokens, relative to the largest number there."""
    error = (output.double() - expected)[~padding].abs().max()
    return (error / expected[~padding].abs().max()).item()


# %%
def layer_error(dtype: torch.dtype, training: bool, grad: bool, stacked: bool) -> float:
    """Error of PyTorch's layer on one path."""
    layer = copy.deepcopy(reference)
    encoder = nn.TransformerEncoder(layer, num_layers=1) if stacked else layer
    encoder.to(dtype).train(training)
    with torch.set_grad_enabled(grad), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = encoder(tokens.to(dtype), src_key_padding_mask=padding)
    return relative_error(output.detach(), truth)


def attention_error(dtype: torch.dtype, need_weights: bool) -> float:
    """Error of PyTorch's attention, with and without weights."""
    attention, x = copy.deepcopy(reference.self_attn).to(dtype), tokens.to(dtype)
    options = {"key_padding_mask": padding, "need_weights": need_weights}
    return relative_error(attention(x, x, x, **options)[0].detach(), attention_truth)


# %%
dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
found = {
    "layer: train": [layer_error(d, True, True, False) for d in dtypes],
    "layer: eval": [layer_error(d, False, True, False) for d in dtypes],
    "layer: eval + no_grad": [layer_error(d, False, False, False) for d in dtypes],
    "encoder: eval + no_grad": [layer_error(d, False, False, True) for d in dtypes],
    "attention: need_weights": [attention_error(d, True) for d in dtypes],
    "attention: no weights": [attention_error(d, False) for d in dtypes],
}

# %%
limits = {"float64": 1e-12, "float32": 1e-4, "float16": 0.05, "bfloat16": 0.5}
for place, (name, limit) in enumerate(limits.items()):
    worst = max(row[place] for row in found.values())
    print(f"{name:8s} every path below {limit:g}: {worst < limit}")

figure = dots(
    found,
    list(limits),
    "The dtype decides how many digits are right; the path hardly matters",
)
figure.axes[0].set_xlabel("largest error of the output, relative to its largest number")
figures.show(
    figure,
    alt="Dots on a logarithmic axis for six paths. In each row float64 lies far left, "
    "float32 in the middle, float16 and bfloat16 right. Each dtype forms a column.",
)

# %% [markdown]
# Columns, not rows. Whichever path PyTorch picks, the real tokens get the same numbers, nearly as
# exactly as the dtype can say them: 15 digits are right in float64, 6 in float32, between 2 and 3
# in float16, not quite 2 in bfloat16.
#
# So test in float64. There an error of 1e-6 is a bug; in float32 it is rounding.

# %% [markdown]
# ## The answer, and the nine traps
#
# Is what you wrote what everybody runs? Yes: outputs, heads and gradients, to the last digits.
# What remains are conventions.
#
# | trap | what helps |
# |---|---|
# | 1 names differ, `strict=False` is silent | split `in_proj`, load strictly |
# | 2 the batch comes second | `batch_first=True`, always |
# | 3 True means "must not" in the modules | `~attn_mask` for modules |
# | 4 float masks are added | booleans, or 0 and −∞ |
# | 5 weights are averaged | `average_attn_weights=False` |
# | 6 `is_causal` starts top left | a mask, if lengths differ |
# | 7 `is_causal` may overrule a mask | only if the mask is causal |
# | 8 dropout is on | `dropout=0.0` or `eval()`; the function has no eval |
# | 9 empty rows: numbers, NaN or zeros | never read padded positions |

# %% [markdown]
# ## Where this leads
#
# From here on the course builds with PyTorch's modules, and you know what is inside. Chapter 10
# makes a vision transformer of them. Chapter 11 opens the fused function: how can it compute
# attention without ever holding the weights?

# %% [markdown]
# ## References
#
# - Vaswani et al. 2017, *Attention Is All You Need*, sections 3.1 to 3.3.
# - PyTorch 2.13 documentation: `torch.nn.functional.scaled_dot_product_attention`,
#   `torch.nn.MultiheadAttention`, `torch.nn.TransformerEncoderLayer` (its fast path),
#   `torch.nn.TransformerEncoder`.
# - Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: pre-norm and
#   post-norm.
# - Goldberg 1991, *What Every Computer Scientist Should Know About Floating-Point Arithmetic*:
#   why the same sum in another order has other last digits.

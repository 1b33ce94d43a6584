# %% [markdown]
# # 08 · The encoder layer
#
# **Attention lets every token gather what it needs from the others. So why not simply stack
# it: twelve attentions, each on the output of the one before?**
#
# Because after three of them all tokens are the same. In this chapter you watch that happen.
# Then you put around attention the three things that prevent it, and you have the layer
# that every transformer repeats.

# %% [markdown]
# ## What you will be able to do
#
# - say what the residual, the norm and the feed-forward are each there for;
# - compute layer norm by hand, down to the place of $\varepsilon$;
# - write a whole encoder layer: masks, dropout, post-norm and pre-norm;
# - stack layers that are really separate, and hand the masks to each;
# - show why a deep post-norm stack needs warm-up.
#
# **Time**: about 120 minutes. **You need** chapters 05 (masks) and 06 (many heads).

# %%
import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn import check, device, figures
from attention_course.learn.experiments_08 import Reversal, learn_to_reverse
from attention_course.learn.widgets import explore

# %% [markdown]
# ## Attention, and nothing else
#
# An output of attention is a weighted mean of values. A mean lies *between* the things it
# is made of. The next attention takes means of these means, and so on.
#
# Here are twelve attentions with fresh random weights, and 32 random tokens. **Predict**: how
# different will the tokens still be after one attention? After three? After twelve?

# %%
torch.manual_seed(0)
attentions = [nn.MultiheadAttention(64, 4, batch_first=True) for _ in range(12)]
attentions = [attention.double().to(device) for attention in attentions]
start = torch.randn(8, 32, 64, dtype=torch.float64).to(
    device
)  # (batch, token, channel)


# %%
@torch.no_grad()
def states_of(x: Tensor, keep: float) -> list[Tensor]:
    """The tokens at the start and after each attention, `keep` times its input added."""
    states = [x]
    for attention in attentions:
        mixed, _ = attention(x, x, x, need_weights=False)  # (batch, token, channel)
        x = F.layer_norm(keep * x + mixed, x.shape[-1:])
        states.append(x)
    return states


alone = states_of(start, keep=0.0)

# %% [markdown]
# `keep=0.0` means: attention, and nothing else. `F.layer_norm` only brings each token back to
# the same size, so that there is something to see; you will write it below.
#
# Look at the first sequence of the batch. Each row is a token, each column a channel.


# %%
def draw_tokens(axes, depth: int) -> None:
    """The tokens after `depth` attentions, a row for each."""
    rows = alone[depth][0].cpu().numpy()  # (token, channel)
    image = axes.imshow(rows, cmap=figures.diverging_map(), vmin=-2.5, vmax=2.5)
    image.set(interpolation="nearest", label=f"depth {depth}")
    axes.set(aspect="auto", xticks=[], yticks=[], xlabel="channel", ylabel="token")


explore(
    draw_tokens,
    title="After three attentions, every token is the same token",
    alt="Four pictures with a row for each token and a column for each channel. The input "
    "is noise. After one attention vertical stripes show. After three and after twelve "
    "there are only stripes: all rows are equal.",
    width=2.1,
    height=1.9,
    data={"spread over tokens": [x[0].std(dim=0).mean() for x in alone]},
    depth={"the input": 0, "after 1": 1, "after 3": 3, "after 12": 12},
)

# %% [markdown]
# Stripes: down each column one colour. Whatever "cat" and "mat" were, nothing tells them apart
# any more. Dong et al. (2021) prove that this happens to every stack of pure attention, and how
# fast: the exponent itself grows exponentially with depth. They call it **rank collapse**.
#
# The angle between two tokens puts a number on it. Cosine 0 is a right angle, 1 the same
# direction:

# %%
for depth in (0, 1, 2, 3):
    first, second = alone[depth][0, 0], alone[depth][0, 1]
    cosine = F.cosine_similarity(first, second, dim=0).item()
    print(f"after {depth} attentions: cosine of tokens 0 and 1 is {cosine:.4f}")

# %% [markdown] exercise="token_similarity"
# ### Exercise: token similarity  ·  8 min  ·  ●○○
#
# One pair says little. Take the mean cosine over all pairs of *distinct* tokens, for each batch
# item:
#
# $$s_b = \frac{1}{N(N-1)} \sum_{i \neq j} \frac{x_{bi} \cdot x_{bj}}{|x_{bi}|\,|x_{bj}|}$$
#
# `x` is (B, N, d) with at least two tokens, none of them zero. Return (B,).
#
# <details><summary>Hint</summary>
#
# Divide each token by its length: then a table of dot products is a table of cosines. Its
# diagonal is each token with itself. How large are those cosines, and how many of them are
# there?
# </details>


# %% answer="token_similarity"
def token_similarity(x: Tensor) -> Tensor:
    """Mean cosine over all pairs of distinct tokens.

    x: (B, N, d), N at least 2. Returns (B,).
    """
    ### BEGIN SOLUTION
    tokens = x.shape[1]
    directions = F.normalize(x, dim=-1)
    cosines = directions @ directions.transpose(1, 2)  # (batch, token, token)
    return (cosines.sum(dim=(1, 2)) - tokens) / (tokens * (tokens - 1))
    ### END SOLUTION


# %% check="token_similarity" points=2
check(token_similarity)

# %% [markdown]
# ## Add, don't replace
#
# The cure is one plus sign. A sublayer does not *replace* the token, it *corrects* it:
#
# $$x \leftarrow x + \mathrm{attention}(x)$$
#
# The path along which $x$ is handed on is the **residual stream**. What a token was stays in
# the sum, and attention adds what it has heard.
#
# **Predict**: the same twelve attentions and tokens, now with `keep=1.0`. How similar are the
# tokens at the end? (For a quick look, only neighbours are compared.)


# %%
def neighbours(states: list[Tensor]) -> list[float]:
    """Mean cosine of each token with the next one, for each state."""
    pairs = [F.cosine_similarity(x[:, 1:], x[:, :-1], dim=-1) for x in states]
    return [pair.mean().item() for pair in pairs]


similarity = {
    "attention alone": neighbours(alone),
    "with residual": neighbours(states_of(start, keep=1.0)),
}
for name, values in similarity.items():
    print(f"{name}:", [round(values[depth], 2) + 0.0 for depth in (1, 2, 3, 11, 12)])

# %%
figure = figures.curves(
    similarity,
    xlabel="attentions",
    ylabel="mean cosine of neighbours",
    title="With the residual, tokens still point their own ways after 12 attentions",
)
figures.show(
    figure,
    alt="Two curves over the number of attentions. Without the residual the mean cosine jumps "
    "to one within two attentions and stays there. With it, it rises slowly and stays low.",
)

# %% [markdown]
# The residual has a second job: it brings the gradient home. Take the simplest sublayer there
# is, $f(x) = 0.1\,x$, twelve times. Without the plus sign each one multiplies the gradient by
# 0.1, with it by 1.1.
#
# **Predict** both gradients at the input before you run.

# %%
for name, keep in {"f(x)": 0.0, "x + f(x)": 1.0}.items():
    x = torch.tensor(1.0, dtype=torch.float64, device=device, requires_grad=True)
    y = x
    for _ in range(12):
        y = keep * y + 0.1 * y
    y.backward()
    print(f"{name:9} twelve times: gradient {x.grad.item():.12f}")

# %% [markdown]
# $10^{-12}$ against 3.1. Layers near the input of a deep stack without residuals hear almost
# nothing of the loss. He et al. (2015) trained a network of 152 layers with this plus sign;
# transformers took it over.

# %% [markdown]
# ## Sums grow
#
# Adding has a price. If a sublayer's output is as large as its input and points somewhere else,
# the variances add: each plus sign doubles the variance.
#
# **Predict**: tokens of standard deviation 1. How large are they after 12 such sums?

# %%
torch.manual_seed(1)
x = torch.randn(64, 1024, dtype=torch.float64).to(device)  # (token, channel)
for depth in range(13):
    if depth % 4 == 0:
        print(f"after {depth:2d} sums: standard deviation {x.std().item():5.1f}")
    weight = torch.randn(1024, 1024, dtype=torch.float64).to(device) / 1024**0.5
    x = x + x @ weight  # what is added has the size of x

# %% [markdown]
# About $\sqrt{2}^{\,12} = 64$. In a deep stack the last sublayers would receive numbers in the hundreds,
# and a softmax of scores made from those is one-hot (chapter 04). So each token is brought back
# to a standard size.

# %% [markdown]
# ## Layer norm by hand
#
# For each token alone: subtract the mean of its channels, divide by their standard deviation.
# Then each channel gets a learned weight $\gamma$ and bias $\beta$:
#
# $$\mathrm{LN}(x) = \gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta
# \qquad \mu = \frac1d \sum_c x_c \qquad \sigma^2 = \frac1d \sum_c (x_c - \mu)^2$$
#
# **Predict** for the token (1, 3, 5, 7): the mean, the variance, and where 7 ends up.

# %%
token = torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=torch.float64, device=device)
centred = token - 4.0  # the mean is 4
print("centred     ", centred.tolist())
print("variance    ", (9 + 1 + 1 + 9) / 4)
print("by hand     ", [round(v, 4) for v in (centred / 5.0**0.5).tolist()])
print("F.layer_norm", [round(v, 4) for v in F.layer_norm(token, (4,)).tolist()])

# %% [markdown]
# Two details decide whether your numbers agree with everybody else's.
#
# **The variance divides by $d$**. `x.var()` divides by $d - 1$ unless you say otherwise: 6.67
# instead of 5.
#
# **$\varepsilon$ stands under the root**, beside a variance. It is there for tokens whose channels
# are all alike: 0/0 becomes 0. Outside, beside a standard deviation, it does something else to
# small tokens. **Predict** for variance $10^{-6}$ and $\varepsilon = 10^{-5}$: which of the two places damps
# the token more?

# %%
small = token * 1e-3 / 5.0**0.5  # variance 1e-6
eps = 1e-5
spread = small.var(correction=0)
under, outside = 1 / (spread + eps).sqrt(), 1 / (spread.sqrt() + eps)
print(f"divided by sqrt(var + eps): times {under.item():6.1f}")
print(f"divided by std + eps:       times {outside.item():6.1f}")

# %% [markdown] exercise="layer_norm"
# ### Exercise: layer norm  ·  10 min  ·  ●●○
#
# Write the formula above for `x` of shape (…, d): any number of leading dimensions, each token on
# its own. `weight` ($\gamma$) and `bias` ($\beta$) are (d,), `eps` is a float under the root.
#
# Keep the dtype of `x`, leave `x` as it is, and let the gradient flow through mean and variance.
#
# <details><summary>Hint</summary>
#
# `keepdim=True` keeps a dimension of 1, so that (…, 1) can be subtracted from (…, d). Which
# argument of `torch.var` chooses between d and d - 1?
# </details>


# %% answer="layer_norm"
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise each token over its channels, then scale and shift them.

    x: (..., d), weight and bias: (d,), eps: added to the variance. Returns (..., d).
    """
    ### BEGIN SOLUTION
    mean = x.mean(dim=-1, keepdim=True)  # (..., 1)
    variance = x.var(dim=-1, correction=0, keepdim=True)  # (..., 1)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias
    ### END SOLUTION


# %% check="layer_norm" points=3
check(layer_norm)

# %% [markdown]
# **Along which line does it look?** Ask autograd: on which inputs does *one* output, token 2 and
# channel 4, depend? Batch norm, the norm of image networks, takes its mean over the other
# tokens. **Predict** the shape of the two patterns.


# %%
def depends_on(norm, x: Tensor) -> Tensor:
    """Where the gradient of norm(x)[2, 4] is not zero: 1, else 0."""
    x = x.clone().requires_grad_()
    norm(x)[2, 4].backward()
    return (x.grad.abs() > 1e-9).double()


tokens = start[0, :6, :8]  # (token, channel)
norms = {
    "layer norm": lambda x: F.layer_norm(x, (8,)),
    "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
}
patterns = {name: depends_on(norm, tokens) for name, norm in norms.items()}

# %%
figure = figures.attention_maps(
    patterns,
    title="Layer norm looks along one token, batch norm along one channel",
    annotate=False,
    axis_names=("token", "channel"),
    label="output [2, 4] depends on it",
)
figures.show(
    figure,
    alt="Two grids of 6 tokens by 8 channels. For layer norm one row is filled, that of token 2; "
    "for batch norm one column, that of channel 4.",
)

# %% [markdown]
# A row: the token's own channels. So layer norm does not care how many tokens there are, which
# of them are padding, or what else is in the batch. A batch norm over sentences of
# different lengths would mix all of that into every token.

# %% [markdown]
# ## Mixing is not thinking
#
# Attention moves information *between* tokens. What it does to the channels of one token is a
# matrix product, $V = X W_V$: it can pass on "is a noun" and "is plural", but it cannot conclude
# "is a noun *and* is plural". For that you need a bend, one token at a time:
#
# $$h = \max(0,\; a + b - 1)$$
#
# **Predict** $h$ for the four tokens below. Could any $ua + vb + c$ without the bend do the same?

# %%
#                        noun plural
four = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], device=device)
hidden = torch.relu(four.sum(dim=-1) - 1.0)  # (token,)
for (noun, plural), value in zip(four.tolist(), hidden.tolist(), strict=True):
    print(f"noun {noun:.0f}, plural {plural:.0f}: both? {value:.0f}")

# %% [markdown]
# This hidden unit computes "and". Without the bend you cannot: three zeros force $u$, $v$ and
# $c$ to be zero. The **feed-forward** has thousands of such units, and a second matrix that
# writes what they found back into the stream:
#
# $$\mathrm{FFN}(x) = W_2\, \mathrm{act}(W_1 x + b_1) + b_2$$
#
# It is usually four times as wide as the stream. `act` was ReLU in 2017; BERT, GPT-2 and ViT use
# GELU, $x\, \Phi(x)$ with the normal distribution function $\Phi$.

# %%
x = torch.linspace(-4.0, 4.0, 81, dtype=torch.float64)
figure = figures.curves(
    {"ReLU": (x, F.relu(x)), "GELU": (x, F.gelu(x))},
    xlabel="input",
    ylabel="output",
    title="GELU is a ReLU with a rounded corner: slightly negative inputs still get through",
    height=2.8,
)
figures.show(
    figure,
    alt="Two curves that agree far from zero: nothing on the left, the input itself on the "
    "right. Around zero ReLU has a corner, GELU bends smoothly and dips below zero.",
)

# %% [markdown] exercise="feed_forward"
# ### Exercise: feed-forward  ·  10 min  ·  ●○○
#
# Two linear maps and the bend between them, for every token alike. `x` is (B, N, d), and the
# weights have `nn.Linear`'s layout: `w1` (d_ff, d), `b1` (d_ff,), `w2` (d, d_ff), `b2` (d,).
#
# `activation` is `"relu"` or `"gelu"`: the exact GELU, not an approximation. For any other name
# raise a `ValueError`.
#
# <details><summary>Hint</summary>
#
# `F.linear` takes a weight in this layout. Look up the argument `approximate` of `F.gelu`. A dict
# from name to function raises `KeyError` for a name that is not in it: that is another error.
# </details>


# %% answer="feed_forward"
def feed_forward(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    activation: str = "relu",
) -> Tensor:
    """Two linear maps with a nonlinearity between them, for each token.

    x: (B, N, d), w1: (d_ff, d), b1: (d_ff,), w2: (d, d_ff), b2: (d,).
    activation: "relu" or "gelu". Returns (B, N, d). Raises ValueError for another name.
    """
    ### BEGIN SOLUTION
    if activation not in ("relu", "gelu"):
        raise ValueError(f"activation is {activation!r}; it can be 'relu' or 'gelu'")
    hidden = F.linear(x, w1, b1)  # (batch, token, d_ff)
    hidden = F.relu(hidden) if activation == "relu" else F.gelu(hidden)
    return F.linear(hidden, w2, b2)  # (batch, token, d)
    ### END SOLUTION


# %% check="feed_forward" points=3
check(feed_forward)

# %% [markdown]
# **Who hears whom?** The leak detector of chapter 05 answers it: the influence of input token $j$
# on output token $i$, $\lVert \partial\, \text{output}_i / \partial\, \text{input}_j \rVert$. Here
# for six tokens and each of the three parts. **Predict** the three patterns.


# %%
def influence(part, x: Tensor) -> Tensor:
    """(output token, input token): size of the derivative, the largest set to 1."""
    blocks = torch.autograd.functional.jacobian(part, x)  # (N, d, N, d)
    size = blocks.norm(dim=(1, 3))
    return size / size.max()


six = start[0, :6]  # (token, channel)
torch.manual_seed(2)
mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
parts = {
    "attention": lambda x: attentions[0](x, x, x, need_weights=False)[0],
    "norm": lambda x: F.layer_norm(x, (64,)),
    "feed-forward": mlp.double().to(device),
}

# %%
figure = figures.attention_maps(
    {name: influence(part, six) for name, part in parts.items()},
    title="Only attention carries news from token to token",
    annotate=False,
    axis_names=("output token", "input token"),
    label="influence (largest = 1)",
)
figures.show(
    figure,
    alt="Three maps of 6 output tokens by 6 input tokens. For attention all cells are filled. "
    "For the norm and for the feed-forward only the diagonal is.",
)

# %% [markdown]
# Attention talks; norm and feed-forward keep to their own token. The division of labour is
# strict. **Predict** how the parameters are shared out in a layer of the size of 2017: 512 wide,
# 2048 hidden units.

# %%
big = nn.TransformerEncoderLayer(512, 8, 2048)
groups = {
    "attention": [big.self_attn],
    "feed-forward": [big.linear1, big.linear2],
    "norms": [big.norm1, big.norm2],
}
total = sum(p.numel() for p in big.parameters())
for name, modules in groups.items():
    count = sum(p.numel() for module in modules for p in module.parameters())
    print(f"{name:12} {count:9,} parameters, {count / total:6.1%}")

# %% [markdown]
# ## Two orders
#
# You have two sublayers, attention and feed-forward, and a residual around each. Where does the
# norm go? In 2017 it came **after** the sum, *post-norm*:
#
# $$x \leftarrow \mathrm{LN}_1(x + \mathrm{attention}(x)) \qquad
# x \leftarrow \mathrm{LN}_2(x + \mathrm{FFN}(x))$$
#
# Today it mostly stands **before** each sublayer, inside the branch, *pre-norm*:
#
# $$x \leftarrow x + \mathrm{attention}(\mathrm{LN}_1(x)) \qquad
# x \leftarrow x + \mathrm{FFN}(\mathrm{LN}_2(x))$$

# %% [markdown]
# The same parts in another order, and yet: in pre-norm nothing stands in the way of the stream;
# in post-norm every token passes through every norm.
#
# Count what that does. Let a token be a vector of length 1, and let each sublayer add
# another vector of length 1, at right angles to all before. Post-norm scales the sum back to length 1
# each time, pre-norm only once, at the end. **Predict**: after 16 sublayers, how much of the
# original token is left in the result?

# %%
identity = torch.eye(17, dtype=torch.float64, device=device)
for sublayers in (1, 2, 4, 16):
    post = pre = identity[0]  # the token; identity[n] is what sublayer n adds
    for n in range(1, sublayers + 1):
        post = F.normalize(post + identity[n], dim=0)
        pre = pre + identity[n]
    pre = F.normalize(pre, dim=0)
    print(f"{sublayers:2d} sublayers: post-norm {post[0]:.4f}, pre-norm {pre[0]:.4f}")

# %% [markdown]
# $(1/\sqrt2)^{16} = 1/256$ against $1/\sqrt{17} \approx 1/4$. Post-norm forgets exponentially.
# With fresh, small weights the branches add little and you don't notice. Keep the numbers in
# mind for the experiment at the end, where the branches grow.

# %% [markdown]
# ## Dropout: practise without help
#
# In training, **dropout** sets each number to zero with probability $p$ and divides the others by
# $1 - p$, so that the mean stays. No unit can rely on another one being there. In eval it does
# nothing at all.
#
# **Predict**: a hundred thousand ones, $p = 0.3$. Which values come out?

# %%
torch.manual_seed(3)
ones = torch.ones(100_000, dtype=torch.float64, device=device)
dropped = F.dropout(ones, p=0.3, training=True)
share = (dropped == 0).double().mean().item()
print("values in training:", [round(v, 4) for v in dropped.unique().tolist()])
print("share of zeros within 0.01 of 0.3:", abs(share - 0.3) < 0.01)
print("mean within 0.02 of 1:", abs(dropped.mean().item() - 1) < 0.02)
print("values in eval:", F.dropout(ones, p=0.3, training=False).unique().tolist())

# %% [markdown]
# An encoder layer has it in four places: on the attention **weights** after the softmax, **after**
# the attention's output projection, **inside** the feed-forward after the activation, and **after** the
# feed-forward. The paper names the two "after"; its authors' code, and torch, have all four.
#
# Always on the branch, before the plus sign. A dropped stream would be forgotten for good.

# %% [markdown]
# ## The whole layer
#
# Follow the shapes through one layer, here torch's own in pre-norm. The stream comes in and goes
# out with the same shape, and so layers can be stacked.

# %%
torch.manual_seed(4)
layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, batch_first=True, norm_first=True)
layer = layer.double().to(device)
src = start[:2, :5, :16]  # (batch, token, d_model)
x = layer.norm1(src)
attn_output, attn_weights = layer.self_attn(x, x, x, average_attn_weights=False)
middle = src + attn_output
hidden = F.relu(layer.linear1(layer.norm2(middle)))  # (batch, token, dim_feedforward)
output = layer(src)

# %%
figure = figures.shape_flow(
    [
        ("src", src, "batch token d_model"),
        ("attn_weights", attn_weights, "batch head query key", "norm1, self_attn"),
        ("stream", middle, "batch token d_model", "@ v, + src"),
        ("hidden", hidden, "batch token d_ff", "norm2, linear1, act"),
        ("output", output, "batch token d_model", "linear2, + stream"),
    ],
    title="A layer returns the shape it was given: tokens meet in the weights alone",
)
figures.show(
    figure,
    alt="Boxes with shapes, joined by arrows: src, attention weights with a query and a key "
    "axis, the stream, the wider hidden layer, and the output in the shape of src.",
)

# %% [markdown] exercise="EncoderLayer"
# ### Exercise: the encoder layer  ·  35 min  ·  ●●●
#
# Post-norm, or pre-norm if `norm_first`; `activation` is `"relu"` or exact `"gelu"`.
#
# Parameters: `self_attn.{q,k,v,out}_proj`, `linear1`, `linear2`, `norm1`, `norm2`, all with bias
# (`nn.LayerNorm`, eps 1e-5).
#
# `src_mask`: True **may attend**; (N, N), (B, 1, N, N) or (B, H, N, N).
# `src_key_padding_mask` (B, N): True **is padding**. Both may come at once. With nothing to attend
# to, all weights are zero.
#
# Dropout in the four places, silent in eval.
#
# <details><summary>Hint 1: the attention</summary>
#
# It is chapter 06 again: project, split the heads, scale, mask, softmax, merge, project. Write it
# in `SelfAttention`, so that the parameters get their names. Combine the masks into one boolean
# `allowed` first.
# </details>
#
# <details><summary>Hint 2: empty rows</summary>
#
# Softmax of a row of -inf is NaN. You healed that in chapter 05's `masked_softmax`: forbidden
# weights are set to 0 once more *after* the softmax.
# </details>
#
# <details><summary>Hint 3: the order</summary>
#
# Write two small methods, one for each branch with its dropout. Then pre-norm and post-norm are
# two lines each, and you can compare them with the formulas.
# </details>


# %% answer="EncoderLayer"
class SelfAttention(nn.Module):
    """Multi-head self-attention: a helper of your layer."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.num_heads = num_heads
        self.dropout = nn.Dropout(dropout)
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        ### END SOLUTION

    def forward(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None
    ) -> Tensor:
        """(B, N, d_model) to (B, N, d_model)."""
        ### BEGIN SOLUTION
        q, k, v = (
            proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )  # (batch, head, token, head_dim)
        attn_scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        allowed = torch.ones_like(attn_scores, dtype=torch.bool)
        if attn_mask is not None:
            allowed = allowed & attn_mask
        if key_padding_mask is not None:
            allowed = allowed & ~key_padding_mask[:, None, None, :]
        attn_weights = attn_scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
        attn_weights = self.dropout(attn_weights.masked_fill(~allowed, 0.0))
        return self.out_proj((attn_weights @ v).transpose(1, 2).flatten(2))
        ### END SOLUTION


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual, a norm and dropout."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dim_feedforward: int,
        dropout: float = 0.0,
        activation: str = "relu",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.self_attn = SelfAttention(d_model, num_heads, dropout)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model, eps=1e-5)
        self.norm2 = nn.LayerNorm(d_model, eps=1e-5)
        self.dropout = nn.Dropout(dropout)
        self.activation = {"relu": F.relu, "gelu": F.gelu}[activation]
        self.norm_first = norm_first

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        return self.dropout(self.self_attn(x, mask, padding))

    def _think(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.dropout(self.linear2(hidden))
        ### END SOLUTION

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, N, d_model) to (B, N, d_model)."""
        ### BEGIN SOLUTION
        masks = (src_mask, src_key_padding_mask)
        if self.norm_first:
            x = src + self._attend(self.norm1(src), *masks)
            return x + self._think(self.norm2(x))
        x = self.norm1(src + self._attend(src, *masks))
        return self.norm2(x + self._think(x))
        ### END SOLUTION


# %% check="EncoderLayer" points=5
check(EncoderLayer)

# %% [markdown]
# **A mask that is lost makes no noise.** A layer has to hand its masks on to the attention inside.
# Two sentences share a batch: five words, and three words with two tokens of padding. Fill the
# padding with other numbers, and look at the three real words: torch's layer, with the mask and
# without.

# %%
rows = [[False] * 5, [False] * 3 + [True] * 2]
is_padding = torch.tensor(rows, device=device)  # (batch, token)
other = src.clone()
other[1, 3:] = 7.0  # something else in the padding

for name, padding in {"mask passed on": is_padding, "mask lost": None}.items():
    first = layer(src, src_key_padding_mask=padding)
    second = layer(other, src_key_padding_mask=padding)
    change = (first - second)[1, :3].abs().max().item()
    print(f"{name}: real words change by more than 0.01: {change > 0.01}")

# %% [markdown]
# No error, no NaN, and every shape is right: without the mask the sentence is simply misread,
# differently for every length of padding. This is why you test masks by *changing* what they hide.

# %% [markdown]
# ## A stack of layers
#
# An encoder is the same layer again and again: the same shape, but weights of its own each time.
# In Python "again and again" has a trap. **Predict** the number of parameters in the two lists:

# %%
linear = nn.Linear(10, 10)  # 110 parameters
repeated = nn.ModuleList([linear] * 6)
copied = nn.ModuleList([copy.deepcopy(linear) for _ in range(6)])
for name, layers in {"[linear] * 6": repeated, "six deep copies": copied}.items():
    print(f"{name}: {sum(p.numel() for p in layers.parameters())} parameters")

# %% [markdown]
# `[linear] * 6` is one layer with six names. It runs and it trains, as a model with a sixth of the
# weights. Only a deep copy has its own.
#
# A pre-norm stack needs one thing more. Its stream was never normed, so the encoder ends with a
# norm of its own. In post-norm the last layer has done that already, and `norm` stays None.

# %% [markdown] exercise="Encoder"
# ### Exercise: the encoder  ·  12 min  ·  ●●○
#
# Run `num_layers` deep copies of `layer` one after the other, then `norm` if there is one.
#
# `layers` holds the copies, `norm` the norm. The copies start with the numbers of `layer`, and share
# memory neither with each other nor with `layer`. Every layer gets `src_mask` and
# `src_key_padding_mask`.
#
# The check hands you a tiny layer that is not an encoder layer; call yours as
# `layer(x, src_mask=..., src_key_padding_mask=...)`.
#
# <details><summary>Hint</summary>
#
# Layers in a plain Python list are invisible to `parameters()`. Which container of `torch.nn` shows
# them?
# </details>


# %% answer="Encoder"
class Encoder(nn.Module):
    """A stack of independent copies of one layer."""

    def __init__(
        self, layer: nn.Module, num_layers: int, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.layers = nn.ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.norm = norm
        ### END SOLUTION

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, N, d_model) to (B, N, d_model)."""
        ### BEGIN SOLUTION
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=src_mask, src_key_padding_mask=src_key_padding_mask)
        return x if self.norm is None else self.norm(x)
        ### END SOLUTION


# %% check="Encoder" points=4
check(Encoder)

# %% [markdown]
# **Every layer needs the mask.** It is tempting to think that the first layer has sorted the
# padding out. Three of torch's layers, six tokens, the last two padding: once all three layers get
# the mask, once only the first. **Predict**: do the real tokens (rows 0 to 3) react to the
# padding (columns 4 and 5)?

# %%
torch.manual_seed(5)
stack = [nn.TransformerEncoderLayer(16, 4, 64, 0.0, batch_first=True) for _ in range(3)]
stack = [layer.double().to(device) for layer in stack]
last_two = torch.tensor([[False] * 4 + [True] * 2], device=device)  # (batch, token)


def through_stack(x: Tensor, masked: int) -> Tensor:
    """(token, channel) to the same; the first `masked` layers get the mask."""
    x = x[None]
    for number, layer in enumerate(stack):
        x = layer(x, src_key_padding_mask=last_two if number < masked else None)
    return x[0]


# %%
maps = {
    f"mask in {masked} of 3 layers": influence(
        lambda x, m=masked: through_stack(x, m), six[:, :16]
    )
    for masked in (3, 1)
}
for name, size in maps.items():
    print(f"{name}: padding is heard: {bool((size[:4, 4:] > 1e-3).any())}")

# %%
figure = figures.attention_maps(
    maps,
    title="A mask for the first layer only: the padding comes in through the second",
    axis_names=("output token", "input token"),
    label="influence (largest = 1)",
)
figures.show(
    figure,
    alt="Two maps of 6 output by 6 input tokens. With the mask in every layer, columns 4 and 5 are "
    "zero in rows 0 to 3. With the mask in the first layer only, they are not.",
)

# %% [markdown]
# ## Experiment: eight layers, two orders
#
# Now a deep model has to learn something: read ten symbols, write them in reverse. Position $i$ must
# fetch from position $9 - i$, so tokens have to stay apart and to talk.
#
# Eight of torch's layers, once in pre-norm, once in post-norm. The same task, optimiser and learning
# rate. **Predict** who learns.


# %%
class Reverser(nn.Module):
    """Ten symbols of six kinds, to be written in reverse order."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.symbol = nn.Embedding(6, 32)
        self.position = nn.Parameter(0.5 * torch.randn(10, 32))
        options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
        layers = [nn.TransformerEncoderLayer(32, 4, 64, **options) for _ in range(8)]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(32) if norm_first else nn.Identity()
        self.read_out = nn.Linear(32, 6)

    def forward(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 10) symbols to (B, 10, 6) logits and the (B, 10, 32) tokens before them."""
        x = self.symbol(symbols) + self.position
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return self.read_out(x), x


# %%
def train(norm_first: bool, **options) -> Reversal:
    """A fresh model, the same random weights for both orders, 120 steps of Adam."""
    torch.manual_seed(0)
    return learn_to_reverse(Reverser(norm_first).to(device), **options)


results = {"pre-norm": train(True, lr=0.01), "post-norm": train(False, lr=0.01)}
print("chance: 17 %")
print("pre-norm above 95 %:", results["pre-norm"].accuracy > 0.95)
print("post-norm below 40 %:", results["post-norm"].accuracy < 0.40)

# %% [markdown]
# The same layers, a norm in another place: one model reverses perfectly, the other hardly
# beats chance. Why? You have the instrument: how alike are the ten tokens when they reach the
# read-out?

# %%
figure = figures.curves(
    {name: run.similarity for name, run in results.items()},
    xlabel="training step",
    ylabel="mean cosine of neighbours",
    title="Post-norm: within five steps all ten tokens are one, and they stay so",
    width=6.6,
)
figures.show(
    figure,
    alt="Two curves over 120 training steps. Both rise in the first steps. Post-norm reaches one "
    "and stays there. Pre-norm stays below one and falls to zero.",
)
print("post-norm after 5 steps above 0.98:", results["post-norm"].similarity[5] > 0.98)
print("pre-norm at the end below 0.5:", results["pre-norm"].similarity[-1] < 0.5)

# %% [markdown]
# The collapse from the beginning of this chapter, in spite of the residuals. The first large
# steps make each branch add nearly the same to every token, and more of it. Pre-norm leaves the rest
# of the token alone; post-norm scales it down sixteen times. Where all tokens are equal,
# attention has nothing to choose from: the gradient of its queries and keys is almost zero, and
# nothing pulls the tokens apart again.

# %% [markdown]
# The authors of 2017 trained post-norm all the same, with a trick: **warm-up**. Let the learning
# rate grow from almost zero, so that the branches grow slowly and can learn to differ. **Predict**: the same
# post-norm model, 60 steps of warm-up, then the same rate as before.

# %%
results["post-norm, warm-up"] = train(False, lr=0.01, warmup=60)
print(
    "post-norm with warm-up above 80 %:", results["post-norm, warm-up"].accuracy > 0.80
)

# %%
figure = figures.curves(
    {name: run.losses for name, run in results.items()},
    xlabel="training step",
    ylabel="loss (nats)",
    title="Pre-norm just learns; post-norm learns once it is warmed up",
    reference={"chance": torch.log(torch.tensor(6.0)).item()},
    width=6.6,
)
figures.show(
    figure,
    alt="Three loss curves over 120 steps. Pre-norm falls to zero first. Post-norm with "
    "warm-up follows later. Post-norm without warm-up stays near the line of chance.",
)

# %% [markdown]
# Xiong et al. (2020) trace the need for warm-up to the place of the norm. GPT-2 and ViT have it
# inside the branch, and so have most models since. Post-norm isn't wrong: with smaller steps it
# trains here too. **Try** `train(False, lr=0.002)`.

# %% [markdown]
# ## The answer
#
# Why not simply stack attention? Because means of means are all the same. The **residual** keeps
# what a token was, and its gradient. The **norm** keeps the sums at one size, along the token
# and nobody else. The **feed-forward** concludes what mixing cannot. Attention is the only part
# in which tokens meet, so it is the only one that needs the masks, in every layer.

# %% [markdown]
# ## Where this leads
#
# Your layer has the parts of `nn.TransformerEncoderLayer`. Has it the same numbers? Chapter 09 copies
# the weights across and compares to the last digit, and finds nine places where the official
# modules surprise. Chapter 10 puts patches in at the bottom and reads a class out at the top.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), sections 3.1 (residual and norm), 3.3
#   (feed-forward), 5.3 (warm-up) and 5.4 (dropout).
# - Dong, Cordonnier, Loukas, *Attention Is Not All You Need: Pure Attention Loses Rank Doubly
#   Exponentially with Depth* (2021), sections 2 and 3.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture* (2020), section 3:
#   post-norm, pre-norm and warm-up.
# - Ba, Kiros, Hinton, *Layer Normalization* (2016), section 3.
# - He et al., *Deep Residual Learning for Image Recognition* (2015), sections 3 and 4.
# - Hendrycks, Gimpel, *Gaussian Error Linear Units (GELUs)* (2016), section 2.
# - Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting* (2014),
#   section 4.

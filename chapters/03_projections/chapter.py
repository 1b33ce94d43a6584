# %% [markdown]
# # 03 · Queries, keys and values
#
# **A soft lookup needs queries, keys and values. A sentence or an image gives you one list
# of tokens. So where do the three come from, and what decides who looks at whom?**
#
# In chapter 02 somebody handed you queries, keys and values. Inside a model there is only
# $X$, one row for each token. At the end of this chapter you will make all three from it,
# and point one token at another on purpose.

# %% [markdown]
# ## What you will be able to do
#
# - compute $Q$, $K$ and $V$ by hand, and in the layout of `nn.Linear`;
# - score every query against every key: in a batch, and between two sequences;
# - say why $W_Q$ and $W_K$ matter only as a pair, and what $d_k$ limits;
# - design weights by hand that make a token find what you want it to find.
#
# **Time**: about 90 minutes. **You need** chapters 00 (batches, softmax), 01 (the
# scenes) and 02 (soft lookup).

# %%
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from attention_course.learn import check, device, figures, seed
from attention_course.learn.scenes import make_scenes

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## One token, three roles
#
# "The cat sat on the mat because **it** was tired." To know what "it" means, "it" has to
# look at the nouns. Take three of the tokens, with two channels: *is a noun*, *is a pronoun*.
#
# The simplest idea is to compare the tokens as they are, each with each: $X X^\top$.
# **Predict**: whom does "it" find?

# %%
words = ["cat", "mat", "it"]
#                       noun pronoun
tokens = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=device)
print((tokens @ tokens.T).cpu().numpy())

# %% [markdown]
# Itself, and nobody else. Comparing tokens as they are finds what is *alike*, and "it" is
# not like a noun. The table is also symmetric: "it" could never look at "cat" unless "cat"
# looked at "it" just as hard.
#
# So let every token speak twice: once to say what it **looks for**, once to say what it
# **offers**. Pronouns look for something; nouns offer it.

# %%
looks_for = torch.tensor([[0.0], [1.0]], device=device)  # 1 for a pronoun
offers = torch.tensor([[1.0], [0.0]], device=device)  # 1 for a noun

q = tokens @ looks_for  # (query, 1)
k = tokens @ offers  # (key, 1)
print((q @ k.T).cpu().numpy())

# %% [markdown]
# The last row is what we wanted: "it" scores 1 with "cat" and with "mat", 0 with itself. And
# it is a one-way street: the rows of "cat" and "mat" are empty.

# %% [markdown]
# The third role is what a token **passes on** once it has been found. In the words of the
# paper:
#
# $$Q = X W_Q \qquad K = X W_K \qquad V = X W_V$$
#
# Three matrices, the same for all tokens. They are what a model learns; one such set is called a
# **head**. A token has $d_{model}$ numbers, a query or a key $d_k$, a value $d_v$.

# %% [markdown]
# ## Eight tokens by hand
#
# Now with numbers that nobody chose: the eight tokens of width 3, and the three matrices,
# of the lecture notes from which this course grew. They were drawn at random. (The module `seed`
# holds them.)

# %%
X = seed.X.to(device)  # (token, d_model) = (8, 3)
W_Q, W_K, W_V = (w.to(device) for w in (seed.W_Q, seed.W_K, seed.W_V))  # (3, 2) each
print("X\n", X.cpu().numpy())
print("W_Q\n", W_Q.cpu().numpy())

# %% [markdown]
# A query channel is a dot product: a token with a column of $W_Q$. For token 0 and
# channel 0:
#
# $$(-0.5320)(-0.9201) + (0.4759)(0.9331) + (-0.2298)(-1.3428)$$
#
# **Predict** channel 1 before you run: its column of $W_Q$ is $(0.2973, -1.8127, 0.4633)$.
# Which sign will the sum have, and which of the three products decides it?

# %%
for channel in (0, 1):
    products = X[0] * W_Q[:, channel]
    print(
        f"channel {channel}:",
        products.cpu().numpy(),
        "sum",
        f"{products.sum().item():.4f}",
    )

# %% [markdown]
# All tokens and all channels at once are one matrix product. The notes spell it in three
# ways, one for each matrix. They mean the same.

# %%
Q = torch.matmul(X, W_Q)  # (token, d_k) = (8, 2)
K = torch.mm(X, W_K)  # (token, d_k) = (8, 2)
V = X @ W_V  # (token, d_v) = (8, 2)

for name, matrix in {"Q": Q, "K": K, "V": V}.items():
    print(name, tuple(matrix.shape))
    print(matrix.cpu().numpy())

# %% [markdown]
# These are the numbers of the notes. The last digit may differ by one or two: the notes
# print four decimals of $X$ and the weights, but computed with all of them.

# %%
printed = {"Q": seed.PRINTED_Q, "K": seed.PRINTED_K, "V": seed.PRINTED_V}
for name, matrix in {"Q": Q, "K": K, "V": V}.items():
    error = (matrix.cpu() - printed[name]).abs().max().item()
    print(f"{name} differs from the notes by less than 0.0002: {error < 2e-4}")

# %% [markdown]
# ## See the lookup
#
# Two channels fit on paper. Draw each key as a point, and one query as an arrow. The score
# of a pair is $q \cdot k = |q|\,|k| \cos\theta$: zero on the dashed line, at a right angle to
# the arrow; the farther on the arrow's side, the larger; negative on the other side.


# %%
def draw_plane(axes, queries: Tensor, keys: Tensor, chosen: int) -> None:
    """One query as an arrow, all keys as numbered points."""
    q, k = queries[chosen].cpu().numpy(), keys.cpu().numpy()
    arrow = {
        "arrowstyle": "-|>",
        "color": figures.PALETTE[4],
        "linewidth": 2.5,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 18,
    }
    axes.annotate("", xy=q, xytext=(0, 0), arrowprops=arrow)
    axes.axline((0, 0), (-q[1], q[0]), color=figures.MUTED, linestyle="--", linewidth=1)
    axes.scatter([0, q[0]], [0, q[1]], s=0, label=f"query {chosen}")
    axes.scatter(k[:, 0], k[:, 1], s=190, color=figures.PALETTE[0], label="keys")
    for number, point in enumerate(k):
        axes.annotate(f"{number}", point, color="white", ha="center", va="center")
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="channel 0", ylabel="channel 1")


# %%
figure, panels = figures.small_multiples(
    2,
    width=4.0,
    height=3.6,
    title="Key 6 lies farthest along query 5, and against query 7",
)
for axes, chosen in zip(panels, (5, 7), strict=True):
    draw_plane(axes, Q, K, chosen)
    axes.set_title(f"query {chosen}")
figures.show(
    figure,
    alt="Two plots of the same eight keys, numbered points in the plane, with an arrow and a "
    "dashed line at right angles to it. On the left the arrow of query 5 points right and "
    "down: key 6 is farthest on its side. On the right the arrow of query 7 points left and "
    "up: key 6 is farthest on the other side.",
)

# %% [markdown]
# Check key 6 by hand: with query 5, $(3.1106)(2.0059) + (-2.0758)(0.3559) \approx 5.50$, the
# largest of all 64 scores; with query 7, $(-2.2162)(2.0059) + (1.7135)(0.3559) \approx -3.84$.
#
# Nobody meant that: the weights are random. Training turns the arrows until they point at
# something useful.

# %% [markdown]
# ## The layout of nn.Linear
#
# In torch a projection is a layer, `nn.Linear(in_features, out_features)`. **Predict** the
# shape of its weight for tokens of width 3 and queries of width 2.

# %%
q_proj = nn.Linear(3, 2, dtype=torch.float64, device=device)
print("weight", tuple(q_proj.weight.shape), " bias", tuple(q_proj.bias.shape))

# %% [markdown]
# (2, 3): the transpose of $W_Q$. The layer computes $x W^\top + b$. One *row* of the weight is
# one output channel, a pattern that is laid over the token. To load the notes' $W_Q$, turn
# it:

# %%
with torch.no_grad():
    q_proj.weight.copy_(W_Q.T)
    q_proj.bias.zero_()
print(q_proj(X)[:2].detach().cpu().numpy())
print("same as Q:", torch.allclose(q_proj(X), Q, rtol=0, atol=1e-12))

# %% [markdown] exercise="project"
# ### Exercise: project  ·  8 min  ·  ●○○
#
# Write what `nn.Linear` does:
#
# $$\text{out}_{b n k} = \sum_m x_{b n m}\, W_{k m} + b_k$$
#
# `x` is (B, N, d_model), `weight` is (d_k, d_model), `bias` is (d_k,) or None. Return
# (B, N, d_k). Leave x as it is, keep its dtype, and let gradients through to all three.
#
# <details><summary>Hint</summary>
#
# `x @ something` works for a whole batch. The sum runs over the *last* dimension of x and
# the *last* dimension of the weight. Ask for the bias with `is not None`: a bias of zeros
# is a bias too.
# </details>


# %% answer="project"
def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Project tokens in the layout of nn.Linear.

    x: (B, N, d_model), weight: (d_k, d_model), bias: (d_k,) or None.
    Returns (B, N, d_k).
    """
    ### BEGIN SOLUTION
    out = x @ weight.T  # (batch, token, d_k)
    return out if bias is None else out + bias
    ### END SOLUTION


# %% check="project" points=3
check(project)

# %% [markdown]
# **One of the biases does nothing.** Add a bias to the queries, or to the keys, and look at
# the weights after softmax. **Predict**: which of the two has no effect? Write
# $(q + b_q)\cdot(k + b_k)$ as four terms first.

# %%
bias = torch.tensor([1.5, -0.7], dtype=torch.float64, device=device)
plain = torch.softmax(Q @ K.T, dim=-1)  # (query, key)
for name, scores in {"query": (Q + bias) @ K.T, "key": Q @ (K + bias).T}.items():
    change = (torch.softmax(scores, dim=-1) - plain).abs().max().item()
    print(f"a bias on the {name}: largest change of a weight {change:.4f}")

# %% [markdown]
# The bias of the keys adds $q \cdot b_k$, the same number to a whole row, and softmax sees
# differences only. The bias of the queries adds $b_q \cdot k$: some keys become popular with
# everybody.
#
# Most models carry the useless bias along. OpenAI's Whisper leaves it out.

# %% [markdown]
# ## All the scores
#
# Every query with every key makes a table: $Q K^\top$, a row for each query, a column for each
# key. For one sequence that is `Q @ K.T`.
#
# In a batch, `key` is (B, Nk, d_k), and `.T` turns *all* its dimensions around. You need the
# last two swapped, and nothing else. Beware of `reshape`: it gives the right shape and the
# wrong numbers, without any error.

# %% [markdown] exercise="attention_scores"
# ### Exercise: attention scores  ·  6 min  ·  ●○○
#
# Score every query against every key of its own batch item, without scaling:
#
# $$S_{b i j} = \sum_c q_{b i c}\, k_{b j c}$$
#
# `query` is (B, Nq, d_k), `key` is (B, Nk, d_k); there may be more queries than keys or
# fewer. Return (B, Nq, Nk).
#
# <details><summary>Hint</summary>
#
# Look up `torch.transpose` with negative dimensions, or write the formula as an einsum: its
# letters are the indices.
# </details>


# %% answer="attention_scores"
def attention_scores(query: Tensor, key: Tensor) -> Tensor:
    """Unscaled dot products of all queries with all keys.

    query: (B, Nq, d_k), key: (B, Nk, d_k). Returns (B, Nq, Nk).
    """
    ### BEGIN SOLUTION
    return query @ key.transpose(-2, -1)  # (batch, query, key)
    ### END SOLUTION


# %% check="attention_scores" points=3
check(attention_scores)

# %% [markdown]
# Here is the table of the eight tokens. **Predict** from the pictures above which column will
# be the most coloured, and in which rows it will be negative.

# %%
attn_scores = Q @ K.T  # (query, key) = (8, 8)
names = [f"token {i}" for i in range(8)]
figure = figures.attention_map(
    attn_scores,
    names,
    names,
    title="Key 6 lies far out: it has the highest score in five of eight rows",
    signed=True,
)
figures.show(
    figure,
    alt="Heat map of 8 by 8 scores, positive and negative. Column 6 is the strongest: "
    "positive in rows 0, 1, 2, 4, 5 and 6, negative in rows 3 and 7.",
)

# %% [markdown]
# The table is not symmetric: token 5 scores 5.50 with token 6, token 6 scores 3.43 with
# token 5. And no row sums to anything in particular. These are scores, not weights yet.

# %% [markdown]
# ## Two sequences
#
# So far one list of tokens asked itself: **self-attention**. Nothing forces that. A caption may
# ask an image, a translation its source. $X$ asks, a *context* answers: **cross-attention**.
#
# $$S = (X W_Q)(C\, W_K)^\top$$
#
# Two words ask three patches. **Predict** the shape of the scores, then check the last row
# by hand.

# %%
caption = torch.tensor([[1, 0], [1, 2]])  # 2 words, d_model = 2
patches = torch.tensor([[2, 0], [0, 1], [1, 2]])  # 3 patches, d_model = 2
ask = torch.tensor([[0, 1], [1, 0]])
answer = torch.tensor([[1, 1], [0, 1]])

q, k = caption @ ask, patches @ answer
print("queries", q.tolist())
print("keys   ", k.tolist())
print("scores ", (q @ k.T).tolist())

# %% [markdown]
# Two rows, because two words ask; three columns, because three patches answer. Second word,
# first patch: $2 \cdot 2 + 1 \cdot 2 = 6$.

# %% [markdown] exercise="cross_scores"
# ### Exercise: cross scores  ·  8 min  ·  ●●○
#
# `x` (B, Nq, d_model) asks, `context` (B, Nk, d_model) answers. `w_q` and `w_k` are
# (d_model, d_k), in the paper's layout: $x W$, without a transpose. Return the unscaled scores
# (B, Nq, Nk):
#
# $$S_b = (x_b W_Q)(c_b W_K)^\top$$
#
# <details><summary>Hint</summary>
#
# Two projections, then the last exercise. When x and context have the same shape, a mix-up
# of the two gives no error: say for each line who speaks.
# </details>


# %% answer="cross_scores"
def cross_scores(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    """Unscaled scores of the tokens of x against those of another sequence.

    x: (B, Nq, d_model), context: (B, Nk, d_model), w_q and w_k: (d_model, d_k).
    Returns (B, Nq, Nk).
    """
    ### BEGIN SOLUTION
    query = x @ w_q  # (batch, query, d_k)
    key = context @ w_k  # (batch, key, d_k)
    return torch.einsum("bqc,bkc->bqk", query, key)
    ### END SOLUTION


# %% check="cross_scores" points=3
check(cross_scores)

# %% [markdown]
# Now let the first three tokens of the notes ask the other five, and then let the five ask
# the three. **Predict**: is the second table the first one, transposed?

# %%
three_ask = Q[:3] @ K[3:].T  # (query, key) = (3, 5)
five_ask = Q[3:] @ K[:3].T  # (query, key) = (5, 3)
difference = (three_ask - five_ask.T).abs().max().item()
print(f"largest difference after a transpose: {difference:.4f}")

# %%
figure = figures.attention_maps(
    {"the three ask the five": three_ask, "the five ask the three, turned": five_ask.T},
    names[:3],
    names[3:],
    title="Who asks matters: the same pairs of tokens, other scores",
    signed=True,
    axis_names=("one of the three", "one of the five"),
)
figures.show(
    figure,
    alt="Two heat maps of scores between tokens 0 to 2 and tokens 3 to 7. The pair of tokens 0 "
    "and 3 is negative on the left and positive on the right, the pair of tokens 0 and 4 the "
    "other way round.",
)

# %% [markdown]
# No. "What do I find in you?" and "what do you find in me?" are different questions, because
# $W_Q$ and $W_K$ are different matrices. Swap the two roles in your code and every shape may
# still fit.

# %% [markdown]
# ## Only the product counts
#
# Nothing in a score is anything but multiplying and adding. So the two matrices can be
# multiplied out, once and for all, into a single one that stands between two tokens:
#
# $$(x W_Q)(y W_K)^\top = x\, M\, y^\top$$
#
# $M$ is (d_model, d_model), and you can read it: $M_{ij}$ is the score when a token that is
# channel $i$ alone asks a token that is channel $j$ alone. For $i = 0$ and $j = 2$:

# %%
unit = torch.eye(3, dtype=torch.float64, device=device)  # a row for each channel
q, k = unit[0] @ W_Q, unit[2] @ W_K
print(
    "query", q.cpu().numpy(), " key", k.cpu().numpy(), " score", f"{(q @ k).item():.4f}"
)

# %% [markdown]
# So channel 0 of the asker and channel 2 of the answerer add $0.7736\; x_0\, y_2$ to the
# score. In the example of the cat, $M$ had a single entry that was not zero: pronoun asks
# noun.
#
# Interpretability research calls $M$ the **QK circuit** of a head (Elhage et al. 2021).
# Biases aside, it is all there is to know about who looks at whom.

# %% [markdown] exercise="qk_circuit"
# ### Exercise: the QK circuit  ·  5 min  ·  ●○○
#
# From `w_q` and `w_k`, each (d_model, d_k), return the matrix $M$ (d_model, d_model) with
#
# $$x\, M\, x^\top = (x W_Q)(x W_K)^\top \quad\text{for every } x .$$
#
# The asker stands on the left. Neither input may change.
#
# <details><summary>Hint</summary>
#
# $(AB)^\top = B^\top A^\top$. If your result is (d_k, d_k), the wrong matrix is transposed.
# For a square pair every order runs: test with d_k different from d_model.
# </details>


# %% answer="qk_circuit"
def qk_circuit(w_q: Tensor, w_k: Tensor) -> Tensor:
    """The matrix between two tokens that gives their unscaled score.

    w_q, w_k: (d_model, d_k). Returns (d_model, d_model), rows for the asker.
    """
    ### BEGIN SOLUTION
    return w_q @ w_k.T
    ### END SOLUTION


# %% check="qk_circuit" points=3
check(qk_circuit)

# %% [markdown]
# ## Experiment: move everything, change nothing
#
# If only the product counts, other pairs of matrices with the same product must give the
# same attention. Take any invertible $R$ and use $W_Q R$ and $W_K R^{-\top}$:
#
# $$(W_Q R)(W_K R^{-\top})^\top = W_Q R R^{-1} W_K^\top = W_Q W_K^\top$$
#
# **Predict**: what happens to the queries and keys in the plane? And to the scores?

# %%
R = torch.tensor([[0.3, 1.4], [-1.0, 0.8]], dtype=torch.float64, device=device)
Q_moved = X @ (W_Q @ R)
K_moved = X @ (W_K @ torch.linalg.inv(R).T)

print("query 5, before and after:", Q[5].cpu().numpy(), Q_moved[5].cpu().numpy())
print("key 6, before and after:  ", K[6].cpu().numpy(), K_moved[6].cpu().numpy())
same = torch.allclose(Q_moved @ K_moved.T, attn_scores, rtol=0, atol=1e-12)
print("all 64 scores unchanged:", same)

# %%
figure, panels = figures.small_multiples(
    2, width=4.0, height=3.6, title="Every query and every key has moved; no score has"
)
for axes, (queries, keys) in zip(panels, ((Q, K), (Q_moved, K_moved)), strict=True):
    draw_plane(axes, queries, keys, chosen=5)
panels[0].set_title("with the notes' weights")
panels[1].set_title("with the weights times R")
figures.show(
    figure,
    alt="Two plots of eight numbered keys and the arrow of query 5. In the second plot the "
    "keys lie elsewhere and the arrow points in another direction.",
    data={"scores_before": attn_scores, "scores_after": Q_moved @ K_moved.T},
)

# %% [markdown]
# So don't read meaning into a single channel of a query: it depends on how the pair happened
# to be split. Whoever wants to know what a head looks for reads $M$.
#
# Then why two thin matrices, and not one $M$? **Predict** the rank of the 8 × 8 table of
# scores (how many of its rows are not made up of others), and the number of parameters either
# way, for width 512 and $d_k = 64$.

# %%
print("rank of the scores:", torch.linalg.matrix_rank(attn_scores).item())
d_model, d_k = 512, 64
print(f"two thin matrices: {2 * d_model * d_k:,} numbers")
print(f"one full M:        {d_model * d_model:,} numbers")

# %% [markdown]
# Rank 2: however many tokens there are, all their scores come from two independent
# comparisons. That is what $d_k$ means: **how many independent comparisons a head can make**.
# Thin matrices cost a quarter here, and keep each head to a few questions. Chapter 06 gives
# a layer many heads, so that it can ask more.

# %% [markdown]
# ## Ask a question of your own
#
# Time to design. Here is a small scene of twelve patches. *One-hot* means a 1 in the place of the
# answer and 0 elsewhere. A token is one-hot colour (blue, orange, plum), then one-hot shape
# (circle, square, triangle): six channels, two of them 1.


# %%
def draw_patch(colour: int, shape: int, side: int = 24) -> Tensor:
    """A coloured shape on white: (3, side, side)."""
    x = torch.linspace(-1, 1, side)
    y = x[:, None]
    circle, square = x**2 + y**2 < 0.5, (x.abs() < 0.62) & (y.abs() < 0.62)
    triangle = (y < 0.65) & (y > 2 * x.abs() - 0.75)
    paint = torch.tensor(to_rgb(figures.PALETTE[colour]))[:, None, None]
    return torch.where((circle, square, triangle)[shape], paint, torch.ones(3, 1, 1))


colours = torch.tensor([0, 1, 2, 1, 2, 0, 1, 0, 1, 0, 2, 2])
shapes = torch.tensor([0, 2, 1, 1, 0, 1, 0, 2, 2, 0, 2, 1])
drawn = torch.stack([draw_patch(c, s) for c, s in zip(colours, shapes, strict=True)])
scene = drawn.view(3, 4, 3, 24, 24).permute(2, 0, 3, 1, 4).reshape(3, 72, 96)

scene_tokens = torch.cat([F.one_hot(colours, 3), F.one_hot(shapes, 3)], dim=1)
scene_tokens = scene_tokens.double().to(device)  # (token, d_model) = (12, 6)
print("patch 0, a blue circle:    ", scene_tokens[0].tolist())
print("patch 1, an orange triangle:", scene_tokens[1].tolist())

# %% [markdown]
# A first design with a single channel, $d_k = 1$: everybody asks, and only triangles answer.
# Every row of $W_Q$ gets the same number, so all queries are alike. $W_K$ is zero but for the
# row of the triangle. **Predict** what patch 0, a blue circle, will see.

# %%
W_Q_everybody = torch.full((6, 1), 2.0, dtype=torch.float64, device=device)
W_K_triangle = torch.zeros(6, 1, dtype=torch.float64, device=device)
W_K_triangle[5] = 1  # blue, orange, plum, circle, square, triangle

queries, keys = scene_tokens @ W_Q_everybody, scene_tokens @ W_K_triangle
scene_weights = torch.softmax(queries @ keys.T, dim=-1)  # (query, key)
print("weights of patch 0:", scene_weights[0].cpu().numpy())

# %%
figure = figures.attention_on_image(
    scene,
    scene_weights[0],
    patch=24,
    query=0,
    title="Whoever asks, the triangles get the attention",
)
figures.show(
    figure,
    alt="A scene of three rows of four coloured shapes, and beside it the attention of the "
    "first patch, a blue circle: the four triangles are dark, all other patches pale.",
)

# %% [markdown]
# Notice where each decision sits. $W_K$ says who *answers*. $W_Q$ says who *asks*, and how loudly:
# 2 per channel, so each query is 4 and a triangle wins by a factor of $e^4 \approx 55$.
#
# This design asks the same of everybody. A good one lets the question depend on the asker.

# %% [markdown] exercise="design_qk"
# ### Exercise: find your own colour  ·  12 min  ·  ●●○
#
# Design, by hand, $W_Q$ and $W_K$ such that each token's **largest weight falls on a token of its
# own colour** (it may be itself), in every scene of such tokens.
#
# `design_qk()` takes no argument and returns `(w_q, w_k)`, each (6, d_k). You choose d_k.
#
# <details><summary>Hint</summary>
#
# Blue has to score high with blue, and low with orange and plum. Give each colour a query
# direction, and put its key in the same direction. What should the rows of the shapes hold?
# Numbering the colours 1, 2, 3 in one channel will not do: multiply it out.
# </details>


# %% answer="design_qk"
def design_qk() -> tuple[Tensor, Tensor]:
    """Query and key weights with which a token finds its own colour.

    Tokens are one-hot colour (3), then one-hot shape (3).
    Returns (w_q, w_k), each (6, d_k) with a d_k of your choice.
    """
    ### BEGIN SOLUTION
    w = torch.zeros(6, 3)
    w[:3] = torch.eye(3)  # a channel for each colour; shapes stay silent
    return w, w.clone()
    ### END SOLUTION


# %% check="design_qk" points=4
check(design_qk)

# %% [markdown]
# Would training find such weights by itself? Start with random matrices and $d_k = 2$, and
# ask gradient descent for one thing: as much weight as possible on tokens of the own colour.
# **Predict**: can *two* channels hold three colours?

# %%
generator = torch.Generator().manual_seed(1)
start = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
w_q, w_k = (w.to(device).requires_grad_() for w in 0.4 * start)

kinds = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # (colour, shape)
kind_tokens = torch.cat([F.one_hot(kinds[:, 0], 3), F.one_hot(kinds[:, 1], 3)], dim=1)
kind_tokens = kind_tokens.double().to(device)  # all nine kinds of token, (9, 6)
same_colour = (kinds[:, :1] == kinds[:, 0]).to(device)  # (query, key)


def own_colour_share() -> Tensor:
    weights = torch.softmax((kind_tokens @ w_q) @ (kind_tokens @ w_k).T, dim=-1)
    return (weights * same_colour).sum(dim=-1)  # (query,)


# %%
before = [(kind_tokens @ w).detach() for w in (w_q, w_k)]
print(
    "smallest share before training below 50 %:", own_colour_share().min().item() < 0.5
)

optimizer = torch.optim.Adam([w_q, w_k], lr=0.05)
for _ in range(300):
    loss = -own_colour_share().log().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

after = [(kind_tokens @ w).detach() for w in (w_q, w_k)]
print(
    "smallest share after training above 99 %: ", own_colour_share().min().item() > 0.99
)


# %%
def draw_directions(axes, queries: Tensor, keys: Tensor) -> None:
    """The nine kinds of token: queries as lines, keys as markers of their shape."""
    q, k = queries.cpu().numpy(), keys.cpu().numpy()
    for (colour, shape), query, key in zip(kinds.tolist(), q, k, strict=True):
        paint = figures.PALETTE[colour]
        dashes = ("-", "--", ":")[colour]
        axes.plot([0, query[0]], [0, query[1]], color=paint, ls=dashes, lw=1.8)
        axes.scatter(*key, color=paint, marker="os^"[shape], s=45, zorder=3)
    axes.margins(x=0.55, y=0.35)
    axes.set(xlabel="channel 0", ylabel="channel 1")


# %%
figure, (left, right) = figures.small_multiples(
    2, width=3.6, height=3.6, title="Training gives each colour a direction of its own"
)
draw_directions(left, *before)
draw_directions(right, *after)
left.set_title("before")
right.set_title("after")

# %%
for name, middle in zip(
    ("blue", "orange", "plum"), after[1].view(3, 3, 2).mean(1).cpu(), strict=True
):
    away = 32 * middle / middle.norm()
    right.annotate(
        name,
        middle.tolist(),
        xytext=away.tolist(),
        textcoords="offset points",
        ha="center",
        va="center",
    )
figures.show(
    figure,
    alt="Two plots of the nine kinds of token: queries as lines from the origin, keys as "
    "markers, in the token's colour. Before training they are mixed. After it the queries "
    "and keys of each colour form a bundle, and the three bundles point in three directions.",
)

# %% [markdown]
# Two channels are enough: three directions, far apart, fit in a plane. Nobody told the
# weights which channels hold the colour. Back in the scene, the orange triangle asks:

# %%
with torch.no_grad():
    learned = torch.softmax((scene_tokens @ w_q) @ (scene_tokens @ w_k).T, dim=-1)
figure = figures.attention_on_image(
    scene,
    learned[1],
    patch=24,
    query=1,
    title="With learned weights, orange finds orange",
)
figures.show(
    figure,
    alt="The scene of twelve coloured shapes, and beside it the attention of the orange "
    "triangle: the four orange patches are coloured, all others are white.",
)

# %% [markdown]
# <details><summary>A question to take along: would the identity, <code>torch.eye(6)</code> for
# both, have passed?</summary>
#
# Yes, for a poor reason. A token then shares two channels with its own kind, and at most one
# with any other: everybody looks at itself. "Its own colour" is true, and not very useful.
# </details>

# %% [markdown]
# ## Experiment: read a scene with three hand-made matrices
#
# Back to chapter 01. A ball lies on a lawn. If the kicker and the keeper wear the same shirt
# the ball is a *back pass*, otherwise a *shot*. A patch alone, or the mean of all patches,
# could not tell. You know the rule, so write it into the matrices. Nothing will be trained.

# %%
scenes = make_scenes(500, seed=3)
x = F.unfold(
    scenes.images, scenes.patch, stride=scenes.patch
).mT  # pixels of each patch
x = x.double().to(device)  # (scene, token, d_model) = (500, 49, 192)
print("tokens:", tuple(x.shape))

ball = scenes.centre_patch
kicker, keeper = scenes.marker_patches[0].tolist()


def pixel(row: int, column: int) -> list[int]:
    """The channels that hold red, green and blue of one pixel of a patch."""
    side = scenes.patch
    return [(colour * side + row) * side + column for colour in range(3)]


# %% [markdown]
# **Who answers?** The kicker stands on sand, the keeper before the net, all the others on the
# lawn. One pixel shows it, the corner. Its key should be 0 on lawn, 1 on sand, 1 on net:
# three equations for the weights of red, green and blue.
#
# **Who asks?** The ball: read a white pixel in its middle, loudly.
#
# **What is passed on?** The shirt, one-hot: equations again, for one pixel of it.

# %%
W_Q_ball, W_K_corner = torch.zeros(2, 192, 1, dtype=torch.float64, device=device)
W_Q_ball[pixel(4, 2)] = 5.0

corners = x[0][[ball, kicker, keeper]][:, pixel(0, 0)]  # lawn, sand, net: (3, 3)
wanted = corners.new_tensor([[0.0], [1.0], [1.0]])
W_K_corner[pixel(0, 0)] = torch.linalg.solve(corners, wanted)

kickers = x[torch.arange(500), scenes.marker_patches[:, 0]]  # (scene, d_model)
shirts = kickers[:, pixel(2, 2)].unique(dim=0)  # (shirt, 3)
W_V_shirt = torch.zeros(192, len(shirts), dtype=torch.float64, device=device)
W_V_shirt[pixel(2, 2)] = torch.linalg.pinv(shirts)  # shirts @ this is one-hot

print(
    "numbers in W_Q and W_K that are not zero:",
    int((W_Q_ball != 0).sum() + (W_K_corner != 0).sum()),
    "of",
    2 * 192,
)

# %% [markdown]
# **Predict** the ball's 49 weights: how many of them will be visibly above zero?

# %%
q = x[:, ball] @ W_Q_ball  # (scene, 1): the ball asks
k = (x @ W_K_corner).squeeze(-1)  # (scene, key): every patch answers
v = x @ W_V_shirt  # (scene, key, shirt)

ball_weights = torch.softmax(q * k, dim=-1)  # (scene, key)
on_markers = ball_weights.gather(1, scenes.marker_patches.to(device)).sum(dim=-1)
print(
    "weight on kicker and keeper above 99.9 % in all 500 scenes:",
    bool((on_markers > 0.999).all()),
)

# %%
figure = figures.attention_on_image(
    scenes.images[7],
    ball_weights[7],
    scenes.patch,
    query=ball,
    title="Six hand-set numbers point the ball at the two players that matter",
)
figures.show(
    figure,
    alt="A generated scene of a ball among players, trees, cones and flowers, and beside it "
    "the attention of the ball: two patches are dark, those of the kicker and of the keeper.",
)

# %% [markdown]
# Now mix: the ball's new vector is the mean of two one-hot shirts. Equal shirts leave a 1 in
# one channel, different shirts two halves. **Predict** in how many of the 500 scenes this tells
# a back pass from a shot.

# %%
ball_output = torch.einsum("sk,skv->sv", ball_weights, v)  # (scene, shirt)
for label, name in enumerate(scenes.label_names):
    example = int((scenes.labels == label).int().argmax())
    print(f"a {name}:", (ball_output[example].cpu().numpy().round(2) + 0.0).tolist())

says_back_pass = (ball_output.amax(dim=-1) > 0.75).cpu()
is_back_pass = scenes.labels == scenes.label_names.index("back pass")
print("scenes read correctly:", int((says_back_pass == is_back_pass).sum()), "of 500")

# %% [markdown]
# All of them. The ball's pixels are the same in every scene, yet its new vector knows what
# the ball *is*, because $W_Q$, $W_K$ and $W_V$ brought it the right part of the context.
#
# By hand this works for a rule you can say in a sentence. For rules nobody can say, the same
# three matrices are learned.

# %% [markdown]
# ## The answer
#
# Where do queries, keys and values come from? From the tokens themselves, through three
# learned matrices: $W_Q$ makes what a token looks for, $W_K$ what it offers, $W_V$ what it
# passes on. Who looks at whom is decided by $W_Q$ and $W_K$ together, through their product
# alone, and $d_k$ limits how many independent comparisons that is.

# %% [markdown]
# ## Where this leads
#
# You have scores, and you let softmax turn them into weights without looking closely. With
# two channels that is harmless. With 512 it breaks learning, silently. Chapter 04 shows how, and
# why the cure is $\sqrt{d_k}$.

# %% [markdown]
# ## References
#
# - Vaswani et al., *Attention Is All You Need* (2017), sections 3.2.1 and 3.2.2: queries, keys,
#   values and their projections.
# - Luong, Pham, Manning, *Effective Approaches to Attention-based Neural Machine Translation*
#   (2015), section 3.1: the score "general", $x M y^\top$ with one full matrix.
# - Elhage et al., *A Mathematical Framework for Transformer Circuits* (2021), section on
#   one-layer models: the QK circuit (who looks at whom) and the OV circuit (what is passed on).
# - Phuong, Hutter, *Formal Algorithms for Transformers* (2022), algorithms 3 and 4: self- and
#   cross-attention, every shape written out.
# - Radford et al., *Robust Speech Recognition via Large-Scale Weak Supervision* (2022): Whisper;
#   its published code leaves out the bias of the keys.

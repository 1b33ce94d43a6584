# %% [markdown]
# # 02 · Lookup
#
# **A dictionary answers when it knows your word, and raises an error when it does not. How do
# you look up something that is only *similar* to what is stored? And how could a model learn
# to look things up?**
#
# At the end of this chapter you will have turned a dictionary into attention, in three steps
# that each have a name and a history: the best match, the weighted mean, the softmax.

# %% [markdown]
# ## What you will be able to do
#
# - say what a query, a key and a value are, and look one up by its dot product;
# - draw a smooth curve through scattered points by kernel regression, and choose how far it
#   looks;
# - make a lookup softer or sharper with one number, its temperature;
# - measure how soft it is.
#
# **Time**: about 75 minutes. **You need** chapter 00 (shapes, softmax); chapter 01 says what
# all this is for.

# %%
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attention_course.learn import check, device, figures
from attention_course.learn.widgets import explore

np.set_printoptions(precision=4, suppress=True, linewidth=90)

# %% [markdown]
# ## A dictionary knows or does not know
#
# Here is how much sugar there is in three foods, in grams per 100 g. **Predict**: what does
# the dictionary say about a pear?

# %%
sugar_in = {"lemon": 2, "apple": 10, "honey": 82}

print("apple:", sugar_in["apple"])
try:
    print("pear: ", sugar_in["pear"])
except KeyError as error:
    print("pear:  no such key,", error)

# %% [markdown]
# A pear is much like an apple, and the dictionary cannot know: it compares names, and two names
# are equal or they are not.
#
# So describe each food by numbers that can be *nearly* equal. Two will do: how sour it is, and how
# sweet. That makes three words for three roles:
#
# - **query**: what you look for (the pear);
# - **keys**: what it is compared with, one for each entry;
# - **values**: what you get, one for each entry.

# %%
foods = ["lemon", "apple", "honey"]
#                        sour sweet
food_keys = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
#                          sugar  water, grams per 100 g
food_values = torch.tensor([[2.0, 89.0], [10.0, 86.0], [82.0, 17.0]]).double()
food_keys, food_values = food_keys.to(device), food_values.to(device)
pear = torch.tensor([0.5, 0.8], dtype=torch.float64, device=device)

# %% [markdown]
# ## The dot product as a measure of agreement
#
# How well does a key match the query? Multiply entry by entry and add up: large where both are
# large. For pear and apple, by hand: $0.5 \cdot 0.6 + 0.8 \cdot 0.8 = 0.94$.
#
# **Predict** which of the three keys matches the pear best.

# %%
for name, key in zip(foods, food_keys, strict=True):
    print(f"pear and {name}: {(pear @ key).item():.2f}")

# %% [markdown]
# The apple, before the honey. So a pear should have the apple's values: 10 g of sugar and 86 g of
# water. (Tables say 10 and 84.)
#
# Key and value are two different things. The keys decide *which* entry you get, the values
# *what* you get. The most sugar, 82 g, plays no part in the choice.

# %% [markdown] exercise="hard_lookup"
# ### Exercise: hard lookup  ·  8 min  ·  ●○○
#
# For each query, return the value of the key with the largest dot product:
#
# | | shape |
# |---|---|
# | `query` | (Nq, d) |
# | `keys` | (Nk, d) |
# | `values` | (Nk, e) |
# | result | (Nq, e) |
#
# No two keys tie. Gradients reach `values`; none can reach the other two.
#
# <details><summary>Hint</summary>
#
# First the table of all dots, (query, key). Along which dimension does one query choose? A tensor
# of row numbers can index another tensor: `values[rows]`.
# </details>


# %% answer="hard_lookup"
def hard_lookup(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """For each query the value of the key with the largest dot product.

    query: (Nq, d), keys: (Nk, d), values: (Nk, e). Returns (Nq, e).
    """
    ### BEGIN SOLUTION
    dots = query @ keys.T  # (query, key)
    return values[dots.argmax(dim=1)]
    ### END SOLUTION


# %% check="hard_lookup" points=3
check(hard_lookup)

# %% [markdown]
# ## What is wrong with the best match
#
# Let the query turn slowly from "only sour" (0°) to "only sweet" (90°). All keys here have length 1,
# so the winner is the key nearest in angle, and a border lies half way between two keys.
#
# **Predict** the shape of the curve of sugar that is found.

# %%
degrees = torch.linspace(0, 90, 361, dtype=torch.float64, device=device)
key_degrees = torch.rad2deg(torch.atan2(food_keys[:, 1], food_keys[:, 0]))
borders = (key_degrees[1:] + key_degrees[:-1]) / 2
sugar_found = food_values[torch.bucketize(degrees, borders), 0]

print("keys at   ", key_degrees.cpu().numpy(), "degrees")
print("borders at", borders.cpu().numpy(), "degrees")

# %%
figure = figures.curves(
    {"hard lookup": (degrees, sugar_found)},
    xlabel="direction of the query, degrees (0 sour, 90 sweet)",
    ylabel="sugar found, g per 100 g",
    title="A hard lookup jumps, and between the jumps nothing moves",
)
figures.show(
    figure,
    alt="A staircase with two steps: low and flat up to the first border, a little higher and "
    "flat up to the second, then a jump to the sugar of honey.",
)

# %% [markdown]
# Two troubles in one picture.
#
# - **It throws away.** Just right of the last border, apple and honey fit almost equally well, and
#   apple counts for nothing.
# - **It cannot learn.** A model learns by small nudges, and follows the slope. Here the slope is 0
#   wherever there is one. Nudge the query a little: the same row. No gradient tells it which way to
#   turn.
#
# What if all entries answer, each as loudly as it fits?

# %% [markdown]
# ## Everybody answers: kernel regression
#
# In 1964 Nadaraya and Watson had the same wish, for curves. You have measured $y$ at some places
# $x$. What is $y$ at a place where you did not measure? Take the mean of all measured $y$, and let
# near points count more:
#
# $$\hat y(x_q) = \frac{\sum_i K(u_i)\, y_i}{\sum_i K(u_i)}, \qquad
# u_i = \frac{x_q - x_i}{h}, \qquad K(u) = e^{-u^2/2}$$
#
# $K$ is called the kernel (further down, $K$ is the matrix of keys). $h$ is the **bandwidth**:
# how far you look.

# %% [markdown]
# By hand: three points at 0, 1 and 3, with $y$ = 2, 6, 10. You ask at 1, with $h = 1$.
# **Predict**: whose weight is the largest, and will the answer be exactly 6?

# %%
u = np.array([1.0 - 0.0, 1.0 - 1.0, 1.0 - 3.0])
kernel = np.exp(-(u**2) / 2)
weights = kernel / kernel.sum()
print("kernel ", kernel)
print("weights", weights, "sum", round(weights.sum(), 4))
print("answer ", round(weights @ np.array([2.0, 6.0, 10.0]), 4))

# %% [markdown]
# The point at 1 has more than half of the weight, not all of it. Its neighbours pull the answer
# down to 4.92.
#
# Look again at the formula: `exp` of something, divided by the sum of the same. You know that
# function. The weights are a **softmax of $-u^2/2$**.

# %% [markdown]
# Now ask far away from all points. **Predict**: which $y$ should come out at $x_q$ = 60? And what
# does the plain formula give?

# %%
far = np.array([60.0 - 0.0, 60.0 - 1.0, 60.0 - 3.0])
print("exponents", -(far**2) / 2)
print("kernel   ", np.exp(-(far**2) / 2))

# %% [markdown]
# All kernels are 0 in the computer, so the formula says 0/0. Yet the answer is clear: in true
# numbers, the point at 3 is $e^{116}$ times as heavy as the next one, so it takes all the weight
# and $\hat y = 10$.
#
# Chapter 00 had the cure: only differences between exponents matter.

# %% [markdown] exercise="kernel_regression"
# ### Exercise: kernel regression  ·  12 min  ·  ●●○
#
# Return $\hat y$ for each query, `(Nq,)`. The points are `x` (M,) and `y` (M,), in any order;
# `bandwidth` is a positive float.
#
# The result must be right far from all points too, also when one query is far away and another
# near.
#
# <details><summary>Hint</summary>
#
# `x_query[:, None] - x[None, :]` is the table of all differences, (query, point). Then one torch
# function does both the exp and the division, safely. Over which dimension does it sum?
# </details>


# %% answer="kernel_regression"
def kernel_regression(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    """Nadaraya-Watson estimate with the Gaussian kernel K(u) = exp(-u² / 2).

    x_query: (Nq,), x: (M,), y: (M,), bandwidth: in the unit of x. Returns (Nq,).
    """
    ### BEGIN SOLUTION
    u = (x_query[:, None] - x[None, :]) / bandwidth  # (query, point)
    weights = torch.softmax(-u.square() / 2, dim=1)
    return weights @ y
    ### END SOLUTION


# %% check="kernel_regression" points=4
check(kernel_regression)

# %% [markdown]
# ## Kernel regression is attention
#
# Here is a surprise. Write $a = x_q/h$ and $b = x_i/h$. Then
#
# $$-\tfrac{1}{2}(a - b)^2 = \underbrace{a\,b - \tfrac{1}{2}b^2}_{\text{a dot product}}
# \; - \; \tfrac{1}{2}a^2$$
#
# The last term is the same for all points, so softmax does not see it. What is left is the dot
# product of $(a, 1)$ and $(b, -\tfrac{1}{2}b^2)$. With these as query and key, PyTorch's attention
# *is* kernel regression:


# %%
def smooth_curve(places: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """Kernel regression, by PyTorch's attention: places (Nq,), x and y (M,)."""
    a, b = places / bandwidth, x / bandwidth
    query = torch.stack([a, torch.ones_like(a)], dim=-1)  # (query, 2)
    key = torch.stack([b, -b.square() / 2], dim=-1)  # (key, 2)
    value = y[:, None]  # (key, 1)
    output = F.scaled_dot_product_attention(
        query[None], key[None], value[None], scale=1.0
    )
    return output[0, :, 0]


# %% [markdown]
# Try it on the three points from above, at 1 and at 60.

# %%
x_hand = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64, device=device)
y_hand = torch.tensor([2.0, 6.0, 10.0], dtype=torch.float64, device=device)
asked = torch.tensor([1.0, 60.0], dtype=torch.float64, device=device)
print(smooth_curve(asked, x_hand, y_hand, 1.0).cpu().numpy())

# %% [markdown]
# Our two answers by hand, 4.92 and 10. The places are the queries, the measured $x$ the keys, the
# measured $y$ the values.

# %% [markdown]
# ## The experiment: from memory to mean
#
# Thirty measurements of a wave, with noise. One number is left to choose, the bandwidth.
#
# **Predict** the curve for a bandwidth much smaller than the gaps between the points, and for one
# much wider than the whole wave.

# %%
generator = torch.Generator().manual_seed(2)
x = 6 * torch.rand(30, generator=generator, dtype=torch.float64)
noise = 0.3 * torch.randn(30, generator=generator, dtype=torch.float64)
x, noise = x.sort().values.to(device), noise.to(device)
y = torch.sin(2 * x) + noise

places = torch.linspace(0, 6, 241, dtype=torch.float64, device=device)
truth = torch.sin(2 * places)


# %%
def draw_fit(axes, bandwidth: float) -> None:
    """The curve of one bandwidth, the measured points, and the true wave."""
    axes.plot(places.cpu(), truth.cpu(), ":", color=figures.MUTED, label="truth")
    axes.plot(x.cpu(), y.cpu(), "o", color=figures.MUTED, ms=4, label="measured")
    curve = smooth_curve(places, x, y, bandwidth).cpu()
    axes.plot(places.cpu(), curve, "-", color=figures.PALETTE[0], label="fitted")
    axes.set(xlabel="x", ylabel="y")


names = {0.01: "h = 0.01: memory", 0.25: "h = 0.25", 1.0: "h = 1", 50.0: "h = 50: mean"}

# %% [markdown]
# Four panels. If you run this cell in Lab, a slider beneath goes through the bandwidths between
# them: move it slowly, and watch the curve let go of the points.

# %%
explore(
    draw_fit,
    title="Too narrow, it recites the points; too wide, it forgets the question",
    alt="Four panels with the same noisy points of a wave. The narrowest bandwidth gives a "
    "staircase from point to point, the next a smooth wave near the truth, the third a "
    "flattened wave, the widest a level line.",
    columns=2,
    width=3.6,
    share=True,
    legend="lower left",
    bandwidth={name: h for h, name in names.items()},
)

# %% [markdown]
# At $h = 0.01$ the curve is a staircase: each place repeats its nearest point, noise and all. That is
# the hard lookup again. At $h = 50$ every place gets the mean of all $y$, whatever was asked.
#
# The weights show the same. **Predict** how the map looks at each end.


# %%
def kernel_weights(bandwidth: float) -> Tensor:
    """Weights of ten of the points on one another: attention mixes an identity."""
    some = x[::3]
    columns = [smooth_curve(some, some, one, bandwidth) for one in torch.eye(10).to(x)]
    return torch.stack(columns, dim=1)  # (query, key)


figure = figures.attention_maps(
    {f"h = {h:g}": kernel_weights(h) for h in (0.01, 0.5, 50.0)},
    title="From memory to mean: one diagonal, a band, everywhere alike",
)
figures.show(
    figure,
    alt="Three 10 by 10 maps of weights. The first is dark on the diagonal alone, the second "
    "is a band around the diagonal, the third has the same pale shade everywhere.",
)

# %% [markdown]
# Which bandwidth is best? Measure twice: how far the curve is from the points it was given, and how
# far from the true wave, everywhere. **Predict**: do both errors have their least at the same
# bandwidth?

# %%
bandwidths = torch.logspace(-3, 1, 33, dtype=torch.float64).tolist()
at_points, on_truth = [], []
for bandwidth in bandwidths:
    at_points.append((smooth_curve(x, x, y, bandwidth) - y).square().mean().sqrt())
    error = smooth_curve(places, x, y, bandwidth) - truth
    on_truth.append(error.square().mean().sqrt())

at_points, on_truth = torch.stack(at_points), torch.stack(on_truth)
best = int(on_truth.argmin())
for name, index in (("narrowest", 0), ("best", best), ("widest", -1)):
    print(
        f"{name:9s} h = {bandwidths[index]:6.3f}: error at the points "
        f"{at_points[index]:.2f}, on the truth {on_truth[index]:.2f}"
    )

# %%
figure = figures.curves(
    {
        "at the points": (bandwidths, at_points),
        "on the truth": (bandwidths, on_truth),
    },
    xlabel="bandwidth h",
    ylabel="error (root mean square)",
    title="Reciting is perfect on what was seen, and not the best on what was not",
    logx=True,
)
figures.show(
    figure,
    alt="Two curves of error against bandwidth. At the points the error starts at zero "
    "and rises. On the truth it falls first, has its least in the middle, and rises.",
)

# %% [markdown]
# A lookup that only repeats makes no error on what it has seen. To be right in between it has to
# ask several neighbours, not one and not all. How many? That depends on the data, so a model should
# be able to *learn* it.

# %% [markdown]
# ## From distances to dot products
#
# For vectors the same step works: $-\tfrac{1}{2}\lVert q - k\rVert^2 = q \cdot k
# - \tfrac{1}{2}\lVert k\rVert^2 - \tfrac{1}{2}\lVert q\rVert^2$. If all keys have the same length,
# *both* last terms are the same for all keys.
#
# **Predict**: for our foods, whose keys all have length 1, do distances and dots give the same
# weights?

# %%
squared_distances = (pear - food_keys).square().sum(dim=1)
dots = food_keys @ pear
print("by distance", torch.softmax(-squared_distances / 2, dim=0).cpu().numpy())
print("by dot     ", torch.softmax(dots, dim=0).cpu().numpy())

# %% [markdown]
# The same. So attention can use the plain dot product: one matrix product for all pairs, and a key
# may say by its length how much it wants to be found.
#
# The bandwidth stays, under a new name. Dividing distances by $h$ divides the exponent by $h^2$,
# which is called the **temperature** $\tau$:
#
# $$w = \mathrm{softmax}\!\left(\frac{K q}{\tau}\right)$$

# %% [markdown]
# Cold means sharp, hot means soft. **Predict** the three rows for the pear, whose dots are 0.5, 0.94
# and 0.8: where will the apple have nearly everything, and where no more than the others?

# %%
print("           ", foods)
for temperature in (10.0, 0.1, 0.01):
    weights = torch.softmax(dots / temperature, dim=0)
    print(f"tau = {temperature:5.2f}", weights.cpu().numpy())

# %% [markdown] exercise="soft_lookup"
# ### Exercise: soft lookup  ·  8 min  ·  ●○○
#
# Return $\mathrm{softmax}(Q K^\top / \tau)\, V$ for `query` (Nq, d), `keys` (Nk, d), `values`
# (Nk, e): a tensor (Nq, e).
#
# Nothing but the temperature divides the dots. It is a positive float, may be as small as 0.001, and
# no NaN may come up.
#
# <details><summary>Hint</summary>
#
# The table of dots is the one of the hard lookup. What was the argmax is now a softmax, over the same
# dimension, and what was indexing is now a matrix product.
# </details>


# %% answer="soft_lookup"
def soft_lookup(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    """Mix of the values, weighted by softmax of the dots over the temperature.

    query: (Nq, d), keys: (Nk, d), values: (Nk, e). Returns (Nq, e).
    """
    ### BEGIN SOLUTION
    weights = torch.softmax(query @ keys.T / temperature, dim=1)  # (query, key)
    return weights @ values
    ### END SOLUTION


# %% check="soft_lookup" points=4
check(soft_lookup)

# %% [markdown]
# Turn the query from sour to sweet once more, at three temperatures. PyTorch's attention takes
# $1/\tau$ as its `scale`. **Predict** which of the three will look like the staircase.

# %%
radians = torch.deg2rad(degrees)
turning = torch.stack([radians.cos(), radians.sin()], dim=1)  # (query, 2)


def sugar_at(temperature: float) -> Tensor:
    output = F.scaled_dot_product_attention(
        turning[None], food_keys[None], food_values[None], scale=1 / temperature
    )
    return output[0, :, 0]


def draw_sugar(axes, temperature: float) -> None:
    """The sugar found in each direction, beside the hard lookup's staircase."""
    axes.plot(degrees.cpu(), sugar_found.cpu(), ":", color=figures.MUTED, label="hard")
    found = sugar_at(temperature).cpu()
    axes.plot(degrees.cpu(), found, "-", color=figures.PALETTE[0], label="soft")
    axes.set(xlabel="direction of the query, degrees", ylabel="sugar, g per 100 g")


# %%
explore(
    draw_sugar,
    title="Cold it jumps, hot it ignores the question, in between it slides",
    alt="Three curves of sugar against the direction of the query, each beside the staircase of "
    "the hard lookup. The coldest is the staircase with slightly rounded edges, the middle "
    "one rises smoothly, the hottest is almost level.",
    share=True,
    legend="upper left",
    temperature={f"τ = {tau:g}": tau for tau in (0.003, 0.1, 10.0)},
)

# %% [markdown]
# The middle curve has a slope everywhere, and a slope is what learning needs.

# %% [markdown]
# ## A lookup that learns
#
# Measure the slope: how much does the sugar that the pear finds change when the pear's two numbers are
# nudged? `autograd` knows. **Predict** at which of the four temperatures the gradient is the longest.

# %%
for temperature in (100.0, 1.0, 0.1, 0.001):
    nudged = pear.clone().requires_grad_()
    output = F.scaled_dot_product_attention(
        nudged[None, None], food_keys[None], food_values[None], scale=1 / temperature
    )
    gradient = torch.autograd.grad(output[0, 0, 0], nudged)[0]
    print(f"tau = {temperature:7.3f}: length of the gradient {gradient.norm():.4f}")

# %% [markdown]
# Too hot, and the question hardly matters. Too cold, and it is a hard lookup: no slope at all. In
# between there is something to follow.
#
# So follow it. We want a query that finds exactly 30 g of sugar, and start at the pear. Adam is a
# recipe for the steps: against the gradient, each number at a pace of its own.

# %%
query = pear.clone().requires_grad_()
optimizer = torch.optim.Adam([query], lr=0.01)
for _ in range(400):
    output = F.scaled_dot_product_attention(
        query[None, None], food_keys[None], food_values[None], scale=1 / 0.1
    )
    loss = (output[0, 0, 0] - 30.0).square()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
print("finds 30 g, to a tenth:", abs(output[0, 0, 0].item() - 30.0) < 0.1)
query_weights = torch.softmax(food_keys @ query.detach() / 0.1, dim=0)
print("apple and honey share over 90 %:", query_weights[1:].sum().item() > 0.9)

# %% [markdown]
# Nothing in the dictionary has 30 g. The query has learned to stand between apple and honey, and no
# hard lookup could have told it how. Keys and values can learn in the same way: that is where chapter 03
# begins.

# %% [markdown]
# ## How soft is it?
#
# One number for "looks at one" or "looks at all" is the **entropy** of the weights:
#
# $$H(w) = -\sum_i w_i \ln w_i$$
#
# By hand: for $(\tfrac12, \tfrac12, 0, 0)$ it is $2 \cdot \tfrac12 \ln 2 = \ln 2 \approx 0.69$. For $N$
# equal weights it is $\ln N$. So $e^H$ is the number of keys that share the attention: 2 of 4 here.
# (With the natural logarithm, the unit is called a *nat*.)
#
# **Predict**: what does the computer make of the two zeros?

# %%
half = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64, device=device)
print("logs ", half.log().cpu().numpy())
print("terms", (half * half.log()).cpu().numpy())

# %% [markdown]
# Zero times minus infinity is NaN. But a key that nobody looks at adds nothing: as $w$ goes to 0, so
# does $w \ln w$. Exact zeros are common, by the way. A mask makes them (chapter 05), and so does a
# cold softmax.

# %% [markdown] exercise="attention_entropy"
# ### Exercise: the entropy of attention  ·  8 min  ·  ●●○
#
# `weights` has shape (…, Nk), with any number of leading dimensions, or none. Its rows sum to 1. Return
# the entropy of each row, (…), with the natural logarithm. A weight of 0 adds 0.
#
# Small weights count in full: adding 0.00000001 before the log would show.
#
# <details><summary>Hint</summary>
#
# Three ways to treat the zeros: give the log a 1 where the weight is 0 (`torch.where`), or look up
# `torch.xlogy` or `torch.special.entr`.
# </details>


# %% answer="attention_entropy"
def attention_entropy(weights: Tensor) -> Tensor:
    """Entropy of attention weights in nats, with 0 · log 0 = 0.

    weights: (..., Nk), each row a distribution over the keys. Returns (...).
    """
    ### BEGIN SOLUTION
    return -torch.xlogy(weights, weights).sum(dim=-1)
    ### END SOLUTION


# %% check="attention_entropy" points=3
check(attention_entropy)

# %% [markdown]
# Now use it as a meter. 64 random keys, 200 random queries, all of length 1, temperatures from 0.001 to
# 10. **Predict** where the curve begins and ends.


# %%
def unit_vectors(number: int) -> Tensor:
    vectors = torch.randn(number, 8, generator=generator, dtype=torch.float64)
    return F.normalize(vectors, dim=1).to(device)


table = unit_vectors(200) @ unit_vectors(64).T  # (query, key)
temperatures = torch.logspace(-3, 1, 25, dtype=torch.float64).tolist()
entropies = []
for temperature in temperatures:
    weights = torch.softmax(table / temperature, dim=1)
    entropies.append(torch.special.entr(weights).sum(dim=1).mean().item())

print("coldest, keys that share:", round(math.exp(entropies[0]), 2))
print("hottest, keys that share:", round(math.exp(entropies[-1]), 2))

# %%
figure = figures.curves(
    {"mean entropy": (temperatures, entropies)},
    xlabel="temperature τ",
    ylabel="entropy of a row of weights (nats)",
    title="One dial leads from the hard lookup to the plain mean",
    logx=True,
    reference={"all 64 alike: ln 64": math.log(64)},
)
figures.show(
    figure,
    alt="A curve of entropy against temperature that rises from almost zero to the line at "
    "ln 64, steepest in the middle.",
)

# %% [markdown]
# The dial of the experiment again: memory on the left, mean on the right. This time you can read off
# where you are.
#
# In a trained model, watch this number. Rows whose entropy falls to 0 have stopped learning, as the
# cold gradient above showed.

# %% [markdown]
# ## The answer
#
# How do you look up what is only similar? Give every entry a key, compare the query with all of them, and
# mix the values by how well each key fits.
#
# How can a model learn to do it? By not choosing. The best match has no slope. A softmax has one, as long
# as its temperature is neither too hot nor too cold. One dial leads from memory to mean, and the entropy
# reads it.

# %% [markdown]
# ## Where this leads
#
# Here somebody gave you queries, keys and values. In chapter 03 each token makes all three from itself, by
# three matrices that are learned. Chapter 04 asks which temperature is right for vectors of width $d_k$,
# and finds $\sqrt{d_k}$.

# %% [markdown]
# ## References
#
# - Nadaraya, *On Estimating Regression* (1964), and Watson, *Smooth Regression Analysis* (1964): the
#   weighted mean with a kernel, found twice in one year.
# - Graves, Wayne, Danihelka, *Neural Turing Machines* (2014), section 3.3.1: a memory that is read by
#   content, with a "key strength" that is one over the temperature.
# - Bahdanau, Cho, Bengio, *Neural Machine Translation by Jointly Learning to Align and Translate* (2015),
#   section 3.1: the soft lookup that learns, in translation.
# - Vaswani et al., *Attention Is All You Need* (2017), section 3.2: the words query, key and value.
# - Tsai et al., *Transformer Dissection: A Unified Understanding of Transformer's Attention via the Lens
#   of Kernel* (2019), section 2: attention as a kernel smoother.
# - Shannon, *A Mathematical Theory of Communication* (1948), section 6: the entropy, and why it has to be
#   this formula.

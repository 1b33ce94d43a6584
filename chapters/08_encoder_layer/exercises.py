"""Chapter 08: layer norm, feed-forward, the encoder layer, and a stack of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.author.exercise import (
    Build,
    Draw,
    Exercise,
    Sample,
    call,
    module,
    noncontiguous,
)

# ----------------------------------------------------------------------- layer_norm

layer_norm = Exercise("layer_norm", shortcuts=("torch.nn.functional.layer_norm",))


@layer_norm.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(*shape: int, eps: float = 1e-5, scale: float = 1.0) -> tuple:
        d = shape[-1]
        return draw.normal(*shape, scale=scale), draw.normal(d), draw.normal(d), eps

    yield call("a batch of tokens", *inputs(2, 4, 7))
    yield call("same sizes again", *inputs(2, 4, 7))
    yield call("tokens without a batch", *inputs(5, 3), note="x is (5, 3): no batch")
    yield call("a single token", *inputs(8), note="x is (8,): one token, no batch")
    yield call(
        "four dimensions",
        *inputs(2, 3, 4, 6, eps=1e-6),
        note="x is (2, 3, 4, 6): the last dimension is the one to normalise",
    )
    yield call("one item, one token", *inputs(1, 1, 5))
    yield call("large eps", *inputs(3, 2, 8, eps=0.3), note="eps is 0.3")
    yield call(
        "tiny variance",
        *inputs(2, 5, 6, scale=2e-3),
        note="the variance is smaller than eps",
    )
    x, weight, bias, eps = inputs(3, 4, 5)
    yield call(
        "far from zero",
        x + 50 * draw.normal(3, 4, 1),
        weight,
        bias,
        eps,
        note="each token's mean is far from zero",
    )
    x, weight, bias, eps = inputs(2, 3, 40)
    x[0, 1, 7], x[1, 2, 30] = 90.0, -120.0
    yield call(
        "one channel stands out",
        x,
        weight,
        bias,
        eps,
        note="one channel of a token is far larger than the others",
    )
    x, weight, bias, eps = inputs(3, 2, 5, eps=1e-3)
    x[1] = x[1, :, :1]
    yield call(
        "equal channels",
        x,
        weight,
        bias,
        eps,
        gradients=False,
        note="all channels of a token are equal: the variance is 0",
    )
    yield call(
        "one channel",
        *inputs(2, 5, 1),
        gradients=False,
        note="d is 1, so that every variance is 0",
    )
    x, weight, bias, eps = inputs(2, 6, 4, eps=1e-3)
    yield call(
        "not contiguous",
        noncontiguous(x),
        noncontiguous(weight),
        noncontiguous(bias),
        eps,
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    for dtype in (torch.float32, torch.float16):
        x, weight, bias, eps = inputs(3, 2, 6, eps=1e-2)
        yield call(
            str(dtype).removeprefix("torch."),
            x.to(dtype),
            weight.to(dtype),
            bias.to(dtype),
            eps,
            aspect="robustness",
            gradients=False,
        )


def normalise(
    x: Tensor,
    eps: float,
    *,
    dim: Any = -1,
    correction: int = 0,
    outside: bool = False,
) -> Tensor:
    mean = x.mean(dim=dim, keepdim=True)
    variance = (x - mean).pow(2).sum(dim=dim, keepdim=True)
    dims = dim if isinstance(dim, tuple) else (dim,)
    variance = variance / (math.prod(x.shape[i] for i in dims) - correction)
    return (x - mean) / (variance.sqrt() + eps if outside else (variance + eps).sqrt())


@layer_norm.reference
def layer_norm_reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps) * weight + bias


@layer_norm.alternative
def with_torch(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


@layer_norm.alternative
def with_var_mean(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, dim=-1, unbiased=False, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


@layer_norm.alternative
def mean_of_squares(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = x.square().mean(-1, keepdim=True) - mean.square()
    return weight * (x - mean) / torch.sqrt(variance + eps) + bias


@layer_norm.alternative
def token_by_token(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    rows = []
    for token in x.reshape(-1, x.shape[-1]):
        centred = token - token.sum() / len(token)
        variance = (centred @ centred) / len(token)
        rows.append(centred / (variance + eps) ** 0.5 * weight + bias)
    return torch.stack(rows).reshape(x.shape)


@layer_norm.alternative
def through_standard_deviation(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    deviation = x.std(dim=-1, keepdim=True, correction=0)
    return (
        weight
        * (x - x.mean(-1, True))
        / torch.hypot(deviation, torch.full_like(deviation, math.sqrt(eps)))
        + bias
    )


@layer_norm.mistake("""You add eps to the standard deviation. It belongs under the
root, to the variance: divide by √(variance + eps).""")
def eps_outside_the_root(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, outside=True) * weight + bias


@layer_norm.mistake("""You use the unbiased variance, divided by d - 1, which is what
`x.var(dim=-1)` gives by default. Layer norm divides by d: `correction=0`.""")
def unbiased_variance(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, correction=1) * weight + bias


@layer_norm.mistake("""You add eps to the unbiased standard deviation. Two changes:
divide the variance by d, not d - 1, and add eps under the root.""")
def unbiased_and_eps_outside(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return normalise(x, eps, correction=1, outside=True) * weight + bias


@layer_norm.mistake("""You normalise over the tokens, dim=-2. Layer norm treats each
token alone: its mean and variance are over its own channels, dim=-1.""")
def norm_over_tokens(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, dim=-2) * weight + bias


@layer_norm.mistake("""You normalise over dim=1, which holds the channels only when x
has two dimensions. Use dim=-1.""")
def norm_over_dim_one(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, dim=1) * weight + bias


@layer_norm.mistake("""You normalise over dim=2, which holds the channels only when x
has three dimensions. Use dim=-1.""")
def norm_over_dim_two(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, dim=2) * weight + bias


@layer_norm.mistake("""You normalise over the batch, dim=0: that is batch norm. A
token's layer norm does not depend on the other items.""")
def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, dim=0) * weight + bias


@layer_norm.mistake("""You take one mean and variance for all tokens of an item
together. Each token has its own: dim=-1 alone.""")
def norm_over_tokens_and_channels(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return normalise(x, eps, dim=(-2, -1)) * weight + bias


@layer_norm.mistake("""You take one mean and variance of the whole tensor. Each token
has its own: use dim=-1 and keepdim=True.""")
def norm_over_everything(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps, dim=tuple(range(x.dim()))) * weight + bias


@layer_norm.mistake("""You cut the normalised values off at some bound. A channel that
stands out may be many deviations away from the mean: leave it.""")
def clipped(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps).clamp(-3, 3) * weight + bias


@layer_norm.mistake("""You leave a token with one channel as it is. It is its own mean,
so the normalised value is 0 and the bias remains.""")
def one_channel_left_alone(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    normalised = x if x.shape[-1] == 1 else normalise(x, eps)
    return normalised * weight + bias


@layer_norm.mistake("""You treat a token whose channels are all equal as a special case.
The formula needs none: 0 / √(0 + eps) is 0, and the bias remains.""")
def equal_channels_special(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    variance = x.var(dim=-1, correction=0, keepdim=True)
    return torch.where(variance > 1e-24, normalise(x, eps), x) * weight + bias


@layer_norm.mistake("""You take x for a batch: (…, d) may have no leading dimension at
all. Count dimensions from the end, with dim=-1.""")
def needs_a_leading_dimension(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    if x.dim() < 2:
        raise IndexError("x has one dimension")
    return normalise(x, eps) * weight + bias


@layer_norm.mistake("""You left eps out: the root holds variance + eps.""")
def without_eps(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, 0.0) * weight + bias


@layer_norm.mistake("""You wrote 1e-5 into the formula. Use the argument `eps`.""")
def hard_coded_eps(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, 1e-5) * weight + bias


@layer_norm.mistake("""You square eps: what stands under the root is variance + eps.""")
def squared_eps(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps**2) * weight + bias


@layer_norm.mistake("""You divide by the variance. Divide by its square root, so that
the result has variance 1.""")
def divided_by_variance(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    return (x - mean) / (
        x.var(dim=-1, correction=0, keepdim=True) + eps
    ) * weight + bias


@layer_norm.mistake("""You multiply by √(variance + eps) where you should divide.""")
def multiplied_by_deviation(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, correction=0, keepdim=True)
    return (x - mean) * (variance + eps).sqrt() * weight + bias


@layer_norm.mistake("""You do not subtract the mean: dividing by the root mean square
alone is RMSNorm. Layer norm centres each token first.""")
def rms_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias


@layer_norm.mistake(
    """You divide by the standard deviation but never subtract the mean."""
)
def not_centred(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    variance = x.var(dim=-1, correction=0, keepdim=True)
    return x / (variance + eps).sqrt() * weight + bias


@layer_norm.mistake("""You subtract the mean but do not divide by the spread.""")
def only_centred(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return (x - x.mean(dim=-1, keepdim=True)) * weight + bias


@layer_norm.mistake("""You left out weight and bias: after normalising, each channel is
multiplied by its weight and moved by its bias.""")
def without_weight_and_bias(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return normalise(x, eps)


@layer_norm.mistake("""You left out the bias: add it at the end.""")
def without_bias(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps) * weight


@layer_norm.mistake(
    """You left out the weight: multiply by it before you add the bias."""
)
def without_weight(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps) + bias


@layer_norm.mistake("""You add the bias before you multiply by the weight. The order is
normalised · weight + bias.""")
def bias_before_weight(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return (normalise(x, eps) + bias) * weight


@layer_norm.mistake("""Weight and bias have changed places: the normalised token is
multiplied by `weight`, then `bias` is added.""")
def weight_and_bias_swapped(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return normalise(x, eps) * bias + weight


@layer_norm.mistake("""You multiply by 1 + weight. The weight is the whole factor; it
starts at 1.""")
def one_plus_weight(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return normalise(x, eps) * (1 + weight) + bias


@layer_norm.mistake("""You divide by the mean absolute deviation. The spread of layer
norm is the root of the mean square.""")
def mean_absolute_deviation(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.abs().mean(dim=-1, keepdim=True) + eps) * weight + bias


@layer_norm.mistake("""You divide by the length of the centred token: sum the squares,
then divide by d before the root.""")
def sum_of_squares(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return (
        centred / (centred.square().sum(-1, keepdim=True) + eps).sqrt() * weight + bias
    )


@layer_norm.mistake("""Your function changes x in place (`x -= ...`). The residual
branch still needs the old x: make a new tensor.""")
def in_place(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    result = layer_norm_reference(x, weight, bias, eps)
    x -= x.mean(dim=-1, keepdim=True)
    return result


@layer_norm.mistake("""Mean and variance are cut off from the graph (`detach` or
`no_grad`). They depend on x, and the gradient must flow through them.""")
def statistics_detached(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True).detach()
    variance = x.var(dim=-1, correction=0, keepdim=True).detach()
    return (x - mean) / (variance + eps).sqrt() * weight + bias


@layer_norm.mistake("""Your result is cut off from its inputs (`detach`, `.data`,
`no_grad`): no gradient reaches x, weight and bias.""")
def result_detached(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return layer_norm_reference(x, weight, bias, eps).detach()


@layer_norm.mistake("""You compute in float32: float64 inputs lose half their digits,
and the result has another dtype than x.""")
def cast_to_float32(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return layer_norm_reference(x.float(), weight.float(), bias.float(), eps)


# --------------------------------------------------------------------- feed_forward

feed_forward = Exercise("feed_forward")


@feed_forward.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(batch: int, tokens: int, d: int, d_ff: int) -> tuple:
        return (
            draw.normal(batch, tokens, d),
            draw.normal(d_ff, d),
            draw.normal(d_ff),
            draw.normal(d, d_ff),
            draw.normal(d),
        )

    yield call("relu", *inputs(2, 4, 3, 7), "relu")
    yield call("relu, same sizes again", *inputs(2, 4, 3, 7), "relu")
    yield call("gelu", *inputs(3, 5, 4, 6), "gelu")
    yield call("gelu, same sizes again", *inputs(3, 5, 4, 6), "gelu")
    yield call("relu, one item", *inputs(1, 6, 5, 2), "relu")
    yield call("gelu, one token", *inputs(2, 1, 6, 9), "gelu")
    yield call("activation by name", *inputs(4, 2, 3, 5), kwargs={"activation": "gelu"})
    yield call("default", *inputs(3, 4, 2, 6), note="no activation given: ReLU")
    yield call(
        "as wide inside as outside",
        *inputs(3, 2, 5, 5),
        "relu",
        note="d_ff is d, so that all weights are square",
    )
    x, *rest = inputs(2, 4, 3, 5)
    yield call(
        "relu, large inputs",
        x * 30,
        *rest,
        "relu",
        aspect="robustness",
        note="hidden values of a hundred",
    )
    x, *rest = inputs(2, 3, 4, 8)
    yield call(
        "gelu, large inputs",
        x * 30,
        *rest,
        "gelu",
        aspect="robustness",
        note="hidden values of a hundred",
    )
    for activation in ("relu", "gelu"):
        yield call(
            f"{activation}, not contiguous",
            *(noncontiguous(t) for t in inputs(2, 5, 3, 4)),
            activation,
            aspect="robustness",
            note="the inputs are transposed views",
        )
        for dtype in (torch.float32, torch.float16):
            x, w1, b1, w2, b2 = inputs(2, 3, 5, 4)
            yield call(
                f"{activation}, {dtype}".replace("torch.", ""),
                *(t.to(dtype) for t in (x, w1 / 2, b1, w2 / 2, b2)),
                activation,
                aspect="robustness",
                gradients=False,
            )
    for name in ("tanh", "swish", "relu6", "elu", "geglu", ""):
        yield call(
            f"unknown activation {name}",
            *inputs(2, 3, 4, 5),
            name,
            aspect="errors",
            note=f'activation="{name}"',
        )


ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


def activate(hidden: Tensor, activation: str) -> Tensor:
    if activation == "relu":
        return hidden.clamp(min=0)
    if activation == "gelu":
        return hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    raise ValueError(f"activation is {activation!r}; it can be 'relu' or 'gelu'")


def two_linear(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, middle: Any
) -> Tensor:
    hidden = torch.einsum("...d,fd->...f", x, w1) + b1
    return torch.einsum("...f,df->...d", middle(hidden), w2) + b2


@feed_forward.reference
def feed_forward_reference(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return two_linear(x, w1, b1, w2, b2, lambda hidden: activate(hidden, activation))


@feed_forward.alternative
def with_functional(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    if activation not in ACTIVATIONS:
        raise ValueError(activation)
    return F.linear(ACTIVATIONS[activation](F.linear(x, w1, b1)), w2, b2)


@feed_forward.alternative
def as_convolutions(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    """As section 3.3 of the paper puts it: two convolutions of kernel size 1."""
    match activation:
        case "relu":
            act: Any = nn.ReLU()
        case "gelu":
            act = nn.GELU()
        case _:
            raise ValueError("unknown activation")
    hidden = act(F.conv1d(x.transpose(1, 2), w1.unsqueeze(-1), b1))
    return F.conv1d(hidden, w2.unsqueeze(-1), b2).transpose(1, 2)


@feed_forward.alternative
def flattened(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    act = {"relu": torch.relu, "gelu": torch.nn.functional.gelu}.get(activation)
    if act is None:
        raise ValueError("unknown activation")
    rows = x.reshape(-1, x.shape[-1])
    hidden = act(torch.addmm(b1, rows, w1.t()))
    return torch.addmm(b2, hidden, w2.t()).reshape(x.shape)


@feed_forward.alternative
def token_after_token(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    if activation != "relu" and activation != "gelu":
        raise ValueError("unknown activation")
    items = []
    for item in x:
        tokens = []
        for token in item:
            hidden = w1 @ token + b1
            if activation == "relu":
                hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
            else:
                hidden = F.gelu(hidden, approximate="none")
            tokens.append(w2 @ hidden + b2)
        items.append(torch.stack(tokens))
    return torch.stack(items)


@feed_forward.mistake("""You use ReLU whatever `activation` says. For "gelu" the exact
GELU is wanted: `F.gelu`.""")
def relu_for_gelu(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    activate(b1, activation)
    return two_linear(x, w1, b1, w2, b2, F.relu)


@feed_forward.mistake("""You use GELU whatever `activation` says. For "relu" set
negative values to zero.""")
def gelu_for_relu(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    activate(b1, activation)
    return two_linear(x, w1, b1, w2, b2, F.gelu)


@feed_forward.mistake("""ReLU and GELU have changed places.""")
def activations_swapped(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    activate(b1, activation)
    other = {"relu": "gelu", "gelu": "relu"}[activation]
    return feed_forward_reference(x, w1, b1, w2, b2, other)


@feed_forward.mistake("""Your GELU is the tanh approximation. The exact one uses the
normal distribution function: x · ½(1 + erf(x/√2)), which is what `F.gelu` computes.""")
def gelu_by_tanh(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        approximate = F.gelu(hidden, approximate="tanh")
        return approximate if activation == "gelu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake("""Your GELU is x · sigmoid(1.702 x), a rough approximation. The
exact one is x · ½(1 + erf(x/√2)): `F.gelu`.""")
def gelu_by_sigmoid(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        rough = hidden * torch.sigmoid(1.702 * hidden)
        return rough if activation == "gelu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake(
    """Your "gelu" is x · sigmoid(x), which is called SiLU or swish."""
)
def silu_for_gelu(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        return F.silu(hidden) if activation == "gelu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake("""Your GELU lacks the factor x: you return the normal
distribution function itself.""")
def gelu_without_factor(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        share = 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        return share if activation == "gelu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake("""Your GELU leaves out the √2: the argument of erf is x/√2.""")
def gelu_without_root_two(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        wider = hidden * 0.5 * (1 + torch.erf(hidden))
        return wider if activation == "gelu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake("""There is no activation between your two linear maps, so
together they are only one linear map.""")
def without_activation(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    activate(b1, activation)
    return two_linear(x, w1, b1, w2, b2, lambda hidden: hidden)


@feed_forward.mistake("""You apply the activation after the second linear map. It
stands between the two.""")
def activation_at_the_end(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return activate(two_linear(x, w1, b1, w2, b2, lambda hidden: hidden), activation)


@feed_forward.mistake("""You apply the activation to the output too. It stands only
between the two linear maps: an output that cannot be negative could not correct the
residual stream downwards.""")
def activation_twice(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return activate(feed_forward_reference(x, w1, b1, w2, b2, activation), activation)


@feed_forward.mistake("""You apply the activation to x. First comes `w1`, then the
activation, then `w2`.""")
def activation_first(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    inner = activate(x, activation)
    return two_linear(inner, w1, b1, w2, b2, lambda hidden: hidden)


@feed_forward.mistake("""You left out the first bias, `b1`.""")
def without_first_bias(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return feed_forward_reference(x, w1, torch.zeros_like(b1), w2, b2, activation)


@feed_forward.mistake("""You left out the second bias, `b2`.""")
def without_second_bias(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return feed_forward_reference(x, w1, b1, w2, torch.zeros_like(b2), activation)


@feed_forward.mistake("""You left out both biases.""")
def without_biases(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    zeros = torch.zeros_like(b1), torch.zeros_like(b2)
    return feed_forward_reference(x, w1, zeros[0], w2, zeros[1], activation)


@feed_forward.mistake("""You add `b1` after the activation. It belongs to the first
linear map, before the activation.""")
def bias_after_activation(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    zero = torch.zeros_like(b1)
    return two_linear(
        x, w1, zero, w2, b2, lambda hidden: activate(hidden, activation) + b1
    )


@feed_forward.mistake("""You add x to the result. The residual is added by the encoder
layer, around this function, not in it.""")
def with_residual(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return x + feed_forward_reference(x, w1, b1, w2, b2, activation)


@feed_forward.mistake("""You multiply by `w1` as it is. The weights have nn.Linear's
layout, (out, in), so transpose them or call `F.linear`.""")
def not_transposed(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return activate(x @ w1 + b1, activation) @ w2 + b2


@feed_forward.mistake("""You stop after the first linear map and the activation: `w2`
and `b2` bring the result back to the width of x.""")
def hidden_returned(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return activate(F.linear(x, w1, b1), activation)


@feed_forward.mistake("""An unknown activation name passes silently. Raise a ValueError
for every name but "relu" and "gelu".""")
def unknown_name_passes(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    known = "gelu" if activation == "gelu" else "relu"
    return feed_forward_reference(x, w1, b1, w2, b2, known)


@feed_forward.mistake(
    """An unknown activation name passes silently. Raise a ValueError for every name
but "relu" and "gelu".""",
    same_as="unknown_name_passes",
)
def unknown_name_is_gelu(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    known = "relu" if activation == "relu" else "gelu"
    return feed_forward_reference(x, w1, b1, w2, b2, known)


@feed_forward.mistake("""An unknown activation name raises KeyError. It should be a
ValueError: test for the name and say which ones there are.""")
def unknown_name_is_key_error(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return two_linear(x, w1, b1, w2, b2, ACTIVATIONS[activation])


@feed_forward.mistake("""You look the activation up in torch by its name, so that names
like "tanh" pass and others raise AttributeError. Only "relu" and "gelu" are known;
every other name is a ValueError.""")
def looked_up_in_torch(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return two_linear(x, w1, b1, w2, b2, getattr(F, activation))


@feed_forward.mistake("""Without an `activation` you use GELU. The default is
"relu".""")
def gelu_by_default(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "gelu"
) -> Tensor:
    return feed_forward_reference(x, w1, b1, w2, b2, activation)


@feed_forward.mistake("""`activation` has no default in your answer. It may be left out:
`activation: str = "relu"`.""")
def no_default(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str
) -> Tensor:
    return feed_forward_reference(x, w1, b1, w2, b2, activation)


@feed_forward.mistake("""Your ReLU is cut off at 6, or at some other bound. Positive
values pass as they are, however large.""")
def relu_with_a_ceiling(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    def middle(hidden: Tensor) -> Tensor:
        exact = activate(hidden, activation)
        return exact.clamp(max=6) if activation == "relu" else exact

    return two_linear(x, w1, b1, w2, b2, middle)


@feed_forward.mistake("""You decide by the shape whether to transpose. With d_ff = d
both fit and one is wrong: nn.Linear's layout is always (out, in).""")
def transposed_by_shape(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    square = w1.shape[0] == w1.shape[1]
    first, second = (w1.mT, w2.mT) if square else (w1, w2)
    return feed_forward_reference(x, first, b1, second, b2, activation)


@feed_forward.mistake("""You test the name with `in` or by a part of it, so that names
like "elu" or "" pass. Compare the whole name: `activation == "relu"`, or look it up in
a tuple or a dict.""")
def name_tested_in_part(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    known = next((name for name in ("relu", "gelu") if activation in name), activation)
    return feed_forward_reference(x, w1, b1, w2, b2, known)


@feed_forward.mistake("""You look only at the first letters of the name, so that a name
like "geglu" passes. Compare the whole name.""")
def name_tested_by_first_letter(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    known = "gelu" if activation.startswith("g") else activation
    return feed_forward_reference(x, w1, b1, w2, b2, known)


@feed_forward.mistake("""Your result is cut off from its inputs (`detach`, `.data`,
`no_grad`): no gradient can flow back.""")
def feed_forward_detached(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    return feed_forward_reference(x, w1, b1, w2, b2, activation).detach()


@feed_forward.mistake("""Your function changes x in place. The residual branch still
needs it: build a new tensor.""")
def feed_forward_in_place(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    result = feed_forward_reference(x, w1, b1, w2, b2, activation)
    x += 1.0
    return result


@feed_forward.mistake("""You compute in float32: float64 inputs lose half their digits,
and the result has another dtype than x.""")
def feed_forward_in_float32(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, activation: str = "relu"
) -> Tensor:
    parts = (t.float() for t in (x, w1, b1, w2, b2))
    return feed_forward_reference(*parts, activation)


# --------------------------------------------------------------------- EncoderLayer

EncoderLayer = Exercise("EncoderLayer", aspects={"dropout": 2})


def layer_shapes(d_model: int, d_ff: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes[f"self_attn.{name}.weight"] = (d_model, d_model)
        shapes[f"self_attn.{name}.bias"] = (d_model,)
    shapes |= {"linear1.weight": (d_ff, d_model), "linear1.bias": (d_ff,)}
    shapes |= {"linear2.weight": (d_model, d_ff), "linear2.bias": (d_model,)}
    for name in ("norm1", "norm2"):
        shapes |= {f"{name}.weight": (d_model,), f"{name}.bias": (d_model,)}
    return shapes


@EncoderLayer.cases
def _(draw: Draw) -> Iterator[Sample]:
    def layer(
        name: str,
        init: tuple,
        src: Tensor,
        *,
        dtype: torch.dtype = torch.float64,
        scales: Mapping[str, float] | None = None,
        gradients: bool = False,
        init_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Sample:
        d_model, _, d_ff = init[:3]
        parameters = draw.like(layer_shapes(d_model, d_ff))
        for part, scale in (scales or {}).items():
            for n in parameters:
                if part in n:
                    parameters[n] = parameters[n] * scale
        return module(
            name,
            init=init,
            init_kwargs=init_kwargs,
            parameters={n: p.to(dtype) for n, p in parameters.items()},
            args=(src.to(dtype), *options.pop("masks", ())),
            gradients=gradients,
            **options,
        )

    def no_row_empty(*shape: int) -> Tensor:
        return draw.mask(*shape, share=0.6)

    def padding(batch: int, tokens: int) -> Tensor:
        """Each item has real and padded tokens."""
        return draw.mask(batch, tokens, share=0.4)

    pre, gelu = {"norm_first": True}, {"activation": "gelu"}
    # Values: both orders, both activations, eval and training.
    yield layer("post-norm", (6, 2, 5), draw.normal(3, 4, 6), gradients=True)
    yield layer("same sizes again", (6, 2, 5), draw.normal(3, 4, 6))
    yield layer(
        "pre-norm",
        (6, 3, 4),
        draw.normal(2, 5, 6),
        init_kwargs=pre,
        gradients=True,
        note="norm_first=True",
    )
    yield layer(
        "post-norm with gelu",
        (4, 2, 7),
        draw.normal(2, 3, 4),
        init_kwargs=gelu,
        note='activation="gelu"',
    )
    yield layer(
        "pre-norm with gelu, all by position",
        (8, 4, 3, 0.0, "gelu", True),
        draw.normal(3, 2, 8),
        note='EncoderLayer(8, 4, 3, 0.0, "gelu", True)',
    )
    yield layer(
        "relu and post-norm by name",
        (9, 3, 4),
        draw.normal(2, 5, 9),
        init_kwargs={"activation": "relu", "norm_first": False, "dropout": 0.0},
    )
    yield layer(
        "one head",
        (5, 1, 8),
        draw.normal(2, 4, 5),
        init_kwargs={**pre, **gelu},
        note="a single head",
    )
    yield layer(
        "one item, in training",
        (6, 2, 3),
        draw.normal(1, 7, 6),
        training=True,
        note="in training, without dropout",
    )
    yield layer(
        "one token, in training",
        (4, 2, 5),
        draw.normal(3, 1, 4),
        init_kwargs=pre,
        training=True,
        note="in training, without dropout",
    )
    # eps: tokens, and what attention adds, so small that eps counts in both norms.
    small = {"out_proj": 1e-3, "linear2": 1e-3}
    for name, kwargs in (("post-norm", {}), ("pre-norm", pre)):
        yield layer(
            f"tiny variance, {name}",
            (6, 2, 4),
            draw.normal(2, 3, 6, scale=2e-3),
            scales=small,
            init_kwargs=kwargs,
            note="the variance is no larger than eps = 1e-5",
        )

    # Masks.
    yield layer(
        "src_mask (N, N)",
        (6, 3, 4),
        draw.normal(2, 5, 6),
        masks=(no_row_empty(5, 5),),
        aspect="masks",
        note="src_mask (N, N)",
    )
    yield layer(
        "src_mask (B, 1, N, N)",
        (4, 2, 5),
        draw.normal(3, 6, 4),
        kwargs={"src_mask": no_row_empty(3, 1, 6, 6)},
        init_kwargs=pre,
        aspect="masks",
        note="src_mask (B, 1, N, N)",
    )
    yield layer(
        "src_mask (B, H, N, N)",
        (6, 3, 5),
        draw.normal(2, 4, 6),
        masks=(no_row_empty(2, 3, 4, 4),),
        aspect="masks",
        note="src_mask (B, H, N, N)",
    )
    for name, kwargs in (("post-norm", {}), ("pre-norm", pre)):
        yield layer(
            f"padding, {name}",
            (8, 2, 5),
            draw.normal(3, 4, 8),
            kwargs={"src_key_padding_mask": padding(3, 4)},
            init_kwargs=kwargs,
            aspect="masks",
            note="src_key_padding_mask alone",
        )
    hidden = padding(3, 7)
    open_row = no_row_empty(7, 7)
    open_row[:, :2] = True
    hidden[:, 0] = False  # with both masks, every row still sees token 0
    yield layer(
        "both masks",
        (6, 2, 4),
        draw.normal(3, 7, 6),
        masks=(open_row, hidden),
        aspect="masks",
        gradients=True,
        note="src_mask (N, N) and src_key_padding_mask together",
    )
    hidden, open_row = padding(2, 5), no_row_empty(2, 3, 5, 5)
    hidden[:, 1] = False
    open_row[..., 1] = True
    yield layer(
        "both masks, per head",
        (6, 3, 7),
        draw.normal(2, 5, 6),
        masks=(open_row, hidden),
        init_kwargs={**pre, **gelu},
        aspect="masks",
        note="src_mask (B, H, N, N) and src_key_padding_mask together",
    )
    closed = no_row_empty(4, 4)
    closed[2] = False
    yield layer(
        "an empty row",
        (6, 2, 3),
        draw.normal(3, 4, 6),
        masks=(closed,),
        aspect="masks",
        gradients=True,
        note="token 2 may attend to no token: its weights are all zero",
    )
    hidden = padding(3, 5)
    hidden[1] = True
    yield layer(
        "an item of padding",
        (4, 2, 6),
        draw.normal(3, 5, 4),
        kwargs={"src_key_padding_mask": hidden},
        init_kwargs=pre,
        aspect="masks",
        gradients=True,
        note="item 1 is all padding: its weights are all zero",
    )
    hidden, closed = padding(2, 6), no_row_empty(6, 6)
    closed[3] = hidden[0]
    yield layer(
        "empty by both masks",
        (9, 3, 4),
        draw.normal(2, 6, 9),
        masks=(closed, hidden),
        aspect="masks",
        note="what token 3 may attend to is all padding: its weights are all zero",
    )
    scale = {"q_proj": 60.0, "k_proj": 60.0}
    yield layer(
        "large masked scores",
        (6, 2, 4),
        draw.normal(2, 5, 6, scale=5.0),
        masks=(no_row_empty(5, 5),),
        scales=scale,
        aspect="masks",
        note="scores of ten thousands behind the mask",
    )
    # Robustness.
    yield layer(
        "large scores",
        (6, 2, 4),
        draw.normal(2, 5, 6),
        scales={"q_proj": 40.0, "k_proj": 40.0},
        init_kwargs=pre,
        aspect="robustness",
        note="scores of several thousand",
    )
    yield layer(
        "not contiguous",
        (8, 2, 3),
        noncontiguous(draw.normal(3, 5, 8)),
        masks=(noncontiguous(no_row_empty(5, 5)), noncontiguous(padding(3, 5))),
        init_kwargs=gelu,
        aspect="robustness",
        note="src and the masks are transposed views",
    )
    yield layer(
        "float32",
        (6, 3, 5),
        draw.normal(2, 4, 6),
        masks=(no_row_empty(4, 4),),
        dtype=torch.float32,
        aspect="robustness",
    )
    yield layer(
        "float16",
        (4, 2, 3),
        draw.normal(2, 5, 4),
        masks=(no_row_empty(5, 5),),
        init_kwargs=pre,
        dtype=torch.float16,
        aspect="robustness",
    )
    # Dropout.
    for name, norm_first in (("post-norm", False), ("pre-norm", True)):
        for sublayer in ("attention", "feed_forward"):
            yield Sample(
                f"dropout, {name}, {sublayer}",
                "dropout_places",
                {"sublayer": sublayer, "norm_first": norm_first, "dropout": 0.3},
                aspect="dropout",
                note=f"in training, dropout=0.3, norm_first={norm_first}",
                gradients=False,
                view="dropout_places",
            )


class SelfAttention(nn.Module):
    """The reference's attention; mistakes override its small methods."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.weight_dropout = nn.Dropout(dropout)

    def split(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        x = x.reshape(batch, tokens, self.num_heads, width // self.num_heads)
        return x.transpose(1, 2)  # (batch, head, token, channel)

    def scale(self, q: Tensor) -> float:
        return q.shape[-1] ** -0.5

    def allowed(
        self, scores: Tensor, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if attn_mask is not None:
            allowed = allowed & attn_mask
        if padding is not None:
            allowed = allowed & ~padding[:, None, None, :]
        return allowed

    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        empty = ~allowed.any(dim=-1, keepdim=True)
        scores = scores.masked_fill(~allowed, -torch.inf).masked_fill(empty, 0.0)
        return scores.softmax(dim=-1).masked_fill(empty, 0.0)

    def merge(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def forward(
        self, x: Tensor, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        q, k, v = (self.split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        scores = q @ k.mT * self.scale(q)  # (batch, head, query, key)
        weights = self.weigh(scores, self.allowed(scores, attn_mask, padding))
        return self.out_proj(self.merge(self.weight_dropout(weights) @ v))


@EncoderLayer.reference
class EncoderLayerReference(nn.Module):
    """The reference; mistakes override its small methods."""

    attention: type[SelfAttention] = SelfAttention
    eps = 1e-5

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
        self.self_attn = self.attention(d_model, num_heads, dropout)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model, eps=self.eps)
        self.norm2 = nn.LayerNorm(d_model, eps=self.eps)
        self.after_attention = nn.Dropout(dropout)
        self.inside = nn.Dropout(dropout)
        self.after_feed_forward = nn.Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def attend(
        self, x: Tensor, src_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        return self.after_attention(self.self_attn(x, src_mask, padding))

    def activate(self, hidden: Tensor) -> Tensor:
        return activate(hidden, self.activation)

    def feed(self, x: Tensor) -> Tensor:
        hidden = self.inside(self.activate(self.linear1(x)))
        return self.after_feed_forward(self.linear2(hidden))

    def pre(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        x = x + self.attend(self.norm1(x), mask, padding)
        return x + self.feed(self.norm2(x))

    def post(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        x = self.norm1(x + self.attend(x, mask, padding))
        return self.norm2(x + self.feed(x))

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        order = self.pre if self.norm_first else self.post
        return order(src, src_mask, src_key_padding_mask)


class TorchAttention(SelfAttention):
    """Through torch's own operation, dropout as a number."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__(d_model, num_heads, dropout)
        self.rate = dropout

    def forward(
        self, x: Tensor, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        q, k, v = (self.split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        if padding is not None:
            keys = ~padding[:, None, None, :]
            attn_mask = keys if attn_mask is None else attn_mask & keys
        rate = self.rate if self.training else 0.0
        output = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p=rate)
        return self.out_proj(output.transpose(1, 2).reshape(x.shape))


@EncoderLayer.alternative
class WithTorchAttention(EncoderLayerReference):
    attention = TorchAttention


@EncoderLayer.alternative
class WithFunctionalCalls(nn.Module):
    """Everything in forward, through functional calls; no module for dropout."""

    def __init__(
        self,
        d_model,
        num_heads,
        dim_feedforward,
        dropout=0.0,
        activation="relu",
        norm_first=False,
    ):
        super().__init__()
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({n: nn.Linear(d_model, d_model) for n in names})
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.heads, self.p = num_heads, dropout
        self.act = {"relu": torch.relu, "gelu": F.gelu}[activation]
        self.norm_first = norm_first

    def drop(self, x):
        return F.dropout(x, self.p, training=self.training)

    def sa(self, x, src_mask, src_key_padding_mask):
        heads = []
        q, k, v = (self.self_attn[n](x) for n in ("q_proj", "k_proj", "v_proj"))
        parts = (t.chunk(self.heads, dim=-1) for t in (q, k, v))
        for head, (qh, kh, vh) in enumerate(zip(*parts, strict=True)):
            scores = torch.einsum("bqd,bkd->bqk", qh, kh) / math.sqrt(qh.shape[-1])
            if src_mask is not None:
                of_head = src_mask
                if src_mask.dim() == 4:
                    of_head = src_mask[:, head if src_mask.shape[1] > 1 else 0]
                scores = scores.masked_fill(~of_head, float("-inf"))
            if src_key_padding_mask is not None:
                closed = src_key_padding_mask.unsqueeze(1)
                scores = scores.masked_fill(closed, float("-inf"))
            weights = torch.nan_to_num(torch.softmax(scores, dim=-1), nan=0.0)
            heads.append(self.drop(weights) @ vh)
        return self.drop(self.self_attn["out_proj"](torch.cat(heads, dim=-1)))

    def ff(self, x):
        return self.drop(self.linear2(self.drop(self.act(self.linear1(x)))))

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        x = src
        inner = self.norm1(x) if self.norm_first else x
        x = x + self.sa(inner, src_mask, src_key_padding_mask)
        if not self.norm_first:
            x = self.norm1(x)
        inner = self.norm2(x) if self.norm_first else x
        x = x + self.ff(inner)
        return x if self.norm_first else self.norm2(x)


class OfficialAttention(SelfAttention):
    """Through torch's multi_head_attention_forward: weights stacked, masks inverted."""

    def forward(
        self, x: Tensor, attn_mask: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, self.num_heads, tokens, tokens)
        open_ = torch.ones(shape, dtype=torch.bool, device=x.device)
        if attn_mask is not None:
            open_ = open_ & attn_mask
        if padding is not None:
            open_ = open_ & ~padding[:, None, None, :]
        empty = ~open_.any(dim=-1, keepdim=True)
        closed = torch.where(open_ | empty, 0.0, -torch.inf).to(x.dtype)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        # The output projection comes later: empty rows have to be zero before it.
        output, _ = F.multi_head_attention_forward(
            x.transpose(0, 1),
            x.transpose(0, 1),
            x.transpose(0, 1),
            width,
            self.num_heads,
            torch.cat([p.weight for p in projections]),
            torch.cat([p.bias for p in projections]),
            None,
            None,
            False,
            self.weight_dropout.p,
            torch.eye(width, dtype=x.dtype, device=x.device),
            torch.zeros(width, dtype=x.dtype, device=x.device),
            training=self.training,
            need_weights=False,
            attn_mask=closed.flatten(0, 1),
        )
        heads = self.split(output.transpose(0, 1)).masked_fill(empty, 0.0)
        return self.out_proj(self.merge(heads))


@EncoderLayer.alternative
class WithOfficialAttention(EncoderLayerReference):
    attention = OfficialAttention


class HandMadeDropout(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand_like(x) >= self.p
        return torch.where(keep, x / (1 - self.p), torch.zeros_like(x))


@EncoderLayer.alternative
class WithHandMadeParts(EncoderLayerReference):
    """Own dropout, one for all places; norms by formula, on nn.LayerNorm parameters"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dropout = HandMadeDropout(self.inside.p)
        self.after_attention = self.inside = self.after_feed_forward = dropout
        self.self_attn.weight_dropout = dropout

    def by_hand(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return normalise(x, 1e-5) * norm.weight + norm.bias

    def pre(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        x = self.attend(self.by_hand(self.norm1, x), mask, padding) + x
        return self.feed(self.by_hand(self.norm2, x)) + x

    def post(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        x = self.by_hand(self.norm1, self.attend(x, mask, padding) + x)
        return self.by_hand(self.norm2, self.feed(x) + x)


def layer_mistake(hint: str, *, attention: bool = False, same_as: str | None = None):
    """Register a mistake; of a `SelfAttention`, as a layer that uses it."""

    def register(cls: type) -> type:
        answer = cls
        if attention:
            answer = type(cls.__name__, (EncoderLayerReference,), {"attention": cls})
        EncoderLayer.mistake(hint, same_as=same_as)(answer)
        return cls

    return register


Mask = Tensor | None


# Order of residual and norm.


@layer_mistake("""You always put the norm after the residual. With norm_first=True it
stands before each sublayer: x + attention(norm1(x)).""")
class AlwaysPostNorm(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.post(x, mask, padding)


@layer_mistake("""You always normalise before the sublayers. With norm_first=False, the
default, the norm comes after the residual: norm1(x + attention(x)).""")
class AlwaysPreNorm(EncoderLayerReference):
    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.pre(x, mask, padding)


@layer_mistake("""Pre-norm and post-norm have changed places: norm_first=True puts the
norm before each sublayer.""")
class OrdersSwapped(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        order = self.post if self.norm_first else self.pre
        return order(src, src_mask, src_key_padding_mask)


@layer_mistake(
    """There is no residual around the attention: add its input to its output."""
)
class NoResidualAroundAttention(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.attend(self.norm1(x), mask, padding)
        return x + self.feed(self.norm2(x))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(self.attend(x, mask, padding))
        return self.norm2(x + self.feed(x))


@layer_mistake("""There is no residual around the feed-forward: add its input to its
output.""")
class NoResidualAroundFeedForward(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(self.norm1(x), mask, padding)
        return self.feed(self.norm2(x))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(x + self.attend(x, mask, padding))
        return self.norm2(self.feed(x))


@layer_mistake("""There is no residual at all: each sublayer's input is added to its
output.""")
class NoResiduals(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.feed(self.norm2(self.attend(self.norm1(x), mask, padding)))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.norm2(self.feed(self.norm1(self.attend(x, mask, padding))))


@layer_mistake("""With norm_first=True you add the normed input. The residual goes
round the norm: x + attention(norm1(x)), with x as it came in.""")
class ResidualFromNormedInput(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(x)
        x = x + self.attend(x, mask, padding)
        x = self.norm2(x)
        return x + self.feed(x)


@layer_mistake("""With norm_first=True the residual around the attention starts from
the normed input. Add x as it came in.""")
class AttentionResidualFromNormedInput(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(x)
        x = x + self.attend(x, mask, padding)
        return x + self.feed(self.norm2(x))


@layer_mistake("""With norm_first=True the residual around the feed-forward starts from
the normed input. Add x as the attention left it.""")
class FeedForwardResidualFromNormedInput(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(self.norm1(x), mask, padding)
        x = self.norm2(x)
        return x + self.feed(x)


@layer_mistake("""Your second residual adds `src` again. It adds the feed-forward's own
input: what the attention's part of the layer gave.""")
class SecondResidualFromSource(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        inner = x + self.attend(self.norm1(x), mask, padding)
        return x + self.feed(self.norm2(inner))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        inner = self.norm1(x + self.attend(x, mask, padding))
        return self.norm2(x + self.feed(inner))


@layer_mistake("""Your feed-forward reads `src`. It comes after the attention and reads
what that has made.""")
class FeedForwardReadsSource(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        inner = x + self.attend(self.norm1(x), mask, padding)
        return inner + self.feed(self.norm2(x))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        inner = self.norm1(x + self.attend(x, mask, padding))
        return self.norm2(inner + self.feed(x))


@layer_mistake("""The feed-forward comes first in your layer. Attention comes first.""")
class FeedForwardFirst(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.feed(self.norm2(x))
        return x + self.attend(self.norm1(x), mask, padding)

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm2(x + self.feed(x))
        return self.norm1(x + self.attend(x, mask, padding))


@layer_mistake("""Your feed-forward is left out: the layer has two sublayers.""")
class WithoutFeedForward(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return x + self.attend(self.norm1(x), mask, padding)

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.norm2(self.norm1(x + self.attend(x, mask, padding)))


@layer_mistake("""You use norm1 in both places; norm2 is never used. Each sublayer has
a norm of its own.""")
class NormOneUsedTwice(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(self.norm1(x), mask, padding)
        return x + self.feed(self.norm1(x))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(x + self.attend(x, mask, padding))
        return self.norm1(x + self.feed(x))


@layer_mistake("""norm1 and norm2 are one and the same module. Each sublayer has a norm
of its own, with its own weight and bias.""")
class OneNormShared(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm2 = self.norm1


@layer_mistake(
    """norm1 and norm2 have changed places: norm1 belongs to the attention."""
)
class NormsSwapped(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(self.norm2(x), mask, padding)
        return x + self.feed(self.norm1(x))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm2(x + self.attend(x, mask, padding))
        return self.norm1(x + self.feed(x))


@layer_mistake("""With norm_first=False you normalise the sublayer's output before you
add it. The sum is what is normalised: norm1(x + attention(x)).""")
class NormBeforeAdding(EncoderLayerReference):
    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.norm1(self.attend(x, mask, padding))
        return x + self.norm2(self.feed(x))


@layer_mistake("""With norm_first=True you normalise the output once more. A pre-norm
layer leaves the residual stream as it is.""")
class PreNormWithNormAtTheEnd(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.norm2(super().pre(x, mask, padding))


@layer_mistake("""You normalise the output once more at the end, with both orders. A
pre-norm layer leaves the residual stream as it is, and a post-norm layer has normed it
already.""")
class NormAtTheEndAlways(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        return self.norm2(super().forward(src, src_mask, src_key_padding_mask))


@layer_mistake("""With norm_first=True only the attention's input is normalised. The
feed-forward reads norm2(x).""")
class SecondNormMissing(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(self.norm1(x), mask, padding)
        return x + self.feed(x)


@layer_mistake("""The attention's part of your post-norm layer is not normalised:
norm1(x + attention(x)) comes before the feed-forward.""")
class FirstNormMissing(EncoderLayerReference):
    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(x, mask, padding)
        return self.norm2(x + self.feed(x))


@layer_mistake("""norm1 and norm2 are never used.""")
class WithoutNorms(EncoderLayerReference):
    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = x + self.attend(x, mask, padding)
        return x + self.feed(x)

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.pre(x, mask, padding)


@layer_mistake("""The eps of your norms is too small. It is 1e-5, the default of
`nn.LayerNorm`.""")
class EpsTooSmall(EncoderLayerReference):
    eps = 1e-6


@layer_mistake("""Your norms are not layer norm: eps is added to the standard
deviation, and that is the unbiased one. Use `nn.LayerNorm(d_model)`.""")
class NormFromTheAnnotatedTransformer(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm1, self.norm2 = (OtherNorm(n) for n in (self.norm1, self.norm2))


class OtherNorm(nn.Module):
    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        normed = normalise(x, 1e-5, correction=1, outside=True)
        return normed * self.weight + self.bias


# The feed-forward.


@layer_mistake("""Your layer ignores `activation` and always uses ReLU.""")
class AlwaysRelu(EncoderLayerReference):
    def activate(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden)


@layer_mistake("""Your layer ignores `activation` and always uses GELU.""")
class AlwaysGelu(EncoderLayerReference):
    def activate(self, hidden: Tensor) -> Tensor:
        return F.gelu(hidden)


@layer_mistake("""Your GELU is the tanh approximation; the exact one is `F.gelu(x)`.""")
class TanhGelu(EncoderLayerReference):
    def activate(self, hidden: Tensor) -> Tensor:
        if self.activation == "gelu":
            return F.gelu(hidden, approximate="tanh")
        return F.relu(hidden)


@layer_mistake("""There is no activation between linear1 and linear2.""")
class WithoutActivation(EncoderLayerReference):
    def activate(self, hidden: Tensor) -> Tensor:
        return hidden


@layer_mistake("""The activation comes after linear2. It stands between the two.""")
class ActivationAtTheEnd(EncoderLayerReference):
    def feed(self, x: Tensor) -> Tensor:
        hidden = self.linear2(self.inside(self.linear1(x)))
        return self.after_feed_forward(self.activate(hidden))


# Dropout.


@layer_mistake("""Your layer has no dropout at all. In training it drops attention
weights, the attention's output, hidden units of the feed-forward, and its output.""")
class WithoutDropout(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.after_attention = self.inside = self.after_feed_forward = nn.Identity()
        self.self_attn.weight_dropout = nn.Identity()


@layer_mistake("""Dropout on the attention weights is missing. In training, drop
weights after the softmax and before the values are mixed.""")
class NoDropoutOnWeights(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.self_attn.weight_dropout = nn.Identity()


@layer_mistake("""Dropout after the attention is missing: drop its output before you
add the residual.""")
class NoDropoutAfterAttention(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.after_attention = nn.Identity()


@layer_mistake("""Dropout inside the feed-forward is missing: drop hidden units between
the activation and linear2.""")
class NoDropoutInside(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inside = nn.Identity()


@layer_mistake("""Dropout after the feed-forward is missing: drop linear2's output
before you add the residual.""")
class NoDropoutAfterFeedForward(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.after_feed_forward = nn.Identity()


@layer_mistake("""You drop only inside the sublayers (attention weights, hidden units).
Drop each sublayer's output as well, before the residual.""")
class NoDropoutAfterSublayers(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.after_attention = self.after_feed_forward = nn.Identity()


@layer_mistake("""You drop only the sublayers' outputs. Drop attention weights and the
hidden units of the feed-forward as well.""")
class OnlyDropoutAfterSublayers(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inside = self.self_attn.weight_dropout = nn.Identity()


@layer_mistake("""Your dropout is active in eval: the output changes from call to call.
Use `nn.Dropout` modules, or `training=self.training`.""")
class DropoutInEval(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        if self.inside.p == 0:
            return super().forward(src, src_mask, src_key_padding_mask)
        before = self.training
        self.train()
        output = super().forward(src, src_mask, src_key_padding_mask)
        self.train(before)
        return output


@layer_mistake("""Dropout on the attention weights is active in eval. With
`F.scaled_dot_product_attention` the rate has to be 0 there: `self.dropout if
self.training else 0.0`.""")
class WeightDropoutInEval(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        self.self_attn.weight_dropout.train()
        return super().forward(src, src_mask, src_key_padding_mask)


@layer_mistake("""You take `dropout` for the share that is kept. It is the share that
is set to zero.""")
class KeepsTheDroppedShare(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in self.modules():
            if isinstance(part, nn.Dropout) and part.p:
                part.p = 1 - part.p


@layer_mistake(
    """Your dropout has a rate of its own, 0.1. Use the argument `dropout`."""
)
class FixedRate(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in self.modules():
            if isinstance(part, nn.Dropout) and part.p:
                part.p = 0.1


@layer_mistake("""Dropout stands after the residual and zeroes the stream itself. Drop
the sublayer's output, then add: x + dropout(attention(x)).""")
class DropoutAfterTheResidual(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.self_attn(x, mask, padding)

    def feed(self, x: Tensor) -> Tensor:
        return self.linear2(self.inside(self.activate(self.linear1(x))))

    def pre(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.after_attention(x + self.attend(self.norm1(x), mask, padding))
        return self.after_feed_forward(x + self.feed(self.norm2(x)))

    def post(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        x = self.norm1(self.after_attention(x + self.attend(x, mask, padding)))
        return self.norm2(self.after_feed_forward(x + self.feed(x)))


class Unscaled(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.p) if self.training else x


@layer_mistake("""You drop each sublayer's output twice. Once is enough: of the asked
share that is kept, a second dropout takes the same share again.""")
class DropoutTwiceAfterSublayers(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return self.after_attention(super().attend(x, mask, padding))

    def feed(self, x: Tensor) -> Tensor:
        return self.after_feed_forward(super().feed(x))


@layer_mistake("""What your dropout keeps is not divided by 1 - p, so that the mean in
training is not the mean in eval. `nn.Dropout` and `F.dropout` do that.""")
class DropoutNotRescaled(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        p = self.inside.p
        self.after_attention, self.inside = Unscaled(p), Unscaled(p)
        self.after_feed_forward = Unscaled(p)
        self.self_attn.weight_dropout = Unscaled(p)


# The masks.


@layer_mistake("""Your layer does not pass `src_mask` on to the attention.""")
class SourceMaskNotPassedOn(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, None, padding)


@layer_mistake(
    """Your layer does not pass `src_key_padding_mask` on to the attention."""
)
class PaddingMaskNotPassedOn(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, mask, None)


@layer_mistake("""Your layer passes neither mask on to the attention.""")
class NoMaskPassedOn(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, None, None)


@layer_mistake("""With both masks given, you use `src_mask` alone. Combine them: a key
may be attended to if both masks allow it.""")
class PaddingLostWithBothMasks(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, mask, padding if mask is None else None)


@layer_mistake("""With both masks given, you use the padding mask alone. Combine them:
a key may be attended to if both masks allow it.""")
class SourceMaskLostWithBothMasks(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, mask if padding is None else None, padding)


@layer_mistake("""Your `src_mask` is inverted: True means that a query may attend to
the key.""")
class SourceMaskInverted(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, None if mask is None else ~mask, padding)


@layer_mistake("""Your `src_key_padding_mask` is inverted: True means that the token is
padding, which nobody attends to.""")
class PaddingMaskInverted(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(x, mask, None if padding is None else ~padding)


@layer_mistake("""Both masks are inverted: `src_mask` is True where a query may attend,
`src_key_padding_mask` is True where a token is padding.""")
class BothMasksInverted(EncoderLayerReference):
    def attend(self, x: Tensor, mask: Mask, padding: Mask) -> Tensor:
        return super().attend(
            x,
            None if mask is None else ~mask,
            None if padding is None else ~padding,
        )


@layer_mistake(
    """You combine the masks with "or": a key that one mask forbids is attended to if
the other allows it. Both have to allow it.""",
    attention=True,
)
class MasksJoinedByOr(SelfAttention):
    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        if attn_mask is None or padding is None:
            return super().allowed(scores, attn_mask, padding)
        return torch.zeros_like(scores).bool() | attn_mask | ~padding[:, None, None, :]


@layer_mistake(
    """Your padding mask closes the padded queries' rows. It belongs to the keys: shape
(B, 1, 1, N).""",
    attention=True,
)
class PaddingOnQueries(SelfAttention):
    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        allowed = super().allowed(scores, attn_mask, None)
        return allowed if padding is None else allowed & ~padding[:, None, :, None]


@layer_mistake(
    """You use the first item's padding mask for the whole batch.""", attention=True
)
class FirstItemsPadding(SelfAttention):
    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        first = None if padding is None else padding[:1].expand_as(padding)
        return super().allowed(scores, attn_mask, first)


@layer_mistake(
    """You use one head's mask for all heads. A mask (B, H, N, N) has one for each
head.""",
    attention=True,
)
class FirstHeadsMask(SelfAttention):
    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:, :1]
        return super().allowed(scores, attn_mask, padding)


@layer_mistake(
    """You transpose the mask: its rows belong to the queries, its columns to the
keys.""",
    attention=True,
)
class MaskTransposed(SelfAttention):
    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        turned = None if attn_mask is None else attn_mask.mT
        return super().allowed(scores, turned, padding)


@layer_mistake(
    """A row with nothing to attend to becomes NaN. Its weights should all be zero: set
them after the softmax, also so that the gradient stays finite.""",
    attention=True,
)
class EmptyRowIsNaN(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)


@layer_mistake(
    """A row with nothing to attend to gets equal weights. They should all be zero.
That is what a large negative number in place of -inf leads to.""",
    attention=True,
)
class EmptyRowIsUniform(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~allowed, lowest).softmax(dim=-1)


@layer_mistake(
    """You add -1e4 to forbidden scores. Large scores come through, and a row with
nothing to attend to gets weights. Fill with -inf.""",
    attention=True,
)
class MinusTenThousand(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return (scores - 1e4 * (~allowed).to(scores.dtype)).softmax(dim=-1)


@layer_mistake(
    """You multiply the scores by the mask. A score of 0 is no ban: it still gets a
weight. Fill with -inf before the softmax.""",
    attention=True,
)
class ScoresTimesMask(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return (scores * allowed).softmax(dim=-1)


@layer_mistake(
    """You mask after the softmax: the remaining weights no longer sum to 1. Fill the
forbidden scores with -inf before it.""",
    attention=True,
)
class MaskedAfterSoftmax(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return scores.softmax(dim=-1) * allowed


# The attention.


@layer_mistake(
    """Your attention scores are not divided by √head_dim.""", attention=True
)
class NotScaled(SelfAttention):
    def scale(self, q: Tensor) -> float:
        return 1.0


@layer_mistake(
    """Your scores are divided by √d_model. Each head's scores are sums over head_dim =
d_model / num_heads terms.""",
    attention=True,
)
class ScaledByModelWidth(SelfAttention):
    def scale(self, q: Tensor) -> float:
        return (q.shape[-1] * self.num_heads) ** -0.5


@layer_mistake(
    """Your attention ignores `num_heads`: it is one head of full width.""",
    attention=True,
)
class SingleHead(SelfAttention):
    def split(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)

    def allowed(self, scores: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:, :1]
        return super().allowed(scores, attn_mask, padding)


@layer_mistake(
    """You split the heads with one `view`: that mixes the tokens. Split the last
dimension, then transpose.""",
    attention=True,
)
class SplitWithoutTranspose(SelfAttention):
    def split(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.reshape(batch, self.num_heads, tokens, width // self.num_heads)


@layer_mistake(
    """You merge the heads without transposing back: the tokens are mixed.""",
    attention=True,
)
class MergeWithoutTranspose(SelfAttention):
    def merge(self, x: Tensor) -> Tensor:
        batch, heads, tokens, width = x.shape
        return x.reshape(batch, tokens, heads * width)


@layer_mistake(
    """Your softmax runs over the queries. It runs over the keys, dim=-1.""",
    attention=True,
)
class SoftmaxOverQueries(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return super().weigh(scores.mT, allowed.mT).mT


@layer_mistake(
    """You left out out_proj: the merged heads go through it at the end.""",
    attention=True,
)
class WithoutOutputProjection(SelfAttention):
    def forward(self, x: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        q, k, v = (self.split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        scores = q @ k.mT * self.scale(q)
        weights = self.weigh(scores, self.allowed(scores, attn_mask, padding))
        return self.merge(self.weight_dropout(weights) @ v)


@layer_mistake("""The values come from k_proj. Use v_proj for them.""", attention=True)
class ValuesFromKeys(SelfAttention):
    def forward(self, x: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        q, k = (self.split(p(x)) for p in (self.q_proj, self.k_proj))
        scores = q @ k.mT * self.scale(q)
        weights = self.weigh(scores, self.allowed(scores, attn_mask, padding))
        return self.out_proj(self.merge(self.weight_dropout(weights) @ k))


@layer_mistake(
    """Queries and keys have changed places: the scores are q @ kᵀ, a row for each
query.""",
    attention=True,
)
class QueriesAndKeysSwapped(SelfAttention):
    def forward(self, x: Tensor, attn_mask: Mask, padding: Mask) -> Tensor:
        q, k, v = (self.split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        scores = k @ q.mT * self.scale(q)
        weights = self.weigh(scores, self.allowed(scores, attn_mask, padding))
        return self.out_proj(self.merge(self.weight_dropout(weights) @ v))


# Parameters, robustness.


@layer_mistake("""You use `nn.MultiheadAttention`: its parameters are packed under
other names. Write `self_attn` as a small module with q_proj, k_proj, v_proj and
out_proj.""")
class UsesOfficialModule(nn.Module):
    def __init__(
        self,
        d_model,
        num_heads,
        dim_feedforward,
        dropout=0.0,
        activation="relu",
        norm_first=False,
    ):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d_model, num_heads, batch_first=True)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        x = self.norm1(src + self.self_attn(src, src, src)[0])
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


@layer_mistake("""The projections stand in the layer itself. Their names begin with
`self_attn`: put them into a module of that name.""")
class ProjectionsInTheLayer(EncoderLayerReference):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, getattr(self.self_attn, name))
        del self.self_attn


@layer_mistake(
    """Your projections have no biases. `nn.Linear` has them unless you switch them
off.""",
    attention=True,
)
class ProjectionsWithoutBias(SelfAttention):
    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__(d_model, num_heads, dropout)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(d_model, d_model, bias=False))


@layer_mistake("""linear1 and linear2 have no biases.""")
class FeedForwardWithoutBias(EncoderLayerReference):
    def __init__(self, d_model, num_heads, dim_feedforward, *args, **kwargs):
        super().__init__(d_model, num_heads, dim_feedforward, *args, **kwargs)
        self.linear1 = nn.Linear(d_model, dim_feedforward, bias=False)
        self.linear2 = nn.Linear(dim_feedforward, d_model, bias=False)


@layer_mistake("""Your forward returns a tuple. The layer returns the tensor alone.""")
class ReturnsTuple(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        return super().forward(src, src_mask, src_key_padding_mask), None


@layer_mistake("""You add the residual in place (`src += ...`): the caller's src is
changed. Write `x = x + ...`.""")
class ResidualInPlace(EncoderLayerReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        result = super().forward(src, src_mask, src_key_padding_mask)
        with torch.no_grad():
            src += 1e-3
        return result


@layer_mistake(
    """The attention's weights are cut off from the graph: no gradient reaches q_proj
and k_proj.""",
    attention=True,
)
class WeightsDetached(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return super().weigh(scores, allowed).detach()


@layer_mistake(
    """Your attention computes its softmax in float32: float64 loses half its
digits.""",
    attention=True,
)
class SoftmaxInFloat32(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return super().weigh(scores.float(), allowed).to(scores.dtype)


@layer_mistake(
    """You take `exp` of the scores as they are, which overflows: use softmax, or
subtract each row's maximum first.""",
    attention=True,
)
class NaiveExp(SelfAttention):
    def weigh(self, scores: Tensor, allowed: Tensor) -> Tensor:
        raised = scores.exp() * allowed
        total = raised.sum(dim=-1, keepdim=True)
        return raised / torch.where(total == 0, 1.0, total)


# -------------------------------------------------------------------------- Encoder

Encoder = Exercise("Encoder")

PROBE = "attention_course.learn.probes_08.VisibleMean"


@Encoder.cases
def _(draw: Draw) -> Iterator[Sample]:
    def probe(d: int, dtype: torch.dtype = torch.float64, frozen: tuple = ()) -> Build:
        state = draw.like({"mix.weight": (d, d), "mix.bias": (d,)})
        state = {n: p.to(dtype) for n, p in state.items()}
        return Build(PROBE, (d,), state=state, frozen=frozen)

    def norm(d: int, dtype: torch.dtype = torch.float64) -> Build:
        state = draw.like({"weight": (d,), "bias": (d,)})
        state = {n: p.to(dtype) for n, p in state.items()}
        return Build("torch.nn.LayerNorm", (d,), {"eps": 0.05}, state=state)

    def encoder(
        name: str,
        num_layers: int,
        src: Tensor,
        *,
        with_norm: str = "",
        dtype: torch.dtype = torch.float64,
        masks: tuple = (),
        **options: Any,
    ) -> Sample:
        d = src.shape[-1]
        shapes: dict[str, tuple[int, ...]] = {}
        for number in range(num_layers):
            shapes[f"layers.{number}.mix.weight"] = (d, d)
            shapes[f"layers.{number}.mix.bias"] = (d,)
        if with_norm:
            shapes |= {"norm.weight": (d,), "norm.bias": (d,)}
        init: tuple = (probe(d, dtype), num_layers)
        by_name = with_norm == "by name"
        if with_norm and not by_name:
            init = (*init, norm(d, dtype))
        return module(
            name,
            init=init,
            init_kwargs={"norm": norm(d, dtype)} if by_name else {},
            parameters={n: p.to(dtype) for n, p in draw.like(shapes).items()},
            args=(src.to(dtype), *masks),
            view="encoder",
            **options,
        )

    yield encoder("three layers", 3, draw.normal(2, 4, 5))
    yield encoder("same sizes again", 3, draw.normal(2, 4, 5))
    yield encoder("one layer", 1, draw.normal(3, 2, 4), note="num_layers=1")
    yield encoder(
        "two layers and a norm",
        2,
        draw.normal(3, 5, 6),
        with_norm="by position",
        note="with a norm at the end",
    )
    yield encoder(
        "three layers and a norm, in training",
        3,
        draw.normal(2, 6, 3),
        with_norm="by name",
        training=True,
        note="with a norm at the end",
    )
    yield encoder("one item, four layers", 4, draw.normal(1, 3, 6))
    yield encoder("one layer and a norm", 1, draw.normal(2, 1, 7), with_norm="by name")
    yield encoder(
        "src_mask",
        3,
        draw.normal(2, 5, 4),
        masks=(draw.mask(5, 5),),
        aspect="masks",
        note="src_mask (N, N), which every layer needs",
    )
    yield encoder(
        "src_mask for each item",
        2,
        draw.normal(3, 4, 5),
        kwargs={"src_mask": draw.mask(3, 1, 4, 4)},
        aspect="masks",
        note="src_mask (B, 1, N, N), which every layer needs",
    )
    yield encoder(
        "padding",
        3,
        draw.normal(3, 6, 4),
        kwargs={"src_key_padding_mask": draw.mask(3, 6)},
        with_norm="by position",
        aspect="masks",
        note="src_key_padding_mask, which every layer needs",
    )
    yield encoder(
        "both masks",
        3,
        draw.normal(2, 6, 5),
        masks=(draw.mask(2, 3, 6, 6, share=0.7), draw.mask(2, 6, share=0.4)),
        aspect="masks",
        note="both masks, which every layer needs",
    )
    yield encoder(
        "not contiguous",
        2,
        noncontiguous(draw.normal(3, 4, 5)),
        masks=(noncontiguous(draw.mask(4, 4)), noncontiguous(draw.mask(3, 4))),
        aspect="robustness",
        note="src and the masks are transposed views",
    )
    for dtype in (torch.float32, torch.float16):
        yield encoder(
            str(dtype).removeprefix("torch."),
            2,
            draw.normal(2, 3, 4),
            dtype=dtype,
            with_norm="by position",
            aspect="robustness",
            gradients=False,
        )
    for number, with_norm in ((3, False), (1, True)):
        layer = probe(4, frozen=("mix.bias",) if number > 1 else ())
        init = (layer, number, norm(4)) if with_norm else (layer, number)
        yield Sample(
            f"copies, {number}",
            "encoder_copies",
            {"init": init},
            gradients=False,
            note="each layer starts as a copy of the argument",
            view="encoder_copies",
        )


@Encoder.reference
class EncoderReference(nn.Module):
    def __init__(
        self, layer: nn.Module, num_layers: int, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        copies = [copy.deepcopy(layer) for _ in range(num_layers)]
        self.layers = nn.ModuleList(copies)
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=src_mask, src_key_padding_mask=src_key_padding_mask)
        return self.finish(x)

    def finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


@Encoder.alternative
class ByPosition(nn.Module):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__()
        self.layers = nn.Sequential(*(copy.deepcopy(layer) for _ in range(num_layers)))
        self.norm = nn.Identity() if norm is None else copy.deepcopy(norm)

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers:
            src = layer(src, src_mask, src_key_padding_mask)
        return self.norm(src)


@Encoder.alternative
class OneAfterTheOther(nn.Module):
    """Layers added one by one, only the masks that are there passed on."""

    def __init__(self, layer, num_layers, norm=None):
        super().__init__()
        self.layers = nn.ModuleDict()
        for number in range(num_layers):
            self.layers[str(number)] = copy.deepcopy(layer)
        if norm is not None:
            self.norm = norm

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        masks = {}
        if src_mask is not None:
            masks["src_mask"] = src_mask
        if src_key_padding_mask is not None:
            masks["src_key_padding_mask"] = src_key_padding_mask
        output = src
        for number in range(len(self.layers)):
            output = self.layers[str(number)](output, **masks)
        if hasattr(self, "norm"):
            output = self.norm(output)
        return output


@Encoder.alternative
class MasksJoinedOnce(EncoderReference):
    """Both masks become one before the first layer."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        if src_key_padding_mask is not None:
            keys = ~src_key_padding_mask[:, None, None, :]
            tokens = src.shape[1]
            if src_mask is None:
                src_mask = keys.expand(-1, 1, tokens, tokens)
            else:
                src_mask = src_mask & keys
        return super().forward(src, src_mask)


@Encoder.mistake("""You repeat one and the same layer (`[layer] * num_layers`): all
share one set of weights. Make a deep copy for each.""")
class OneLayerRepeated(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, 1, norm)
        self.layers = nn.ModuleList([copy.deepcopy(layer)] * num_layers)


@Encoder.mistake("""You repeat the layer that you were given (`[layer] * num_layers`):
all share its weights. Make a deep copy for each.""")
class ArgumentRepeated(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, 1, norm)
        self.layers = nn.ModuleList([layer] * num_layers)


@Encoder.mistake(
    """Your copies are shallow (`copy.copy`): they share the parameters of the
argument. Use `copy.deepcopy`.""",
    same_as="ArgumentRepeated",
)
class ShallowCopies(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, 1, norm)
        self.layers = nn.ModuleList([copy.copy(layer) for _ in range(num_layers)])


@Encoder.mistake("""Your first layer is the argument itself: training the encoder would
change it. Copy it too.""")
class ArgumentAsFirstLayer(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        self.layers[0] = layer


@Encoder.mistake("""Your layers do not start as copies of the argument: their
parameters hold other numbers. `copy.deepcopy(layer)` copies the numbers too.""")
class FreshParameters(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        with torch.no_grad():
            for parameter in self.layers.parameters():
                parameter.add_(torch.rand_like(parameter) + 0.1)


@Encoder.mistake("""Only your first layer starts as a copy of the argument: the others
hold other numbers.""")
class FreshParametersAfterFirst(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        with torch.no_grad():
            for parameter in self.layers[1:].parameters():
                parameter.add_(torch.rand_like(parameter) + 0.1)


@Encoder.mistake("""A parameter that was frozen in the argument (`requires_grad=False`)
is not frozen in your copies. A deep copy keeps that: leave it as it is.""")
class Unfrozen(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        self.layers.requires_grad_(True)


@Encoder.mistake("""Your copies cannot learn: all their parameters have
`requires_grad=False`.""")
class CopiesFrozen(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        self.layers.requires_grad_(False)


@Encoder.mistake("""Your copies share a part (`copy.copy`, or one part for all). Each
layer needs all its parameters to itself: `copy.deepcopy(layer)`.""")
class PartsShared(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        for other in self.layers:
            other.mix.weight = self.layers[0].mix.weight


@Encoder.mistake("""Your forward switches to training or to eval. Leave that to whoever
uses the encoder.""")
class ModeSwitched(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        self.train(not self.training)
        return super().forward(src, src_mask, src_key_padding_mask)


@Encoder.mistake("""Your encoder runs one layer too few.""")
class OneLayerTooFew(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers[:-1]:
            src = layer(src, src_mask, src_key_padding_mask)
        return self.finish(src)


@Encoder.mistake("""Your first layer never runs: start with layers.0.""")
class FirstLayerSkipped(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers[1:]:
            src = layer(src, src_mask, src_key_padding_mask)
        return self.finish(src)


@Encoder.mistake("""Your encoder makes a fresh norm. Use the norm that is given: it has
its own weight, bias and eps.""")
class FreshNorm(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        fresh = None if norm is None else nn.LayerNorm(norm.normalized_shape)
        super().__init__(layer, num_layers, fresh)


@Encoder.mistake("""Your encoder holds num_layers + 1 layers: the argument is only a
pattern, it is not one of them.""")
class OneLayerTooMany(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers + 1, norm)


@Encoder.mistake("""Your layers run in reverse order: layers.0 comes first.""")
class ReverseOrder(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in reversed(self.layers):
            src = layer(src, src_mask, src_key_padding_mask)
        return self.finish(src)


@Encoder.mistake("""Each of your layers reads `src` again, so that only the last one
counts. Each reads the output of the layer before.""")
class EveryLayerReadsSource(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers:
            x = layer(src, src_mask, src_key_padding_mask)
        return self.finish(x)


@Encoder.mistake("""Your encoder runs its first layer num_layers times. Run them all,
each once.""")
class FirstLayerAgainAndAgain(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for _ in self.layers:
            src = self.layers[0](src, src_mask, src_key_padding_mask)
        return self.finish(src)


@Encoder.mistake("""Your encoder adds a residual around each layer. The layers have
residuals of their own inside.""")
class ResidualAroundLayers(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers:
            src = src + layer(src, src_mask, src_key_padding_mask)
        return self.finish(src)


@Encoder.mistake("""The final norm is forgotten: if `norm` is given, the last layer's
output goes through it.""")
class FinalNormForgotten(EncoderReference):
    def finish(self, x: Tensor) -> Tensor:
        return x


@Encoder.mistake(
    """You do not keep `norm`: store it as `self.norm` and apply it at the end."""
)
class NormNotKept(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, None)


@Encoder.mistake(
    """You apply the norm after every layer. It comes once, after the last."""
)
class NormAfterEveryLayer(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for layer in self.layers:
            src = self.finish(layer(src, src_mask, src_key_padding_mask))
        return src


@Encoder.mistake(
    """You apply the norm to the input. It comes once, after the last layer."""
)
class NormAtTheStart(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        src = self.finish(src)
        for layer in self.layers:
            src = layer(src, src_mask, src_key_padding_mask)
        return src


@Encoder.mistake("""Your encoder makes a norm of its own when none is given. With
norm=None there is no norm at the end.""")
class NormByDefault(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        if norm is None:
            width = next(layer.parameters()).shape[-1]
            self.norm = nn.LayerNorm(width)


@Encoder.mistake("""Your encoder does not pass `src_mask` on to its layers.""")
class SourceMaskDropped(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        return super().forward(src, None, src_key_padding_mask)


@Encoder.mistake(
    """Your encoder does not pass `src_key_padding_mask` on to its layers."""
)
class PaddingDropped(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        return super().forward(src, src_mask, None)


@Encoder.mistake("""Your encoder passes neither mask on to its layers.""")
class MasksDropped(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        return super().forward(src)


@Encoder.mistake("""Only your first layer gets the masks. Every layer needs them:
attention mixes tokens in each.""")
class MasksForFirstLayerOnly(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for number, layer in enumerate(self.layers):
            masks = (src_mask, src_key_padding_mask) if number == 0 else ()
            src = layer(src, *masks)
        return self.finish(src)


@Encoder.mistake("""Only your last layer gets the masks. Every layer needs them:
attention mixes tokens in each.""")
class MasksForLastLayerOnly(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        for number, layer in enumerate(self.layers, start=1):
            last = number == len(self.layers)
            src = layer(src, *((src_mask, src_key_padding_mask) if last else ()))
        return self.finish(src)


@Encoder.mistake("""Your encoder inverts `src_mask` on its way. Hand it on as it is:
True may attend.""")
class SourceMaskTurnedAround(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        mask = None if src_mask is None else ~src_mask
        return super().forward(src, mask, src_key_padding_mask)


@Encoder.mistake("""Your encoder inverts `src_key_padding_mask` on its way. Hand it on
as it is: True is padding.""")
class PaddingTurnedAround(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        mask = None if src_key_padding_mask is None else ~src_key_padding_mask
        return super().forward(src, src_mask, mask)


@Encoder.mistake("""Your layers are in a plain Python list: their parameters are not
the encoder's, and an optimizer would miss them. Use `nn.ModuleList`.""")
class PlainList(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, 0, norm)
        del self.layers
        self.layers = [copy.deepcopy(layer) for _ in range(num_layers)]


@Encoder.mistake("""Your encoder registers the argument as a module of its own besides
the copies. Keep only the copies, in `self.layers`.""")
class ArgumentKeptToo(EncoderReference):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__(layer, num_layers, norm)
        self.layer = layer


@Encoder.mistake(
    """Your forward returns the outputs of all layers. Return the last one."""
)
class ReturnsAllOutputs(EncoderReference):
    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        outputs = []
        for layer in self.layers:
            src = layer(src, src_mask, src_key_padding_mask)
            outputs.append(src)
        return outputs


# ----------------------------------------------------------------- token_similarity

token_similarity = Exercise("token_similarity")


@token_similarity.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("a batch", draw.normal(2, 4, 7))
    yield call("same sizes again", draw.normal(2, 4, 7))
    yield call("more tokens than channels", draw.normal(3, 6, 2))
    yield call("one item", draw.normal(1, 5, 3))
    yield call("two tokens", draw.normal(4, 2, 5), note="two tokens: one pair")
    x = draw.normal(3, 1, 6).expand(3, 5, 6)
    yield call(
        "equal directions",
        x * draw.uniform(3, 5, 1, low=1.0, high=4.0),
        note="all tokens point the same way: the similarity is 1",
    )
    yield call(
        "very different lengths",
        draw.normal(2, 5, 4) * draw.uniform(2, 5, 1, low=1.0, high=7.0).exp(),
        note="tokens of very different length",
    )
    yield call(
        "short tokens",
        draw.normal(3, 4, 5) * draw.uniform(3, 4, 1, low=0.002, high=0.02),
        note="tokens much shorter than 1",
    )
    axes = torch.eye(6, dtype=torch.float64)[torch.tensor([[0, 3, 0, 5], [1, 2, 4, 3]])]
    yield call(
        "right angles",
        axes * draw.uniform(2, 4, 1, low=0.5, high=3.0),
        note="most tokens are orthogonal to each other",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(3, 4, 6)),
        aspect="robustness",
        note="x is a transposed view",
    )
    yield call(
        "float32", draw.normal(2, 3, 6).float(), aspect="robustness", gradients=False
    )
    yield call(
        "float16", draw.normal(3, 5, 4).half(), aspect="robustness", gradients=False
    )


def unit(x: Tensor, dim: int = -1) -> Tensor:
    return x / x.square().sum(dim=dim, keepdim=True).sqrt()


def cosines(x: Tensor) -> Tensor:
    u = unit(x)
    return torch.einsum("bnd,bmd->bnm", u, u)


@token_similarity.reference
def token_similarity_reference(x: Tensor) -> Tensor:
    tokens = x.shape[1]
    different = ~torch.eye(tokens, dtype=torch.bool, device=x.device)
    return cosines(x)[:, different].sum(dim=1) / (tokens * (tokens - 1))


@token_similarity.alternative
def from_the_sum_of_directions(x: Tensor) -> Tensor:
    tokens = x.shape[1]
    total = F.normalize(x, dim=-1).sum(dim=1)
    return (total.square().sum(dim=-1) - tokens) / (tokens * (tokens - 1))


@token_similarity.alternative
def upper_triangle(x: Tensor) -> Tensor:
    pairs = F.cosine_similarity(x[:, :, None, :], x[:, None, :, :], dim=-1)
    i, j = torch.triu_indices(x.shape[1], x.shape[1], offset=1, device=x.device)
    return pairs[:, i, j].mean(dim=-1)


@token_similarity.alternative
def pair_by_pair(x: Tensor) -> Tensor:
    number, result = x.shape[1], []
    for item in x:
        found = [
            torch.dot(item[i], item[j]) / (item[i].norm() * item[j].norm())
            for i in range(number)
            for j in range(i)
        ]
        result.append(torch.stack(found).mean())
    return torch.stack(result)


@token_similarity.alternative
def without_trace(x: Tensor) -> Tensor:
    u = x / x.norm(dim=-1, keepdim=True)
    gram = torch.bmm(u, u.transpose(1, 2))
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (gram.sum(dim=(1, 2)) - trace) / (x.size(1) ** 2 - x.size(1))


@token_similarity.mistake("""You count each token's similarity to itself, which is
always 1. Leave the diagonal out: only pairs of different tokens count.""")
def with_the_diagonal(x: Tensor) -> Tensor:
    return cosines(x).mean(dim=(1, 2))


@token_similarity.mistake("""You leave the diagonal out of the sum but still divide by
N². There are N(N - 1) pairs of different tokens.""")
def divided_by_all(x: Tensor) -> Tensor:
    return token_similarity_reference(x) * (x.shape[1] - 1) / x.shape[1]


@token_similarity.mistake("""You add up N(N - 1)/2 pairs but divide by N(N - 1): your
result is half of the mean.""")
def half_of_it(x: Tensor) -> Tensor:
    return token_similarity_reference(x) / 2


@token_similarity.mistake("""You add up both orders of each pair but divide by N(N -
1)/2: your result is twice the mean.""")
def twice_of_it(x: Tensor) -> Tensor:
    return token_similarity_reference(x) * 2


@token_similarity.mistake("""You add the cosines up. The mean is wanted: divide by the
number of pairs.""")
def sum_of_pairs(x: Tensor) -> Tensor:
    return token_similarity_reference(x) * x.shape[1] * (x.shape[1] - 1)


@token_similarity.mistake("""You take dot products. A cosine is the dot product of
directions: divide each token by its length first.""")
def dots_for_cosines(x: Tensor) -> Tensor:
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return (x @ x.mT)[:, different].mean(dim=1)


@token_similarity.mistake("""You divide by one of the two lengths only. A cosine is a·b
/ (|a| |b|).""")
def one_length_only(x: Tensor) -> Tensor:
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return (unit(x) @ x.mT)[:, different].mean(dim=1)


@token_similarity.mistake("""You divide by the squared lengths: the length is the root
of the sum of squares.""")
def squared_lengths(x: Tensor) -> Tensor:
    u = x / x.square().sum(dim=-1, keepdim=True)
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return (u @ u.mT)[:, different].mean(dim=1)


@token_similarity.mistake("""You normalise over the tokens, dim=1. The length of a
token is over its channels, dim=-1.""")
def normalised_over_tokens(x: Tensor) -> Tensor:
    u = unit(x, dim=1)
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return (u @ u.mT)[:, different].mean(dim=1)


@token_similarity.mistake("""You compare channels. The pairs are pairs of tokens: x @
xᵀ, not xᵀ @ x.""")
def pairs_of_channels(x: Tensor) -> Tensor:
    return token_similarity_reference(x.mT)


@token_similarity.mistake("""You subtract the mean of each token before you compare:
that is a correlation, not a cosine.""")
def correlation(x: Tensor) -> Tensor:
    return token_similarity_reference(x - x.mean(dim=-1, keepdim=True))


@token_similarity.mistake("""You leave out pairs whose cosine is 0. Orthogonal tokens
are a pair like any other: divide by N(N - 1).""")
def orthogonal_pairs_left_out(x: Tensor) -> Tensor:
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    pairs = cosines(x)[:, different]
    return pairs.sum(dim=1) / (pairs != 0).sum(dim=1).clamp(min=1)


@token_similarity.mistake("""You add a small number to the lengths, or do not let them
fall below a bound. A short token has a direction too: divide by its length alone.""")
def lengths_kept_large(x: Tensor) -> Tensor:
    u = x / x.norm(dim=-1, keepdim=True).clamp(min=0.1)
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return (u @ u.mT)[:, different].mean(dim=1)


@token_similarity.mistake("""You take absolute values. Opposite tokens have cosine -1,
and that counts as unlike.""")
def absolute_cosines(x: Tensor) -> Tensor:
    different = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return cosines(x).abs()[:, different].mean(dim=1)


@token_similarity.mistake("""You compare neighbours only. Every pair of different
tokens counts.""")
def neighbours_only(x: Tensor) -> Tensor:
    return F.cosine_similarity(x[:, 1:], x[:, :-1], dim=-1).mean(dim=-1)


@token_similarity.mistake("""You compare every token with the first one only. Every
pair of different tokens counts.""")
def first_token_only(x: Tensor) -> Tensor:
    return F.cosine_similarity(x[:, 1:], x[:, :1], dim=-1).mean(dim=-1)


@token_similarity.mistake("""You compare each token with the mean token. The mean over
pairs is wanted.""")
def against_the_mean(x: Tensor) -> Tensor:
    return F.cosine_similarity(x, x.mean(dim=1, keepdim=True), dim=-1).mean(dim=-1)


@token_similarity.mistake("""You return one number for the whole batch. Each item has a
similarity of its own: the result is (B,).""")
def mean_over_the_batch(x: Tensor) -> Tensor:
    return token_similarity_reference(x).mean()


@token_similarity.mistake("""You take the mean over dim=0 as well and give it to every
item: each item has a similarity of its own.""")
def batch_mean_repeated(x: Tensor) -> Tensor:
    return token_similarity_reference(x).mean().expand(x.shape[0])


@token_similarity.mistake("""You return one number for each token. Take the mean over
all pairs of an item: the result is (B,).""")
def one_for_each_token(x: Tensor) -> Tensor:
    tokens = x.shape[1]
    return (cosines(x).sum(dim=-1) - 1) / (tokens - 1)


@token_similarity.mistake("""You compare tokens of different items, because you flatten
the batch or transpose it.""")
def items_mixed(x: Tensor) -> Tensor:
    if x.shape[0] < 2:
        return token_similarity_reference(x)
    mixed = token_similarity_reference(x.transpose(0, 1).reshape(x.shape))
    return mixed.reshape(x.shape[0])


@token_similarity.mistake("""You return 1 minus the similarity: a distance.""")
def distance(x: Tensor) -> Tensor:
    return 1 - token_similarity_reference(x)


@token_similarity.mistake("""Your function normalises x in place (`x /= ...`). Whoever
called it still needs the old numbers.""")
def similarity_in_place(x: Tensor) -> Tensor:
    result = token_similarity_reference(x)
    x += 0.5
    return result


@token_similarity.mistake("""Your result is cut off from x (`detach`, `.item()`,
`no_grad`): no gradient can flow back.""")
def similarity_detached(x: Tensor) -> Tensor:
    return token_similarity_reference(x).detach()


@token_similarity.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than x.""")
def similarity_in_float32(x: Tensor) -> Tensor:
    return token_similarity_reference(x.float())

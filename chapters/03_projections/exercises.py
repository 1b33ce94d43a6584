"""Chapter 03: queries, keys and values; scores; what W_Q and W_K decide together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.author.exercise import (
    Draw,
    Exercise,
    Sample,
    call,
    noncontiguous,
)

# -------------------------------------------------------------------------- project

project = Exercise("project")


@project.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(b: int, n: int, d_model: int, d_k: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(b, n, d_model, scale=scale),
            draw.normal(d_k, d_model),
            draw.normal(d_k),
        )

    yield call("with a bias, all sizes different", *inputs(2, 4, 7, 5))
    yield call("same sizes again", *inputs(2, 4, 7, 5))
    yield call("without a bias", *inputs(3, 5, 4, 6)[:2], note="no bias is passed")
    yield call(
        "bias is None",
        *inputs(3, 2, 5, 4)[:2],
        kwargs={"bias": None},
        note="bias=None",
    )
    x, weight, bias = inputs(2, 3, 5, 8)
    yield call(
        "by name",
        kwargs={"bias": bias, "weight": weight, "x": x},
        note="the arguments are passed by name",
    )
    yield call(
        "a square weight",
        *inputs(2, 3, 4, 4),
        note="weight is square, so its transpose has the same shape",
    )
    yield call(
        "as many tokens as channels",
        *inputs(2, 5, 3, 5),
        note="there are as many tokens as channels in the result",
    )
    yield call(
        "as many items as channels",
        *inputs(4, 3, 6, 4),
        note="there are as many batch items as channels in the result",
    )
    yield call("one item", *inputs(1, 6, 3, 2), note="a batch of one")
    yield call("one token", *inputs(3, 1, 4, 2), note="one token for each item")
    yield call("one channel", *inputs(2, 3, 5, 1), note="d_k is 1")
    yield call("width one", *inputs(2, 4, 1, 3), note="d_model is 1")
    x, weight, _ = inputs(2, 5, 3, 4)
    yield call(
        "a bias of zeros",
        x,
        weight,
        torch.zeros(4, dtype=torch.float64),
        note="the bias is all zeros, and still gets a gradient",
    )
    yield call(
        "large numbers",
        *inputs(2, 3, 6, 5, scale=1e4),
        aspect="robustness",
        note="tokens of ten thousand and more",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(2, 4, 6, 3)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(2, 3, 6, 4)),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(2, 5, 4, 3)),
        aspect="robustness",
        gradients=False,
    )


@project.reference
def project_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


@project.alternative
def project_by_matmul(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result if bias is None else result + bias


@project.alternative
def project_by_einsum(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = torch.einsum("bnd,kd->bnk", x, weight)
    if bias is not None:
        out += bias
    return out


@project.alternative
def project_channel_by_channel(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    channels = [(x * row).sum(dim=-1) for row in weight]
    if bias is not None:
        channels = [c + b for c, b in zip(channels, bias, strict=True)]
    return torch.stack(channels, dim=2)


@project.alternative
def project_flat(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    flat = x.reshape(-1, x.size(-1))
    out = (
        torch.mm(flat, weight.t())
        if bias is None
        else torch.addmm(bias, flat, weight.t())
    )
    return out.view(x.size(0), x.size(1), -1)


@project.alternative
def project_by_linear_module(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return torch.func.functional_call(layer, state, (x,))


@project.mistake("""You multiply `x @ weight`. In nn.Linear's layout the weight is (d_k,
d_model), one row per output channel: transpose it first.""")
def weight_not_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    result = x @ weight
    return result if bias is None else result + bias


@project.mistake("""You give the weight the shape (d_model, d_k) with `reshape` or
`view`. That cuts its rows into other rows; a transpose (`weight.T`) swaps rows and
columns.""")
def weight_reshaped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.reshape(weight.shape[1], weight.shape[0])
    return result if bias is None else result + bias


@project.mistake("""You never add the bias. When there is one, it is added to every
token's projection.""")
def bias_dropped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x @ weight.T


@project.mistake("""You add the bias to x, before the product. It belongs to the d_k
output channels: add it after the product.""")
def bias_before_product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return (x if bias is None else x + bias) @ weight.T


@project.mistake("""You add the bias to the weight, before the product. There it is
multiplied with x; a bias is added to the product, whatever x is.""")
def bias_into_weight(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x @ (weight if bias is None else weight + bias[:, None]).T


@project.mistake("""You subtract the bias. It is added.""")
def bias_subtracted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result if bias is None else result - bias


@project.mistake("""You add the bias twice: once is enough. `F.linear(x, weight, bias)`
has added it already.""")
def bias_twice(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = F.linear(x, weight, bias)
    return result if bias is None else result + bias


@project.mistake("""You multiply the product by the bias. Add it.""")
def bias_multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result if bias is None else result * bias


@project.mistake("""Your bias runs along the tokens. It has one number for each of the
d_k channels, the last dimension: plain `+ bias` lines them up.""")
def bias_along_tokens(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result if bias is None else result + bias[:, None]


@project.mistake("""Your bias runs along the batch. It has one number for each of the
d_k channels, the last dimension: plain `+ bias` lines them up.""")
def bias_along_batch(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result if bias is None else result + bias[:, None, None]


@project.mistake("""Your function always needs a bias. Without one, or with `bias=None`,
it returns the product alone.""")
def bias_required(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x @ weight.T + bias


@project.mistake("""You ask `if bias:`, the truth of a whole tensor. Ask whether there
is one: `bias is not None`.""")
def truth_of_bias(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result + bias if bias else result


@project.mistake("""You test whether the bias is zero and leave it out if it is. A bias
of zeros is still a parameter: it needs its gradient. Ask `bias is not None`.""")
def zero_bias_skipped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = x @ weight.T
    return result + bias if bias is not None and bool(bias.any()) else result


@project.mistake("""You project the first batch item only. Every item has its own
tokens, and all of them go through the same weight.""")
def first_item_only(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x[0], weight, bias)


@project.mistake("""All batch items come out alike: you projected the first item's
tokens for the whole batch.""")
def first_item_for_all(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x[:1], weight, bias).expand(len(x), -1, -1)


@project.mistake("""You return (B, d_k, N): channels before tokens. Tokens stay in the
middle; the last dimension holds the channels.""")
def channels_before_tokens(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return F.linear(x, weight, bias).transpose(1, 2)


@project.mistake("""You average over the tokens. Each token is projected by itself.""")
def tokens_averaged(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x.mean(dim=1, keepdim=True), weight, bias).expand(
        -1, x.shape[1], -1
    )


@project.mistake("""You removed dimensions of size one (`squeeze`). A batch of one, or
one token, keeps its dimension.""")
def result_squeezed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias).squeeze()


@project.mistake("""You divide by √d_model. A projection is the plain product; what is
scaled later are the scores.""")
def projection_scaled(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x / x.shape[-1] ** 0.5, weight, bias)


@project.mistake("""You apply ReLU. A projection has no activation: queries, keys and
values may be negative.""")
def activated(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias).relu()


@project.mistake("""The weight is cut off from the graph (`detach`, `.data`,
`torch.tensor(...)`): no gradient reaches it, so it could never learn.""")
def weight_detached(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight.detach(), bias)


@project.mistake("""You copied weight and bias into a new layer. Its parameters are
copies: no gradient reaches the tensors that were passed. Compute with those
themselves.""")
def copied_into_layer(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight.detach(), None if bias is None else bias.detach())


@project.mistake("""The bias is cut off from the graph (`detach`, `.data` or
`torch.tensor(...)`): no gradient reaches it.""")
def bias_detached(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, None if bias is None else bias.detach())


@project.mistake("""x is cut off from the graph: no gradient reaches the tokens, and
nothing below this layer could learn.""")
def tokens_detached(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x.detach(), weight, bias)


@project.mistake("""Your result is cut off from everything (`detach`, `.data`, `no_grad`
or numpy): no gradient reaches x, weight or bias.""")
def projection_detached(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return F.linear(x, weight, bias).detach()


@project.mistake("""You compute in float32. float64 numbers lose half their digits, and
the result has another dtype than x.""")
def project_in_float32(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x.float(), weight.float(), None if bias is None else bias.float())


@project.mistake("""Your function changes `x` in place. Queries, keys and values are all
made from the same x: leave it as it was.""")
def project_in_place(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = F.linear(x, weight, bias)
    x -= 1
    return result


@project.mistake("""You use `view`, which needs numbers that lie side by side in memory:
`reshape`, or the product of the 3-dimensional tensor itself, works for any layout.""")
def project_by_view(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = F.linear(x.view(-1, x.shape[-1]), weight, bias)
    return out.view(*x.shape[:-1], -1)


# ----------------------------------------------------------------- attention_scores

attention_scores = Exercise("attention_scores")


@attention_scores.cases
def _(draw: Draw) -> Iterator[Sample]:
    def qk(b: int, nq: int, nk: int, d: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(b, nq, d, scale=scale),
            draw.normal(b, nk, d, scale=scale),
        )

    yield call("all sizes different", *qk(2, 4, 5, 7))
    yield call("same sizes again", *qk(2, 4, 5, 7))
    yield call("more queries than keys", *qk(3, 6, 2, 5))
    yield call("wide", *qk(2, 3, 5, 16), note="16 channels")
    yield call(
        "as many queries as keys",
        *qk(2, 4, 4, 3),
        note="as many queries as keys: a transposed result has the same shape",
    )
    yield call(
        "square keys",
        *qk(2, 3, 4, 4),
        note="as many keys as channels: `query @ key` runs, and is wrong",
    )
    yield call(
        "all sizes equal",
        *qk(3, 3, 3, 3),
        note="batch, queries, keys and channels are all 3: every mix-up runs",
    )
    yield call("one item", *qk(1, 5, 3, 2), note="a batch of one")
    yield call("one query", *qk(2, 1, 4, 3), note="one query for each item")
    yield call("one key", *qk(2, 3, 1, 5), note="one key for each item")
    yield call("one channel", *qk(3, 2, 4, 1), note="d_k is 1")
    query, key = qk(2, 3, 6, 5)
    yield call(
        "by name",
        kwargs={"key": key, "query": query},
        note="the arguments are passed by name",
    )
    yield call(
        "large numbers",
        *qk(2, 3, 4, 6, scale=100.0),
        aspect="robustness",
        note="scores of many thousand",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in qk(2, 3, 6, 5)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in qk(2, 3, 5, 4)),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in qk(2, 5, 3, 4)),
        aspect="robustness",
        gradients=False,
    )


@attention_scores.reference
def scores_reference(query: Tensor, key: Tensor) -> Tensor:
    return torch.einsum("bqd,bkd->bqk", query, key)


@attention_scores.alternative
def scores_by_matmul(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(-2, -1)


@attention_scores.alternative
def scores_by_bmm(query: Tensor, key: Tensor) -> Tensor:
    return torch.bmm(query, key.permute(0, 2, 1).contiguous())


@attention_scores.alternative
def scores_by_broadcasting(query: Tensor, key: Tensor) -> Tensor:
    return (query.unsqueeze(2) * key.unsqueeze(1)).sum(dim=3)


@attention_scores.alternative
def scores_item_by_item(query: Tensor, key: Tensor) -> Tensor:
    return torch.stack([q.mm(k.t()) for q, k in zip(query, key, strict=True)])


@attention_scores.alternative
def scores_dot_by_dot(query: Tensor, key: Tensor) -> Tensor:
    batch, num_queries, _ = query.shape
    scores = torch.zeros(batch, num_queries, key.shape[1]).to(query)
    for b in range(batch):
        for i in range(num_queries):
            for j in range(key.shape[1]):
                scores[b, i, j] = torch.dot(query[b, i], key[b, j])
    return scores


@attention_scores.alternative
def scores_the_other_way_round(query: Tensor, key: Tensor) -> Tensor:
    return (key @ query.mT).mT


@attention_scores.mistake("""Your scores are divided by √d_k already. That is the next
chapter's step: here the plain dot products are wanted.""")
def scaled_already(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key) / query.shape[-1] ** 0.5


@attention_scores.mistake("""You divide by d_k, or take the mean over the channels. A
dot product is the sum.""")
def mean_over_channels(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key) / query.shape[-1]


@attention_scores.mistake("""You return the weights, after softmax. Scores are the dot
products before it: any real numbers, rows that sum to anything.""")
def softmaxed(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key).softmax(dim=-1)


@attention_scores.mistake("""You return scaled softmax weights. Scores are the plain dot
products, without √d_k and without softmax.""")
def scaled_and_softmaxed(query: Tensor, key: Tensor) -> Tensor:
    return scaled_already(query, key).softmax(dim=-1)


@attention_scores.mistake("""You subtract each row's maximum. That is a step inside
softmax, which leaves the weights as they are; the scores themselves are the plain dot
products.""")
def shifted_by_maximum(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_reference(query, key)
    return scores - scores.amax(dim=-1, keepdim=True)


@attention_scores.mistake("""Your scores have a row for each key. A row belongs to a
query: the shape is (B, Nq, Nk), query first.""")
def rows_are_keys(query: Tensor, key: Tensor) -> Tensor:
    return key @ query.mT


@attention_scores.mistake("""You multiply `query @ key` without a transpose. Dot
products run over the channels of both: `key.transpose(-2, -1)`.""")
def key_not_transposed(query: Tensor, key: Tensor) -> Tensor:
    return query @ key


@attention_scores.mistake("""You turn the keys into (B, d_k, Nk) with `reshape` or
`view`. That keeps the numbers in reading order and mixes keys; `transpose` is what you
want.""")
def key_reshaped(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.reshape(key.shape[0], key.shape[2], key.shape[1])


@attention_scores.mistake("""You use `key.T`, which reverses all dimensions, the batch
too. Swap the last two alone: `key.transpose(-2, -1)` or `key.mT`.""")
def all_dimensions_reversed(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.permute(2, 1, 0)


@attention_scores.mistake("""You use `transpose(0, 1)`, which swaps batch and keys. The
last two dimensions have to change places: `transpose(-2, -1)`.""")
def batch_and_keys_swapped(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(0, 1)


@attention_scores.mistake("""You multiply channel by channel (`query * key`). A score is
one number for each pair: multiply and sum over the channels.""")
def elementwise(query: Tensor, key: Tensor) -> Tensor:
    return query * key


@attention_scores.mistake("""You compare query i with key i alone. Every query meets
every key: Nq times Nk scores.""")
def matching_places_only(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(dim=-1)


@attention_scores.mistake("""Every item of the batch is matched with the first item's
keys. Each item has its own.""")
def first_items_keys(query: Tensor, key: Tensor) -> Tensor:
    return query @ key[0].T


@attention_scores.mistake("""Every item of the batch asks with the first item's queries.
Each item has its own.""")
def first_items_queries(query: Tensor, key: Tensor) -> Tensor:
    return query[0] @ key.mT


@attention_scores.mistake("""Your batch items are mixed: a score sums over several
items. Keep the batch index on both sides and in the result: "bqd,bkd->bqk".""")
def items_mixed(query: Tensor, key: Tensor) -> Tensor:
    return (
        scores_reference(query, key).sum(dim=0, keepdim=True).expand(len(query), -1, -1)
    )


@attention_scores.mistake("""You return the first batch item's scores only.""")
def first_item_scores(query: Tensor, key: Tensor) -> Tensor:
    return query[0] @ key[0].T


@attention_scores.mistake("""You match the queries with themselves. A query meets the
keys: the second factor is `key`.""")
def queries_with_queries(query: Tensor, key: Tensor) -> Tensor:
    return query @ query.mT


@attention_scores.mistake("""You match the keys with themselves. The queries ask: the
first factor is `query`.""")
def keys_with_keys(query: Tensor, key: Tensor) -> Tensor:
    return key @ key.mT


@attention_scores.mistake("""You normalise the vectors to length 1 (cosine similarity).
The score is the plain dot product: long vectors count for more.""")
def cosine(query: Tensor, key: Tensor) -> Tensor:
    return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT


@attention_scores.mistake("""You measure distances. A score is a dot product: large for
vectors that point the same way.""")
def distances(query: Tensor, key: Tensor) -> Tensor:
    return (query[:, :, None] - key[:, None]).square().sum(dim=-1).neg()


@attention_scores.mistake("""You take absolute values. A negative score is information:
these two point in opposite directions.""")
def absolute(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key).abs()


@attention_scores.mistake("""You hide later keys with a causal mask. No mask is asked
for: every query meets every key.""")
def causally_masked(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_reference(query, key)
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -math.inf)


@attention_scores.mistake("""You removed dimensions of size one (`squeeze`). A batch of
one, one query or one key keeps its dimension.""")
def scores_squeezed(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key).squeeze()


@attention_scores.mistake("""The keys are cut off from the graph: no gradient reaches
them.""")
def key_detached(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key.detach())


@attention_scores.mistake("""The queries are cut off from the graph: no gradient reaches
them.""")
def query_detached(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query.detach(), key)


@attention_scores.mistake("""Your scores are cut off from the graph (`detach`, `.data`,
`.item()`, `torch.tensor(...)` or numpy): no gradient reaches query and key.""")
def scores_detached(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query, key).detach()


@attention_scores.mistake("""You compute in float32, or fill a tensor made without a
dtype. float64 inputs lose half their digits: take over the dtype of query.""")
def scores_in_float32(query: Tensor, key: Tensor) -> Tensor:
    return scores_reference(query.float(), key.float())


@attention_scores.mistake("""Your function changes `query` in place. Whoever called it
still needs it: make a new tensor.""")
def query_in_place(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_reference(query, key)
    query *= 0.5
    return scores


# --------------------------------------------------------------------- cross_scores

cross_scores = Exercise("cross_scores")


@cross_scores.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(
        b: int, nq: int, nk: int, d_model: int, d_k: int, scale: float = 1.0
    ) -> tuple:
        return (
            draw.normal(b, nq, d_model, scale=scale),
            draw.normal(b, nk, d_model, scale=scale),
            draw.normal(d_model, d_k, scale=d_model**-0.5),
            draw.normal(d_model, d_k, scale=d_model**-0.5),
        )

    yield call("all sizes different", *inputs(2, 4, 5, 7, 3))
    yield call("same sizes again", *inputs(2, 4, 5, 7, 3))
    yield call("more queries than keys", *inputs(3, 6, 2, 4, 5))
    yield call(
        "as many queries as keys",
        *inputs(2, 4, 4, 6, 3),
        note="x and context have the same shape, and are different sequences",
    )
    yield call(
        "square weights",
        *inputs(2, 3, 5, 4, 4),
        note="the weights are square, so their transposes have the same shape",
    )
    yield call(
        "all sizes equal",
        *inputs(3, 3, 3, 3, 3),
        note="all sizes are 3: every mix-up runs",
    )
    yield call("one item", *inputs(1, 5, 3, 2, 4), note="a batch of one")
    yield call("one query", *inputs(2, 1, 4, 5, 3), note="one query for each item")
    yield call("one key", *inputs(3, 5, 1, 4, 2), note="one key for each item")
    yield call("one channel", *inputs(2, 3, 4, 5, 1), note="d_k is 1")
    x, _, w_q, w_k = inputs(2, 4, 4, 5, 3)
    yield call(
        "self-attention",
        x,
        x.clone(),
        w_q,
        w_k,
        note="context holds the same tokens as x: self-attention",
    )
    x, context, w_q, w_k = inputs(2, 3, 6, 5, 4)
    yield call(
        "by name",
        kwargs={"w_k": w_k, "w_q": w_q, "context": context, "x": x},
        note="the arguments are passed by name",
    )
    yield call(
        "large numbers",
        *inputs(2, 3, 4, 6, 5, scale=100.0),
        aspect="robustness",
        note="scores of many thousand",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(2, 3, 6, 5, 4)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(2, 3, 5, 4, 6)),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(2, 5, 3, 4, 2)),
        aspect="robustness",
        gradients=False,
    )


@cross_scores.reference
def cross_reference(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    query = torch.einsum("bqm,md->bqd", x, w_q)
    key = torch.einsum("bkm,md->bkd", context, w_k)
    return torch.einsum("bqd,bkd->bqk", query, key)


@cross_scores.alternative
def cross_by_matmul(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return (x @ w_q) @ (context @ w_k).transpose(1, 2)


@cross_scores.alternative
def cross_through_circuit(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return x @ (w_q @ w_k.T) @ context.mT


@cross_scores.alternative
def cross_in_one_einsum(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return torch.einsum("bqm,md,nd,bkn->bqk", x, w_q, w_k, context)


@cross_scores.alternative
def cross_item_by_item(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    rows = []
    for tokens, others in zip(x, context, strict=True):
        keys = F.linear(others, w_k.t())
        rows.append(torch.stack([keys.mv(token @ w_q) for token in tokens]))
    return torch.stack(rows)


@cross_scores.alternative
def cross_by_broadcasting(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    q, k = torch.matmul(x, w_q), torch.matmul(context, w_k)
    return (q[:, :, None, :] * k[:, None, :, :]).sum(-1)


@cross_scores.mistake("""Your keys come from x. In cross-attention x asks and the
context answers: the keys are `context @ w_k`.""")
def keys_from_x(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, x, w_q, w_k)


@cross_scores.mistake("""Your queries come from the context. x asks: the queries are `x
@ w_q`.""")
def queries_from_context(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(context, context, w_q, w_k)


@cross_scores.mistake("""x and context have changed places: the context asks and x
answers. Rows belong to the tokens of x, columns to those of the context.""")
def roles_swapped(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(context, x, w_q, w_k)


@cross_scores.mistake("""The roles are right but the result is transposed: a row for
each key. A row belongs to a query, a token of x.""")
def cross_transposed(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_k).mT


@cross_scores.mistake("""You project both with w_q. The keys have a matrix of their own:
w_k.""")
def w_q_used_twice(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_q)


@cross_scores.mistake("""You project both with w_k. The queries have a matrix of their
own: w_q.""")
def w_k_used_twice(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_k, w_k)


@cross_scores.mistake("""The two matrices have changed places: x goes through w_q, the
context through w_k.""")
def matrices_swapped(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_k, w_q)


@cross_scores.mistake("""You transpose the weights. In this exercise they are (d_model,
d_k), the paper's layout: `x @ w_q` as it is. nn.Linear's layout is the other one.""")
def linear_layout(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return (x @ w_q.T) @ (context @ w_k.T).mT


@cross_scores.mistake("""You compare the tokens as they are, without w_q and w_k.""")
def not_projected(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return x @ context.mT


@cross_scores.mistake("""The context is not projected: the keys are `context @ w_k`.""")
def context_not_projected(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return (x @ w_q) @ context.mT


@cross_scores.mistake("""Your scores are divided by √d_k already. Here the plain dot
products are wanted.""")
def cross_scaled_already(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(x, context, w_q, w_k) / w_q.shape[-1] ** 0.5


@cross_scores.mistake(
    """You divide by √d_model. Here the plain dot products are wanted."""
)
def cross_scaled_by_width(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(x, context, w_q, w_k) / x.shape[-1] ** 0.5


@cross_scores.mistake("""You return weights, after softmax. Scores are the dot products
before it.""")
def cross_softmaxed(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_k).softmax(dim=-1)


@cross_scores.mistake("""You return weights: scaled, then softmax. Scores are the plain
dot products.""")
def cross_attention_weights(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_scaled_already(x, context, w_q, w_k).softmax(dim=-1)


@cross_scores.mistake("""Every item of the batch looks at the first item's context. Each
item has its own.""")
def cross_first_items_keys(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(x, context[:1].expand_as(context), w_q, w_k)


@cross_scores.mistake("""Your batch items are mixed: a score sums over several items.
Keep the batch index on both sides and in the result.""")
def cross_items_mixed(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    scores = cross_reference(x, context, w_q, w_k)
    return scores.sum(dim=0, keepdim=True).expand_as(scores)


@cross_scores.mistake("""You turn the keys into (B, d_k, Nk) with `reshape` or `view`,
which mixes keys: `transpose(-2, -1)` is what you want.""")
def cross_keys_reshaped(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    key = context @ w_k
    return (x @ w_q) @ key.reshape(key.shape[0], key.shape[2], key.shape[1])


@cross_scores.mistake("""The keys are not transposed: dot products run over the channels
of both, `key.transpose(-2, -1)`.""")
def cross_keys_not_transposed(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return (x @ w_q) @ (context @ w_k)


@cross_scores.mistake("""You use `.T` on a batch of keys: it reverses all dimensions.
Swap the last two alone: `key.transpose(-2, -1)` or `key.mT`.""")
def cross_keys_fully_transposed(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return (x @ w_q) @ (context @ w_k).permute(2, 1, 0)


@cross_scores.mistake("""You removed dimensions of size one (`squeeze`). A batch of one,
one query or one key keeps its dimension.""")
def cross_squeezed(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_k).squeeze()


@cross_scores.mistake("""The weights are cut off from the graph (`detach` or `.data`):
no gradient reaches w_q and w_k, so they could never learn.""")
def cross_weights_detached(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(x, context, w_q.detach(), w_k.detach())


@cross_scores.mistake("""The context is cut off from the graph: no gradient reaches it.
What made the context, an encoder for example, has to learn too.""")
def context_detached(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context.detach(), w_q, w_k)


@cross_scores.mistake("""The keys are cut off from the graph: no gradient reaches the
context and w_k.""")
def cross_keys_detached(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context.detach(), w_q, w_k.detach())


@cross_scores.mistake("""The queries are cut off from the graph: no gradient reaches x
and w_q.""")
def cross_queries_detached(
    x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor
) -> Tensor:
    return cross_reference(x.detach(), context, w_q.detach(), w_k)


@cross_scores.mistake("""w_q is cut off from the graph (`detach` or `.data`): no
gradient reaches it, so the model could never learn what to ask.""")
def cross_w_q_detached(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q.detach(), w_k)


@cross_scores.mistake("""w_k is cut off from the graph (`detach` or `.data`): no
gradient reaches it, so the model could never learn what to answer to.""")
def cross_w_k_detached(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_k.detach())


@cross_scores.mistake("""Your scores are cut off from the graph (`detach`, `.data`,
`no_grad` or numpy): no gradient reaches any input.""")
def cross_detached(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x, context, w_q, w_k).detach()


@cross_scores.mistake("""You compute in float32. float64 inputs lose half their digits,
and the result has another dtype than x.""")
def cross_in_float32(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    return cross_reference(x.float(), context.float(), w_q.float(), w_k.float())


@cross_scores.mistake("""Your function changes `context` in place. The values will be
made from the same context: leave it as it was.""")
def context_in_place(x: Tensor, context: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    scores = cross_reference(x, context, w_q, w_k)
    context -= 1
    return scores


# ----------------------------------------------------------------------- qk_circuit

qk_circuit = Exercise("qk_circuit")


@qk_circuit.cases
def _(draw: Draw) -> Iterator[Sample]:
    def weights(d_model: int, d_k: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(d_model, d_k, scale=scale),
            draw.normal(d_model, d_k, scale=scale),
        )

    yield call("narrow heads", *weights(7, 3))
    yield call("same sizes again", *weights(7, 3))
    yield call("wide heads", *weights(4, 6), note="d_k is larger than d_model")
    yield call(
        "square weights",
        *weights(5, 5),
        note="the weights are square, so every order of the product runs",
    )
    yield call("one channel", *weights(6, 1), note="d_k is 1")
    yield call("width one", *weights(1, 4), note="d_model is 1")
    w_q, w_k = weights(5, 2)
    yield call(
        "by name",
        kwargs={"w_k": w_k, "w_q": w_q},
        note="the arguments are passed by name",
    )
    yield call(
        "large numbers",
        *weights(6, 4, scale=100.0),
        aspect="robustness",
        note="weights of several hundred",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in weights(6, 2)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in weights(8, 3)),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in weights(5, 4)),
        aspect="robustness",
        gradients=False,
    )


@qk_circuit.reference
def circuit_reference(w_q: Tensor, w_k: Tensor) -> Tensor:
    return torch.einsum("id,jd->ij", w_q, w_k)


@qk_circuit.alternative
def circuit_by_matmul(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q @ w_k.T


@qk_circuit.alternative
def circuit_by_linear(w_q: Tensor, w_k: Tensor) -> Tensor:
    return F.linear(w_q, w_k)


@qk_circuit.alternative
def circuit_as_sum_of_outer_products(w_q: Tensor, w_k: Tensor) -> Tensor:
    total = w_q.new_zeros(len(w_q), len(w_k))
    for column_q, column_k in zip(w_q.unbind(1), w_k.unbind(1), strict=True):
        total = total + torch.outer(column_q, column_k)
    return total


@qk_circuit.alternative
def circuit_from_unit_tokens(w_q: Tensor, w_k: Tensor) -> Tensor:
    units = torch.eye(w_q.shape[0], dtype=w_q.dtype, device=w_q.device)
    return (units @ w_q) @ (units @ w_k).transpose(0, 1)


@qk_circuit.alternative
def circuit_row_by_row(w_q: Tensor, w_k: Tensor) -> Tensor:
    return torch.stack([(row * w_k).sum(dim=1) for row in w_q])


@qk_circuit.mistake("""Your matrix is transposed: it gives the scores with queries and
keys swapped. In x M xᵀ the left x asks, so w_q stands on the left.""")
def circuit_transposed(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_k @ w_q.T


@qk_circuit.mistake("""You compute w_qᵀ w_k, a (d_k, d_k) matrix. M stands between two
tokens, so it is (d_model, d_model): transpose the other one.""")
def inner_product(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q.T @ w_k


@qk_circuit.mistake("""You compute w_kᵀ w_q, a (d_k, d_k) matrix. M stands between two
tokens, so it is (d_model, d_model): w_q on the left, and w_k transposed.""")
def inner_product_reversed(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_k.T @ w_q


@qk_circuit.mistake("""You multiply w_q and w_k without a transpose. The scores are (x
w_q)(x w_k)ᵀ, and (x w_k)ᵀ = w_kᵀ xᵀ.""")
def circuit_without_transpose(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q @ w_k


@qk_circuit.mistake("""You turn w_k into (d_k, d_model) with `reshape` or `view`. That
cuts its rows into other rows; `w_k.T` swaps rows and columns.""")
def circuit_reshaped(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q @ w_k.reshape(w_k.shape[1], w_k.shape[0])


@qk_circuit.mistake("""You use w_q twice. Then M is symmetric: a would look at b exactly
as b at a. The right factor is w_kᵀ.""")
def circuit_of_w_q_alone(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q @ w_q.T


@qk_circuit.mistake("""You use w_k twice. Then M is symmetric: a would look at b exactly
as b at a. The left factor is w_q.""")
def circuit_of_w_k_alone(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_k @ w_k.T


@qk_circuit.mistake("""You made M symmetric. It need not be: a may look at b while b
does not look at a.""")
def symmetrised(w_q: Tensor, w_k: Tensor) -> Tensor:
    circuit = circuit_reference(w_q, w_k)
    return (circuit + circuit.T) / 2


@qk_circuit.mistake("""You divide by √d_k. x M xᵀ has to give the unscaled scores.""")
def circuit_scaled(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q, w_k) / w_q.shape[1] ** 0.5


@qk_circuit.mistake(
    """You divide by √d_model. x M xᵀ has to give the unscaled scores."""
)
def circuit_scaled_by_width(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q, w_k) / w_q.shape[0] ** 0.5


@qk_circuit.mistake("""You average over the d_k channels. They are summed.""")
def circuit_averaged(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q, w_k) / w_q.shape[1]


@qk_circuit.mistake("""You multiply the matrices entry by entry. M pairs every row of
w_q with every row of w_k: a matrix product.""")
def circuit_elementwise(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q * w_k


@qk_circuit.mistake("""You apply softmax to M. Softmax belongs to the scores, once the
tokens are there.""")
def circuit_softmaxed(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q, w_k).softmax(dim=-1)


@qk_circuit.mistake("""You keep only the diagonal, or sum row by row. M has an entry for
every pair of token channels.""")
def circuit_diagonal(w_q: Tensor, w_k: Tensor) -> Tensor:
    return torch.diag((w_q * w_k).sum(dim=1))


@qk_circuit.mistake("""w_k is cut off from the graph: no gradient reaches it.""")
def w_k_detached(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q @ w_k.detach().T


@qk_circuit.mistake("""w_q is cut off from the graph: no gradient reaches it.""")
def w_q_detached(w_q: Tensor, w_k: Tensor) -> Tensor:
    return w_q.detach() @ w_k.T


@qk_circuit.mistake("""Your matrix is cut off from w_q and w_k (`detach`, `.data`,
`.item()` or numpy): no gradient reaches them.""")
def circuit_detached(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q, w_k).detach()


@qk_circuit.mistake("""You compute in float32, or fill a tensor made without a dtype.
float64 inputs lose half their digits: take over the dtype of w_q.""")
def circuit_in_float32(w_q: Tensor, w_k: Tensor) -> Tensor:
    return circuit_reference(w_q.float(), w_k.float())


@qk_circuit.mistake("""Your function changes its input in place. These are the layer's
parameters: leave them as they were.""")
def circuit_in_place(w_q: Tensor, w_k: Tensor) -> Tensor:
    circuit = circuit_reference(w_q, w_k)
    w_q *= 0.5
    return circuit


# ------------------------------------------------------------------------ design_qk

design_qk = Exercise("design_qk")

COLOURS = SHAPES = 3


def _token(colour: int, shape: int) -> Tensor:
    token = torch.zeros(COLOURS + SHAPES, dtype=torch.float64)
    token[colour] = token[COLOURS + shape] = 1
    return token


def _scene(draw: Draw, kinds: list[tuple[int, int]]) -> Tensor:
    """Tokens of these kinds, (colour, shape), in random order."""
    return torch.stack([_token(*kind) for kind in kinds])[draw.permutation(len(kinds))]


def _scenes(name: str, scenes: list[Tensor], note: str) -> Sample:
    arguments = {"args": (), "kwargs": {}, "outputs": ["w_q", "w_k"], "scenes": scenes}
    return Sample(
        name, "function", arguments, note=note, gradients=False, view="own_colour"
    )


@design_qk.cases
def _(draw: Draw) -> Iterator[Sample]:
    every_kind = [(c, s) for c in range(COLOURS) for s in range(SHAPES)]
    yield _scenes(
        "every kind of token",
        [_scene(draw, every_kind)],
        "one token of each colour and shape",
    )
    lonely = [_scene(draw, [(0, a), (1, b), (2, (a + b) % 3)]) for a, b in every_kind]
    yield _scenes("lonely tokens", lonely, "three tokens, one of each colour")
    crowds = []
    for number in (4, 5, 7, 8, 11):
        colours, shapes = draw.integers(0, 3, number), draw.integers(0, 3, number)
        colours[0], colours[1] = 0, 1 + draw.integer(0, 2)
        pairs = zip(colours.tolist(), shapes.tolist(), strict=True)
        crowds.append(_scene(draw, list(pairs)))
    yield _scenes("tokens drawn at random", crowds, "tokens drawn at random")


def _select(*channels: int) -> Tensor:
    """One column for each of these token channels: (6, number of channels)."""
    return torch.eye(COLOURS + SHAPES, dtype=torch.float64)[:, list(channels)]


@design_qk.reference
def design_reference() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), _select(0, 1, 2)


@design_qk.alternative
def three_directions_in_a_plane() -> tuple[Tensor, Tensor]:
    angles = torch.arange(3) * 2 * math.pi / 3
    weight = torch.zeros(6, 2)
    weight[:3] = torch.stack([angles.cos(), angles.sin()], dim=1)
    return weight, weight


@design_qk.alternative
def itself_first() -> tuple[Tensor, Tensor]:
    return torch.eye(6), 8 * torch.eye(6)  # a token is of its own colour, too


@design_qk.alternative
def turned_parameters() -> tuple[nn.Parameter, nn.Parameter]:
    turn = torch.tensor([[2.0, 1, 0], [0, 1, 3], [1, 0, 1]], dtype=torch.float64)
    w_q = _select(0, 1, 2) @ turn
    w_k = _select(0, 1, 2) @ torch.linalg.inv(turn).T
    return nn.Parameter(w_q), nn.Parameter(w_k)


@design_qk.alternative
def against_other_colours() -> list[Tensor]:
    w_k = torch.full((6, 3), -1, dtype=torch.int64)
    w_k[3:] = 0
    w_k.fill_diagonal_(2)
    return [_select(0, 1, 2).long(), w_k]


@design_qk.alternative
def other_shapes_before_itself() -> tuple[Tensor, Tensor]:
    w_q = torch.diag(torch.tensor([5.0, 5, 5, -1, -1, -1]))
    return w_q, torch.eye(6)


@design_qk.alternative
def from_the_circuit() -> tuple[Tensor, Tensor]:
    circuit = torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0]))
    left, values, right = torch.linalg.svd(circuit)
    return left * values, right.mH


@design_qk.mistake("""All your scores are equal: every token spreads its attention over
the whole scene. Queries and keys have to differ from colour to colour.""")
def all_zeros() -> tuple[Tensor, Tensor]:
    return torch.zeros(6, 3), torch.zeros(6, 3)


@design_qk.mistake(
    """All your scores are equal: with the same number everywhere, no query
tells one key from another.""",
    same_as="all_zeros",
)
def all_ones() -> tuple[Tensor, Tensor]:
    return torch.ones(6, 4), torch.ones(6, 4)


@design_qk.mistake("""Your tokens look for their own shape. Channels 0 to 2 are the
colour, 3 to 5 the shape: let queries and keys read the first three.""")
def own_shape() -> tuple[Tensor, Tensor]:
    return _select(3, 4, 5), _select(3, 4, 5)


@design_qk.mistake("""Your queries read the colour and your keys the shape. Then blue
asks for circles. Both have to speak of the same thing: the colour.""")
def colour_asks_shape_answers() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), _select(3, 4, 5)


@design_qk.mistake("""Your queries read the shape and your keys the colour. Both have to
speak of the same thing: the colour.""")
def shape_asks_colour_answers() -> tuple[Tensor, Tensor]:
    return _select(3, 4, 5), _select(0, 1, 2)


@design_qk.mistake("""Your signs are opposite: a token scores lowest with its own colour
and looks at the others.""")
def opposite_signs() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), -_select(0, 1, 2)


@design_qk.mistake("""Your colours ask in a circle: blue for orange, orange for plum,
plum for blue. The column that a colour writes in w_q has to be the one it writes in
w_k.""")
def next_colour() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), _select(2, 0, 1)


@design_qk.mistake("""Your colours ask in a circle: blue for plum, plum for orange,
orange for blue. The column that a colour writes in w_q has to be the one it writes in
w_k.""")
def previous_colour() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), _select(1, 2, 0)


@design_qk.mistake("""Your columns come in opposite orders: blue asks for plum and plum
for blue. Use the same order in w_q and w_k.""")
def mirrored_order() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), _select(2, 1, 0)


@design_qk.mistake("""One of the three colours has no query of its own: its scores are
all equal. Every colour needs a direction.""")
def two_colours_only() -> tuple[Tensor, Tensor]:
    return _select(0, 1), _select(0, 1)


@design_qk.mistake("""Only the first colour has a query: the others' scores are all
equal. Every colour needs a direction of its own.""")
def one_colour_only() -> tuple[Tensor, Tensor]:
    return _select(0), _select(0)


@design_qk.mistake("""You numbered the colours 1, 2, 3 in one channel. A dot product
rewards large numbers, not equal ones: every token looks at colour 3. Use a direction
for each.""")
def numbered_colours() -> tuple[Tensor, Tensor]:
    weight = torch.tensor([[1.0], [2], [3], [0], [0], [0]])
    return weight, weight


@design_qk.mistake("""You numbered the colours 0, 1, 2 in one channel. A dot product
rewards large numbers, not equal ones. Use a direction for each colour.""")
def numbered_from_zero() -> tuple[Tensor, Tensor]:
    weight = torch.tensor([[0.0], [1], [2], [0], [0], [0]])
    return weight, weight


@design_qk.mistake("""You put the colours at -1, 0 and 1 of one channel. The one in the
middle has a query of zero, so all its scores are equal: one channel is too few.""")
def one_signed_channel() -> tuple[Tensor, Tensor]:
    weight = torch.tensor([[-1.0], [0], [1], [0], [0], [0]])
    return weight, weight


@design_qk.mistake("""Every token looks at the first colour: your queries are the same
for all colours.""")
def same_query_for_all() -> tuple[Tensor, Tensor]:
    return torch.ones(6, 3), _select(0, 1, 2) * torch.tensor([3.0, 2.0, 1.0])


@design_qk.mistake("""Your matrices are (d_k, 6). A token of 6 channels stands on the
left, `x @ w_q`: the shape is (6, d_k).""")
def transposed_shapes() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2).T, _select(0, 1, 2).T


@design_qk.mistake("""Your matrices have three rows, one for each colour. A token has 6
channels: the rows for the shape are needed too, and may be zero.""")
def colour_rows_only() -> tuple[Tensor, Tensor]:
    return torch.eye(3), torch.eye(3)


@design_qk.mistake("""w_q and w_k have different widths. A dot product needs queries and
keys of the same d_k.""")
def different_widths() -> tuple[Tensor, Tensor]:
    return _select(0, 1, 2), torch.eye(6, dtype=torch.float64)


@design_qk.mistake("""You return one matrix, the product M. Return the two factors,
(w_q, w_k).""")
def circuit_only() -> Tensor:
    return torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0]))


@design_qk.mistake("""You return three matrices. The values play no part in who looks at
whom: return (w_q, w_k).""")
def with_values() -> tuple[Tensor, Tensor, Tensor]:
    return _select(0, 1, 2), _select(0, 1, 2), torch.eye(6)

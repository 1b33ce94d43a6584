"""Chapter 00: dot products of a batch, weighted means, and a softmax that holds."""

from __future__ import annotations

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

# -------------------------------------------------------------------- pairwise_dots

pairwise_dots = Exercise("pairwise_dots")


@pairwise_dots.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(b: int, nq: int, nk: int, d: int, scale: float = 1.0) -> tuple:
        return draw.normal(b, nq, d, scale=scale), draw.normal(b, nk, d, scale=scale)

    yield call("all sizes different", *inputs(2, 4, 5, 7))
    yield call("same sizes again", *inputs(2, 4, 5, 7))
    yield call("more queries than keys", *inputs(3, 18, 2, 4))
    yield call(
        "as many queries as keys",
        *inputs(2, 3, 3, 5),
        note="there are as many queries as keys",
    )
    yield call(
        "as many keys as channels",
        *inputs(2, 3, 4, 4),
        note="there are as many keys as channels, so a transpose has the same shape",
    )
    yield call(
        "all sizes equal",
        *inputs(3, 3, 3, 3),
        note="all sizes are 3, so that a wrong order of dimensions raises no error",
    )
    yield call("one item", *inputs(1, 5, 20, 2), note="a batch of one")
    yield call("one query", *inputs(11, 1, 4, 5), note="one query for each item")
    yield call("one key", *inputs(2, 5, 1, 34), note="one key for each item")
    yield call("one channel", *inputs(2, 4, 3, 1), note="vectors of one number")
    yield call("all ones", *inputs(1, 1, 1, 1), note="every size is 1")
    yield call(
        "large numbers",
        *inputs(2, 3, 5, 6, scale=1e3),
        aspect="robustness",
        note="vectors with entries of a thousand and more",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(2, 4, 3, 6)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(2, 3, 4, 6)),
        aspect="robustness",
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(2, 5, 3, 4)),
        aspect="robustness",
        gradients=False,
    )


@pairwise_dots.reference
def pairwise_dots_reference(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bqd,bkd->bqk", q, k)


@pairwise_dots.alternative
def dots_by_transpose(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1)


@pairwise_dots.alternative
def dots_by_bmm(q: Tensor, k: Tensor) -> Tensor:
    return torch.bmm(q, k.permute(0, 2, 1))


@pairwise_dots.alternative
def dots_by_broadcasting(q: Tensor, k: Tensor) -> Tensor:
    return (q[:, :, None, :] * k[:, None, :, :]).sum(dim=-1)


@pairwise_dots.alternative
def dots_item_by_item(q: Tensor, k: Tensor) -> Tensor:
    return torch.stack([a @ b.T for a, b in zip(q, k, strict=True)])


@pairwise_dots.alternative
def dots_into_zeros(q: Tensor, k: Tensor) -> Tensor:
    out = q.new_zeros(q.shape[0], q.shape[1], k.shape[1])
    for b in range(q.shape[0]):
        for i in range(q.shape[1]):
            for j in range(k.shape[1]):
                out[b, i, j] = torch.dot(q[b, i], k[b, j])
    return out


@pairwise_dots.alternative
def keys_first_then_turned(q: Tensor, k: Tensor) -> Tensor:
    return torch.matmul(k, q.mT).mT


@pairwise_dots.mistake("""You use `k.T`, which turns all dimensions around, the
batch too (or `transpose(0, 2)`, which does the same). In a batch only the last two
change places: `k.transpose(-2, -1)`.""")
def full_transpose(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.permute(2, 1, 0)


@pairwise_dots.mistake("""You swap dimensions 0 and 1 of k: that exchanges batch
and tokens. Count from the end: the last two have to change places.""")
def transpose_zero_one(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(0, 1)


@pairwise_dots.mistake(
    """You swap dimensions 0 and 2 of k.""",
    same_as="full_transpose",
)
def transpose_zero_two(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(0, 2)


@pairwise_dots.mistake("""You multiply `q @ k` without a transpose. The product
sums over the last dimension of q and the last but one of k: k has to be turned
first.""")
def not_transposed(q: Tensor, k: Tensor) -> Tensor:
    return q @ k


@pairwise_dots.mistake("""You turn k with `reshape` or `view`. They cut the same
row of numbers into other rows; a transpose swaps rows and columns.""")
def reshaped(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.reshape(k.shape[0], k.shape[2], k.shape[1])


@pairwise_dots.mistake("""You multiply entry by entry (`*`). A dot product
multiplies and then sums over the channels; and every query meets every key.""")
def elementwise_product(q: Tensor, k: Tensor) -> Tensor:
    return q * k


@pairwise_dots.mistake("""You pair query 0 with key 0, query 1 with key 1, and
so on. Every query meets every key: the result is a table (query, key) for each
item.""")
def paired_only(q: Tensor, k: Tensor) -> Tensor:
    return (q * k).sum(dim=-1)


@pairwise_dots.mistake("""Query and key have changed places: your rows are the
keys. A row belongs to a query.""")
def keys_as_rows(q: Tensor, k: Tensor) -> Tensor:
    return k @ q.mT


@pairwise_dots.mistake("""You computed (B, Nk, Nq) and then forced the shape
with `reshape` or `view`. That does not swap rows and columns: use a transpose.""")
def keys_as_rows_reshaped(q: Tensor, k: Tensor) -> Tensor:
    return (k @ q.mT).reshape(q.shape[0], q.shape[1], k.shape[1])


@pairwise_dots.mistake("""Your letters for the channels differ: einsum then sums
q and k each by itself, and multiplies the sums. The same letter in both means
"multiply, then sum".""")
def channels_summed_apart(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bqd,bke->bqk", q, k)


@pairwise_dots.mistake("""You sum over the batch of k: every query meets the
keys of all items added up. Items of a batch have nothing to do with each other.""")
def keys_summed_over_batch(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bqd,akd->bqk", q, k)


@pairwise_dots.mistake("""You added up the tables of all items. Each batch item
keeps its own: b belongs to the result.""")
def summed_over_batch(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bqd,bkd->qk", q, k)


@pairwise_dots.mistake("""You put the tokens of all items into one long list, so
queries meet the keys of other items. Keep the batch: `@` works on each item by
itself.""")
def batch_flattened(q: Tensor, k: Tensor) -> Tensor:
    return q.reshape(-1, q.shape[-1]) @ k.reshape(-1, k.shape[-1]).T


@pairwise_dots.mistake("""Every item's queries meet every item's keys: your
result has the batch twice. Item b's queries meet item b's keys alone.""")
def batch_twice(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("aqd,bkd->abqk", q, k)


@pairwise_dots.mistake("""You use the first item's keys for the whole batch.
Each item has keys of its own.""")
def first_items_keys(q: Tensor, k: Tensor) -> Tensor:
    return q @ k[0].T


@pairwise_dots.mistake("""You use the first item's queries for the whole batch.
Each item has queries of its own.""")
def first_items_queries(q: Tensor, k: Tensor) -> Tensor:
    return q[0] @ k.mT


@pairwise_dots.mistake("""The queries of one item meet the keys of its
neighbour. Item b's queries meet item b's keys.""")
def neighbours_keys(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.roll(1, dims=0).mT


@pairwise_dots.mistake("""You return the first item's table alone. The result
has one for each item of the batch.""")
def first_item_only(q: Tensor, k: Tensor) -> Tensor:
    return q[0] @ k[0].T


@pairwise_dots.mistake("""You removed dimensions of size one (`squeeze`). A
batch of one, or a single query, keeps its dimension.""")
def squeezed(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).squeeze()


@pairwise_dots.mistake("""You removed the query's dimension (`squeeze(1)`), which
shows when there is one query only. The result has three dimensions: (B, Nq, Nk).""")
def query_dimension_squeezed(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).squeeze(1)


@pairwise_dots.mistake("""You removed the key's dimension (`squeeze(-1)`), which
shows when there is one key only. The result has three dimensions: (B, Nq, Nk).""")
def key_dimension_squeezed(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).squeeze(-1)


@pairwise_dots.mistake("""You divide by √d. That comes in chapter 04; here the
plain dot product is asked for.""")
def scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


@pairwise_dots.mistake("""You take the mean over the channels. A dot product is
the sum.""")
def mean_over_channels(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1]


@pairwise_dots.mistake("""You divide by the vectors' lengths: that is the
cosine. A dot product keeps the lengths.""")
def cosine(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT


@pairwise_dots.mistake("""You apply softmax to the dot products. Return them as
they are.""")
def softmax_applied(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).softmax(dim=-1)


@pairwise_dots.mistake("""You compute distances. A dot product multiplies
entries and sums them; nothing is subtracted.""")
def squared_distances(q: Tensor, k: Tensor) -> Tensor:
    return (q[:, :, None] - k[:, None]).square().sum(dim=-1)


@pairwise_dots.mistake("""You compare q with itself: k is not used.""")
def queries_with_queries(q: Tensor, k: Tensor) -> Tensor:
    return q @ q.mT


@pairwise_dots.mistake("""You compare k with itself: q is not used.""")
def keys_with_keys(q: Tensor, k: Tensor) -> Tensor:
    return k @ k.mT


@pairwise_dots.mistake("""Your result is cut off from q and k (`detach`,
`.data`, `no_grad`, `.item()` or `torch.tensor(...)`): no gradient can flow
back, so nothing could learn.""")
def dots_detached(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).detach()


@pairwise_dots.mistake("""k is cut off from the graph (`detach`, `.data` or
`torch.tensor(...)`): no gradient reaches it.""")
def keys_detached(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.detach().mT


@pairwise_dots.mistake("""q is cut off from the graph (`detach`, `.data` or
`torch.tensor(...)`): no gradient reaches it.""")
def queries_detached(q: Tensor, k: Tensor) -> Tensor:
    return q.detach() @ k.mT


@pairwise_dots.mistake("""Your result is float32 whatever the input (`.float()`,
or a `torch.zeros(...)` without `dtype=q.dtype`). float64 numbers lose half
their digits: keep the dtype of the input.""")
def dots_in_float32(q: Tensor, k: Tensor) -> Tensor:
    return q.float() @ k.float().mT


@pairwise_dots.mistake("""You go through float32 and back. The dtype is right
again, but half the digits of a float64 input are lost on the way.""")
def dots_through_float32(q: Tensor, k: Tensor) -> Tensor:
    return (q.float() @ k.float().mT).to(q.dtype)


@pairwise_dots.mistake("""Your function changes q in place (`*=`, or a method
that ends in `_`). Whoever called it still needs the old numbers: make a new
tensor.""")
def queries_in_place(q: Tensor, k: Tensor) -> Tensor:
    result = q @ k.mT
    q *= 2
    return result


@pairwise_dots.mistake("""Your function changes k in place (`*=`, or a method
that ends in `_`, such as `transpose_`). Whoever called it still needs k as it
was: make a new tensor.""")
def keys_in_place(q: Tensor, k: Tensor) -> Tensor:
    result = q @ k.mT
    k *= 2
    return result


@pairwise_dots.mistake(
    """`transpose_` turns the caller's k.""", same_as="keys_in_place"
)
def keys_turned_in_place(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose_(-2, -1)


@pairwise_dots.mistake("""You use `.view` on a tensor whose numbers do not lie
side by side in memory, for example after a transpose. `reshape` copies when it
has to.""")
def viewed(q: Tensor, k: Tensor) -> Tensor:
    batch, number, width = k.shape
    flat = k.view(batch * number, width)
    return q @ flat.view(batch, number, width).mT


# --------------------------------------------------------------------- weighted_mix

weighted_mix = Exercise("weighted_mix")


@weighted_mix.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(b: int, nq: int, nk: int, e: int, scale: float = 1.0) -> tuple:
        weights = draw.normal(b, nq, nk).softmax(dim=-1)
        return weights, draw.normal(b, nk, e, scale=scale)

    yield call("all sizes different", *inputs(2, 4, 5, 7))
    yield call("same sizes again", *inputs(2, 4, 5, 7))
    yield call("more queries than keys", *inputs(3, 18, 2, 4))
    yield call(
        "as many queries as keys",
        *inputs(2, 3, 3, 5),
        note="there are as many queries as keys, so a transpose has the same shape",
    )
    yield call(
        "as many keys as channels",
        *inputs(2, 3, 4, 4),
        note="there are as many keys as channels in v",
    )
    yield call(
        "all sizes equal",
        *inputs(3, 3, 3, 3),
        note="all sizes are 3, so that a wrong order of dimensions raises no error",
    )
    yield call("one item", *inputs(1, 5, 20, 2), note="a batch of one")
    yield call("one query", *inputs(11, 1, 4, 5), note="one query for each item")
    yield call("one key", *inputs(2, 5, 1, 34), note="one key: its weight is 1")
    yield call("one channel", *inputs(2, 4, 3, 1), note="values of one number")
    yield call(
        "weights of any sum",
        draw.normal(2, 3, 5, scale=20.0),
        draw.normal(2, 5, 6),
        note="the weights do not sum to 1 and some are negative: use them as they are",
    )
    chosen = F.one_hot(draw.integers(0, 4, 2, 5), 4).double()
    chosen[0, 2] = 0
    yield call(
        "zeros and ones",
        chosen,
        draw.normal(2, 4, 3),
        note="weights of 0 and 1, and one row of zeros",
    )
    yield call(
        "large values",
        *inputs(2, 3, 5, 6, scale=1e3),
        aspect="robustness",
        note="values of a thousand and more",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(2, 4, 3, 6)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(2, 3, 4, 6)),
        aspect="robustness",
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(2, 5, 3, 4)),
        aspect="robustness",
        gradients=False,
    )


@weighted_mix.reference
def weighted_mix_reference(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,bke->bqe", weights, v)


@weighted_mix.alternative
def mix_by_matmul(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v


@weighted_mix.alternative
def mix_by_bmm(weights: Tensor, v: Tensor) -> Tensor:
    return torch.bmm(weights, v)


@weighted_mix.alternative
def mix_by_broadcasting(weights: Tensor, v: Tensor) -> Tensor:
    return (weights.unsqueeze(-1) * v.unsqueeze(1)).sum(dim=2)


@weighted_mix.alternative
def mix_key_by_key(weights: Tensor, v: Tensor) -> Tensor:
    total = torch.zeros_like(weights[:, :, :1] * v[:, :1])
    for j in range(v.shape[1]):
        total = total + weights[:, :, j, None] * v[:, j, None]
    return total


@weighted_mix.alternative
def mix_item_by_item(weights: Tensor, v: Tensor) -> Tensor:
    out = v.new_empty(weights.shape[0], weights.shape[1], v.shape[2])
    for b in range(len(v)):
        out[b] = torch.mm(weights[b], v[b])
    return out


@weighted_mix.alternative
def mix_turned_twice(weights: Tensor, v: Tensor) -> Tensor:
    return (v.transpose(1, 2) @ weights.transpose(1, 2)).transpose(1, 2)


@weighted_mix.mistake("""You transposed the weights. Row i of the weights
belongs to query i, and that is where `weights @ v` wants it: nothing has to be
turned.""")
def weights_transposed(weights: Tensor, v: Tensor) -> Tensor:
    return weights.mT @ v


@weighted_mix.mistake("""You turned the last two dimensions of v. The sum runs
over the keys: they are last in the weights and last but one in v, where `@`
wants them.""")
def values_transposed(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v.mT


@weighted_mix.mistake("""You use `v.T`, which turns all dimensions around, the
batch too. Here nothing has to be turned.""")
def values_full_transpose(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v.permute(2, 1, 0)


@weighted_mix.mistake("""You swap dimensions 0 and 1 of v: batch and keys change
places. Here nothing has to be turned.""")
def values_zero_one(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v.transpose(0, 1)


@weighted_mix.mistake("""You swap dimensions 0 and 1 of the weights: batch and
queries change places. Here nothing has to be turned.""")
def weights_zero_one(weights: Tensor, v: Tensor) -> Tensor:
    return weights.transpose(0, 1) @ v


@weighted_mix.mistake("""You multiply entry by entry (`*`). A mix multiplies
each key's value by its weight and then sums over the keys.""")
def mix_elementwise(weights: Tensor, v: Tensor) -> Tensor:
    return weights * v


@weighted_mix.mistake("""You multiplied weights and values but did not sum over
the keys: your result has a dimension too many.""")
def mix_not_summed(weights: Tensor, v: Tensor) -> Tensor:
    return weights[..., None] * v[:, None]


@weighted_mix.mistake("""You divide by the number of keys: `mean` in place of
`sum`. The weights are the shares already.""")
def mix_divided(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v / v.shape[1]


@weighted_mix.mistake(
    """You take the plain mean of the values: the weights
are not used."""
)
def plain_mean(weights: Tensor, v: Tensor) -> Tensor:
    return v.mean(dim=1, keepdim=True).expand(-1, weights.shape[1], -1)


@weighted_mix.mistake("""Your letters for the keys differ, so einsum sums the
weights and the values each by itself. The same letter in both means "multiply,
then sum".""")
def keys_summed_apart(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,bje->bqe", weights, v)


@weighted_mix.mistake("""You apply softmax to the weights. They are weights
already: use them as they are.""")
def mix_softmax(weights: Tensor, v: Tensor) -> Tensor:
    return weights.softmax(dim=-1) @ v


@weighted_mix.mistake("""You divide the weights by their sum. Use them as they
are: a row that does not sum to 1 is mixed all the same, and 0/0 is NaN.""")
def mix_renormalised(weights: Tensor, v: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True) @ v


@weighted_mix.mistake("""You take the value of the key with the largest weight.
A mix is the sum over all keys, each as much as its weight says.""")
def largest_only(weights: Tensor, v: Tensor) -> Tensor:
    best = weights.argmax(dim=-1, keepdim=True)  # (batch, query, 1)
    return v.gather(1, best.expand(-1, -1, v.shape[2]))


@weighted_mix.mistake("""You sum over the queries too, and get one vector for
each item. Every query has a mix of its own.""")
def queries_summed(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,bke->be", weights, v)


@weighted_mix.mistake("""You sum over the queries and keep the keys. It is the
keys that are mixed: sum over them, and keep a row for each query.""")
def keys_kept(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,bke->bke", weights, v)


@weighted_mix.mistake("""Your result is (B, e, Nq): channels before queries. A
row belongs to a query, and its channels come last.""")
def channels_first(weights: Tensor, v: Tensor) -> Tensor:
    return (weights @ v).transpose(1, 2)


@weighted_mix.mistake("""You mix the values of all items added up. Items of a
batch have nothing to do with each other.""")
def values_summed_over_batch(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,ake->bqe", weights, v)


@weighted_mix.mistake("""You added up the mixes of all items. Each batch item
keeps its own: b belongs to the result.""")
def mixes_summed_over_batch(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bqk,bke->qe", weights, v)


@weighted_mix.mistake("""Every item's weights meet every item's values: your
result has the batch twice.""")
def mix_batch_twice(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("aqk,bke->abqe", weights, v)


@weighted_mix.mistake("""You mix the first item's values for the whole batch.
Each item has values of its own.""")
def first_items_values(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v[0]


@weighted_mix.mistake("""You use the first item's weights for the whole batch.
Each item has weights of its own.""")
def first_items_weights(weights: Tensor, v: Tensor) -> Tensor:
    return weights[0] @ v


@weighted_mix.mistake("""Each item mixes its neighbour's values. Item b's
weights belong to item b's values.""")
def neighbours_values(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v.roll(1, dims=0)


@weighted_mix.mistake("""You return the first item's mix alone. The result has
one for each item of the batch.""")
def first_mix_only(weights: Tensor, v: Tensor) -> Tensor:
    return weights[0] @ v[0]


@weighted_mix.mistake("""You removed dimensions of size one (`squeeze`). A batch
of one, a single query or a single channel keeps its dimension.""")
def mix_squeezed(weights: Tensor, v: Tensor) -> Tensor:
    return (weights @ v).squeeze()


@weighted_mix.mistake("""Your result is cut off from its inputs (`detach`,
`.data`, `no_grad`, `.item()` or `torch.tensor(...)`): no gradient can flow
back, so nothing could learn.""")
def mix_detached(weights: Tensor, v: Tensor) -> Tensor:
    return (weights @ v).detach()


@weighted_mix.mistake("""The weights are cut off from the graph (`detach` or
`.data`): no gradient reaches them.""")
def mix_weights_detached(weights: Tensor, v: Tensor) -> Tensor:
    return weights.detach() @ v


@weighted_mix.mistake("""v is cut off from the graph (`detach` or `.data`): no
gradient reaches it.""")
def mix_values_detached(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ v.detach()


@weighted_mix.mistake("""Your result is float32 whatever the input (`.float()`,
or a `torch.zeros(...)` without `dtype=v.dtype`). float64 numbers lose half
their digits: keep the dtype of the input.""")
def mix_in_float32(weights: Tensor, v: Tensor) -> Tensor:
    return weights.float() @ v.float()


@weighted_mix.mistake("""You go through float32 and back. The dtype is right
again, but half the digits of a float64 input are lost on the way.""")
def mix_through_float32(weights: Tensor, v: Tensor) -> Tensor:
    return (weights.float() @ v.float()).to(v.dtype)


@weighted_mix.mistake("""Your function changes the weights in place (`/=`, or a
method that ends in `_`). Whoever called it still needs them: make a new tensor.""")
def weights_in_place(weights: Tensor, v: Tensor) -> Tensor:
    result = weights @ v
    weights *= 2
    return result


@weighted_mix.mistake("""Your function changes v in place (`*=`, or a method
that ends in `_`). Whoever called it still needs it: make a new tensor.""")
def values_in_place(weights: Tensor, v: Tensor) -> Tensor:
    result = weights @ v
    v *= 2
    return result


# ------------------------------------------------------------------- stable_softmax

stable_softmax = Exercise("stable_softmax")


@stable_softmax.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("three dimensions, dim -1", draw.normal(2, 4, 5), -1, note="dim is -1")
    yield call("same sizes again", draw.normal(2, 4, 5), -1, note="dim is -1")
    yield call("three dimensions, dim 1", draw.normal(3, 17, 4), 1, note="dim is 1")
    yield call("three dimensions, dim 0", draw.normal(12, 3, 2), 0, note="dim is 0")
    yield call("three dimensions, dim 2", draw.normal(2, 3, 6), 2, note="dim is 2")
    yield call("three dimensions, dim -2", draw.normal(4, 6, 3), -2, note="dim is -2")
    yield call("three dimensions, dim -3", draw.normal(3, 2, 5), -3, note="dim is -3")
    yield call("a vector", draw.normal(6), 0, note="x has one dimension")
    yield call("a vector, dim -1", draw.normal(7), -1, note="x has one dimension")
    yield call("a square, dim 0", draw.normal(4, 4), 0, note="x is square, dim is 0")
    yield call("a square, dim 1", draw.normal(4, 4), 1, note="x is square, dim is 1")
    yield call("a matrix, dim -2", draw.normal(34, 3), -2, note="dim is -2")
    yield call(
        "a cube, dim 1",
        draw.normal(3, 3, 3),
        kwargs={"dim": 1},
        note="all sizes are 3, dim is 1",
    )
    yield call("four dimensions", draw.normal(2, 3, 9, 4), 2, note="dim is 2 of four")
    yield call(
        "four dimensions, dim -3", draw.normal(2, 4, 3, 5), -3, note="dim is -3 of four"
    )
    yield call("five dimensions", draw.normal(2, 3, 2, 4, 3), -2, note="dim is -2")
    yield call("one item", draw.normal(1, 3, 4), -1, note="a batch of one")
    yield call("one number", draw.normal(3, 1), -1, note="rows of one number")
    yield call(
        "wide rows", draw.normal(2, 40, scale=3.0), 1, note="rows of forty numbers"
    )
    yield call(
        "large numbers",
        draw.normal(2, 3, 5) + 1000,
        -1,
        aspect="robustness",
        note="numbers around 1000, where exp overflows",
    )
    yield call(
        "very negative numbers",
        draw.normal(2, 5, 3) - 2e5,
        1,
        aspect="robustness",
        note="numbers around -200000, where every exp is 0",
    )
    levels = torch.tensor([0.0, 25_000.0, -25_000.0, 100_000.0]).double()
    yield call(
        "rows far apart",
        draw.normal(4, 5) + levels[:, None],
        -1,
        aspect="robustness",
        note="each row has another level, thousands apart",
    )
    yield call(
        "columns far apart",
        draw.normal(5, 4) + levels,
        0,
        aspect="robustness",
        note="each column has another level, thousands apart, and dim is 0",
    )
    spread = draw.normal(3, 6)
    spread += 1500.0 * F.one_hot(draw.integers(0, 6, 3), 6)
    yield call(
        "one number far above",
        spread,
        -1,
        aspect="robustness",
        note="one number of each row lies 1500 above the others",
    )
    yield call(
        "a wide spread",
        draw.normal(2, 4, 6, scale=2000.0),
        -1,
        aspect="robustness",
        note="numbers between about -5000 and 5000 in one row",
    )
    masked = draw.normal(3, 5)
    hidden = draw.mask(3, 4)
    masked[:, 1:] = masked[:, 1:].masked_fill(hidden, -torch.inf)
    yield call(
        "some are -inf",
        masked,
        -1,
        aspect="robustness",
        gradients=False,
        note="some entries are -inf: their weight is 0",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 4, 3)),
        1,
        aspect="robustness",
        note="x does not lie side by side in memory",
    )
    yield call(
        "not contiguous, last dimension",
        noncontiguous(draw.normal(2, 3, 5)),
        -1,
        aspect="robustness",
        note="x does not lie side by side in memory",
    )
    yield call(
        "float32",
        draw.normal(2, 3, 4).float(),
        1,
        aspect="robustness",
    )
    yield call(
        "float32, large numbers",
        draw.normal(3, 4).float() + 200,
        -1,
        aspect="robustness",
        gradients=False,
        note="numbers around 200, where exp overflows in float32",
    )
    yield call(
        "float16",
        draw.normal(4, 3).half(),
        -1,
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16, large numbers",
        draw.uniform(5, 3, low=12.5, high=15.0).half(),
        -1,
        aspect="robustness",
        gradients=False,
        note="numbers around 14, where exp overflows in float16",
    )


@stable_softmax.reference
def stable_softmax_reference(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=dim)


@stable_softmax.alternative
def shifted_by_amax(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim, keepdim=True)).exp()
    return numerator / numerator.sum(dim=dim, keepdim=True)


@stable_softmax.alternative
def shifted_by_detached_max(x: Tensor, dim: int) -> Tensor:
    largest = torch.max(x.detach(), dim, keepdim=True).values
    numerator = torch.exp(x - largest)
    return numerator / torch.sum(numerator, dim, keepdim=True)


@stable_softmax.alternative
def by_logsumexp(x: Tensor, dim: int) -> Tensor:
    return torch.exp(x - torch.logsumexp(x, dim=dim, keepdim=True))


@stable_softmax.alternative
def by_log_softmax(x: Tensor, dim: int) -> Tensor:
    return F.log_softmax(x, dim).exp()


@stable_softmax.alternative
def by_module(x: Tensor, dim: int = -1) -> Tensor:
    return nn.Softmax(dim)(x)


@stable_softmax.alternative
def dim_moved_last(x: Tensor, dim: int) -> Tensor:
    rows = x.movedim(dim, -1)
    numerator = torch.exp(rows - rows.max(dim=-1, keepdim=True)[0])
    return (numerator / numerator.sum(-1, keepdim=True)).movedim(-1, dim)


@stable_softmax.alternative
def unsqueezed_by_hand(x: Tensor, dim: int) -> Tensor:
    numerator = torch.exp(x - x.amax(dim).unsqueeze(dim))
    return numerator.div(numerator.sum(dim).unsqueeze(dim))


@stable_softmax.alternative
def running_maximum(x: Tensor, dim: int) -> Tensor:
    parts = x.unbind(dim)
    largest, total = parts[0], torch.ones_like(parts[0])
    for part in parts[1:]:
        higher = torch.maximum(largest, part)
        total = total * (largest - higher).exp() + (part - higher).exp()
        largest = higher
    return torch.stack([(p - largest).exp() / total for p in parts], dim)


def _shifted(x: Tensor, shift: Tensor, dim: int) -> Tensor:
    numerator = (x - shift).exp()
    return numerator / numerator.sum(dim=dim, keepdim=True)


@stable_softmax.mistake("""You take `exp` of the numbers as they are. For large
ones it overflows, for very negative ones every term is 0: inf/inf and 0/0 are
NaN. Subtract the maximum along `dim` first.""")
def no_shift(x: Tensor, dim: int) -> Tensor:
    return x.exp() / x.exp().sum(dim=dim, keepdim=True)


@stable_softmax.mistake("""You subtract the maximum of the whole tensor. A row
far below it becomes all zeros, and 0/0 is NaN. Every row needs its own maximum:
`amax` along `dim`.""")
def max_over_everything(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.max(), dim)


@stable_softmax.mistake("""You subtract the mean. A number far above the mean
still overflows: subtract the maximum, then no exponent is above 0.""")
def shifted_by_mean(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.mean(dim=dim, keepdim=True), dim)


@stable_softmax.mistake("""You subtract the minimum. Then all exponents are
positive and large ones overflow: subtract the maximum.""")
def shifted_by_min(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.amin(dim=dim, keepdim=True), dim)


@stable_softmax.mistake("""You subtract the largest magnitude. When all
numbers are very negative that makes them more so, and 0/0 is NaN: take the
maximum of x itself.""")
def shifted_by_magnitude(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.abs().amax(dim=dim, keepdim=True), dim)


@stable_softmax.mistake("""You subtract a fixed number. It helps for numbers
near it and for no others: take the maximum along `dim`.""")
def shifted_by_constant(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.new_tensor(1000.0), dim)


@stable_softmax.mistake("""You add the maximum. Subtract it: then the largest
exponent is 0.""")
def shift_added(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, -x.amax(dim=dim, keepdim=True), dim)


@stable_softmax.mistake("""You subtract the maximum only when numbers are very large.
In float32 `exp` overflows from 89 on, in float16 from 12 on: always subtract it.""")
def shifted_only_if_large(x: Tensor, dim: int) -> Tensor:
    large = x.abs().max() > 700
    shift = x.amax(dim=dim, keepdim=True) if large else x.new_tensor(0.0)
    return _shifted(x, shift, dim)


@stable_softmax.mistake("""You clip large numbers before `exp`. That makes
different numbers equal. Subtract the maximum: softmax only sees differences.""")
def clamped(x: Tensor, dim: int) -> Tensor:
    return _shifted(x.clamp(-700, 700), x.new_tensor(0.0), dim)


@stable_softmax.mistake("""You replace NaN after the division. The overflow has
happened by then, and the weights are lost: subtract the maximum before `exp`.""")
def nan_replaced(x: Tensor, dim: int) -> Tensor:
    return no_shift(x, dim).nan_to_num(0.0)


@stable_softmax.mistake("""You add a small number to the sum. Once the maximum
is subtracted the sum is at least 1, so nothing divides by zero; the weights no
longer sum to 1.""")
def with_epsilon(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim, keepdim=True)).exp()
    return numerator / (numerator.sum(dim=dim, keepdim=True) + 1e-6)


@stable_softmax.mistake("""You divide by the maximum. Softmax sees differences,
so subtracting changes nothing; dividing changes the weights.""")
def divided_by_max(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x / x.amax(dim=dim, keepdim=True), dim)


@stable_softmax.mistake("""Your softmax always runs over the last dimension. Use
the `dim` that was passed.""")
def always_last(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=-1)


@stable_softmax.mistake("""Your softmax always runs over dimension 0. Use the
`dim` that was passed.""")
def always_first(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=0)


@stable_softmax.mistake("""Your softmax always runs over dimension 1. Use the
`dim` that was passed; x may have one dimension only.""")
def always_one(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=1)


@stable_softmax.mistake("""Your softmax runs over the whole tensor: all numbers
together sum to 1. They should along `dim`.""")
def over_everything(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.flatten(), dim=0).view(x.shape)


@stable_softmax.mistake("""You divide by the sum over everything. The weights
sum to 1 along `dim`: sum along it, with `keepdim=True`.""")
def sum_over_everything(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim, keepdim=True)).exp()
    return numerator / numerator.sum()


@stable_softmax.mistake("""You take the maximum along the last dimension, and
sum along `dim`. Then each number of a row is shifted by another amount. Both go
along `dim`.""")
def max_over_last(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.amax(dim=-1, keepdim=True), dim)


@stable_softmax.mistake("""You sum along the last dimension whatever `dim` is.
Maximum and sum both go along `dim`.""")
def sum_over_last(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, x.amax(dim=dim, keepdim=True), -1)


@stable_softmax.mistake("""You left out `keepdim=True`. Without it the dimension
disappears, and what is left lines up with the wrong one.""")
def without_keepdim(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim)).exp()
    return numerator / numerator.sum(dim=dim)


@stable_softmax.mistake("""The sum has no `keepdim=True`. Without it the
dimension disappears, and what is left lines up with the wrong one.""")
def sum_without_keepdim(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim, keepdim=True)).exp()
    return numerator / numerator.sum(dim=dim)


@stable_softmax.mistake("""You dropped the sign of `dim`. Negative dimensions
count from the end: -1 is the last one. Torch understands them: pass `dim` on as
it is.""")
def sign_of_dim_dropped(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=abs(dim))


@stable_softmax.mistake("""Your function refuses a negative `dim`. Negative
dimensions count from the end: -1 is the last one. Torch understands them.""")
def negative_dim_refused(x: Tensor, dim: int) -> Tensor:
    if dim < 0:
        raise ValueError("dim must not be negative")
    return torch.softmax(x, dim=dim)


@stable_softmax.mistake("""You moved `dim` to the end and did not move it back:
the result has another order of dimensions than x.""")
def not_moved_back(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.movedim(dim, -1), dim=-1)


@stable_softmax.mistake("""You moved `dim` to the end and came back with `reshape` or
`view`. The shape is right, but the numbers stand elsewhere: use the same transpose
again.""")
def back_by_reshape(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.transpose(dim, -1), dim=-1).reshape(x.shape)


@stable_softmax.mistake("""You did not divide by the sum. The weights should sum
to 1 along `dim`.""")
def not_normalised(x: Tensor, dim: int) -> Tensor:
    return (x - x.amax(dim=dim, keepdim=True)).exp()


@stable_softmax.mistake(
    """You return the logarithm of the softmax: take
`exp` of it."""
)
def log_returned(x: Tensor, dim: int) -> Tensor:
    return torch.log_softmax(x, dim)


@stable_softmax.mistake("""You divide the numbers by their sum, without `exp`.""")
def without_exp(x: Tensor, dim: int) -> Tensor:
    return x / x.sum(dim=dim, keepdim=True)


@stable_softmax.mistake("""Your exponents have the wrong sign: the smallest
number gets the largest weight.""")
def negated(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(-x, dim=dim)


@stable_softmax.mistake(
    """You use powers of 2. Softmax takes powers of e:
`torch.exp`."""
)
def base_two(x: Tensor, dim: int) -> Tensor:
    numerator = torch.exp2(x - x.amax(dim=dim, keepdim=True))
    return numerator / numerator.sum(dim=dim, keepdim=True)


@stable_softmax.mistake("""You use the sigmoid: it looks at each number alone.
In softmax all numbers along `dim` share a sum of 1.""")
def sigmoid(x: Tensor, dim: int) -> Tensor:
    return torch.sigmoid(x)


@stable_softmax.mistake("""You give all the weight to the largest number.
Softmax gives every number a share.""")
def one_hot(x: Tensor, dim: int) -> Tensor:
    return (x == x.amax(dim=dim, keepdim=True)).to(x.dtype)


@stable_softmax.mistake("""You divide x by the root of the number of entries.
Nothing is scaled here.""")
def divided_by_root(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x / x.shape[dim] ** 0.5, dim=dim)


@stable_softmax.mistake("""Your function changes x in place (`-=`, `exp_`, or
`out=x`). Whoever called it still needs x: make a new tensor.""")
def in_place(x: Tensor, dim: int) -> Tensor:
    x -= x.detach().amax(dim=dim, keepdim=True)
    return torch.softmax(x, dim=dim)


@stable_softmax.mistake("""Your result is float32 whatever the input (`.float()`
or `dtype=torch.float32`). float64 numbers lose half their digits: keep the
dtype of x.""")
def cast_to_float32(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.float(), dim=dim)


@stable_softmax.mistake("""You go through float32 and back. The dtype is right
again, but half the digits of a float64 input are lost on the way.""")
def through_float32(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.float(), dim=dim).to(x.dtype)


@stable_softmax.mistake("""Your result is cut off from x (`detach`, `.data`,
`no_grad`, numpy or `torch.tensor(...)`): no gradient can flow back, so nothing
could learn.""")
def detached(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=dim).detach()


@stable_softmax.mistake("""The sum is cut off from the graph. The values are
right, the gradient is not: every number also acts through the sum. Only the
maximum may be detached.""")
def sum_detached(x: Tensor, dim: int) -> Tensor:
    numerator = (x - x.amax(dim=dim, keepdim=True)).exp()
    return numerator / numerator.sum(dim=dim, keepdim=True).detach()


@stable_softmax.mistake("""You compute in float64 and return float64 whatever
the input. Going up is fine; come back to the dtype of x at the end.""")
def left_in_float64(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x.double(), dim=dim)


@stable_softmax.mistake("""You use `.view` on a tensor whose numbers do not lie side
by side in memory, for example after a transpose. `reshape` copies when it has to.""")
def viewed_as_rows(x: Tensor, dim: int) -> Tensor:
    rows = x.movedim(dim, -1)
    flat = torch.softmax(rows.view(-1, rows.shape[-1]), dim=-1)
    return flat.view(rows.shape).movedim(-1, dim)


@stable_softmax.mistake("""You removed dimensions of size one (`squeeze`). The
result has the shape of x.""")
def softmax_squeezed(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=dim).squeeze()

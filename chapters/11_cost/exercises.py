"""Chapter 11: counting, attention in tiles, a cache of keys and values, windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
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

# ------------------------------------------------------------------ attention_flops

attention_flops = Exercise("attention_flops")


@attention_flops.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("all sizes different", 2, 3, 4, 5, 7)
    yield call("one of everything", 1, 1, 1, 1, 1)
    yield call("more queries than keys", 3, 2, 11, 6, 5)
    yield call("self-attention", 2, 8, 128, 128, 64)
    yield call("one new token", 1, 12, 1, 1000, 64, note="one query, as with a cache")
    yield call("one head", 5, 1, 7, 9, 3)
    sizes = [draw.integer(low, low + 9) for low in (2, 12, 22, 32, 42)]
    yield call("sizes drawn anew", *sizes)
    large = (3, 11, 99_991, 1_000_003, 4_097 + 2 * draw.integer(0, 50))
    yield call(
        "more than 2^53",
        *large,
        aspect="robustness",
        note="the result is too large for a float to hold every digit",
    )
    huge = (512, 128, 1_000_003, 1_000_033, 131 + 2 * draw.integer(0, 50))
    yield call(
        "more than 2^63",
        *huge,
        aspect="robustness",
        note="the result is too large for a 64-bit integer; Python's have no limit",
    )


def flops(batch: int, heads: int, queries: int, keys: int, width: int) -> int:
    return 4 * batch * heads * queries * keys * width


@attention_flops.reference
def attention_flops_reference(
    batch: int, num_heads: int, num_queries: int, num_keys: int, head_dim: int
) -> int:
    scores = 2 * num_queries * head_dim * num_keys  # (Nq, d) @ (d, Nk)
    mix = 2 * num_queries * num_keys * head_dim  # (Nq, Nk) @ (Nk, d)
    return batch * num_heads * (scores + mix)


@attention_flops.alternative
def in_one_product(
    batch: int, num_heads: int, num_queries: int, num_keys: int, head_dim: int
) -> int:
    return math.prod([2, 2, batch, num_heads, num_queries, num_keys, head_dim])


@attention_flops.alternative
def head_by_head(
    batch: int, num_heads: int, num_queries: int, num_keys: int, head_dim: int
) -> int:
    total = 0
    for _ in range(batch * num_heads):
        total += num_queries * num_keys * (2 * head_dim)
        total += num_queries * head_dim * (2 * num_keys)
    return total


@attention_flops.alternative
def from_shapes(b: int, h: int, n: int, m: int, d: int) -> int:
    def product(rows: int, inner: int, columns: int) -> int:
        return (rows * columns * inner) << 1

    return b * h * sum((product(n, d, m), product(n, m, d)))


@attention_flops.mistake("""That is half of it. Either you count a multiply-add as one
operation (it is a multiplication and an addition: two), or you count one of the two
products alone: QKᵀ and the product with V cost the same.""")
def half(b: int, h: int, n: int, m: int, d: int) -> int:
    return 2 * b * h * n * m * d


@attention_flops.mistake("""That is a quarter of it: there are two products, and each
multiply-add in them counts two.""")
def quarter(b: int, h: int, n: int, m: int, d: int) -> int:
    return b * h * n * m * d


@attention_flops.mistake("""You count one head. Every head has scores of its own:
multiply by num_heads.""")
def one_head_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, 1, n, m, d)


@attention_flops.mistake("""You count one item of the batch: multiply by batch.""")
def one_item_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(1, h, n, m, d)


@attention_flops.mistake("""You count one head of one item: multiply by batch and by
num_heads.""")
def one_head_of_one_item(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(1, 1, n, m, d)


@attention_flops.mistake("""You use the number of queries twice. The scores are
num_queries × num_keys, and the two may differ.""")
def queries_squared(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, n, d)


@attention_flops.mistake("""You use the number of keys twice. The scores are
num_queries × num_keys, and the two may differ.""")
def keys_squared(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, m, m, d)


@attention_flops.mistake("""You add the numbers of queries and keys. Each query meets
each key: multiply them.""")
def added(b: int, h: int, n: int, m: int, d: int) -> int:
    return 4 * b * h * (n + m) * d


@attention_flops.mistake("""You take the width of the whole model, num_heads ·
head_dim, and still multiply by num_heads: the heads are counted twice.""")
def heads_twice(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, h * d)


@attention_flops.mistake("""You divide head_dim by the number of heads. It is the
width of one head already.""")
def head_dim_divided(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d // h)


@attention_flops.mistake("""You left out head_dim: each score is a dot product of
head_dim terms.""")
def without_head_dim(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, 1)


@attention_flops.mistake("""You counted the division by √d_k as well. Here only QKᵀ
and the product with V count; what is done once per score is small beside them.""")
def scaling_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d) + b * h * n * m


@attention_flops.mistake("""You counted the softmax as well. Here only QKᵀ and the
product with V count; what is done once per score is small beside them.""")
def softmax_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d) + 3 * b * h * n * m


@attention_flops.mistake("""You counted softmax and scaling as well. Here only QKᵀ and
the product with V count; what is done once per score is small beside them.""")
def softmax_and_scaling_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d) + 4 * b * h * n * m


@attention_flops.mistake("""You counted the softmax with five operations per score.
Here only QKᵀ and the product with V count.""")
def softmax_counted_five(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d) + 5 * b * h * n * m


@attention_flops.mistake("""You counted the projections to Q, K and V, and the output
projection, as well. Here attention begins when Q, K and V are there.""")
def projections_counted(b: int, h: int, n: int, m: int, d: int) -> int:
    return flops(b, h, n, m, d) + 4 * b * (n + m) * (h * d) ** 2


@attention_flops.mistake("""You count d - 1 additions for a sum of d products. That is
exact, but the custom is to charge every term a multiplication and an addition: two.""")
def exact_additions(b: int, h: int, n: int, m: int, d: int) -> int:
    return b * h * n * (m * (2 * d - 1) + d * (2 * m - 1))


@attention_flops.mistake("""You halve the count, as for a causal mask. Nothing is
masked here, and a mask by itself saves no product.""")
def causal_half(b: int, h: int, n: int, m: int, d: int) -> int:
    return 2 * b * h * n * (m + 1) * d


@attention_flops.mistake("""Your result is a float. From 2^53 on a float cannot hold
every whole number: multiply Python integers and return one, without / and 2.0.""")
def float_result(b: int, h: int, n: int, m: int, d: int) -> float:
    return float(flops(b, h, n, m, d))


@attention_flops.mistake("""Your result went through a float on its way (`/`, `2.0`,
`math.pow`, `1e9`): its last digits are lost. Stay with Python integers.""")
def rounded_by_float(b: int, h: int, n: int, m: int, d: int) -> int:
    return int(4.0 * b * h * n * m * d)


@attention_flops.mistake("""You return a tensor. Python's own integers are wanted:
they never overflow.""")
def tensor_result(b: int, h: int, n: int, m: int, d: int) -> Tensor:
    return torch.tensor([4, b, h, n, m, d]).prod()


@attention_flops.mistake("""Your result overflowed: a tensor or a numpy array counts
in 64 bits. Multiply Python integers, which have no limit.""")
def overflow(b: int, h: int, n: int, m: int, d: int) -> int:
    return int(torch.tensor([4, b, h, n, m, d]).prod())


@attention_flops.mistake("""You return a numpy integer. Python's own `int` is wanted:
it never overflows.""")
def numpy_result(b: int, h: int, n: int, m: int, d: int) -> np.int64:
    return np.array([4, b, h, n, m, d]).prod()


# ------------------------------------------------------------------ tiled_attention

tiled_attention = Exercise(
    "tiled_attention",
    aspects={"memory": 4},
    shortcuts=("torch.nn.functional.scaled_dot_product_attention",),
)


@tiled_attention.cases
def _(draw: Draw) -> Iterator[Sample]:
    def qkv(*lead: int, nq: int, nk: int, d: int, dv: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(*lead, nq, d, scale=scale),
            draw.normal(*lead, nk, d, scale=scale),
            draw.normal(*lead, nk, dv),
        )

    def ramp(keys: Tensor, low: float, high: float) -> Tensor:
        """Keys that all point one way, and grow from low to high."""
        length = torch.linspace(low, high, keys.shape[-2], dtype=keys.dtype)
        return length[:, None] * (0.5 + keys.sigmoid())

    yield call("block divides Nk", *qkv(2, nq=4, nk=6, d=7, dv=5), 3)
    yield call("same sizes again", *qkv(2, nq=4, nk=6, d=7, dv=5), 3)
    yield call("block leaves a rest", *qkv(2, nq=5, nk=7, d=4, dv=3), 3)
    yield call("batch and heads", *qkv(2, 3, nq=4, nk=5, d=7, dv=6), 2)
    yield call("no batch", *qkv(nq=3, nk=8, d=4, dv=2), 3)
    yield call("five dimensions", *qkv(2, 1, 3, nq=4, nk=6, d=5, dv=3), 4)
    yield call("one item", *qkv(1, nq=6, nk=9, d=2, dv=5), 4)
    yield call("self-attention", *qkv(3, nq=6, nk=6, d=5, dv=5), 4)
    yield call("blocks of one key", *qkv(2, nq=3, nk=5, d=6, dv=4), 1)
    yield call("one block", *qkv(2, nq=3, nk=5, d=4, dv=6), 5)
    yield call("block larger than Nk", *qkv(2, nq=4, nk=5, d=3, dv=7), 32)
    yield call("one query", *qkv(2, 2, nq=1, nk=7, d=6, dv=4), 2)
    yield call("one key", *qkv(3, nq=4, nk=1, d=5, dv=2), 2)
    yield call("many blocks", *qkv(2, nq=5, nk=23, d=4, dv=3), 2)
    query, key, value = qkv(2, nq=4, nk=9, d=5, dv=3)
    yield call(
        "scores rise from block to block",
        query.abs(),
        ramp(key, -2, 2),
        value,
        2,
        note="each block holds larger scores than the one before",
    )
    query, key, value = qkv(2, nq=4, nk=9, d=5, dv=3)
    yield call(
        "scores fall from block to block",
        query.abs(),
        ramp(key, 2, -2),
        value,
        2,
        note="the first block holds the largest scores",
    )
    for name, low, high in (
        ("large scores that rise", -900, 900),
        ("large scores that fall", 900, -900),
        ("scores far below zero", -2000, -900),
        ("scores far above zero", 900, 2000),
    ):
        query, key, value = qkv(2, nq=3, nk=8, d=6, dv=5)
        yield call(
            name,
            query.abs() + 0.5,
            ramp(key, low, high),
            value,
            3,
            aspect="robustness",
            note=f"scores from about {low} to {high}, where exp overflows or is 0",
        )
    query, key, value = qkv(1, nq=2, nk=7, d=6, dv=5)
    yield call(
        "rows far apart",
        torch.stack([query[:, 0].abs(), -query[:, 0].abs()], dim=1),
        ramp(key, 500, 900),
        value,
        3,
        aspect="robustness",
        note="one query's scores are large, another's far below zero",
    )
    query, key, value = qkv(2, nq=3, nk=7, d=5, dv=4)
    query[0], query[1] = query[0].abs(), -query[1].abs()
    yield call(
        "items far apart",
        query,
        ramp(key, 500, 900),
        value,
        3,
        aspect="robustness",
        note="one item's scores are large, the other's far below zero",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in qkv(2, 3, nq=4, nk=7, d=5, dv=6)),
        3,
        aspect="robustness",
        note="the inputs are transposed views",
    )
    for dtype in (torch.float32, torch.float16):
        yield call(
            str(dtype).removeprefix("torch."),
            *(t.to(dtype) for t in qkv(2, nq=3, nk=7, d=5, dv=4)),
            3,
            aspect="robustness",
            gradients=False,
        )
    for name, lead, nq, nk, d in (
        ("two heads", (2,), 20, 128, 2),
        ("fewer queries than a block", (1, 1), 6, 124, 1),
    ):
        query, key, value = qkv(*lead, nq=nq, nk=nk, d=d, dv=d)
        yield Sample(
            f"tensors made, {name}",
            "tiles",
            {"query": query, "key": key, "value": value, "blocks": [16, nk]},
            aspect="memory",
            view="tiles",
            gradients=False,
            note=f"{nq} queries, {nk} keys, blocks of 16",
        )


def tiles(length: int, block: int) -> Iterator[slice]:
    for start in range(0, length, block):
        yield slice(start, min(start + block, length))


def online(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    block: int,
    *,
    scale: float | None = None,
    first_maximum: float = -math.inf,
    rescale_sum: bool = True,
    rescale_output: bool = True,
    cut: Callable[[int, int], Iterator[slice]] = tiles,
    keep: Callable[[Tensor], Tensor] = lambda statistic: statistic,
) -> Tensor:
    """One pass over the keys: running maximum, running sum, running output."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    shape = query.shape[:-1]
    maximum = query.new_full((*shape, 1), first_maximum)
    total = query.new_zeros((*shape, 1))
    output = query.new_zeros((*shape, value.shape[-1]))
    for part in cut(key.shape[-2], block):
        scores = query @ key[..., part, :].mT * scale
        larger = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        shrink = (maximum - larger).exp()
        weights = (scores - larger).exp()
        total = total * (shrink if rescale_sum else 1) + weights.sum(-1, keepdim=True)
        output = output * (shrink if rescale_output else 1)
        output = output + weights @ value[..., part, :]
        maximum = larger
    return output / keep(total)


@tiled_attention.reference
def tiled_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    return online(query, key, value, block)


@tiled_attention.alternative
def in_two_passes(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    query = query / math.sqrt(query.shape[-1])
    parts = list(zip(key.split(block, -2), value.split(block, -2), strict=True))
    maximum = None
    for keys, _ in parts:
        largest = torch.einsum("...qd,...kd->...qk", query, keys).amax(-1)
        maximum = largest if maximum is None else torch.maximum(maximum, largest)
    above, below = 0, 0
    for keys, values in parts:
        weights = torch.exp(query @ keys.mT - maximum.detach()[..., None])
        above = above + weights @ values
        below = below + weights.sum(-1, keepdim=True)
    return above / below


@tiled_attention.alternative
def merged_by_logsumexp(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    scale = 1 / query.shape[-1] ** 0.5
    output = level = None
    for start in range(0, key.size(-2), block):
        scores = query @ key[..., start : start + block, :].transpose(-1, -2) * scale
        own = torch.softmax(scores, -1) @ value[..., start : start + block, :]
        own_level = scores.logsumexp(-1, keepdim=True)
        if output is None:
            output, level = own, own_level
            continue
        share = torch.sigmoid(own_level - level)
        output = output + share * (own - output)
        level = torch.logaddexp(level, own_level)
    return output


@tiled_attention.alternative
def blocks_apart_then_joined(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    levels, outputs = [], []
    for part in tiles(key.shape[-2], block):
        scores = query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        levels.append(scores.logsumexp(dim=-1))
        outputs.append(scores.softmax(dim=-1) @ value[..., part, :])
    shares = torch.stack(levels).softmax(dim=0)
    return (shares[..., None] * torch.stack(outputs)).sum(dim=0)


@tiled_attention.alternative
def queries_in_tiles_too(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    rows = [online(part, key, value, block) for part in query.split(block, dim=-2)]
    return torch.cat(rows, dim=-2)


@tiled_attention.alternative
def head_by_head_in_tiles(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    lead = query.shape[:-2]
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (query, key, value)]
    heads = [online(q, k, v, block) for q, k, v in zip(*flat, strict=True)]
    return torch.stack(heads).reshape(*lead, query.shape[-2], value.shape[-1])


@tiled_attention.alternative
def mapped_over_what_leads(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return online(query, key, value, block)

    for _ in query.shape[:-2]:
        attend = torch.vmap(attend)
    return attend(query, key, value)


@tiled_attention.alternative
def query_by_query(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    rows = []
    for row in query.unbind(dim=-2):
        maximum, total, output = -math.inf, 0, 0
        for start in range(0, key.shape[-2], block):
            keys = key[..., start : start + block, :]
            scores = (keys * row[..., None, :]).sum(-1) / math.sqrt(row.shape[-1])
            top = scores.amax(-1, keepdim=True)
            top = top.clamp(min=maximum) if start == 0 else torch.maximum(maximum, top)
            shrink, maximum = (maximum - top).exp(), top
            weights = (scores - top).exp()
            total = total * shrink + weights.sum(-1, keepdim=True)
            mixed = weights[..., None] * value[..., start : start + block, :]
            output = output * shrink + mixed.sum(-2)
        rows.append(output / total)
    return torch.stack(rows, dim=-2)


@tiled_attention.alternative
def sum_as_one_more_channel(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    scaled = query * query.shape[-1] ** -0.5
    maximum = query.new_full((*query.shape[:-1], 1), -torch.inf)
    joint = query.new_zeros((*query.shape[:-1], value.shape[-1] + 1))
    for part in tiles(key.shape[-2], block):
        scores = scaled @ key[..., part, :].mT
        larger = torch.maximum(maximum, scores.amax(-1, keepdim=True)).detach()
        values = F.pad(value[..., part, :], (0, 1), value=1.0)
        joint = joint * (maximum - larger).exp() + (scores - larger).exp() @ values
        maximum = larger
    return joint[..., :-1] / joint[..., -1:]


@tiled_attention.mistake("""You don't rescale the running sum when a larger maximum
turns up. It was added up relative to the old one: multiply it by exp(old maximum -
new maximum) before you add the block's.""")
def sum_not_rescaled(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, rescale_sum=False)


@tiled_attention.mistake("""You rescale the running sum but not the running output.
Both were added up relative to the old maximum: multiply both by exp(old maximum - new
maximum).""")
def output_not_rescaled(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    return online(query, key, value, block, rescale_output=False)


@tiled_attention.mistake("""Each block's weights are relative to a maximum of their
own, and are added up as they are. When the maximum changes, multiply the running sum
and the running output by exp(old maximum - new maximum).""")
def nothing_rescaled(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, rescale_sum=False, rescale_output=False)


@tiled_attention.mistake("""You shift each block by its own maximum, and never compare
it with those before. Blocks then count alike, however small their scores are.""")
def own_maximum_of_each_block(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    total, output = 0, 0
    for part in tiles(key.shape[-2], block):
        scores = query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        total = total + weights.sum(-1, keepdim=True)
        output = output + weights @ value[..., part, :]
    return output / total


@tiled_attention.mistake("""You rescale the wrong way round: the factor is exp(old
maximum - new maximum), at most 1. What came before shrinks when something larger
turns up.""")
def rescaled_the_wrong_way(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    maximum, total, output = None, 0, 0
    for part in tiles(key.shape[-2], block):
        scores = query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        larger = scores.amax(-1, keepdim=True)
        larger = larger if maximum is None else torch.maximum(maximum, larger)
        grow = 1 if maximum is None else (larger - maximum).exp()
        weights = (scores - larger).exp()
        total = total * grow + weights.sum(-1, keepdim=True)
        output = output * grow + weights @ value[..., part, :]
        maximum = larger
    return output / total


@tiled_attention.mistake("""You lose the rest: `Nk // block` counts full blocks only.
Let the start run to Nk in steps of `block`, and slice: the last may be shorter.""")
def rest_lost(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    def cut(length: int, block: int) -> Iterator[slice]:
        full = length // block * block
        return tiles(full or length, block)

    return online(query, key, value, block, cut=cut)


@tiled_attention.mistake("""You lose the rest, and where Nk is smaller than `block`,
all of it: `Nk // block` counts full blocks only. Let the start run to Nk in steps of
`block`, and slice: the last block may be shorter.""")
def rest_lost_altogether(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    def cut(length: int, block: int) -> Iterator[slice]:
        return tiles(length // block * block, block)

    return online(query, key, value, block, cut=cut)


@tiled_attention.mistake("""You fill the last block up with zeros. A key of zeros has
the score 0, which takes its share of the softmax. Leave the last block shorter (or
hide the filling with -inf).""")
def rest_filled_with_zeros(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    missing = -key.shape[-2] % block
    filled = F.pad(key, (0, 0, 0, missing)), F.pad(value, (0, 0, 0, missing))
    return online(query, *filled, block)


@tiled_attention.mistake("""Your last block reaches back, so that it is full: some
keys are counted twice.""")
def last_block_reaches_back(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    def cut(length: int, block: int) -> Iterator[slice]:
        for part in tiles(length, block):
            start = max(0, part.stop - block)
            yield slice(min(part.start, start), part.stop)

    return online(query, key, value, block, cut=cut)


@tiled_attention.mistake("""Neighbouring blocks share a key: a slice ends before its
second number, so the next one starts at that number.""")
def blocks_overlap(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    def cut(length: int, block: int) -> Iterator[slice]:
        for part in tiles(length, block):
            yield slice(part.start, part.stop + 1)

    return online(query, key, value, block, cut=cut)


@tiled_attention.mistake("""Your result is that of the last block alone: add its part
to what came before.""")
def last_block_alone(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    *_, last = tiles(key.shape[-2], block)
    return online(query, key[..., last, :], value[..., last, :], block)


@tiled_attention.mistake("""You take only the first block.""")
def first_block_alone(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key[..., :block, :], value[..., :block, :], block)


@tiled_attention.mistake("""You add up the softmax outputs of the blocks. Each of them
has weights that sum to 1; together they sum to the number of blocks. A block's output
counts with its share of the whole sum of exponentials.""")
def softmaxes_added(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return sum(
        online(query, key[..., part, :], value[..., part, :], block)
        for part in tiles(key.shape[-2], block)
    )


@tiled_attention.mistake("""You take the mean of the blocks' softmax outputs. Blocks
don't count alike: each one counts with its share of the whole sum of exponentials.""")
def softmaxes_averaged(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    number = len(list(tiles(key.shape[-2], block)))
    return softmaxes_added(query, key, value, block) / number


@tiled_attention.mistake("""You divide by the sum inside the loop, and then go on
adding to the quotient. Keep the output undivided, and divide once, after the last
block.""")
def divided_in_the_loop(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    maximum, total, output = None, 0, 0
    for part in tiles(key.shape[-2], block):
        scores = query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        larger = scores.amax(-1, keepdim=True)
        larger = larger if maximum is None else torch.maximum(maximum, larger)
        shrink = 0 if maximum is None else (maximum - larger).exp()
        weights = (scores - larger).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        output = (output * shrink + weights @ value[..., part, :]) / total
        maximum = larger
    return output


@tiled_attention.mistake("""You never divide by the running sum: the weights have to
sum to 1 in the end.""")
def never_divided(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, keep=torch.ones_like)


@tiled_attention.mistake("""You compute all scores at once, and so hold a tensor of
Nq·Nk numbers per head: that is what tiles avoid. Compute the scores of one block of
keys, use them, and let them go.""")
def all_scores_at_once(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value


@tiled_attention.mistake("""You work in blocks, but collect the scores of all blocks
in one tensor of Nq·Nk numbers per head. Use each block's scores in the loop, and let
them go: what is kept is a maximum, a sum and an output for each query.""")
def scores_collected(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    parts = [
        query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        for part in tiles(key.shape[-2], block)
    ]
    return torch.cat(parts, dim=-1).softmax(dim=-1) @ value


@tiled_attention.mistake(
    """You compute each head's scores all at once, Nq·Nk numbers.
It is the keys that go in blocks.""",
    same_as="scores_collected",
)
def one_head_after_the_other(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (query, key, value)]
    heads = []
    for q, k, v in zip(*flat, strict=True):
        parts = [q @ k[part].mT for part in tiles(len(k), block)]
        scores = torch.cat(parts, dim=-1) / math.sqrt(q.shape[-1])
        heads.append(scores.softmax(dim=-1) @ v)
    return torch.stack(heads).reshape(*query.shape[:-1], value.shape[-1])


def plain_in_another_thread(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """All scores at once, computed where the function's own steps don't show them."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(all_scores_at_once, query, key, value, 0).result()


@tiled_attention.mistake("""Your attention is computed out of sight, in another thread
or in one compiled call, and there it makes all Nq·Nk scores of a head at once; `block`
changes nothing. Loop over the keys in the function itself: the scores of one block,
used and let go before the next.""")
def computed_out_of_sight(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    return plain_in_another_thread(query, key, value)


@tiled_attention.mistake("""Your loop over blocks is not what makes the output: that
comes from another thread or from one compiled call, which holds all Nq·Nk scores of a
head at once. Let the loop do the work: the scores of one block, a running maximum, a
running sum, a running output.""")
def loop_beside_the_work(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    for _ in tiles(key.shape[-2], block):
        _ = query + 0
    return plain_in_another_thread(query, key, value)


@tiled_attention.mistake("""You cut the queries into blocks; `block` counts keys. A
tile of queries against all keys still has rows as long as Nk.""")
def queries_in_blocks(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    rows = [
        (part @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1) @ value
        for part in query.split(block, dim=-2)
    ]
    return torch.cat(rows, dim=-2)


@tiled_attention.mistake("""The number of steps does not depend on `block`: your tiles
have a size of their own. Use the argument: `block` keys at a time.""")
def block_ignored(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, 16)


@tiled_attention.mistake("""You read `block` as the number of blocks. It is the number
of keys in one block.""")
def block_as_number(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, -(-key.shape[-2] // block))


@tiled_attention.mistake("""You take `exp` of the scores as they are: it overflows for
large ones. Keep a running maximum for each query, and subtract it.""")
def no_maximum(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    total, output = 0, 0
    for part in tiles(key.shape[-2], block):
        weights = (query @ key[..., part, :].mT / math.sqrt(query.shape[-1])).exp()
        total = total + weights.sum(-1, keepdim=True)
        output = output + weights @ value[..., part, :]
    return output / total


@tiled_attention.mistake("""You shift by the maximum of the first block for good. When
a later block holds a larger score, exp overflows: let the maximum run along.""")
def maximum_of_the_first_block(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    maximum, total, output = None, 0, 0
    for part in tiles(key.shape[-2], block):
        scores = query @ key[..., part, :].mT / math.sqrt(query.shape[-1])
        if maximum is None:
            maximum = scores.amax(-1, keepdim=True)
        weights = (scores - maximum).exp()
        total = total + weights.sum(-1, keepdim=True)
        output = output + weights @ value[..., part, :]
    return output / total


@tiled_attention.mistake("""Your running maximum starts at 0. Where all scores are far
below zero it stays there, every exp is 0, and 0/0 is NaN. Start at -inf.""")
def maximum_starts_at_zero(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    return online(query, key, value, block, first_maximum=0.0)


@tiled_attention.mistake("""You keep one maximum for all queries. A query whose scores
all lie far below it gets nothing but zeros. Each query needs a maximum of its own:
`amax` over the last dimension, with keepdim=True.""")
def one_maximum_for_all(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    scale = math.sqrt(query.shape[-1])
    parts = list(tiles(key.shape[-2], block))
    top = max((query @ key[..., p, :].mT / scale).max().item() for p in parts)
    total, output = 0, 0
    for part in parts:
        weights = (query @ key[..., part, :].mT / scale - top).exp()
        total = total + weights.sum(-1, keepdim=True)
        output = output + weights @ value[..., part, :]
    return output / total


@tiled_attention.mistake("""Your scores are not divided by √d_k.""")
def no_scale(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, scale=1.0)


@tiled_attention.mistake("""You divide the scores by d_k, or by √d_k twice. Divide by
√d_k, once.""")
def divided_by_d(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, scale=1 / query.shape[-1])


@tiled_attention.mistake("""You divide by √d_v, the width of the values. The scores
are sums of d_k products, the width of queries and keys.""")
def divided_by_root_dv(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, scale=value.shape[-1] ** -0.5)


@tiled_attention.mistake("""You divide by the root of the block's length. The scores
are sums of d_k products: divide by √d_k.""")
def divided_by_root_block(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    return online(query, key, value, block, scale=min(block, key.shape[-2]) ** -0.5)


@tiled_attention.mistake("""You mix the keys: the weights go with `value`.""")
def key_as_value(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, key, block)


@tiled_attention.mistake("""Query and key are swapped: your result has a row for each
key. A row belongs to a query.""")
def swapped(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(key, query, value, block)


@tiled_attention.mistake("""You use `.T`, which turns all dimensions around. Of any
number of dimensions only the last two change places: `.mT` or `.transpose(-2, -1)`.""")
def full_transpose(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    order = tuple(reversed(range(key.dim())))
    scores = query @ key.permute(order) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value


@tiled_attention.mistake("""Your code takes exactly four dimensions, (batch, heads,
tokens, d). Any number may lead: count from the end, as in `key.shape[-2]` and
`key[..., i:j, :]`.""")
def four_dimensions_only(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    _batch, _heads, _queries, width = query.shape
    return online(query, key, value, block, scale=width**-0.5)


@tiled_attention.mistake("""Your code takes exactly three dimensions, (batch, tokens,
d). Any number may lead: count from the end, as in `key.shape[-2]` and `key[..., i:j,
:]`.""")
def three_dimensions_only(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    _batch, _queries, width = query.shape
    return online(query, key, value, block, scale=width**-0.5)


@tiled_attention.mistake("""You slice the keys along dimension 1. That is the tokens
only for three dimensions; slice from the end: `key[..., i:j, :]`.""")
def sliced_along_dim_one(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    total, output = 0, 0
    for start in range(0, key.shape[1], block):
        scores = query @ key[:, start : start + block].mT / query.shape[-1] ** 0.5
        weights = scores.exp()
        total = total + weights.sum(-1, keepdim=True)
        output = output + weights @ value[:, start : start + block]
    return output / total


@tiled_attention.mistake("""Your running output has the shape of the query. Its width
is that of the values, d_v, which need not be d_k.""")
def output_as_wide_as_query(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    output = torch.zeros_like(query)
    return output + online(query, key, value, block)


@tiled_attention.mistake("""You return a tuple. Only attn_output is wanted: nobody has
the weights any more.""")
def tuple_returned(query: Tensor, key: Tensor, value: Tensor, block: int) -> tuple:
    return online(query, key, value, block), None


@tiled_attention.mistake("""Your attention is causal: each query sees no key after its
own place. Nothing is masked here.""")
def causal(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    queries, keys = query.shape[-2], key.shape[-2]
    visible = torch.ones(queries, keys, dtype=torch.bool, device=key.device).tril()
    return F.scaled_dot_product_attention(query, key, value, visible)


@tiled_attention.mistake("""The running sum is cut off from the graph (`detach`,
`.item()` or `no_grad`). It depends on query and key, and the gradient must flow
through it.""")
def sum_detached(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, keep=Tensor.detach)


@tiled_attention.mistake("""Your result is cut off from its inputs (`detach`, `.data`
or `no_grad`): no gradient reaches query, key and value.""")
def detached(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block).detach()


@tiled_attention.mistake("""The weights are cut off from the graph: only `value` gets
a gradient.""")
def weights_detached(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query.detach(), key.detach(), value, block)


@tiled_attention.mistake("""Your function changes `query` in place (`query /= ...`).
Whoever called it still needs the old numbers: make a new tensor.""")
def query_scaled_in_place(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    result = online(query, key, value, block)
    query /= math.sqrt(query.shape[-1])
    return result


@tiled_attention.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the inputs.""")
def in_float32(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query.float(), key.float(), value.float(), block)


@tiled_attention.mistake("""Your running output and sum are made without a dtype, so
they are float32: half-precision inputs come back as float32. Make them with
`query.new_zeros(...)` or `dtype=query.dtype`.""")
def accumulators_without_dtype(
    query: Tensor, key: Tensor, value: Tensor, block: int
) -> Tensor:
    zeros = torch.zeros(*query.shape[:-1], value.shape[-1], device=query.device)
    return zeros + online(query, key, value, block)


@tiled_attention.mistake("""You add a small number to the sum, against a division by
zero. The sum is never below 1: the largest score counts exp(0).""")
def small_number_added(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    return online(query, key, value, block, keep=lambda total: total + 1e-6)


# -------------------------------------------------------------------------- KVCache

KVCache = Exercise("KVCache")


@KVCache.cases
def _(draw: Draw) -> Iterator[Sample]:
    def chunks(batch: int, heads: int, d: int, *lengths: int) -> list[list[Tensor]]:
        shape = [(batch, heads, length, d) for length in lengths]
        return [[draw.normal(*s), draw.normal(*s)] for s in shape]

    def sample(
        name: str,
        *sequences: list,
        aspect: str = "values",
        note: str = "",
        seconds: float = 5.0,
    ) -> Sample:
        arguments: dict = {"sequences": list(sequences)}
        first = sequences[0]
        if all(t.dtype == torch.float64 for pair in first for t in pair):
            total = sum(key.shape[2] for key, _ in first)
            batch, heads, _, d = first[0][0].shape
            arguments["upstream"] = draw.normal(2, batch, heads, total, d)
        return Sample(
            name,
            "appended",
            arguments,
            aspect=aspect,
            gradients=False,
            note=note,
            seconds=seconds,
        )

    yield sample("token by token", chunks(2, 3, 5, 1, 1, 1, 1))
    yield sample("same sizes again", chunks(2, 3, 5, 1, 1, 1, 1))
    yield sample(
        "several at once",
        chunks(3, 2, 4, 5, 1, 3, 2),
        note="first 5 tokens, then 1, then 3, then 2",
    )
    yield sample("one item, one head", chunks(1, 1, 3, 2, 1, 1))
    yield sample("one append", chunks(2, 2, 3, 4), note="one append, to an empty cache")
    yield sample(
        "as many tokens as heads", chunks(2, 3, 4, 3, 3), note="3 tokens twice"
    )
    yield sample(
        "two caches in turn",
        chunks(2, 3, 4, 2, 1, 1),
        chunks(2, 3, 4, 1, 2, 1),
        chunks(1, 2, 5, 3, 1),
        note="three caches, to which tokens are appended in turn",
    )
    yield sample(
        "a long text",
        [[t.half() for t in pair] for pair in chunks(1, 1, 1, 8200, 1, 40)],
        aspect="robustness",
        note="more than 8000 tokens",
        seconds=20,
    )
    yield sample(
        "not contiguous",
        [[noncontiguous(t) for t in pair] for pair in chunks(2, 3, 4, 2, 1, 3)],
        aspect="robustness",
        note="the inputs are transposed views",
    )
    for dtype in (torch.float32, torch.float16):
        yield sample(
            str(dtype).removeprefix("torch."),
            [[t.to(dtype) for t in pair] for pair in chunks(2, 2, 3, 2, 1)],
            aspect="robustness",
        )


@KVCache.reference
class ByConcatenation:
    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(key)
        self.values.append(value)
        return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)


@KVCache.alternative
class ByGrowingTensor:
    def __init__(self) -> None:
        self.key = self.value = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.key is None:
            self.key, self.value = key, value
        else:
            self.key = torch.cat([self.key, key], -2)
            self.value = torch.cat([self.value, value], -2)
        return self.key, self.value


@KVCache.alternative
class InDoublingBuffer:
    def __init__(self) -> None:
        self.length = 0

    def append(self, key: Tensor, value: Tensor) -> list[Tensor]:
        fresh = torch.stack([key, value])
        end = self.length + key.shape[2]
        if self.length == 0:
            self.store = fresh.new_zeros(*fresh.shape[:3], 4, fresh.shape[4])
        while self.store.shape[3] < end:
            self.store = torch.cat([self.store, torch.zeros_like(self.store)], dim=3)
        self.store[:, :, :, self.length : end] = fresh
        self.length = end
        return [self.store[0, :, :, :end], self.store[1, :, :, :end]]


@KVCache.alternative
class AsModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pair", None)

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.stack([key, value])
        self.pair = new if self.pair is None else torch.cat([self.pair, new], dim=3)
        return self.pair.unbind()


@KVCache.alternative
class TokenByToken:
    def __init__(self) -> None:
        self.tokens: list[tuple[Tensor, Tensor]] = []

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.tokens += zip(key.unbind(2), value.unbind(2), strict=True)
        keys, values = zip(*self.tokens, strict=True)
        return torch.stack(keys, dim=2), torch.stack(values, dim=2)


def joined_along(dim: int) -> type:
    class Joined:
        def __init__(self) -> None:
            self.pair: tuple[Tensor, Tensor] | None = None

        def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            if self.pair is not None:
                key = torch.cat([self.pair[0], key], dim=dim)
                value = torch.cat([self.pair[1], value], dim=dim)
            self.pair = key, value
            return self.pair

    return Joined


@KVCache.mistake("""You append along dimension 1, the heads. Tokens are dimension 2:
(B, H, t, d).""")
class AlongTheHeads(joined_along(1)):
    pass


@KVCache.mistake("""You append along the batch, dimension 0. Tokens are dimension 2:
(B, H, t, d).""")
class AlongTheBatch(joined_along(0)):
    pass


@KVCache.mistake("""You append along the last dimension, the channels. Tokens are
dimension 2: (B, H, t, d).""")
class AlongTheChannels(joined_along(3)):
    pass


@KVCache.mistake("""Your caches share their memory: what is stored belongs to the
class (`keys = []` in the class body). Make it in `__init__`, as `self.keys`, so that
every cache has its own.""")
class SharedByAll:
    keys: list[Tensor] = []  # noqa: RUF012
    values: list[Tensor] = []  # noqa: RUF012

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(key)
        self.values.append(value)
        return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)


@KVCache.mistake("""Nothing is remembered: you return what came in. Either you don't
store keys and values in `self`, or each piece is written to the same place: the
position has to advance by the number of tokens.""")
class Forgetful:
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return key, value


@KVCache.mistake("""The position is never advanced.""", same_as="Forgetful")
class PlaceNotAdvanced:
    def __init__(self) -> None:
        self.position = 0
        self.store: list[Tensor] = []

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        end = self.position + key.shape[2]
        shape = (*key.shape[:2], end, key.shape[3])
        self.store = [key.new_zeros(shape), key.new_zeros(shape)]
        for store, piece in zip(self.store, (key, value), strict=True):
            store[:, :, self.position : end] = piece
        return self.store[0][:, :, :end], self.store[1][:, :, :end]


@KVCache.mistake("""You return what was there before. The new keys and values belong
to the result as well: the new token may attend to itself.""")
class WithoutTheNew:
    def __init__(self) -> None:
        self.cache = ByConcatenation()
        self.before: tuple[Tensor, Tensor] | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        before = self.before or (key[:, :, :0], value[:, :, :0])
        self.before = self.cache.append(key, value)
        return before


@KVCache.mistake("""You return (values, keys). The keys come first.""")
class ValuesFirst(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().append(key, value)
        return values, keys


@KVCache.mistake("""The values you return are the keys: store `value`, too.""")
class KeysTwice(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key, key)


@KVCache.mistake("""Keys are remembered, values are not: each key needs its value.""")
class ValuesForgotten(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key, value)[0], value


@KVCache.mistake("""You return lists of the pieces. Join them along dimension 2 to one
tensor of keys and one of values.""")
class Pieces(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[list, list]:
        super().append(key, value)
        return list(self.keys), list(self.values)


@KVCache.mistake("""`append` returns nothing. Return all keys and all values.""")
class Silent(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> None:
        super().append(key, value)


@KVCache.mistake("""You return one tensor. Return two: all keys, and all values.""")
class OneTensor(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> Tensor:
        return torch.stack(super().append(key, value))


@KVCache.mistake("""Of a piece of several tokens you keep only the last one. All t of
them belong into the cache.""")
class LastOfEachPiece(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key[:, :, -1:], value[:, :, -1:])


@KVCache.mistake("""Of a piece of several tokens you keep only the first one. All t of
them belong into the cache.""")
class FirstOfEachPiece(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key[:, :, :1], value[:, :, :1])


@KVCache.mistake("""The newest tokens come first. They belong at the end: tokens stay
in the order in which they came.""")
class NewestFirst(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.insert(0, key)
        self.values.insert(0, value)
        return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)


@KVCache.mistake("""The place to write to moves on by 1 with each append. A piece may
hold several tokens: advance it by `key.shape[2]`.""")
class AdvancedByOne:
    def __init__(self) -> None:
        self.appends = 0

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.appends == 0:
            self.keys, self.values = key, value
        else:
            self.keys = torch.cat([self.keys[:, :, : self.appends], key], dim=2)
            self.values = torch.cat([self.values[:, :, : self.appends], value], dim=2)
        self.appends += 1
        return self.keys, self.values


@KVCache.mistake("""Your cache has room for a fixed number of tokens and gives back
the empty places, too. Return only what was appended.""")
class EmptyPlacesToo(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().append(key, value)
        missing = max(0, 128 - keys.shape[2])
        return tuple(F.pad(t, (0, 0, 0, missing)) for t in (keys, values))


@KVCache.mistake("""Your cache forgets the oldest tokens once there are many. It has
to keep all of them.""")
class ForgetsTheOldest(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().append(key, value)
        return keys[:, :, -1024:], values[:, :, -1024:]


@KVCache.mistake("""Your cache gives back a new axis for the pieces (`torch.stack`).
Join them along the axis that is there: `torch.cat(..., dim=2)`.""")
class NewAxis(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(key)
        self.values.append(value)
        return torch.stack(self.keys, dim=2), torch.stack(self.values, dim=2)


@KVCache.mistake("""Your cache changes a tensor that it gave back before: whoever
holds it sees other numbers. Build a new tensor, or write only to places that nobody
has.""")
class ChangesWhatItGave(ByConcatenation):
    given: tuple[Tensor, Tensor] | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.given is not None:
            for tensor in self.given:
                tensor.data.zero_()
        self.given = super().append(key, value)
        return self.given


@KVCache.mistake("""Your cache changes the keys it is given, in place.""")
class ChangesItsInput(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        result = super().append(key.clone(), value.clone())
        key.zero_()
        return result


@KVCache.mistake("""What is stored is cut off from the graph (`detach`, `.data`,
`no_grad`): no gradient reaches the keys and values that were appended.""")
class Detached(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key.detach(), value.detach())


@KVCache.mistake("""Only the newest keys and values are part of the graph: what was
stored before is cut off (`detach`).""")
class OldOnesDetached(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        result = super().append(key, value)
        self.keys[-1], self.values[-1] = key.detach(), value.detach()
        return result


@KVCache.mistake("""Your cache stores float32, whatever it is given (a buffer made
without a dtype, or `.float()`). Keep the dtype of the keys.""")
class InFloat32(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(key.float(), value.float())


@KVCache.mistake("""Your cache stores half precision to save memory. Keep the dtype of
the keys.""")
class InHalfPrecision(ByConcatenation):
    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().append(key.half(), value.half())
        return keys.to(key.dtype), values.to(value.dtype)


# ---------------------------------------------------------------------- cached_step

cached_step = Exercise("cached_step")


@cached_step.cases
def _(draw: Draw) -> Iterator[Sample]:
    def qkv(batch: int, heads: int, tokens: int, d: int, scale: float = 1.0) -> list:
        shape = (batch, heads, tokens, d)
        return [
            draw.normal(*shape, scale=scale),
            draw.normal(*shape, scale=scale),
            draw.normal(*shape),
        ]

    def sample(
        name: str,
        *sequences: list,
        start: int = 0,
        aspect: str = "values",
        gradients: bool = True,
        note: str = "",
    ) -> Sample:
        arguments: dict = {"sequences": list(sequences), "start": start}
        if gradients:
            batch, heads, tokens, d = sequences[0][0].shape
            arguments["upstream"] = draw.normal(batch, heads, tokens - start, d)
        return Sample(
            name, "cached_steps", arguments, aspect=aspect, gradients=False, note=note
        )

    yield sample("from an empty cache", qkv(2, 3, 5, 4))
    yield sample("same sizes again", qkv(2, 3, 5, 4))
    yield sample(
        "after a prompt",
        qkv(3, 2, 8, 5),
        start=5,
        note="5 tokens are in the cache before the first step",
    )
    yield sample("one item, one head", qkv(1, 1, 4, 3))
    yield sample("one step", qkv(2, 2, 1, 6), note="one token, and an empty cache")
    yield sample("as many tokens as heads", qkv(2, 4, 4, 4))
    yield sample("one channel", qkv(2, 2, 4, 1))
    yield sample(
        "two caches in turn",
        qkv(2, 2, 4, 3),
        qkv(2, 2, 4, 3),
        note="two sequences, each with a cache of its own, step by step in turn",
    )
    yield sample(
        "large scores",
        qkv(2, 2, 5, 6, scale=40.0),
        aspect="robustness",
        note="scores of several thousand, where exp overflows",
    )
    query, key, value = qkv(2, 2, 5, 6, scale=40.0)
    yield sample(
        "scores far below zero",
        [query.abs() + 20, -key.abs() - 20, value],
        aspect="robustness",
        note="all scores are far below zero, where every exp is 0",
    )
    yield sample(
        "not contiguous",
        [noncontiguous(t) for t in qkv(2, 3, 5, 4)],
        start=2,
        aspect="robustness",
        note="the inputs are transposed views",
    )
    for dtype in (torch.float32, torch.float16):
        yield sample(
            str(dtype).removeprefix("torch."),
            [t.to(dtype) for t in qkv(2, 2, 4, 5)],
            start=1,
            aspect="robustness",
            gradients=False,
        )


def look_up(
    query: Tensor, keys: Tensor, values: Tensor, scale: float | None = None
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return (query @ keys.mT * scale).softmax(dim=-1) @ values


@cached_step.reference
def cached_step_reference(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    return look_up(query, *cache.append(key, value))


@cached_step.alternative
def with_torch(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    return F.scaled_dot_product_attention(query, keys, values)


@cached_step.alternative
def with_einsum(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    scores = torch.einsum("bhqd,bhkd->bhqk", query / math.sqrt(query.size(-1)), keys)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("bhqk,bhkd->bhqd", weights, values)


@cached_step.alternative
def key_by_key(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    scores = [(query * k[:, :, None]).sum(-1) for k in keys.unbind(dim=2)]
    weights = F.softmax(torch.stack(scores) / keys.shape[-1] ** 0.5, dim=0)
    pairs = zip(weights, values.unbind(dim=2), strict=True)
    return sum(w[..., None] * v[:, :, None] for w, v in pairs)


@cached_step.alternative
def as_last_row_of_a_square(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    filled = torch.cat([torch.zeros_like(keys[:, :, 1:]), query], dim=2)
    attended = F.scaled_dot_product_attention(filled, keys, values, is_causal=True)
    return attended[:, :, -1:]


@cached_step.mistake("""Your query does not see its own token: append the new key and
value first, then attend to all that the cache returns.""")
def attends_before_it_appends(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    return look_up(query, keys[:, :, :-1], values[:, :, :-1])


@cached_step.mistake("""You attend to the new key and value alone. `append` returns
all of them: use what it returns.""")
def new_token_alone(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    cache.append(key, value)
    return look_up(query, key, value)


@cached_step.mistake("""You never append: the cache stays as it was, and the query
sees only its own token. Call `cache.append(key, value)`.""")
def never_appends(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return look_up(query, key, value)


@cached_step.mistake("""You call `append` twice, so that every token is in the cache two
times. Call it once, and keep both of its results: `keys, values = cache.append(key,
value)`.""")
def appends_twice(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    cache.append(key, value)
    return look_up(query, *cache.append(key, value))


@cached_step.mistake(
    """You call `append` once for the keys and once for the values.""",
    same_as="appends_twice",
)
def appends_for_each_result(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys = cache.append(key, value)[0]
    return look_up(query, keys, cache.append(key, value)[1])


@cached_step.mistake("""The new token counts twice: what `append` returns holds it
already. Don't join it with the new key and value again.""")
def new_token_counted_twice(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    keys, values = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
    return look_up(query, keys, values)


@cached_step.mistake("""You pass `is_causal=True`. Torch aligns that mask with the
first key, so your one query sees key 0 alone (chapter 05). A single newest query may
see everything: no mask at all.""")
def is_causal_with_one_query(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    return F.scaled_dot_product_attention(query, keys, values, is_causal=True)


@cached_step.mistake("""Your scores are not divided by √d_k.""")
def step_without_scale(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    return look_up(query, *cache.append(key, value), scale=1.0)


@cached_step.mistake("""You divide the scores by d_k, or by √d_k twice. Divide by
√d_k, once.""")
def step_divided_by_d(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    return look_up(query, *cache.append(key, value), scale=1 / query.shape[-1])


@cached_step.mistake("""You divide by the root of the number of keys. The scores are
sums of d_k products: divide by √d_k.""")
def divided_by_root_of_keys(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    return look_up(query, keys, values, scale=keys.shape[2] ** -0.5)


@cached_step.mistake(
    """You appended (value, key). The order is `append(key, value)`."""
)
def appends_value_first(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    return look_up(query, *cache.append(value, key))


@cached_step.mistake("""`append` returns (keys, values), in that order: yours have
changed places.""")
def results_swapped(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    values, keys = cache.append(key, value)
    return look_up(query, keys, values)


@cached_step.mistake("""You mix the keys: the weights go with the values.""")
def step_with_key_as_value(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, _ = cache.append(key, value)
    return look_up(query, keys, keys)


@cached_step.mistake("""You append the query in place of the key. The cache holds what
later tokens will look up: keys and values.""")
def query_appended(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return look_up(query, *cache.append(query, value))


@cached_step.mistake("""You ask with the key: scores are query · keys.""")
def key_as_query(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return look_up(key, *cache.append(key, value))


@cached_step.mistake("""Your softmax runs over dimension 2, where there is one query:
each weight comes out as 1. It runs over the keys, dim=-1.""")
def softmax_over_one_query(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    scores = query @ keys.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=2) @ values


@cached_step.mistake("""Your softmax runs over the heads. It runs over the keys,
dim=-1.""")
def softmax_over_heads(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    scores = query @ keys.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=1) @ values


@cached_step.mistake("""Every key gets the same weight: your result is the mean of the
values, whatever the query.""")
def uniform(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    return look_up(0 * query, keys, values)


@cached_step.mistake("""You leave out the first token of the cache.""")
def first_token_left_out(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    first = 1 if keys.shape[2] > 1 else 0
    return look_up(query, keys[:, :, first:], values[:, :, first:])


@cached_step.mistake("""You return (output, weights). Only attn_output is wanted.""")
def step_returns_tuple(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> tuple:
    return look_up(query, *cache.append(key, value)), None


@cached_step.mistake("""You took out the axis of the one query. Keep it: the output is
(B, H, 1, d).""")
def squeezed(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return look_up(query, *cache.append(key, value)).squeeze(2)


@cached_step.mistake("""You return the output of all tokens so far. Only the new
token's row is wanted, (B, H, 1, d): the old rows don't change.""")
def all_rows(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    return look_up(query.expand(-1, -1, keys.shape[2], -1), keys, values)


@cached_step.mistake("""You take `exp` of the scores as they are: it overflows for
large ones. Subtract the maximum first, or use `torch.softmax`.""")
def naive_exp(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    weights = (query @ keys.mT / math.sqrt(query.shape[-1])).exp()
    return weights / weights.sum(-1, keepdim=True) @ values


@cached_step.mistake("""You change the cached keys in place (`keys *= ...`): the next
step finds them changed. Scale the query or the scores instead.""")
def cached_keys_scaled_in_place(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    keys, values = cache.append(key, value)
    keys *= query.shape[-1] ** -0.5
    return look_up(query, keys, values, scale=1.0)


@cached_step.mistake("""Your function changes `query` in place. Whoever called it
still needs it: make a new tensor.""")
def step_changes_query(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    result = look_up(query, *cache.append(key, value))
    query /= math.sqrt(query.shape[-1])
    return result


@cached_step.mistake("""Your result is cut off from its inputs (`detach`, `.data`,
`no_grad`): no gradient reaches query, key and value.""")
def step_detached(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return look_up(query, *cache.append(key, value)).detach()


@cached_step.mistake("""You append detached keys and values: later outputs depend on
them, and their gradient is lost.""")
def appended_detached(
    cache: object, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    return look_up(query, *cache.append(key.detach(), value.detach()))


@cached_step.mistake("""You compute in float32: float64 inputs lose half their digits,
and the result has another dtype than the query.""")
def step_in_float32(cache: object, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys, values = cache.append(key, value)
    return look_up(query.float(), keys.float(), values.float())


# ---------------------------------------------------------------------- window_mask

window_mask = Exercise("window_mask")


@window_mask.cases
def _(draw: Draw) -> Iterator[Sample]:
    for tokens, radius, note in (
        (6, 1, ""),
        (9, 3, ""),
        (7, 2, ""),
        (8, 5, ": wider than half the tokens"),
        (draw.integer(10, 14), draw.integer(2, 4), ""),
        (draw.integer(15, 20), draw.integer(5, 8), ""),
        (5, 0, ": each token sees itself alone"),
        (1, 0, ""),
        (1, 3, ""),
        (4, 3, ": everybody sees everybody"),
        (4, 4, ": as wide as there are tokens"),
        (3, 50, ": far wider than there are tokens"),
    ):
        yield call(
            f"{tokens} tokens, radius {radius}",
            tokens,
            radius,
            note=f"{tokens} tokens, radius {radius}{note}",
        )


@window_mask.reference
def window_mask_reference(num_tokens: int, radius: int) -> Tensor:
    rows = [
        [abs(i - j) <= radius for j in range(num_tokens)] for i in range(num_tokens)
    ]
    return torch.tensor(rows)


def distance(num_tokens: int) -> Tensor:
    place = torch.arange(num_tokens)
    return place - place[:, None]


@window_mask.alternative
def by_distance(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() <= radius


@window_mask.alternative
def by_two_triangles(num_tokens: int, radius: int) -> Tensor:
    ones = torch.ones(num_tokens, num_tokens, dtype=torch.bool)
    return ones.triu(-radius) & ones.tril(radius)


@window_mask.alternative
def row_by_row(num_tokens: int, radius: int) -> Tensor:
    mask = torch.zeros(num_tokens, num_tokens, dtype=torch.bool)
    for i in range(num_tokens):
        mask[i, max(0, i - radius) : i + radius + 1] = True
    return mask


@window_mask.alternative
def diagonal_by_diagonal(num_tokens: int, radius: int) -> Tensor:
    mask = torch.zeros(num_tokens, num_tokens)
    for shift in range(-radius, radius + 1):
        if abs(shift) < num_tokens:
            mask += torch.diag(torch.ones(num_tokens - abs(shift)), shift)
    return mask != 0


@window_mask.alternative
def with_numpy(num_tokens: int, radius: int) -> Tensor:
    rows, columns = np.indices((num_tokens, num_tokens))
    return torch.from_numpy(np.abs(rows - columns) <= radius)


@window_mask.mistake("""Your window is one too narrow: the distance may be equal to
the radius, so write <= and not <.""")
def strictly_less(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() < radius


@window_mask.mistake("""Your window is one too wide: the distance may be at most the
radius.""")
def one_too_wide(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() <= radius + 1


@window_mask.mistake("""Your window looks back only. It reaches `radius` tokens to
both sides: |i - j|.""")
def looks_back_only(num_tokens: int, radius: int) -> Tensor:
    return (distance(num_tokens) <= 0) & (distance(num_tokens) >= -radius)


@window_mask.mistake("""Your window looks ahead only. It reaches `radius` tokens to
both sides: |i - j|.""")
def looks_ahead_only(num_tokens: int, radius: int) -> Tensor:
    return (distance(num_tokens) >= 0) & (distance(num_tokens) <= radius)


@window_mask.mistake("""Your window is bounded on one side only: everything before the
token is visible. Take the absolute distance.""")
def all_of_the_past(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens) <= radius


@window_mask.mistake("""Your window is bounded on one side only: everything after the
token is visible. Take the absolute distance.""")
def all_of_the_future(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens) >= -radius


@window_mask.mistake("""You read `radius` as the width of the whole window. It reaches
`radius` tokens to each side, 2 · radius + 1 in all.""")
def radius_as_width(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() <= radius // 2


@window_mask.mistake("""Your window is twice as wide: `radius` is what it reaches to
each side.""")
def radius_doubled(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() <= 2 * radius


@window_mask.mistake("""Only the two diagonals at distance `radius` are True.
Everything in between is visible, too.""")
def edges_only(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() == radius


@window_mask.mistake("""Your mask is inverted. In this course True means *may attend*,
so True stands near the diagonal.""")
def inverted(num_tokens: int, radius: int) -> Tensor:
    return distance(num_tokens).abs() > radius


@window_mask.mistake("""A token does not see itself in your mask: the distance 0 is
within every radius.""")
def without_itself(num_tokens: int, radius: int) -> Tensor:
    far = distance(num_tokens).abs()
    return (far <= radius) & (far > 0)


@window_mask.mistake("""You cut the tokens into separate blocks. The window slides: it
lies around each token.""")
def separate_blocks(num_tokens: int, radius: int) -> Tensor:
    block = torch.arange(num_tokens) // (radius + 1)
    return block == block[:, None]


@window_mask.mistake("""Your window goes around the corner: the first tokens see the
last ones. The text has two ends.""")
def around_the_corner(num_tokens: int, radius: int) -> Tensor:
    far = distance(num_tokens).abs()
    return torch.minimum(far, num_tokens - far) <= radius


@window_mask.mistake("""Near the ends your window moves inwards, so that it keeps its
full width. It only gets cut off: |i - j| ≤ radius is all there is.""")
def full_width_at_the_ends(num_tokens: int, radius: int) -> Tensor:
    last = max(radius, num_tokens - 1 - radius)
    centre = torch.arange(num_tokens).clamp(min(radius, last), last)
    return (torch.arange(num_tokens) - centre[:, None]).abs() <= radius


@window_mask.mistake("""Your mask holds numbers, 0 and 1. A boolean mask is wanted:
added to the scores (chapter 05), ones and zeros hide nothing.""")
def in_numbers(num_tokens: int, radius: int) -> Tensor:
    return by_distance(num_tokens, radius).float()


@window_mask.mistake("""Your mask holds integers, 0 and 1. Its dtype should be
torch.bool.""")
def in_integers(num_tokens: int, radius: int) -> Tensor:
    return by_distance(num_tokens, radius).long()


@window_mask.mistake("""Your mask is additive, 0 and -inf. A boolean one is wanted,
True may attend.""")
def additive(num_tokens: int, radius: int) -> Tensor:
    hidden = ~by_distance(num_tokens, radius)
    return torch.zeros(num_tokens, num_tokens).masked_fill(hidden, -math.inf)


@window_mask.mistake("""Your mask has an axis too many. Its shape is (N, N).""")
def with_a_batch(num_tokens: int, radius: int) -> Tensor:
    return by_distance(num_tokens, radius)[None]


@window_mask.mistake("""Where the radius reaches beyond the text your code fails.
Slices and diagonals must stay inside: a window may be wider than the text.""")
def fails_when_wide(num_tokens: int, radius: int) -> Tensor:
    if radius >= num_tokens:
        raise RuntimeError(f"{radius} is out of range for {num_tokens} tokens")
    return by_distance(num_tokens, radius)

"""Chapter 04: softmax, the scale of the scores, and the attention block."""

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
    module,
    noncontiguous,
)

# ----------------------------------------------------------------- softmax_jacobian

softmax_jacobian = Exercise(
    "softmax_jacobian",
    shortcuts=(
        "torch.autograd.functional.jacobian",
        "torch.func.jacrev",
        "torch.func.jacfwd",
    ),
)


@softmax_jacobian.cases
def _(draw: Draw) -> Iterator[Sample]:
    def weights(number: int, scale: float = 1.0) -> Tensor:
        return draw.normal(number, scale=scale).softmax(dim=0)

    # The weights sum to 1, so only the gradient along that simplex is compared: what an
    # answer does off it is free, and so is the gradient at a weight of zero.
    along = "gradient_along_simplex"
    yield call("five weights", weights(5), view=along)
    yield call("five other weights", weights(5, 2.0), view=along)
    yield call("eight weights", weights(8), view=along)
    yield call("one weight", weights(1), view=along, note="a single weight, which is 1")
    yield call(
        "nearly one-hot",
        weights(6, 30.0),
        gradients=False,
        note="one weight is almost 1",
    )
    yield call(
        "a weight of zero",
        torch.cat([weights(4), torch.zeros(1, dtype=torch.float64)]),
        gradients=False,
        note="one weight is exactly 0, as after a mask",
    )
    yield call(
        "not contiguous",
        noncontiguous(weights(7)),
        view=along,
        aspect="robustness",
        note="the weights do not lie side by side in memory",
    )
    yield call("float32", weights(4).float(), aspect="robustness", gradients=False)
    yield call("float16", weights(3).half(), aspect="robustness", gradients=False)


@softmax_jacobian.reference
def softmax_jacobian_reference(weights: Tensor) -> Tensor:
    return torch.diag(weights) - torch.outer(weights, weights)


@softmax_jacobian.alternative
def by_kronecker_delta(weights: Tensor) -> Tensor:
    delta = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    return weights[:, None] * (delta - weights[None, :])


@softmax_jacobian.alternative
def by_automatic_differentiation(weights: Tensor) -> Tensor:
    return torch.func.jacrev(lambda s: s.softmax(dim=0))(weights.log())


@softmax_jacobian.alternative
def entry_by_entry(weights: Tensor) -> Tensor:
    number = len(weights)
    rows = [
        torch.stack(
            [
                weights[i] * (1 - weights[i]) if i == j else -weights[i] * weights[j]
                for j in range(number)
            ]
        )
        for i in range(number)
    ]
    return torch.stack(rows)


@softmax_jacobian.mistake("""You return only the diagonal, w_i (1 - w_i), as a
matrix. Raising one score also lowers every other weight: off the diagonal stands
-w_i w_j.""")
def diagonal_only(weights: Tensor) -> Tensor:
    return torch.diag(weights * (1 - weights))


@softmax_jacobian.mistake("""You return w_i (1 - w_i) for each score, a vector. The
Jacobian has one entry for each pair (weight i, score j): a matrix.""")
def vector_of_diagonal(weights: Tensor) -> Tensor:
    return weights * (1 - weights)


@softmax_jacobian.mistake("""Your off-diagonal entries are positive. The weights
share a sum of 1: when one rises, the others fall, so off the diagonal the sign is
minus.""")
def positive_off_diagonal(weights: Tensor) -> Tensor:
    diagonal = torch.diag(weights)
    outer = torch.outer(weights, weights)
    return diagonal + outer - 2 * torch.diag(weights * weights)


@softmax_jacobian.mistake("""You left out the diagonal term: -w_i w_j is right off
the diagonal, but on it w_i has to be added.""")
def outer_only(weights: Tensor) -> Tensor:
    return -torch.outer(weights, weights)


@softmax_jacobian.mistake("""You wrote diag(1) where diag(w) belongs: the identity
minus w wᵀ is not the derivative; the diagonal term is w_i, not 1.""")
def identity_minus_outer(weights: Tensor) -> Tensor:
    eye = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    return eye - torch.outer(weights, weights)


@softmax_jacobian.mistake("""You applied softmax to the weights. They are weights
already; the function receives what softmax returned.""")
def softmax_again(weights: Tensor) -> Tensor:
    return softmax_jacobian_reference(weights.softmax(dim=0))


@softmax_jacobian.mistake("""Your Jacobian has the opposite sign: it says that
raising a score lowers its own weight.""")
def negated(weights: Tensor) -> Tensor:
    return -softmax_jacobian_reference(weights)


@softmax_jacobian.mistake("""Your function changes `weights` in place. Whoever called
it still needs them: build a new tensor.""")
def in_place(weights: Tensor) -> Tensor:
    result = softmax_jacobian_reference(weights)
    weights -= 1e-3
    return result


@softmax_jacobian.mistake("""Your result is cut off from `weights`: with `detach`,
`.data` or `torch.tensor(...)` no gradient can flow back.""")
def detached(weights: Tensor) -> Tensor:
    return softmax_jacobian_reference(weights.detach())


@softmax_jacobian.mistake("""You compute in float32, or fill a matrix made without a
dtype: float64 weights lose half their digits. Take over the dtype of `weights`.""")
def jacobian_in_float32(weights: Tensor) -> Tensor:
    return softmax_jacobian_reference(weights.float())


@softmax_jacobian.mistake("""You subtract w from every row of diag(w). Off the diagonal
stands the product -w_i w_j: use `torch.outer(weights, weights)`.""")
def diagonal_minus_weights(weights: Tensor) -> Tensor:
    return torch.diag(weights) - weights


# ------------------------------------------------------ scaled_dot_product_attention

scaled_dot_product_attention = Exercise(
    "scaled_dot_product_attention",
    shortcuts=("torch.nn.functional.scaled_dot_product_attention",),
)


@scaled_dot_product_attention.cases
def _(draw: Draw) -> Iterator[Sample]:
    def qkv(*lead: int, nq: int, nk: int, d: int, dv: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(*lead, nq, d, scale=scale),
            draw.normal(*lead, nk, d, scale=scale),
            draw.normal(*lead, nk, dv),
        )

    both = ("attn_output", "attn_weights")
    yield call(
        "batch, all sizes different", *qkv(2, nq=4, nk=5, d=7, dv=6), outputs=both
    )
    yield call("same sizes again", *qkv(2, nq=4, nk=5, d=7, dv=6), outputs=both)
    yield call("self-attention sizes", *qkv(3, nq=6, nk=6, d=5, dv=5), outputs=both)
    yield call("no batch", *qkv(nq=3, nk=8, d=4, dv=2), outputs=both)
    yield call("one item", *qkv(1, nq=5, nk=3, d=2, dv=4), outputs=both)
    yield call("one query, one key", *qkv(2, nq=1, nk=1, d=3, dv=4), outputs=both)
    yield call("batch and heads", *qkv(2, 3, nq=4, nk=5, d=7, dv=6), outputs=both)
    yield call("one channel", *qkv(2, nq=3, nk=4, d=1, dv=1), outputs=both)
    yield call("five dimensions", *qkv(2, 1, 3, nq=4, nk=2, d=6, dv=5), outputs=both)
    query, key, value = qkv(2, nq=3, nk=4, d=6, dv=5, scale=40.0)
    yield call(
        "scores far below zero",
        query.abs() + 20,
        -key.abs() - 20,
        value,
        outputs=both,
        aspect="robustness",
        note="all scores are far below zero, where every exp is 0",
    )
    query, key, value = qkv(1, nq=2, nk=4, d=6, dv=5, scale=40.0)
    yield call(
        "rows far apart",
        torch.stack([query[:, 0].abs(), -query[:, 0].abs()], dim=1),
        key.abs(),
        value,
        outputs=both,
        aspect="robustness",
        note="one query's scores are large, another's far below zero",
    )
    yield call(
        "large scores",
        *qkv(2, nq=3, nk=4, d=6, dv=5, scale=40.0),
        outputs=both,
        aspect="robustness",
        note="scores of several thousand, where exp overflows",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in qkv(2, 3, nq=4, nk=6, d=5, dv=7)),
        outputs=both,
        aspect="robustness",
        note="the inputs are transposed views",
    )
    yield call(
        "float32",
        *(t.float() for t in qkv(2, nq=3, nk=4, d=5, dv=6)),
        outputs=both,
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in qkv(2, nq=3, nk=5, d=4, dv=6)),
        outputs=both,
        aspect="robustness",
        gradients=False,
    )


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple:
    scores = torch.einsum("...qd,...kd->...qk", query, key) * scale
    weights = scores.softmax(dim=-1)
    return torch.einsum("...qk,...kv->...qv", weights, value), weights


@scaled_dot_product_attention.reference
def sdpa_reference(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    return attend(query, key, value, query.shape[-1] ** -0.5)


@scaled_dot_product_attention.alternative
def query_scaled_first(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = F.softmax((query / math.sqrt(query.size(-1))) @ key.mT, dim=-1)
    return weights @ value, weights


@scaled_dot_product_attention.alternative
def max_shift_by_hand(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    scores = query.matmul(key.transpose(-2, -1)) / key.shape[-1] ** 0.5
    shifted = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    weights = shifted / shifted.sum(dim=-1, keepdim=True)
    return weights.matmul(value), weights


@scaled_dot_product_attention.alternative
def torch_output_own_weights(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, dim=-1)
    return F.scaled_dot_product_attention(query, key, value), weights


@scaled_dot_product_attention.mistake("""Your scores are not divided by √d_k. They
grow with the width of the vectors, and softmax saturates.""")
def no_scale(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, 1.0)


@scaled_dot_product_attention.mistake("""You divide by d_k, or by √d_k twice (once
the query, once the scores). The spread of a dot product of d_k terms is √d_k: divide by
that, once.""")
def divided_by_d(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, 1 / query.shape[-1])


@scaled_dot_product_attention.mistake("""You divide by √d_v, the width of the values.
The scores are sums over d_k terms, the width of queries and keys.""")
def divided_by_root_dv(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, value.shape[-1] ** -0.5)


@scaled_dot_product_attention.mistake("""You divide by the square root of the number
of keys. The scores are sums over d_k terms, whatever the number of keys.""")
def divided_by_root_nk(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, key.shape[-2] ** -0.5)


@scaled_dot_product_attention.mistake(
    """You multiply by √d_k where you should divide."""
)
def multiplied(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, query.shape[-1] ** 0.5)


@scaled_dot_product_attention.mistake("""You divide by √64: that is right for the
paper's heads of 64 channels alone. Read the width from the query.""")
def hard_coded_width(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, 1 / 8)


@scaled_dot_product_attention.mistake("""You divide by √d_k after the softmax. Then
the weights no longer sum to 1, and their sharpness has not changed.""")
def scaled_after_softmax(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = (query @ key.mT).softmax(dim=-1) / query.shape[-1] ** 0.5
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""Your softmax runs over the queries: the
columns sum to 1. Each query shares out its own attention, so it runs over the keys,
dim=-1.""")
def softmax_over_queries(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-2)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""Your softmax runs over dim=1, which is the
keys only for inputs without a batch or with one more dimension. Use dim=-1.""")
def softmax_over_dim_one(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=1)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""Your softmax runs over dim=0: the items of a
batch compete with each other. Use dim=-1, the keys.""")
def softmax_over_batch(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=0)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""You mix the keys: the weights must be
multiplied with `value`.""")
def key_as_value(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, key, query.shape[-1] ** -0.5)


@scaled_dot_product_attention.mistake("""Query and key are swapped: your weights have
a row for each key. A row belongs to a query.""")
def swapped(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(key, query, value, query.shape[-1] ** -0.5)


@scaled_dot_product_attention.mistake("""You use `.T`, which reverses all dimensions.
In a batch only the last two change places: `key.transpose(-2, -1)` or `key.mT`.""")
def full_transpose(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    keys = key.permute(*reversed(range(key.dim())))
    weights = (query @ keys / query.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""You take `exp` of the scores as they are: it
overflows for large ones, and inf/inf is NaN. Subtract each row's maximum first.""")
def naive_exp(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    scores = (query @ key.mT / query.shape[-1] ** 0.5).exp()
    weights = scores / scores.sum(dim=-1, keepdim=True)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""You return the scaled scores where the
weights belong: return what softmax gave.""")
def scores_for_weights(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ value, scores


@scaled_dot_product_attention.mistake("""You return (attn_weights, attn_output). The
output comes first.""")
def order_swapped(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    output, weights = sdpa_reference(query, key, value)
    return weights, output


@scaled_dot_product_attention.mistake("""You return the output alone. Return the pair
(attn_output, attn_weights).""")
def output_only(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return sdpa_reference(query, key, value)[0]


@scaled_dot_product_attention.mistake("""Every key gets the same weight: your output
is the plain mean of the values, whatever the query.""")
def uniform(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = torch.ones_like(query @ key.mT) / key.shape[-2]
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""The weights are cut off from the graph
(`detach`, `.data` or `no_grad`): no gradient reaches query and key.""")
def weights_detached(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    weights = sdpa_reference(query, key, value)[1].detach()
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""You compute in float32: float64 inputs lose
half their digits, and the result has another dtype than the input.""")
def cast_to_float32(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return sdpa_reference(query.float(), key.float(), value.float())


@scaled_dot_product_attention.mistake("""You scale `query` in place (`query /= ...`).
The caller's query is changed, and a second call would scale it again.""")
def query_in_place(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    query /= query.shape[-1] ** 0.5
    return attend(query, key, value, 1.0)


@scaled_dot_product_attention.mistake("""You use the first item's keys for the whole
batch. Each item has keys of its own.""")
def first_items_keys(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    shared = key[:1].expand_as(key) if key.dim() > 2 else key
    return sdpa_reference(query, shared, value)


@scaled_dot_product_attention.mistake("""Your √d_k is a float32 number:
`torch.sqrt(torch.tensor(d))` rounds it to 7 digits. `math.sqrt(d)` and `d ** 0.5` are
exact enough for float64 inputs.""")
def root_in_float32(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    root = torch.sqrt(torch.tensor(query.shape[-1])).item()
    return attend(query, key, value, 1 / root)


@scaled_dot_product_attention.mistake("""You divide by √2, right for the worked example
alone. Read the width from the query.""")
def hard_coded_example(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, 2**-0.5)


@scaled_dot_product_attention.mistake("""You divide by the square root of the number of
queries (`shape[-2]`, or `shape[1]` in a batch). The width is the last dimension.""")
def divided_by_root_nq(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return attend(query, key, value, query.shape[-2] ** -0.5)


@scaled_dot_product_attention.mistake("""You subtract one maximum for all rows. A row
far below it becomes all zeros, and 0/0 is NaN: every row needs its own, `dim=-1,
keepdim=True`.""")
def maximum_of_everything(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    scores = query @ key.mT / query.shape[-1] ** 0.5
    shifted = (scores - scores.max()).exp()
    weights = shifted / shifted.sum(dim=-1, keepdim=True)
    return weights @ value, weights


@scaled_dot_product_attention.mistake("""The values are cut off from the graph: no
gradient reaches them.""")
def values_detached(query: Tensor, key: Tensor, value: Tensor) -> tuple:
    return sdpa_reference(query, key, value.detach())


# ------------------------------------------------------------------- AttentionBlock

AttentionBlock = Exercise("AttentionBlock")


@AttentionBlock.cases
def _(draw: Draw) -> Iterator[Sample]:
    def block(
        name: str,
        x: Tensor,
        d_k: int,
        *,
        dtype: torch.dtype = torch.float64,
        training: bool = False,
        scale: float = 1.0,
        shift: float = 0.0,
        **options,
    ) -> Sample:
        d_model = x.shape[-1]
        shapes = {}
        for projection in ("q_proj", "k_proj", "v_proj"):
            shapes[f"{projection}.weight"] = (d_k, d_model)
            shapes[f"{projection}.bias"] = (d_k,)
        parameters = {n: (p * scale).to(dtype) for n, p in draw.like(shapes).items()}
        parameters["q_proj.bias"] += shift
        parameters["k_proj.bias"] -= shift
        return module(
            name,
            init=(d_model, d_k),
            parameters=parameters,
            args=(x.to(dtype),),
            training=training,
            **options,
        )

    yield block("batch, all sizes different", draw.normal(2, 4, 7), 5)
    yield block("same sizes again", draw.normal(2, 4, 7), 5)
    yield block("in training", draw.normal(3, 5, 4), 6, training=True)
    yield block("one item", draw.normal(1, 6, 3), 2)
    yield block("one token", draw.normal(2, 1, 5), 3)
    yield block("as wide as the model", draw.normal(2, 5, 6), 6, note="d_k is d_model")
    yield block("one channel", draw.normal(2, 3, 4), 1, note="d_k is 1")
    yield block(
        "scores far below zero",
        draw.normal(2, 4, 6),
        5,
        shift=60.0,
        aspect="robustness",
        note="all scores are far below zero, where every exp is 0",
    )
    yield block(
        "large scores",
        draw.normal(2, 4, 6),
        5,
        scale=40.0,
        aspect="robustness",
        note="scores of several thousand",
    )
    yield block(
        "not contiguous",
        noncontiguous(draw.normal(2, 4, 6)),
        3,
        aspect="robustness",
        note="x is a transposed view",
    )
    yield block(
        "float32",
        draw.normal(2, 3, 6),
        4,
        dtype=torch.float32,
        aspect="robustness",
        gradients=False,
    )
    yield block(
        "float16",
        draw.normal(2, 4, 5),
        3,
        dtype=torch.float16,
        aspect="robustness",
        gradients=False,
    )


@AttentionBlock.reference
class AttentionBlockReference(nn.Module):
    def __init__(self, d_model: int, d_k: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_k)
        self.k_proj = nn.Linear(d_model, d_k)
        self.v_proj = nn.Linear(d_model, d_k)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, q.shape[-1] ** -0.5)[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.q_proj(x), self.k_proj(x), self.v_proj(x))


@AttentionBlock.alternative
class WithTorch(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


@AttentionBlock.alternative
class WithBaddbmm(AttentionBlockReference):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            torch.matmul(x, p.weight.t()) + p.bias
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = torch.bmm(q / math.sqrt(self.q_proj.out_features), k.transpose(1, 2))
        return torch.bmm(torch.softmax(scores, dim=2), v)


@AttentionBlock.mistake("""Your scores are not divided by √d_k.""")
class BlockWithoutScale(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, 1.0)[0]


@AttentionBlock.mistake("""You divide by √d_model, the width of x. The scores are
sums over d_k terms: divide by √d_k.""")
class BlockScaledByModelWidth(AttentionBlockReference):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return attend(q, k, v, x.shape[-1] ** -0.5)[0]


@AttentionBlock.mistake("""You divide by d_k, or by √d_k twice (once the query, once
the scores). Divide by √d_k, once.""")
class BlockDividedByD(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, 1 / q.shape[-1])[0]


@AttentionBlock.mistake("""Your softmax runs over the queries. It runs over the keys,
dim=-1, so that each row sums to 1.""")
class BlockSoftmaxOverQueries(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-2) @ v


@AttentionBlock.mistake("""Your softmax runs over the batch: the items compete with
each other. Use dim=-1.""")
class BlockSoftmaxOverBatch(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=0) @ v


@AttentionBlock.mistake("""You mix the keys: the output is the weights times the
projected values, `v_proj(x)`.""")
class BlockKeyAsValue(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, k, q.shape[-1] ** -0.5)[0]


@AttentionBlock.mistake("""Queries and keys have changed places: the scores are
q_proj(x) @ k_proj(x)ᵀ.""")
class BlockSwapped(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(k, q, v, q.shape[-1] ** -0.5)[0]


@AttentionBlock.mistake("""The keys are made by q_proj: use k_proj for them.""")
class BlockKeysFromQueries(AttentionBlockReference):
    def forward(self, x: Tensor) -> Tensor:
        q = self.q_proj(x)
        return self.attend(q, q, self.v_proj(x))


@AttentionBlock.mistake("""Your projections have no biases. `nn.Linear(d_model, d_k)`
has one unless you switch it off.""")
class BlockWithoutBias(AttentionBlockReference):
    def __init__(self, d_model: int, d_k: int) -> None:
        super().__init__(d_model, d_k)
        self.q_proj = nn.Linear(d_model, d_k, bias=False)
        self.k_proj = nn.Linear(d_model, d_k, bias=False)
        self.v_proj = nn.Linear(d_model, d_k, bias=False)


@AttentionBlock.mistake("""Width in and width out are swapped:
`nn.Linear(in_features, out_features)` is `nn.Linear(d_model, d_k)`.""")
class BlockWidthsSwapped(AttentionBlockReference):
    def __init__(self, d_model: int, d_k: int) -> None:
        super().__init__(d_k, d_model)


@AttentionBlock.mistake("""Your forward returns the weights as well. The block
returns its output only.""")
class BlockReturnsPair(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> tuple:
        return attend(q, k, v, q.shape[-1] ** -0.5)


@AttentionBlock.mistake("""The weights are cut off from the graph: no gradient
reaches q_proj and k_proj, which would never learn.""")
class BlockDetached(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, q.shape[-1] ** -0.5)[1].detach() @ v


@AttentionBlock.mistake("""You take `exp` of the scores as they are, which overflows:
use softmax, or subtract each row's maximum first.""")
class BlockNaiveExp(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.mT / q.shape[-1] ** 0.5).exp()
        return scores / scores.sum(dim=-1, keepdim=True) @ v


@AttentionBlock.mistake("""Your block adds x to its output. Residual connections come
with the encoder layer; the attention block returns the mixed values alone.""")
class BlockWithResidual(AttentionBlockReference):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out + x[..., : out.shape[-1]] if out.shape[-1] <= x.shape[-1] else out


@AttentionBlock.mistake("""Your √d_k is a float32 number:
`torch.sqrt(torch.tensor(d))` rounds it to 7 digits. `math.sqrt(d)` and `d ** 0.5` are
exact enough for float64 inputs.""")
class BlockRootInFloat32(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, 1 / torch.sqrt(torch.tensor(q.shape[-1])).item())[0]


@AttentionBlock.mistake("""You divide by √d_k after the softmax. Divide the scores,
before it.""")
class BlockScaledAfterSoftmax(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).softmax(dim=-1) / q.shape[-1] ** 0.5 @ v


@AttentionBlock.mistake("""You use the weights of the projections and leave out their
biases. Call the layer, `self.q_proj(x)`.""")
class BlockBiasesUnused(AttentionBlockReference):
    def forward(self, x: Tensor) -> Tensor:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        return self.attend(*(F.linear(x, layer.weight) for layer in layers))


@AttentionBlock.mistake("""You compute in float32: float64 tokens lose half their
digits, and the result has another dtype than x.""")
class BlockInFloat32(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q.float(), k.float(), v.float(), q.shape[-1] ** -0.5)[0]


@AttentionBlock.mistake("""Every key gets the same weight: your output is the plain mean
of the values.""")
class BlockUniform(AttentionBlockReference):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(0 * q, k, v, 1.0)[0]


# ------------------------------------------------------------------- score_gradient

score_gradient = Exercise(
    "score_gradient",
    shortcuts=("torch.autograd.backward", "torch.func.grad", "torch.func.vjp"),
)


@score_gradient.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(nk: int, d: int, e: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(d, scale=scale),
            draw.normal(nk, d, scale=scale),
            draw.normal(nk, e),
            draw.normal(e),
        )

    yield call("all sizes different", *inputs(5, 7, 6))
    yield call("same sizes again", *inputs(5, 7, 6))
    yield call("more channels than keys", *inputs(3, 4, 8))
    yield call("keys and values alike", *inputs(4, 5, 5))
    yield call("one channel", *inputs(4, 1, 2))
    yield call("one channel of values", *inputs(4, 3, 1))
    yield call("one key", *inputs(1, 5, 3), note="one key: its weight is always 1")
    yield call(
        "large scores",
        *inputs(4, 6, 5, scale=40.0),
        aspect="robustness",
        note="scores of several thousand",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(6, 3, 4)),
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(4, 5, 3)),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(3, 4, 5)),
        aspect="robustness",
        gradients=False,
    )
    query, keys, values, upstream = inputs(4, 6, 5, scale=40.0)
    yield call(
        "scores far below zero",
        query.abs() + 20,
        -keys.abs() - 20,
        values,
        upstream,
        aspect="robustness",
        note="all scores are far below zero, where every exp is 0",
    )


def _pieces(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, float]:
    root = query.shape[-1] ** 0.5
    return (keys @ query / root).softmax(dim=0), root


@score_gradient.reference
def score_gradient_reference(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights, root = _pieces(query, keys, values)
    jacobian = torch.diag(weights) - torch.outer(weights, weights)
    return keys.T @ (jacobian @ (values @ upstream)) / root


@score_gradient.alternative
def by_centring(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights, root = _pieces(query, keys, values)
    gain = values @ upstream
    return ((weights * (gain - weights @ gain)) @ keys) / root


@score_gradient.alternative
def by_autograd(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    with torch.enable_grad():
        tracked = query if query.requires_grad else query.detach().requires_grad_()
        total = upstream @ (_pieces(tracked, keys, values)[0] @ values)
        return torch.autograd.grad(total, tracked, create_graph=True)[0]


@score_gradient.mistake("""You left out the 1/√d of the scores: it is a factor of the
gradient too.""")
def gradient_without_scale(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return (
        score_gradient_reference(query, keys, values, upstream) * query.shape[0] ** 0.5
    )


@score_gradient.mistake("""You scale by 1/d. The scores are divided by √d, and so is
the gradient, once.""")
def gradient_scaled_twice(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return (
        score_gradient_reference(query, keys, values, upstream) / query.shape[0] ** 0.5
    )


@score_gradient.mistake("""You use only the diagonal of the softmax Jacobian. Every
score moves every weight: the matrix is diag(w) - w wᵀ.""")
def gradient_with_diagonal(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights, root = _pieces(query, keys, values)
    return keys.T @ (weights * (1 - weights) * (values @ upstream)) / root


@score_gradient.mistake("""You skipped the softmax: its Jacobian stands between the
values and the keys in the chain rule.""")
def gradient_without_softmax(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return keys.T @ (values @ upstream) / query.shape[0] ** 0.5


@score_gradient.mistake("""You used diag(w) for the softmax Jacobian: - w wᵀ is
missing, the part that keeps the weights' sum at 1.""")
def gradient_without_centring(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights, root = _pieces(query, keys, values)
    return keys.T @ (weights * (values @ upstream)) / root


@score_gradient.mistake("""The weights in your Jacobian come from scores that are not
divided by √d: use the same scores as the forward pass.""")
def gradient_with_unscaled_weights(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights = (keys @ query).softmax(dim=0)
    gain = values @ upstream
    return ((weights * (gain - weights @ gain)) @ keys) / query.shape[0] ** 0.5


@score_gradient.mistake("""Your gradient has the opposite sign.""")
def gradient_negated(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return -score_gradient_reference(query, keys, values, upstream)


@score_gradient.mistake("""You left out `upstream`: it says how much each channel of
the output counts.""")
def gradient_without_upstream(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return score_gradient_reference(
        query, keys, values, torch.ones_like(upstream) + 0 * upstream
    )


@score_gradient.mistake("""Your result is cut off from its inputs (`detach`, `.data`,
or `torch.autograd.grad` without `create_graph=True`): no gradient can flow through
it.""")
def gradient_detached(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return score_gradient_reference(query, keys, values, upstream).detach()


@score_gradient.mistake("""You left out √d in both places: the scores are divided by it,
and by the chain rule so is the gradient.""")
def gradient_without_any_scale(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights = (keys @ query).softmax(dim=0)
    gain = values @ upstream
    return (weights * (gain - weights @ gain)) @ keys


@score_gradient.mistake("""You divide by d in both places. The scores are divided by √d,
and so is the gradient.""")
def gradient_of_scores_over_d(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    weights = (keys @ query / query.shape[0]).softmax(dim=0)
    gain = values @ upstream
    return (weights * (gain - weights @ gain)) @ keys / query.shape[0]


@score_gradient.mistake("""You mix the keys: the output is softmax(...) @ values.""")
def gradient_with_keys_as_values(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return score_gradient_reference(query, keys, keys, upstream) + 0 * values.sum()


@score_gradient.mistake("""You take `exp` of the scores as they are: it overflows for
large ones, and inf/inf is NaN. Use softmax, or subtract the maximum first.""")
def gradient_by_naive_exp(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    exped = (keys @ query / query.shape[0] ** 0.5).exp()
    weights = exped / exped.sum()
    gain = values @ upstream
    return ((weights * (gain - weights @ gain)) @ keys) / query.shape[0] ** 0.5


@score_gradient.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the query.""")
def gradient_in_float32(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    return score_gradient_reference(
        query.float(), keys.float(), values.float(), upstream.float()
    )


@score_gradient.mistake("""Your √d is a float32 number: `torch.sqrt(torch.tensor(d))`
rounds it to 7 digits. `math.sqrt(d)` and `d ** 0.5` are exact enough.""")
def gradient_root_in_float32(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    root = torch.sqrt(torch.tensor(query.shape[0])).item()
    weights = (keys @ query / root).softmax(dim=0)
    gain = values @ upstream
    return ((weights * (gain - weights @ gain)) @ keys) / root


@score_gradient.mistake("""You scale `query` in place (`query /= ...`). Whoever called
it still needs it: make a new tensor.""")
def gradient_in_place(
    query: Tensor, keys: Tensor, values: Tensor, upstream: Tensor
) -> Tensor:
    root = query.shape[0] ** 0.5
    query /= root
    weights = (keys @ query).softmax(dim=0)
    gain = values @ upstream
    return ((weights * (gain - weights @ gain)) @ keys) / root

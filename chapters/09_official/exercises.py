"""Chapter 09: weights into PyTorch's modules, masks for its function, and parity."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
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
    noncontiguous,
)

PROBES = "attention_course.learn.probes_09"
PROJECTIONS = ("q_proj", "k_proj", "v_proj")

# --------------------------------------------------------------------- pack_in_proj

pack_in_proj = Exercise("pack_in_proj")


@pack_in_proj.cases
def _(draw: Draw) -> Iterator[Sample]:
    def three(d: int) -> tuple[Tensor, Tensor, Tensor]:
        return draw.normal(d, d), draw.normal(d, d), draw.normal(d, d)

    yield call("width 4", *three(4))
    yield call("same width again", *three(4))
    yield call("width 6", *three(6))
    yield call("odd width", *three(5))
    yield call("width 12", *three(12))
    yield call("one channel", *three(1))
    yield call(
        "not contiguous",
        *(noncontiguous(w) for w in three(7)),
        aspect="robustness",
        note="the matrices are transposed views",
    )
    for name, width, dtype in (
        ("float32", 3, torch.float32),
        ("float16", 8, torch.float16),
    ):
        weights = [w.to(dtype) for w in three(width)]
        yield call(name, *weights, aspect="robustness", gradients=False)


@pack_in_proj.reference
def pack_reference(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_v), dim=0)


@pack_in_proj.alternative
def packed_by_stack(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.stack([w_q, w_k, w_v]).reshape(-1, w_q.shape[1])


@pack_in_proj.alternative
def packed_row_by_row(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.stack([row for weight in (w_q, w_k, w_v) for row in weight])


@pack_in_proj.alternative
def packed_into_an_empty_one(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    d = w_q.size(0)
    packed = w_q.new_empty(3 * d, d)
    packed[:d], packed[d : 2 * d], packed[2 * d :] = w_q, w_k, w_v
    return packed


@pack_in_proj.alternative
def packed_by_transposes(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.hstack((w_q.T, w_k.T, w_v.T)).T


@pack_in_proj.mistake("""Your order is [K | Q | V]. PyTorch's rows hold the query's
matrix first, then the key's, then the value's.""")
def key_first(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_k, w_q, w_v))


@pack_in_proj.mistake("""Your order is [V | K | Q]: the reverse. The query's matrix
comes first.""")
def reversed_order(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_v, w_k, w_q))


@pack_in_proj.mistake("""Your order is [Q | V | K]. The key's matrix stands between
those of query and value.""")
def value_before_key(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_v, w_k))


@pack_in_proj.mistake("""Your order is [K | V | Q]. The query's matrix comes first, then
the key's, then the value's.""")
def query_last(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_k, w_v, w_q))


@pack_in_proj.mistake("""Your order is [V | Q | K]. The query's matrix comes first, then
the key's, then the value's.""")
def value_first(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_v, w_q, w_k))


@pack_in_proj.mistake("""You transpose each matrix. in_proj_weight has nn.Linear's
layout, one row for each output channel, and so have the three matrices: stack them as
they are.""")
def each_transposed(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q.T, w_k.T, w_v.T))


@pack_in_proj.mistake("""You join the matrices side by side, (d_model, 3·d_model). The
output channels are rows: put them under each other, dim=0.""")
def side_by_side(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_v), dim=1)


@pack_in_proj.mistake("""You put transposed matrices side by side. Leave them as they
are and put them under each other, dim=0.""")
def transposed_side_by_side(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q.T, w_k.T, w_v.T), dim=1)


@pack_in_proj.mistake("""You join the matrices side by side and then `view` that as
(3·d_model, d_model): each row of the result is a third of a mixed one. Join along
dim=0.""")
def side_by_side_reshaped(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_v), dim=1).reshape(-1, w_q.shape[1])


@pack_in_proj.mistake(
    """Your rows alternate: a row of W_Q, one of W_K, one of W_V. Keep
each matrix in one block.""",
    same_as="side_by_side_reshaped",
)
def rows_interleaved(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.stack((w_q, w_k, w_v), dim=1).flatten(0, 1)


@pack_in_proj.mistake("""You pack head by head: two heads' rows of Q, K and V follow
each other. nn.MultiheadAttention packs whole matrices, whatever the number of
heads.""")
def packed_per_head(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    heads = 2 if len(w_q) % 2 == 0 else 1
    blocks = [w.unflatten(0, (heads, -1)) for w in (w_q, w_k, w_v)]
    return torch.stack(blocks, dim=1).reshape(-1, w_q.shape[1])


@pack_in_proj.mistake("""You stack to (3, d_model, d_model). in_proj_weight is one
matrix of 3·d_model rows: use `cat`, or flatten the first two dimensions.""")
def three_dimensions(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.stack((w_q, w_k, w_v))


@pack_in_proj.mistake("""You used w_q three times. Each projection has a matrix of its
own.""")
def query_three_times(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_q, w_q))


@pack_in_proj.mistake("""Your value rows hold w_k a second time.""")
def key_as_value(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_k))


@pack_in_proj.mistake("""Your result is cut off from the three matrices (`detach`,
`.data`, `nn.Parameter(...)` or `torch.tensor(...)`): no gradient reaches them.""")
def packed_detached(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_v)).detach()


@pack_in_proj.mistake("""Your result is float32 whatever the inputs are. Keep their
dtype: `torch.cat` does, `torch.empty(...)` needs `dtype=w_q.dtype`.""")
def packed_as_float32(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    return torch.cat((w_q, w_k, w_v)).float()


@pack_in_proj.mistake("""You change `w_q` in place. Whoever called your function still
needs it: build a new tensor.""")
def packed_in_place(w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    packed = torch.cat((w_q, w_k, w_v))
    w_q.zero_()
    return packed


# ------------------------------------------------------------------- copy_attention

copy_attention = Exercise("copy_attention")


def torch_attention(
    draw: Draw, d_model: int, num_heads: int, frozen: tuple = (), **options: Any
) -> Build:
    """PyTorch's module with drawn weights; its biases, too, are not zero."""
    dtype = options.pop("dtype", torch.float64)
    training = options.pop("training", False)
    options = {"batch_first": True, **options}
    state = draw.like(nn.MultiheadAttention(d_model, num_heads, **options))
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    size = (d_model, num_heads)
    kind = "torch.nn.MultiheadAttention"
    return Build(kind, size, options, state, training=training, frozen=frozen)


def course_attention(
    draw: Draw, d_model: int, num_heads: int, frozen: tuple = (), **options: Any
) -> Build:
    """The course's module with weights of its own."""
    dtype = options.pop("dtype", torch.float64)
    shapes = attention_shapes(d_model)
    state = {name: tensor.to(dtype) for name, tensor in draw.like(shapes).items()}
    kind = f"{PROBES}.MultiHeadAttention"
    return Build(kind, (d_model, num_heads), options, state, frozen=frozen)


def attention_shapes(d_model: int, start: str = "") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the course's attention parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in (*PROJECTIONS, "out_proj"):
        shapes[f"{start}{name}.weight"] = (d_model, d_model)
        shapes[f"{start}{name}.bias"] = (d_model,)
    return shapes


def copying(name: str, mine: Build, official: Build, **options: Any) -> Sample:
    """A case in which weights are copied from `official` into `mine`."""
    arguments = {"args": (mine, official), "kwargs": {}}
    protocol = options.pop("protocol", "copied_weights")
    return Sample(name, protocol, arguments, gradients=False, **options)


@copy_attention.cases
def _(draw: Draw) -> Iterator[Sample]:
    for name, width, heads, options in (
        ("six channels, three heads", 6, 3, {}),
        ("same sizes again", 6, 3, {}),
        ("twelve channels, four heads", 12, 4, {"training": True}),
        ("one head", 5, 1, {}),
        ("sequence first", 8, 2, {"batch_first": False, "dropout": 0.1}),
    ):
        mine = course_attention(draw, width, heads)
        official = torch_attention(draw, width, heads, **options)
        yield copying(name, mine, official)
    yield copying(
        "some parameters of mine frozen",
        course_attention(draw, 4, 2, ("k_proj.weight", "v_proj.bias", "out_proj.bias")),
        torch_attention(draw, 4, 2),
        aspect="parameters",
        note="some parameters of mine have requires_grad=False",
    )
    yield copying(
        "some parameters of official frozen",
        course_attention(draw, 9, 3),
        torch_attention(draw, 9, 3, ("in_proj_weight", "out_proj.bias")),
        aspect="parameters",
        note="some parameters of official have requires_grad=False",
    )
    yield copying(
        "different parameters frozen",
        course_attention(draw, 10, 5, ("q_proj.weight", "out_proj.weight")),
        torch_attention(draw, 10, 5, ("in_proj_bias", "out_proj.bias")),
        aspect="parameters",
        note="mine and official have different parameters frozen",
    )
    yield copying(
        "float32",
        course_attention(draw, 8, 4, dtype=torch.float32),
        torch_attention(draw, 8, 4, dtype=torch.float32),
        aspect="robustness",
    )
    for name, width, heads, options, note in (
        ("another d_model", 8, 4, {}, "d_model is 12 in mine and 8 in official"),
        ("a wider official", 16, 4, {}, "d_model is 12 in mine and 16 in official"),
        ("another num_heads", 12, 3, {}, "num_heads is 4 in mine and 3 in official"),
        ("more heads in official", 12, 6, {}, "num_heads is 4 in mine, 6 in official"),
        ("no biases", 12, 4, {"bias": False}, "official has no biases"),
        ("other kdim", 12, 4, {"kdim": 8}, "official has kdim=8: separate weights"),
        ("other vdim", 12, 4, {"vdim": 10}, "official has vdim=10: separate weights"),
        (
            "other kdim and vdim",
            12,
            4,
            {"kdim": 6, "vdim": 10},
            "official has kdim=6, vdim=10: separate weights",
        ),
    ):
        mine = course_attention(draw, 12, 4)
        official = torch_attention(draw, width, heads, **options)
        yield copying(
            name, mine, official, protocol="refused_copy", aspect="errors", note=note
        )


def check_match(mine: nn.Module, official: nn.MultiheadAttention) -> None:
    if official.in_proj_weight is None:
        raise ValueError("official has separate weights for kdim and vdim")
    if mine.q_proj.in_features != official.embed_dim:
        raise ValueError("d_model differs")
    if mine.num_heads != official.num_heads:
        raise ValueError("num_heads differs")
    if (mine.q_proj.bias is None) != (official.in_proj_bias is None):
        raise ValueError("one has biases, the other has none")


Order = tuple[int, int, int]


@torch.no_grad()
def copy_blocks(
    mine: nn.Module,
    official: nn.MultiheadAttention,
    weights: Order = (0, 1, 2),
    biases: Order = (0, 1, 2),
) -> nn.Module:
    """Copy the blocks of the packed weights and biases, in the given orders."""
    for name, weight, bias in zip(PROJECTIONS, weights, biases, strict=True):
        module = mine.get_submodule(name)
        module.weight.copy_(official.in_proj_weight.chunk(3)[weight])
        module.bias.copy_(official.in_proj_bias.chunk(3)[bias])
    mine.out_proj.weight.copy_(official.out_proj.weight)
    mine.out_proj.bias.copy_(official.out_proj.bias)
    return mine


@copy_attention.reference
def copy_attention_reference(
    mine: nn.Module, official: nn.MultiheadAttention
) -> nn.Module:
    check_match(mine, official)
    return copy_blocks(mine, official)


def renamed(official: nn.MultiheadAttention) -> dict[str, Tensor]:
    state = official.state_dict()
    for kind in ("weight", "bias"):
        packed = state.pop(f"in_proj_{kind}")
        for name, part in zip(PROJECTIONS, packed.chunk(3), strict=True):
            state[f"{name}.{kind}"] = part
    return state


@copy_attention.alternative
def by_state_dict(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    check_match(mine, official)
    mine.load_state_dict(renamed(official))
    return mine


@copy_attention.alternative
def by_new_data(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    d, heads = official.embed_dim, official.num_heads
    problems = []
    if not official._qkv_same_embed_dim:
        problems.append("kdim or vdim")
    if mine.d_model != d:
        problems.append("d_model")
    if mine.num_heads != heads:
        problems.append("num_heads")
    if official.in_proj_bias is None or official.out_proj.bias is None:
        problems.append("bias")
    if problems:
        raise ValueError(f"these differ: {problems}")
    for i, name in enumerate(PROJECTIONS):
        linear = getattr(mine, name)
        linear.weight.data = (
            official.in_proj_weight[i * d : (i + 1) * d].detach().clone()
        )
        linear.bias.data = official.in_proj_bias[i * d : (i + 1) * d].detach().clone()
    mine.out_proj.weight.data = official.out_proj.weight.detach().clone()
    mine.out_proj.bias.data = official.out_proj.bias.detach().clone()
    return mine


@copy_attention.alternative
def by_new_parameters(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if {official.kdim, official.vdim} != {official.embed_dim}:
        raise ValueError("kdim and vdim must be embed_dim")
    check_match(mine, official)
    for name, value in renamed(official).items():
        owner, _, kind = name.rpartition(".")
        flag = mine.get_parameter(name).requires_grad
        setattr(mine.get_submodule(owner), kind, nn.Parameter(value.clone(), flag))
    return mine


@copy_attention.alternative
def by_official_shapes(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    class DoesNotMatch(ValueError):
        pass

    own = dict(mine.named_parameters())
    heads = official.num_heads == mine.num_heads
    if official.in_proj_weight is None or official.in_proj_bias is None or not heads:
        raise DoesNotMatch(f"cannot copy {official}")
    state = renamed(official)
    if any(own[name].shape != value.shape for name, value in state.items()):
        raise DoesNotMatch("the shapes differ")
    with torch.no_grad():
        for name, value in state.items():
            own[name][...] = value
    return mine


def copy_mistake(hint: str, **options: Any) -> Callable[[Any], Any]:
    """A mistake in what is copied, which checks as it should."""

    def register(answer: Callable[[nn.Module, nn.Module], Any]) -> Any:
        def checked(mine: nn.Module, official: nn.MultiheadAttention) -> Any:
            check_match(mine, official)
            return answer(mine, official)

        checked.__name__ = answer.__name__
        return copy_attention.mistake(hint, **options)(checked)

    return register


@copy_mistake("""You read in_proj as [K | Q | V]: your key holds the query's weights and
the reverse. The rows of the query come first.""")
def key_rows_first(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, (1, 0, 2), (1, 0, 2))


@copy_mistake("""You read in_proj from the other end, as [V | K | Q]. The rows of the
query come first, then the key's, then the value's.""")
def value_rows_first(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, (2, 1, 0), (2, 1, 0))


@copy_mistake("""You read in_proj as [Q | V | K]: keys and values are swapped.""")
def key_and_value_swapped(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, (0, 2, 1), (0, 2, 1))


@copy_mistake("""All three projections got the query's biases: `in_proj_bias` has three
blocks as well, in the same order as the weights.""")
def query_biases_for_all(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, biases=(0, 0, 0))


@copy_mistake("""The weights are right, but your slices of `in_proj_bias` are in another
order: [K | Q | V]. It is packed as the weights are.""")
def bias_slices_swapped(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, biases=(1, 0, 2))


@copy_mistake("""The weights are right, but your slices of `in_proj_bias` are reversed:
it is packed [Q | K | V], as the weights are.""")
def bias_slices_reversed(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official, biases=(2, 1, 0))


@copy_mistake("""You copied the weights of the three projections and not their biases,
`in_proj_bias`. In a fresh module they are zero, which hides this.""")
@torch.no_grad()
def in_proj_bias_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    before = [mine.get_submodule(n).bias.clone() for n in PROJECTIONS]
    copy_blocks(mine, official)
    for name, bias in zip(PROJECTIONS, before, strict=True):
        mine.get_submodule(name).bias.copy_(bias)
    return mine


@copy_mistake("""You copied no bias at all. A fresh module's are zero, which hides this;
after training they are not.""")
@torch.no_grad()
def all_biases_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    bias = mine.out_proj.bias.clone()
    in_proj_bias_left_out(mine, official)
    mine.out_proj.bias.copy_(bias)
    return mine


@copy_mistake("""`out_proj.bias` was not copied.""")
@torch.no_grad()
def out_bias_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    bias = mine.out_proj.bias.clone()
    copy_blocks(mine, official)
    mine.out_proj.bias.copy_(bias)
    return mine


@copy_mistake("""You copied the three projections and forgot `out_proj`.""")
@torch.no_grad()
def out_proj_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    before = copy.deepcopy(mine.out_proj.state_dict())
    copy_blocks(mine, official)
    mine.out_proj.load_state_dict(before)
    return mine


@copy_mistake("""You loaded with strict=False: names that do not match are skipped
without a word, so only `out_proj` arrived. Translate `in_proj_weight` and
`in_proj_bias` first.""")
def loaded_not_strict(mine: nn.Module, official: nn.Module) -> nn.Module:
    mine.load_state_dict(official.state_dict(), strict=False)
    return mine


@copy_mistake("""You transposed the projections' blocks. Both sides have nn.Linear's
layout, (out, in).""")
@torch.no_grad()
def blocks_transposed(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    for name in PROJECTIONS:
        weight = mine.get_submodule(name).weight
        weight.copy_(weight.T.clone())
    return mine


@copy_mistake(
    """You transposed `out_proj.weight`. Both sides have nn.Linear's layout."""
)
@torch.no_grad()
def out_proj_transposed(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    mine.out_proj.weight.copy_(official.out_proj.weight.T)
    return mine


@copy_mistake("""You transposed every weight, `out_proj` too. Both sides have
nn.Linear's layout, (out, in).""")
@torch.no_grad()
def all_transposed(mine: nn.Module, official: nn.Module) -> nn.Module:
    blocks_transposed(mine, official)
    mine.out_proj.weight.copy_(official.out_proj.weight.T)
    return mine


def _per_head(packed: Tensor, heads: int, block: int) -> Tensor:
    return packed.unflatten(0, (heads, 3, -1))[:, block].flatten(0, 1)


@copy_mistake("""You read in_proj head by head: the rows of head 1 for Q, K and V, then
those of head 2. PyTorch packs whole matrices: all of Q, all of K, all of V.""")
@torch.no_grad()
def read_per_head(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    for i, name in enumerate(PROJECTIONS):
        module = mine.get_submodule(name)
        heads = official.num_heads
        module.weight.copy_(_per_head(official.in_proj_weight, heads, i))
        module.bias.copy_(_per_head(official.in_proj_bias, heads, i))
    return mine


@copy_mistake("""Your rows of in_proj alternate, every third one for the query. Each
matrix is one block of rows.""")
@torch.no_grad()
def every_third_row(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    for i, name in enumerate(PROJECTIONS):
        mine.get_submodule(name).weight.copy_(official.in_proj_weight[i::3])
        mine.get_submodule(name).bias.copy_(official.in_proj_bias[i::3])
    return mine


@copy_mistake("""`mine` now uses the memory of `official`: training one changes the
other. Copy the numbers, with `copy_` or `clone`.""")
def shares_memory(mine: nn.Module, official: nn.Module) -> nn.Module:
    for name, value in renamed(official).items():
        mine.get_parameter(name).data = value
    return mine


@copy_mistake("""`out_proj` of `mine` is the very module of `official`: training one
changes the other. Copy its numbers instead.""")
def same_out_proj(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    mine.out_proj = official.out_proj
    return mine


@copy_mistake("""Every parameter of `mine` can be trained now, also those that were
frozen. Keep each parameter's requires_grad: `copy_` under `torch.no_grad()` does.""")
def all_unfrozen(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official).requires_grad_(True)


@copy_mistake("""Your copies cannot be trained: their requires_grad is False. Use
`torch.no_grad()` around the copying rather than freezing the parameters.""")
def all_frozen(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(mine, official).requires_grad_(False)


@copy_mistake("""`mine` took over requires_grad from `official`. Copy the numbers alone:
what may be trained is up to whoever made `mine`.""")
def flags_from_official(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    for name in PROJECTIONS:
        module = mine.get_submodule(name)
        module.weight.requires_grad_(official.in_proj_weight.requires_grad)
        module.bias.requires_grad_(official.in_proj_bias.requires_grad)
    for kind in ("weight", "bias"):
        flag = official.get_parameter(f"out_proj.{kind}").requires_grad
        mine.get_parameter(f"out_proj.{kind}").requires_grad_(flag)
    return mine


@copy_mistake("""You froze `official` and left it so. Read its weights under
`torch.no_grad()`, or through `detach()`: neither changes it.""")
def official_frozen(mine: nn.Module, official: nn.Module) -> nn.Module:
    official.requires_grad_(False)
    return copy_blocks(mine, official)


@copy_mistake("""You filled and returned a copy of `mine`; `mine` itself is as before.
Write into its own parameters.""")
def fills_a_copy(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_blocks(copy.deepcopy(mine), official)


@copy_mistake("""Your function copies and returns nothing. Return `mine`, so that calls
can be chained.""")
def returns_nothing(mine: nn.Module, official: nn.Module) -> None:
    copy_blocks(mine, official)


@copy_mistake("""You return `official`. Return `mine`, which you filled.""")
def returns_the_official(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine, official)
    return official


@copy_mistake(
    """You copied the wrong way: `official` has changed, and `mine` has not."""
)
@torch.no_grad()
def copies_backwards(mine: nn.Module, official: nn.Module) -> nn.Module:
    parts = [mine.get_submodule(name) for name in PROJECTIONS]
    official.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
    official.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
    official.out_proj.load_state_dict(mine.out_proj.state_dict())
    return mine


@copy_attention.mistake("""Nothing is checked before you copy. Raise ValueError first if
d_model, num_heads or the biases differ, or if `in_proj_weight` is None.""")
def checks_nothing(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    return copy_blocks(mine, official)


@copy_attention.mistake("""You check with `assert`, which raises AssertionError, and
nothing at all under `python -O`. Raise ValueError.""")
def asserts(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    try:
        check_match(mine, official)
    except ValueError as error:
        raise AssertionError(str(error)) from None
    return copy_blocks(mine, official)


@copy_attention.mistake("""num_heads is not compared. The weights of 3 and of 4 heads
have the same shapes, so nothing else would notice.""")
def heads_not_compared(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if official.in_proj_weight is None or official.in_proj_bias is None:
        raise ValueError("kdim, vdim or bias")
    if mine.d_model != official.embed_dim:
        raise ValueError("d_model")
    return copy_blocks(mine, official)


@copy_attention.mistake("""You only notice when `official` has fewer heads than `mine`.
More heads are a mismatch too: test `!=`.""")
def more_heads_accepted(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if official.num_heads > mine.num_heads:
        return copy_blocks(mine, official)
    return copy_attention_reference(mine, official)


@copy_attention.mistake("""You only notice when `official` has more heads than `mine`.
Fewer heads are a mismatch too: test `!=`.""")
def fewer_heads_accepted(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if (
        official.num_heads < mine.num_heads
        and mine.d_model == official.embed_dim
        and official.in_proj_bias is not None
        and official.in_proj_weight is not None
    ):
        return copy_blocks(mine, official)
    return copy_attention_reference(mine, official)


@copy_attention.mistake("""An `official` without biases is accepted, and the biases of
`mine` stay as they were. That is a mismatch: raise ValueError.""")
def missing_biases_skipped(
    mine: nn.Module, official: nn.MultiheadAttention
) -> nn.Module:
    if official.in_proj_bias is not None:
        return copy_attention_reference(mine, official)
    if mine.d_model != official.embed_dim or mine.num_heads != official.num_heads:
        raise ValueError("d_model or num_heads")
    with torch.no_grad():
        for name, part in zip(
            PROJECTIONS, official.in_proj_weight.chunk(3), strict=True
        ):
            mine.get_submodule(name).weight.copy_(part)
        mine.out_proj.weight.copy_(official.out_proj.weight)
    return mine


@copy_attention.mistake("""Where `official` has no biases you set those of `mine` to
zero. The two modules do not match: raise ValueError, before anything changes.""")
def missing_biases_as_zeros(
    mine: nn.Module, official: nn.MultiheadAttention
) -> nn.Module:
    missing_biases_skipped(mine, official)
    if official.in_proj_bias is None:
        with torch.no_grad():
            for name in (*PROJECTIONS, "out_proj"):
                mine.get_submodule(name).bias.zero_()
    return mine


@copy_attention.mistake("""Separate weights are not noticed: with another kdim or vdim,
`in_proj_weight` is None and there are `q_proj_weight`, `k_proj_weight`,
`v_proj_weight`. Raise ValueError.""")
def separate_weights_not_noticed(
    mine: nn.Module, official: nn.MultiheadAttention
) -> nn.Module:
    if mine.d_model != official.embed_dim or mine.num_heads != official.num_heads:
        raise ValueError("d_model or num_heads")
    if official.in_proj_bias is None:
        raise ValueError("bias")
    return copy_blocks(mine, official)


@copy_attention.mistake("""d_model is not compared: `copy_` then stops half-way with a
RuntimeError about sizes. Compare the widths first and raise ValueError.""")
def width_not_compared(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if official.in_proj_weight is None or official.in_proj_bias is None:
        raise ValueError("kdim, vdim or bias")
    if mine.num_heads != official.num_heads:
        raise ValueError("num_heads")
    return copy_blocks(mine, official)


@copy_attention.mistake("""You raise ValueError, but too late: by then `mine` has
changed. Check everything first, then copy.""")
def checks_too_late(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    if mine.d_model != official.embed_dim or official.in_proj_weight is None:
        raise ValueError("d_model, kdim or vdim")
    with torch.no_grad():
        for name, part in zip(
            PROJECTIONS, official.in_proj_weight.chunk(3), strict=True
        ):
            mine.get_submodule(name).weight.copy_(part)
    return copy_attention_reference(mine, official)


@copy_attention.mistake("""On a mismatch you return `mine` as it is. Whoever calls this
would go on with weights that were never copied: raise ValueError.""")
def gives_up_silently(mine: nn.Module, official: nn.MultiheadAttention) -> nn.Module:
    try:
        return copy_attention_reference(mine, official)
    except ValueError:
        return mine


# --------------------------------------------------------------- copy_encoder_layer

copy_encoder_layer = Exercise("copy_encoder_layer")


def layer_options(activation: str, norm_first: bool) -> dict[str, Any]:
    return {"dropout": 0.0, "activation": activation, "norm_first": norm_first}


def torch_layer(
    draw: Draw, sizes: tuple[int, int, int], *, training: bool = False, **options: Any
) -> Build:
    """PyTorch's layer with drawn weights: no norm is the identity, no bias zero."""
    dtype = options.pop("dtype", torch.float64)
    options = {"batch_first": True, **options}
    state = draw.like(nn.TransformerEncoderLayer(*sizes, **options))
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    kind = "torch.nn.TransformerEncoderLayer"
    return Build(kind, sizes, options, state, training=training)


def layer_shapes(sizes: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the course's encoder layer."""
    d_model, _, hidden = sizes
    shapes = attention_shapes(d_model, "self_attn.")
    shapes |= {"linear1.weight": (hidden, d_model), "linear1.bias": (hidden,)}
    shapes |= {"linear2.weight": (d_model, hidden), "linear2.bias": (d_model,)}
    for name in ("norm1", "norm2"):
        shapes |= {f"{name}.weight": (d_model,), f"{name}.bias": (d_model,)}
    return shapes


def course_layer(draw: Draw, sizes: tuple[int, int, int], **options: Any) -> Build:
    """The course's layer with weights of its own."""
    dtype = options.pop("dtype", torch.float64)
    state = {n: t.to(dtype) for n, t in draw.like(layer_shapes(sizes)).items()}
    return Build(f"{PROBES}.EncoderLayer", sizes, options, state)


@copy_encoder_layer.cases
def _(draw: Draw) -> Iterator[Sample]:
    for name, sizes, activation, norm_first in (
        ("post-norm, ReLU", (6, 3, 10), "relu", False),
        ("same sizes again", (6, 3, 10), "relu", False),
        ("pre-norm, GELU", (8, 2, 5), "gelu", True),
        ("feed-forward as wide as the model", (4, 1, 4), "relu", True),
    ):
        options = layer_options(activation, norm_first)
        mine = course_layer(draw, sizes, **options)
        yield copying(name, mine, torch_layer(draw, sizes, **options))
    options = layer_options("gelu", False)
    yield copying(
        "in training",
        course_layer(draw, (12, 4, 7), **options),
        torch_layer(draw, (12, 4, 7), training=True, **options),
        note="official is in training mode",
    )
    yield copying(
        "float32",
        course_layer(draw, (9, 3, 6), dtype=torch.float32, **options),
        torch_layer(draw, (9, 3, 6), dtype=torch.float32, **options),
        aspect="robustness",
    )


LAYER_PARTS = ("linear1", "linear2", "norm1", "norm2")


@torch.no_grad()
def copy_layer(
    mine: nn.Module,
    official: nn.TransformerEncoderLayer,
    parts: Mapping[str, str] | None = None,
    attend: Callable[..., Any] = copy_blocks,
) -> nn.Module:
    """Copy attention with `attend`, and `parts`: names in mine by names in official."""
    attend(mine.self_attn, official.self_attn)
    for ours, theirs in (parts or {n: n for n in LAYER_PARTS}).items():
        for kind in ("weight", "bias"):
            source = official.get_parameter(f"{theirs}.{kind}")
            mine.get_parameter(f"{ours}.{kind}").copy_(source)
    return mine


@copy_encoder_layer.reference
def copy_layer_reference(
    mine: nn.Module, official: nn.TransformerEncoderLayer
) -> nn.Module:
    return copy_layer(mine, official)


@copy_encoder_layer.alternative
def layer_by_state_dict(
    mine: nn.Module, official: nn.TransformerEncoderLayer
) -> nn.Module:
    state = dict(official.state_dict())
    for kind in ("weight", "bias"):
        parts = state.pop(f"self_attn.in_proj_{kind}").split(mine.norm1.weight.numel())
        state |= {
            f"self_attn.{name}.{kind}": part
            for name, part in zip(PROJECTIONS, parts, strict=True)
        }
    mine.load_state_dict(state, strict=True)
    return mine


@copy_encoder_layer.alternative
def layer_by_deep_copies(
    mine: nn.Module, official: nn.TransformerEncoderLayer
) -> nn.Module:
    copy_blocks(mine.self_attn, official.self_attn)
    for name in LAYER_PARTS:
        setattr(mine, name, copy.deepcopy(getattr(official, name)))
    return mine


@copy_encoder_layer.alternative
def layer_checked_first(
    mine: nn.Module, official: nn.TransformerEncoderLayer
) -> nn.Module:
    if mine.linear1.weight.shape != official.linear1.weight.shape:
        raise ValueError("dim_feedforward differs")
    if mine.norm_first != official.norm_first:
        raise ValueError("norm_first differs")
    copy_attention_reference(mine.self_attn, official.self_attn)
    for name, parameter in mine.named_parameters():
        if not name.startswith("self_attn"):
            parameter.data.copy_(official.get_parameter(name).data)
    return mine


@copy_encoder_layer.mistake("""norm1 and norm2 are swapped. Fresh ones are both the
identity, which hides this.""")
def norms_swapped(mine: nn.Module, official: nn.Module) -> nn.Module:
    parts = {"linear1": "linear1", "linear2": "linear2", "norm1": "norm2"}
    return copy_layer(mine, official, {**parts, "norm2": "norm1"})


@copy_encoder_layer.mistake("""Both norms got the weights of norm1.""")
def first_norm_twice(mine: nn.Module, official: nn.Module) -> nn.Module:
    parts = {"linear1": "linear1", "linear2": "linear2", "norm1": "norm1"}
    return copy_layer(mine, official, {**parts, "norm2": "norm1"})


@copy_encoder_layer.mistake("""The norms were not copied. In fresh layers they are the
identity on both sides, which hides this; after training they are not.""")
def norms_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, {n: n for n in ("linear1", "linear2")})


@copy_encoder_layer.mistake("""norm2 was not copied.""")
def second_norm_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, {n: n for n in LAYER_PARTS[:3]})


@copy_encoder_layer.mistake("""linear1 and linear2 were not copied.""")
def feed_forward_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, {n: n for n in ("norm1", "norm2")})


@copy_encoder_layer.mistake("""Only the attention was copied: linear1, linear2, norm1
and norm2 have weights too.""")
def attention_alone(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine.self_attn, official.self_attn)
    return mine


@copy_encoder_layer.mistake("""self_attn was not copied. Its names differ from
PyTorch's, so a loop over equal names, or strict=False, passes over in_proj.""")
def attention_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=lambda *_: None)


@copy_encoder_layer.mistake("""Only parameters whose names are equal on both sides
arrived, as with strict=False: self_attn.in_proj_weight and self_attn.in_proj_bias are
named otherwise in `mine`. Split them.""")
def equal_names_alone(mine: nn.Module, official: nn.Module) -> nn.Module:
    mine.load_state_dict(official.state_dict(), strict=False)
    return mine


@copy_encoder_layer.mistake("""You read in_proj as [K | Q | V]. The query's rows come
first.""")
def layer_key_rows_first(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=key_rows_first)


@copy_encoder_layer.mistake("""You read in_proj as [V | K | Q]. The query's rows come
first.""")
def layer_value_rows_first(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=value_rows_first)


@copy_encoder_layer.mistake("""Keys and values are swapped: in_proj is [Q | K | V].""")
def layer_key_and_value_swapped(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=key_and_value_swapped)


@copy_encoder_layer.mistake("""You read in_proj head by head. PyTorch packs whole
matrices: all of Q, all of K, all of V.""")
def layer_read_per_head(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=read_per_head)


@copy_encoder_layer.mistake("""You transposed the blocks of in_proj. Both sides have
nn.Linear's layout, (out, in).""")
def layer_blocks_transposed(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=blocks_transposed)


@copy_encoder_layer.mistake("""The attention's three projections got the query's biases:
`in_proj_bias` has three blocks, as the weights have.""")
def layer_query_biases_for_all(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=query_biases_for_all)


@copy_encoder_layer.mistake("""The biases in_proj_bias were not copied. In a fresh layer
they are zero, which hides this.""")
def layer_in_proj_bias_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=in_proj_bias_left_out)


@copy_encoder_layer.mistake("""self_attn.out_proj was not copied.""")
def layer_out_proj_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official, attend=out_proj_left_out)


@copy_encoder_layer.mistake("""You copied weights and left out every bias.""")
@torch.no_grad()
def layer_biases_left_out(mine: nn.Module, official: nn.Module) -> nn.Module:
    before = {n: p.clone() for n, p in mine.named_parameters() if n.endswith("bias")}
    copy_layer(mine, official)
    for name, bias in before.items():
        mine.get_parameter(name).copy_(bias)
    return mine


@copy_encoder_layer.mistake("""linear1 and linear2 are swapped or transposed. Both sides
have the same names and the same layout: copy each as it is.""")
@torch.no_grad()
def feed_forward_transposed(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_layer(mine, official)
    mine.linear1.weight.copy_(official.linear2.weight.T)
    mine.linear2.weight.copy_(official.linear1.weight.T)
    return mine


@copy_encoder_layer.mistake("""`mine` now uses the memory of `official`: training one
changes the other. Copy the numbers, with `copy_` or `clone`.""")
def layer_shares_memory(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_blocks(mine.self_attn, official.self_attn)
    for name in LAYER_PARTS:
        setattr(mine, name, getattr(official, name))
    return mine


@copy_encoder_layer.mistake("""Your copies cannot be trained: their requires_grad is
False. Copy under `torch.no_grad()` instead of freezing.""")
def layer_frozen(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(mine, official).requires_grad_(False)


@copy_encoder_layer.mistake("""You filled and returned a copy of `mine`; `mine` itself
is as before. Write into its own parameters.""")
def fills_a_copy_of_the_layer(mine: nn.Module, official: nn.Module) -> nn.Module:
    return copy_layer(copy.deepcopy(mine), official)


@copy_encoder_layer.mistake("""Your function copies and returns nothing. Return
`mine`.""")
def layer_returns_nothing(mine: nn.Module, official: nn.Module) -> None:
    copy_layer(mine, official)


@copy_encoder_layer.mistake("""You return `official`. Return `mine`.""")
def returns_official(mine: nn.Module, official: nn.Module) -> nn.Module:
    copy_layer(mine, official)
    return official


# --------------------------------------------------------------- official_attention

official_attention = Exercise("official_attention")


@official_attention.cases
def _(draw: Draw) -> Iterator[Sample]:
    def qkv(*lead: int, nq: int, nk: int, d: int, scale: float = 1.0) -> tuple:
        shapes = ((*lead, nq, d), (*lead, nk, d), (*lead, nk, d))
        return tuple(draw.normal(*shape, scale=scale) for shape in shapes)

    def masks(lead: tuple, nq: int, nk: int, size: tuple | None = None) -> tuple:
        """Both masks; key 1 is open to all, so that no row is empty."""
        attn_mask = draw.mask(*(size or (nq, nk)))
        padding = draw.mask(lead[0], nk, share=0.4)
        attn_mask[..., 1], padding[:, 1] = True, False
        attn_mask[..., 0], padding[-1, -1] = False, True
        return attn_mask, padding

    def shut(inputs: tuple, attn_mask: Tensor | None, padding: Tensor | None) -> tuple:
        return (*inputs, attn_mask, padding)

    yield call("no mask", *shut(qkv(2, nq=4, nk=5, d=7), None, None))
    yield call("no mask, heads", *shut(qkv(2, 3, nq=4, nk=5, d=7), None, None))
    yield call("same sizes again", *shut(qkv(2, 3, nq=4, nk=5, d=7), None, None))
    yield call("more queries than keys", *shut(qkv(3, nq=8, nk=2, d=4), None, None))
    yield call("one item", *shut(qkv(1, 2, nq=3, nk=6, d=5), None, None))
    yield call("as many queries as keys", *shut(qkv(3, nq=6, nk=6, d=5), None, None))
    for name, lead, nq, nk, d, size in (
        ("mask, no heads", (2,), 4, 6, 5, None),
        ("mask, heads", (2, 3), 4, 7, 5, None),
        ("mask of each item, no heads", (3,), 4, 5, 6, (3, 4, 5)),
        ("mask of each item, heads", (2, 4), 3, 5, 6, (2, 1, 3, 5)),
        ("mask of each head", (2, 3), 5, 4, 6, (2, 3, 5, 4)),
        ("one mask for all heads", (3, 2), 5, 4, 7, (1, 1, 5, 4)),
        ("one row for all queries", (2,), 3, 8, 4, (1, 8)),
        ("mask, one item", (1, 3), 4, 5, 2, None),
        ("square mask", (3,), 5, 5, 4, None),
    ):
        attn_mask = masks(lead, nq, nk, size)[0]
        inputs = qkv(*lead, nq=nq, nk=nk, d=d)
        yield call(name, *shut(inputs, attn_mask, None), aspect="masks")
    for name, lead, nq, nk, d in (
        ("padding, no heads", (3,), 4, 6, 5),
        ("padding, heads", (2, 3), 4, 7, 5),
        ("padding, one item", (1, 2), 5, 3, 6),
        ("padding, as many of everything", (4, 4), 4, 4, 4),
        ("padding, as many items as queries", (5,), 5, 5, 3),
    ):
        inputs = qkv(*lead, nq=nq, nk=nk, d=d)
        yield call(name, *shut(inputs, None, masks(lead, nq, nk)[1]), aspect="masks")
    for name, lead, nq, nk, d, size in (
        ("both masks, no heads", (2,), 4, 6, 5, None),
        ("both masks, heads", (2, 3), 4, 7, 5, None),
        ("both masks, for each item, no heads", (3,), 2, 7, 4, (3, 2, 7)),
        ("both masks, for each item", (3, 2), 4, 6, 5, (3, 1, 4, 6)),
        ("both masks, for each head", (2, 4), 3, 5, 6, (2, 4, 3, 5)),
        ("both masks, one item", (1,), 3, 5, 2, None),
    ):
        inputs = qkv(*lead, nq=nq, nk=nk, d=d)
        yield call(name, *shut(inputs, *masks(lead, nq, nk, size)), aspect="masks")
    for name, nq, nk in (("causal", 5, 5), ("causal, more keys", 3, 7)):
        attn_mask = torch.ones(nq, nk, dtype=torch.bool).tril(nk - nq)
        inputs = qkv(2, nq=nq, nk=nk, d=6)
        yield call(
            name,
            *shut(inputs, attn_mask, None),
            aspect="masks",
            note="the mask is causal, aligned with the last key",
        )
    inputs = qkv(2, 2, nq=3, nk=4, d=5)
    yield call(
        "masks that shut nothing",
        *shut(inputs, torch.ones(3, 4).bool(), torch.zeros(2, 4).bool()),
        aspect="masks",
        note="all may attend, nothing is padding",
    )
    query, key, value = qkv(2, 3, nq=4, nk=6, d=5)
    attn_mask, padding = masks((2, 3), 4, 6)
    key[:, :, 0] *= 1e12
    value[:, :, 0] *= 1e3
    key[-1, :, -1] *= 1e5
    yield call(
        "large scores behind the masks",
        *shut((query, key, value), attn_mask, padding),
        aspect="masks",
        note="masked keys have scores of many millions",
    )
    query, key, value = qkv(2, nq=3, nk=5, d=4, scale=40.0)
    yield call(
        "large scores",
        *shut((query, key, value / 40), *masks((2,), 3, 5)),
        aspect="robustness",
        note="scores of several thousand",
    )
    yield call(
        "not contiguous",
        *shut(
            tuple(noncontiguous(t) for t in qkv(2, 3, nq=4, nk=6, d=5)),
            *(noncontiguous(m) for m in masks((2, 3), 4, 6)),
        ),
        aspect="robustness",
        note="the inputs are transposed views",
    )
    for name, dtype in (("float32", torch.float32), ("float16", torch.float16)):
        inputs = tuple(t.to(dtype) for t in qkv(2, 3, nq=3, nk=5, d=4))
        yield call(
            name,
            *shut(inputs, *masks((2, 3), 3, 5)),
            aspect="robustness",
            gradients=False,
        )


Mask = Tensor | None


def one_mask(query: Tensor, attn_mask: Mask, key_padding_mask: Mask) -> Mask:
    """One mask, True may attend, from the course's two."""
    if key_padding_mask is None:
        return attn_mask
    batch, keys = key_padding_mask.shape
    real = ~key_padding_mask.view(batch, *[1] * (query.dim() - 2), keys)
    return real if attn_mask is None else attn_mask & real


@official_attention.reference
def official_reference(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    mask = one_mask(query, attn_mask, key_padding_mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


@official_attention.alternative
def official_additive(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    shape = (*query.shape[:-1], key.shape[-2])
    bias = torch.zeros(shape, dtype=query.dtype, device=query.device)
    if attn_mask is not None:
        bias = bias.masked_fill(~attn_mask, -torch.inf)
    if key_padding_mask is not None:
        padding = key_padding_mask[:, None, :]
        padding = padding if query.dim() == 3 else padding[:, None]
        bias = bias.masked_fill(padding, -torch.inf)
    return F.scaled_dot_product_attention(query, key, value, bias)


@official_attention.alternative
def official_with_heads_added(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    if query.dim() == 3:
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask.unsqueeze(1)
        inputs = (t.unsqueeze(1) for t in (query, key, value))
        return official_with_heads_added(*inputs, attn_mask, key_padding_mask)[:, 0]
    allowed = torch.ones(1, 1, query.shape[2], key.shape[2], device=query.device).bool()
    if attn_mask is not None:
        allowed = torch.logical_and(allowed, attn_mask)
    if key_padding_mask is not None:
        keep = torch.logical_not(key_padding_mask)[:, None, None, :]
        allowed = torch.logical_and(allowed, keep)
    return F.scaled_dot_product_attention(
        query.contiguous(), key.contiguous(), value.contiguous(), allowed
    )


@official_attention.alternative
def official_by_hand(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key) / query.shape[-1] ** 0.5
    mask = one_mask(query, attn_mask, key_padding_mask)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.einsum("...qk,...kd->...qd", scores.softmax(dim=-1), value)


@official_attention.alternative
def official_item_by_item(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    full = (*query.shape[:-1], key.shape[-2])
    allowed = None if attn_mask is None else attn_mask.expand(full)
    results = []
    for item in range(len(query)):
        mask = None if allowed is None else allowed[item]
        if key_padding_mask is not None:
            row = ~key_padding_mask[item]
            mask = row.expand(full[1:]) if mask is None else mask & row
        results.append(
            F.scaled_dot_product_attention(query[item], key[item], value[item], mask)
        )
    return torch.stack(results)


def masks_mistake(hint: str, **options: Any) -> Callable[[Any], Any]:
    """A mistake in how the two masks become one: `(query, attn_mask, padding)`."""

    def register(combine: Callable[[Tensor, Mask, Mask], Mask]) -> Any:
        def answer(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attn_mask: Mask,
            key_padding_mask: Mask,
        ) -> Tensor:
            mask = combine(query, attn_mask, key_padding_mask)
            return F.scaled_dot_product_attention(query, key, value, mask)

        answer.__name__ = combine.__name__
        return official_attention.mistake(hint, **options)(answer)

    return register


def _not(mask: Mask) -> Mask:
    return None if mask is None else ~mask


@masks_mistake("""Your attn_mask is inverted. For F.scaled_dot_product_attention True
means "may attend", as in this course; nn.MultiheadAttention means the opposite.""")
def attn_mask_inverted(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return one_mask(query, _not(attn_mask), padding)


@masks_mistake("""Your key_padding_mask is not turned round: True means padding there,
and "may attend" in F.scaled_dot_product_attention. Use `~key_padding_mask`.""")
def padding_not_inverted(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return one_mask(query, attn_mask, _not(padding))


@masks_mistake("""Both masks are inverted: you pass them as nn.MultiheadAttention wants
them. In F.scaled_dot_product_attention True means "may attend".""")
def both_inverted(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return one_mask(query, _not(attn_mask), _not(padding))


@masks_mistake("""key_padding_mask is ignored: padding takes part in the attention.""")
def padding_ignored(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return attn_mask


@masks_mistake("""attn_mask is ignored.""")
def attn_mask_ignored(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return one_mask(query, None, padding)


@masks_mistake("""Both masks are ignored.""")
def masks_ignored(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return None


@masks_mistake("""Given both masks, you use attn_mask alone. A key may be attended to if
both allow it.""")
def attn_mask_wins(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return one_mask(query, None, padding) if attn_mask is None else attn_mask


@masks_mistake("""Given both masks, you use key_padding_mask alone: the second
overwrites the first. Join them with `&`.""")
def padding_wins(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    return attn_mask if padding is None else one_mask(query, None, padding)


@masks_mistake("""You join the masks with "or". A key may be attended to only if both
masks allow it: `&`.""")
def joined_by_or(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    if attn_mask is None or padding is None:
        return one_mask(query, attn_mask, padding)
    return attn_mask | one_mask(query, None, padding)


@masks_mistake("""You use the first item's padding for the whole batch. Every item has
its own row of key_padding_mask.""")
def first_padding_for_all(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    first = None if padding is None else padding[:1].expand_as(padding)
    return one_mask(query, attn_mask, first)


@masks_mistake("""You use the first item's attn_mask for the whole batch, or the first
head's for all heads. Leave its leading dimensions as they are: they broadcast.""")
def first_attn_mask_for_all(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    first = None if attn_mask is None else attn_mask[(0,) * (attn_mask.dim() - 2)]
    return one_mask(query, first, padding)


@masks_mistake("""attn_mask as floats is added to the scores: 1 where a query may
attend, 0 where not, which shuts nothing. Pass booleans, or 0 and -inf.""")
def added_as_ones(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    mask = one_mask(query, attn_mask, padding)
    return None if mask is None else mask.to(query.dtype)


@masks_mistake("""You shut keys with a finite number such as -1e4. A masked score can be
larger than that: use -inf, or a boolean mask.""")
def shut_with_a_number(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    mask = one_mask(query, attn_mask, padding)
    if mask is None:
        return None
    return torch.where(mask, 0.0, -1e4).to(query.dtype)


@masks_mistake("""key_padding_mask has (B, Nk); against scores of (B, Nq, Nk) or (B, H,
Nq, Nk) it lines up with the wrong dimensions. Put a dimension of size 1 in for each one
between.""")
def padding_not_reshaped(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    if padding is None:
        return attn_mask
    return ~padding if attn_mask is None else attn_mask & ~padding


@masks_mistake("""You give key_padding_mask two extra dimensions whatever the inputs
are. That is right for (B, H, N, d); for (B, N, d) it is one too many.""")
def always_with_heads(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    if padding is None:
        return attn_mask
    real = ~padding[:, None, None, :]
    return real if attn_mask is None else attn_mask & real


@masks_mistake("""You give key_padding_mask one extra dimension whatever the inputs are.
That is right for (B, N, d); for (B, H, N, d) the batch then lines up with the
heads.""")
def never_with_heads(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    if padding is None:
        return attn_mask
    real = ~padding[:, None, :]
    return real if attn_mask is None else attn_mask & real


@masks_mistake("""You shut the padded queries as well, or instead. Padding is a matter
of keys: nobody may look there.""")
def padded_queries(query: Tensor, attn_mask: Mask, padding: Mask) -> Mask:
    if padding is None or padding.shape[1] != query.shape[-2]:
        return one_mask(query, attn_mask, padding)
    real = one_mask(query, None, padding).transpose(-2, -1)
    return real if attn_mask is None else attn_mask & real


@official_attention.mistake("""With an attn_mask you pass is_causal=True: then your own
mask's shape no longer counts. `is_causal` is for "no mask but the causal one".""")
def causal_for_any_mask(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    if attn_mask is None:
        return official_reference(query, key, value, None, key_padding_mask)
    causal = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    return official_reference(query, key, value, causal, key_padding_mask)


@official_attention.mistake("""You take a square attn_mask for the causal one and pass
is_causal=True in its place. A mask with as many queries as keys can shut any pair:
pass the mask.""")
def causal_for_square_mask(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    given = attn_mask
    alone = given is not None and key_padding_mask is None
    if alone and given.shape == (query.shape[-2], query.shape[-2]):
        given = torch.ones_like(given).tril()
    return official_reference(query, key, value, given, key_padding_mask)


@official_attention.mistake("""Without a mask you pass is_causal=True. No mask means
that every query may attend to every key.""")
def causal_without_mask(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    mask = one_mask(query, attn_mask, key_padding_mask)
    causal = mask is None
    return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


@official_attention.mistake("""The output of masked attention is set to zero, or masked,
once more afterwards. The mask belongs to the scores, before the softmax.""")
def masked_afterwards(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
    mask = one_mask(query, attn_mask, key_padding_mask)
    return (weights if mask is None else weights * mask) @ value


@official_attention.mistake("""You pass scale=1. Leave `scale` out: the default is
1/√d.""")
def without_scale(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    mask = one_mask(query, attn_mask, key_padding_mask)
    return F.scaled_dot_product_attention(query, key, value, mask, scale=1.0)


@official_attention.mistake("""The scores are scaled twice: you divide the query by √d,
and F.scaled_dot_product_attention does it again.""")
def scaled_twice(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    query = query / query.shape[-1] ** 0.5
    return official_reference(query, key, value, attn_mask, key_padding_mask)


@official_attention.mistake("""You swap the first two dimensions, as for
batch_first=False. F.scaled_dot_product_attention attends along the last but one,
whatever comes before it.""")
def batch_second(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    inputs = (t.transpose(-3, -2) for t in (query, key, value))
    mask = one_mask(query, attn_mask, key_padding_mask)
    output = F.scaled_dot_product_attention(*inputs, attn_mask=mask)
    return output.transpose(-3, -2)


@official_attention.mistake("""You pass `key` as the values, too.""")
def key_for_value(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    return official_reference(query, key, key, attn_mask, key_padding_mask)


@official_attention.mistake("""You return a pair. F.scaled_dot_product_attention gives
the output alone, and so should you.""")
def returns_a_pair(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> tuple:
    return official_reference(query, key, value, attn_mask, key_padding_mask), None


@official_attention.mistake("""You changed `attn_mask` in place while joining the masks.
Whoever called your function still needs it: `attn_mask & ...` makes a new one.""")
def mask_changed_in_place(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    result = official_reference(query, key, value, attn_mask, key_padding_mask)
    if attn_mask is not None:
        attn_mask.logical_not_()
    return result


@official_attention.mistake("""You changed `key_padding_mask` in place. Use
`~key_padding_mask`, which makes a new one.""")
def padding_changed_in_place(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    result = official_reference(query, key, value, attn_mask, key_padding_mask)
    if key_padding_mask is not None:
        key_padding_mask.logical_not_()
    return result


@official_attention.mistake("""Your result is cut off from its inputs (`detach` or
`torch.no_grad`): no gradient flows back.""")
def official_detached(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    return official_reference(query, key, value, attn_mask, key_padding_mask).detach()


@official_attention.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def official_in_float32(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Mask, key_padding_mask: Mask
) -> Tensor:
    inputs = (t.float() for t in (query, key, value))
    return official_reference(*inputs, attn_mask, key_padding_mask)


# -------------------------------------------------------------------- parity_report

parity_report = Exercise("parity_report")

LAYERS, ATTENTION = "encoder layers", "attention modules"
State = dict[str, Tensor]


def official_state(state: State) -> State:
    """The same weights under PyTorch's names."""
    state = dict(state)
    start = "self_attn." if "linear1.weight" in state else ""
    for kind in ("weight", "bias"):
        parts = [state.pop(f"{start}{name}.{kind}") for name in PROJECTIONS]
        state[f"{start}in_proj_{kind}"] = torch.cat(parts)
    return state


class Pairs:
    """Draws pairs of modules with weights that are equal but for a planned change."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def state(self, kind: str, sizes: tuple) -> State:
        """Random weights of the course's layer or attention module."""
        if kind == LAYERS:
            return self.draw.like(layer_shapes(sizes))
        return self.draw.like(attention_shapes(sizes[0]))

    def builds(
        self, mine: State, official: State, sizes: tuple, options: dict, training: bool
    ) -> tuple[Build, Build]:
        """Descriptions of the course's module and of PyTorch's."""
        options = dict(options)
        dtype = next(iter(mine.values())).dtype
        packed = {n: t.to(dtype) for n, t in official_state(official).items()}
        if len(sizes) == 3:
            names = (f"{PROBES}.EncoderLayer", "torch.nn.TransformerEncoderLayer")
        else:
            names = (f"{PROBES}.MultiHeadAttention", "torch.nn.MultiheadAttention")
        theirs = {**options, "batch_first": True}
        if len(sizes) < 3:
            options.pop("dropout", None)  # the course's attention module has none
        return (
            Build(names[0], sizes, options, mine, training=training),
            Build(names[1], sizes, theirs, packed, training=training),
        )


def start_of(state: State) -> str:
    return "self_attn." if "linear1.weight" in state else ""


def row(state: State, name: str, value: Tensor | float) -> None:
    """Set row 1 of a projection, and its bias, of attention."""
    start = start_of(state)
    state[f"{start}{name}.weight"][1] = value
    state[f"{start}{name}.bias"][1] = 0.0


def moved(draw: Draw, state: State, name: str, where: Any, scale: float = 1.0) -> State:
    """A copy of `state` in which one entry of attention is drawn anew."""
    changed = {n: t.clone() for n, t in state.items()}
    full = name if name in state else start_of(state) + name
    part = changed[full][where]
    changed[full][where] = part + draw.normal(*part.shape, scale=scale)
    return changed


Change = Callable[[Draw, State], State]
"""Takes official's state, may prepare it in place, and returns that of mine."""


def nothing(draw: Draw, state: State) -> State:
    return {n: t.clone() for n, t in state.items()}


def only_query(draw: Draw, state: State) -> State:
    """One row of W_Q is zero, so that row of W_K shows in W_Q's gradient alone."""
    row(state, "q_proj", 0.0)
    return moved(draw, state, "k_proj.weight", 1)


def only_key(draw: Draw, state: State) -> State:
    """One row of W_K is zero, so that row of W_Q shows in W_K's gradient alone."""
    row(state, "k_proj", 0.0)
    changed = moved(draw, state, "q_proj.weight", 1)
    return moved(draw, changed, "q_proj.bias", slice(1, 2))


def only_value(draw: Draw, state: State) -> State:
    """One value is zero, so W_O's column shows in W_V's and b_V's gradient alone."""
    row(state, "v_proj", 0.0)
    return moved(draw, state, "out_proj.weight", (slice(None), 1), scale=2.0)


def only_out(draw: Draw, state: State) -> State:
    """W_O drops one value, so that value shows in the gradient of W_O alone."""
    state[start_of(state) + "out_proj.weight"][:, 1] = 0.0
    changed = moved(draw, state, "v_proj.weight", 1)
    return moved(draw, changed, "v_proj.bias", slice(1, 2))


def query_and_value(draw: Draw, state: State) -> State:
    """Both changes at once; neither shows in the other's gradients."""
    row(state, "v_proj", 0.0)
    row(state, "q_proj", 0.0)
    changed = moved(draw, state, "k_proj.weight", 1)
    return moved(draw, changed, "out_proj.weight", (slice(None), 1), scale=2.0)


def heads_exchanged(draw: Draw, state: State) -> State:
    """The two halves of the heads change places, which changes no output.

    The parameters' gradients change places too: the same numbers, elsewhere.
    """
    start, changed = start_of(state), {n: t.clone() for n, t in state.items()}
    half = len(state[f"{start}q_proj.bias"]) // 2
    for name in PROJECTIONS:
        for kind in ("weight", "bias"):
            changed[f"{start}{name}.{kind}"] = state[f"{start}{name}.{kind}"].roll(
                half, dims=0
            )
    out = f"{start}out_proj.weight"
    changed[out] = state[out].roll(half, dims=1)
    return changed


def key_bias(draw: Draw, state: State) -> State:
    """Another b_K changes nothing at all: softmax does not see it."""
    return moved(draw, state, "k_proj.bias", slice(None))


def linear1_alone(draw: Draw, state: State) -> State:
    """GELU(0) = 0 has a slope: linear2's column shows in linear1's gradient alone."""
    state["linear1.weight"][1] = 0.0
    state["linear1.bias"][1] = 0.0
    return moved(draw, state, "linear2.weight", (slice(None), 1), scale=2.0)


def linear2_alone(draw: Draw, state: State) -> State:
    """linear2 drops one unit, so that unit shows in the gradient of linear2 alone."""
    state["linear2.weight"][:, 1] = 0.0
    state["linear1.bias"][1] = 0.5
    changed = moved(draw, state, "linear1.weight", 1)
    changed["linear1.bias"][1] = 2.5
    return changed


def norm1_alone(draw: Draw, state: State) -> State:
    """Pre-norm: norm1 shuts a channel, so who reads it shows in norm1's gradient."""
    state["norm1.weight"][1] = 0.0
    state["norm1.bias"][1] = 0.0
    changed = state
    for name in PROJECTIONS:
        changed = moved(draw, changed, f"{name}.weight", (slice(None), 1), scale=2.0)
    return changed


def norm2_alone(draw: Draw, state: State) -> State:
    """Pre-norm: norm2 shuts a channel, so who reads it shows in norm2's gradient."""
    state["norm2.weight"][1] = 0.0
    state["norm2.bias"][1] = 0.0
    return moved(draw, state, "linear1.weight", (slice(None), 1), scale=2.0)


def query_and_key(draw: Draw, state: State) -> State:
    """Queries and keys are unrelated; a single token has the weight 1 all the same."""
    changed = state
    for name in ("q_proj", "k_proj"):
        for kind in ("weight", "bias"):
            changed = moved(draw, changed, f"{name}.{kind}", slice(None))
    return changed


def constant(draw: Draw, state: State) -> State:
    """What multiplies last is zero: each output is a bias, and mine has another."""
    if "linear1.weight" in state:
        state["norm2.weight"].zero_()
    else:
        state["v_proj.weight"].zero_()
    return shifted(1.41421356)(draw, state)


def everything(draw: Draw, state: State) -> State:
    """Unrelated weights."""
    return {
        n: draw.normal(*t.shape, scale=t.shape[-1] ** -0.5) for n, t in state.items()
    }


def shifted(largest: float) -> Change:
    """Mine's output differs in its channels by fixed numbers, the largest as given."""

    def change(draw: Draw, state: State) -> State:
        changed = {n: t.clone() for n, t in state.items()}
        name = "norm2.bias" if "linear1.weight" in state else "out_proj.bias"
        shift = draw.uniform(len(changed[name]), low=-0.6, high=0.6) * largest
        shift[2] = largest
        changed[name] += shift
        return changed

    return change


@parity_report.cases
def _(draw: Draw) -> Iterator[Sample]:
    pairs = Pairs(draw)

    def pair(
        kind: str,
        sizes: tuple,
        change: Change,
        tokens: tuple[int, int],
        *,
        x: Tensor | None = None,
        training: bool = False,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float64,
        **options: Any,
    ) -> tuple:
        official = pairs.state(kind, sizes)
        mine = change(draw, official)
        mine = {n: t.to(dtype) for n, t in mine.items()}
        if kind == LAYERS:
            options = layer_options(
                options.get("activation", "relu"), options.get("norm_first", False)
            )
        else:
            options = {}
        if dropout:
            options["dropout"] = dropout
        given = draw.normal(*tokens, sizes[0]).to(dtype) if x is None else x
        return (*pairs.builds(mine, official, sizes, options, training), given)

    def report(
        name: str, layers: Any, attention: Any, facts: str, **extra: Any
    ) -> Sample:
        """`facts`: what counts of output, input_gradient and parameter_gradients."""
        wanted = dict(zip(REPORTED, facts.split("/"), strict=True))
        arguments = {
            "pairs": {LAYERS: _listed(layers), ATTENTION: _listed(attention)},
            "facts": wanted,
            "times": extra.pop("times", 1),
        }
        for name_of in ("zero", "combined"):
            if name_of in extra:
                arguments[name_of] = extra.pop(name_of)
        return Sample(
            name, "parity", arguments, view="parity", gradients=False, **extra
        )

    sizes = "size/size/size"
    for name, layer, attention, options in (
        ("copies, post-norm", (6, 3, 10), (8, 2), {"training": True}),
        ("same sizes again", (6, 3, 10), (8, 2), {"training": True}),
        ("copies, pre-norm", (8, 2, 5), (6, 3), {"norm_first": True}),
        ("copies, GELU", (10, 5, 7), (12, 4), {"activation": "gelu"}),
    ):
        yield report(
            name,
            pair(LAYERS, layer, nothing, (2, 4), **options),
            pair(ATTENTION, attention, nothing, (3, 5), **options),
            sizes,
            note="mine has the weights of official",
        )
    yield report(
        "copies, one item",
        pair(LAYERS, (6, 2, 9), nothing, (1, 5)),
        pair(ATTENTION, (10, 2), nothing, (1, 7)),
        sizes,
        note="mine has the weights of official; one item in the batch",
    )
    yield report(
        "everything differs",
        pair(LAYERS, (8, 4, 6), everything, (3, 5)),
        pair(ATTENTION, (6, 2), everything, (2, 7)),
        sizes,
        note="mine and official have unrelated weights",
    )
    for name, largest in (
        ("a lower output", -0.73184265),
        ("a higher output", 2.41592653),
    ):
        yield report(
            name,
            pair(LAYERS, (6, 3, 8), shifted(largest), (2, 5)),
            pair(ATTENTION, (9, 3), shifted(largest), (3, 4)),
            "number/any/any",
            note=f"one channel of mine's output is off by {largest}, the rest less",
        )
    yield last_item_differs(draw, pairs, report)
    for name, layer_change, change, options, note in (
        ("query", only_query, only_query, {}, "the gradient of q_proj"),
        ("key", only_key, only_key, {}, "the gradient of k_proj"),
        ("value", only_value, only_value, {}, "the gradient of v_proj"),
        ("out", only_out, only_out, {}, "the gradient of out_proj"),
        (
            "linear1",
            linear1_alone,
            only_query,
            {"activation": "gelu"},
            "the gradient of linear1, or of q_proj",
        ),
        (
            "linear2",
            linear2_alone,
            only_key,
            {"activation": "gelu"},
            "the gradient of linear2, or of k_proj",
        ),
        (
            "norm1",
            norm1_alone,
            only_query,
            {"norm_first": True},
            "the gradient of norm1, or of q_proj",
        ),
        (
            "norm2",
            norm2_alone,
            only_value,
            {"norm_first": True},
            "the gradient of norm2, or of v_proj",
        ),
    ):
        yield report(
            f"{name} alone",
            pair(LAYERS, (8, 2, 6), layer_change, (2, 5), **options),
            pair(ATTENTION, (6, 2), change, (3, 4)),
            sizes,
            note=f"only {note} differs",
        )
    yield report(
        "bias alone",
        pair(LAYERS, (6, 3, 7), only_value, (2, 4), x=torch.zeros(2, 4, 6).double()),
        pair(ATTENTION, (8, 2), only_value, (3, 5), x=torch.zeros(3, 5, 8).double()),
        sizes,
        note="x is zero, and only the gradient of v_proj.bias differs",
    )
    yield report(
        "other numbers, same gradients",
        pair(LAYERS, (8, 4, 5), key_bias, (2, 6), norm_first=True),
        pair(ATTENTION, (10, 5), key_bias, (3, 4)),
        sizes,
        note="only k_proj.bias differs, which changes no output and no gradient",
    )
    yield report(
        "heads exchanged",
        pair(LAYERS, (6, 2, 7), heads_exchanged, (3, 4)),
        pair(ATTENTION, (8, 2), heads_exchanged, (2, 6)),
        sizes,
        note="mine has official's heads in another order: only gradients of "
        "parameters differ",
    )
    yield report(
        "copies with dropout, in eval",
        pair(LAYERS, (8, 4, 6), nothing, (2, 5), dropout=0.4),
        pair(ATTENTION, (6, 3), nothing, (3, 4), dropout=0.4),
        sizes,
        note="official has dropout, and both modules are in eval",
    )
    yield report(
        "one number",
        *one_number(draw, pairs),
        sizes,
        note="x is a single number for attention; mine and official, then exchanged",
    )
    yield report(
        "two changes",
        *two_changes(draw, pairs),
        sizes,
        combined="parameter_gradients",
        note="first one change, then another, then both at once",
    )
    yield report(
        "two items",
        *two_items(draw, pairs),
        "size/size/any",
        combined="input_gradient",
        note="mine is off on one item of the batch, then on another, then on both",
    )
    yield report(
        "one token",
        pair(LAYERS, (6, 2, 5), query_and_key, (3, 1)),
        pair(ATTENTION, (8, 4), query_and_key, (4, 1)),
        sizes,
        note="one token: other q_proj and k_proj change no output and no gradient",
    )
    yield report(
        "x without effect",
        pair(LAYERS, (6, 3, 4), constant, (2, 3)),
        pair(ATTENTION, (8, 2), constant, (2, 4)),
        "size/size/any",
        note="the outputs differ, and neither depends on x",
    )
    yield report(
        "the query cut off",
        other_mine(pair(LAYERS, (6, 2, 5), nothing, (2, 4)), cut_query=True),
        other_mine(pair(ATTENTION, (8, 4), nothing, (2, 5)), cut_query=True),
        sizes,
        note="mine has the weights of official and its output, and lets no gradient "
        "back through the query's input",
    )
    yield report(
        "other heads",
        other_mine(pair(LAYERS, (6, 2, 5), nothing, (2, 4)), num_heads=3),
        other_mine(pair(ATTENTION, (8, 4), nothing, (2, 5)), num_heads=2),
        sizes,
        note="mine has the weights of official, and another number of heads",
    )
    yield report(
        "twice",
        pair(LAYERS, (6, 2, 5), everything, (2, 4)),
        pair(ATTENTION, (8, 4), everything, (3, 5)),
        sizes,
        times=2,
        note="two reports on the same pair",
    )
    yield report(
        "copies, twice",
        pair(LAYERS, (4, 2, 5), nothing, (3, 4), norm_first=True),
        pair(ATTENTION, (9, 3), nothing, (2, 5)),
        sizes,
        times=2,
        note="two reports on the same pair of copies",
    )
    yield report(
        "not contiguous",
        pair(LAYERS, (6, 3, 8), nothing, (2, 5), x=noncontiguous(draw.normal(2, 5, 6))),
        pair(ATTENTION, (8, 4), nothing, (2, 3), x=noncontiguous(draw.normal(2, 3, 8))),
        sizes,
        aspect="robustness",
        note="x is a transposed view",
    )
    yield report(
        "float32",
        pair(LAYERS, (6, 3, 8), nothing, (2, 4), dtype=torch.float32),
        pair(ATTENTION, (8, 4), nothing, (2, 5), dtype=torch.float32),
        sizes,
        aspect="robustness",
        zero=1e-2,
        note="copies in float32",
    )


REPORTED = ("output", "input_gradient", "parameter_gradients")


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def last_item_differs(
    draw: Draw, pairs: Pairs, report: Callable[..., Sample]
) -> Sample:
    """W_Q differs; all items but the last hold equal tokens, which do not show it.

    The errors' scale is set by W_O, on which the output depends linearly.
    """
    largest = 1.61803398
    rows = {}
    for kind, sizes, tokens in (
        (LAYERS, (6, 2, 4), (3, 5)),
        (ATTENTION, (8, 2), (2, 4)),
    ):
        official = pairs.state(kind, sizes)
        start = start_of(official)
        if kind == LAYERS:
            official["linear2.weight"].zero_()
        mine = moved(draw, official, "q_proj.weight", slice(None))
        x = draw.normal(*tokens, sizes[0])
        x[:-1] = x[:-1, :1]
        options = layer_options("relu", True) if kind == LAYERS else {}
        for _round in range(2):  # once for the scale, once more against its rounding
            error = _output_error(
                *pairs.builds(mine, official, sizes, options, False), x
            )
            for state in (mine, official):
                state[f"{start}out_proj.weight"] *= largest / error
        rows[kind] = (*pairs.builds(mine, official, sizes, options, False), x)
    return report(
        "the last item differs",
        rows[LAYERS],
        rows[ATTENTION],
        "number/size/size",
        note="mine and official agree on all items of the batch but the last",
    )


def _output_error(mine: Build, official: Build, x: Tensor) -> float:
    live = []
    for build in (mine, official):
        name = build.factory.rpartition(".")[2]
        source = nn if build.factory.startswith("torch.") else _probes()
        module = getattr(source, name)(*build.args, **build.kwargs).double()
        module.load_state_dict(dict(build.state))
        live.append(module)
    return float((outputs(live[0], x) - outputs(live[1], x)).abs().max().detach())


def _probes() -> Any:
    from attention_course.learn import probes_09

    return probes_09


def one_number(draw: Draw, pairs: Pairs) -> tuple[list, list]:
    """Pairs of modules, and the same weights exchanged.

    The gradient of attention's input is one number: of the two errors, one is negative.
    """
    x, sizes = draw.normal(1, 1, 1), (1, 1)
    states = [everything(draw, pairs.state(ATTENTION, sizes)) for _ in range(2)]
    exchanged = (states, states[::-1])
    attention = [(*pairs.builds(*s, sizes, {}, False), x) for s in exchanged]
    x, wider = draw.normal(2, 3, 4), (4, 2, 3)
    states = [everything(draw, pairs.state(LAYERS, wider)) for _ in range(2)]
    exchanged, options = (states, states[::-1]), layer_options("gelu", True)
    layers = [(*pairs.builds(*s, wider, options, False), x) for s in exchanged]
    return layers, attention


def two_changes(draw: Draw, pairs: Pairs) -> tuple[list, list]:
    """For each kind three pairs: with one change, with another, with both."""
    found = []
    for kind, sizes, tokens in (
        (LAYERS, (6, 3, 5), (2, 4)),
        (ATTENTION, (9, 3), (3, 5)),
    ):
        official = pairs.state(kind, sizes)
        both = query_and_value(draw, official)
        start = start_of(official)
        key, out = f"{start}k_proj.weight", f"{start}out_proj.weight"
        states = (
            {**official, key: both[key]},
            {**official, out: both[out]},
            both,
        )
        x = draw.normal(*tokens, sizes[0])
        options = layer_options("relu", False) if kind == LAYERS else {}
        found.append(
            [(*pairs.builds(s, official, sizes, options, False), x) for s in states]
        )
    return found[0], found[1]


def two_items(draw: Draw, pairs: Pairs) -> tuple[list, list]:
    """For each kind three pairs: W_Q differs, on one item, on another, on both.

    An item whose tokens are equal shows no difference, in output or input's gradient.
    """
    found = []
    for kind, sizes, tokens in (
        (LAYERS, (6, 3, 4), (3, 4)),
        (ATTENTION, (8, 2), (4, 3)),
    ):
        official = pairs.state(kind, sizes)
        mine = moved(draw, official, "q_proj.weight", slice(None))
        options = layer_options("gelu", False) if kind == LAYERS else {}
        x = draw.normal(*tokens, sizes[0])
        given = []
        for varied in ((0,), (1,), (0, 1)):
            part = x[:, :1].expand_as(x).clone()
            for item in varied:
                part[item] = x[item]
            given.append(part)
        builds = pairs.builds(mine, official, sizes, options, False)
        found.append([(*builds, part) for part in given])
    return found[0], found[1]


def other_mine(pair: tuple, *, num_heads: int | None = None, **options: Any) -> tuple:
    """The pair, where mine has the same weights and is built otherwise."""
    mine, official, x = pair
    args = mine.args if num_heads is None else (mine.args[0], num_heads, *mine.args[2:])
    kwargs = {**mine.kwargs, **options}
    return dataclasses.replace(mine, args=args, kwargs=kwargs), official, x


def outputs(module: nn.Module, x: Tensor) -> Tensor:
    """The output of an encoder layer, or of an attention module on x, x, x."""
    if hasattr(module, "linear1"):
        return module(x)
    return module(x, x, x)[0]


def split_names(named: Mapping[str, Tensor]) -> State:
    """Tensors by the course's names, in_proj split."""
    found: State = {}
    for name, tensor in named.items():
        if "in_proj_" in name:
            for part, block in zip(PROJECTIONS, tensor.chunk(3), strict=True):
                found[name.replace("in_proj_", f"{part}.")] = block
        else:
            found[name] = tensor
    return found


def upstream_for(output: Tensor) -> Tensor:
    numbers = torch.arange(output.numel(), dtype=output.dtype, device=output.device)
    return torch.cos(numbers + 1).view_as(output)


def measure(
    module: nn.Module, x: Tensor, scalar: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor, State]:
    """Output, gradient of the input, and the parameters' gradients by course names."""
    inputs = x.detach().clone().requires_grad_()
    output = outputs(module, inputs)
    scalar = scalar or (lambda out: (out * upstream_for(out)).sum())
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(scalar(output), [inputs, *named.values()])
    by_name = dict(zip(named, grads[1:], strict=True))
    return output.detach(), grads[0], split_names(by_name)


def largest_error(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


@parity_report.reference
def parity_reference(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    ours, theirs = measure(mine, x), measure(official, x)
    return {
        "output": largest_error(ours[0], theirs[0]),
        "input_gradient": largest_error(ours[1], theirs[1]),
        "parameter_gradients": max(
            largest_error(gradient, theirs[2][name])
            for name, gradient in ours[2].items()
        ),
    }


def with_scalar(
    mine: nn.Module,
    official: nn.Module,
    x: Tensor,
    scalar: Callable[[Tensor], Tensor] | None = None,
    error: Callable[[Tensor, Tensor], float] = largest_error,
) -> dict:
    """The report for another scalar, or another measure of error."""
    ours, theirs = measure(mine, x, scalar), measure(official, x, scalar)
    errors = [error(grad, theirs[2][name]) for name, grad in ours[2].items()]
    return {
        "output": error(ours[0], theirs[0]),
        "input_gradient": error(ours[1], theirs[1]),
        "parameter_gradients": max(errors),
    }


@parity_report.alternative
def report_of_the_sum(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(mine, official, x, torch.sum)


@parity_report.alternative
def report_of_the_mean(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return {**with_scalar(mine, official, x, torch.mean), "scalar": "mean"}


@parity_report.alternative
def report_of_mean_squares(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(mine, official, x, lambda out: out.square().mean())


@parity_report.alternative
def report_of_the_norm(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(mine, official, x, torch.linalg.vector_norm)


@parity_report.alternative
def report_of_a_random_scalar(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    upstream = torch.randn_like(x)
    return with_scalar(mine, official, x, lambda out: (out * upstream).sum())


@parity_report.alternative
def report_on_layers_alone(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    mine.zero_grad()
    official.zero_grad()
    out, expected = mine(inputs[0]), official(inputs[1])
    out.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    grads = {n: p.grad for n, p in official.named_parameters()}
    for kind in ("weight", "bias"):
        packed = grads.pop(f"self_attn.in_proj_{kind}")
        for name, part in zip("qkv", packed.chunk(3), strict=True):
            grads[f"self_attn.{name}_proj.{kind}"] = part
    worst = 0.0
    for name, parameter in mine.named_parameters():
        worst = max(worst, (parameter.grad - grads[name]).abs().max().item())
    return {
        "output": (out - expected).abs().max().item(),
        "input_gradient": (inputs[0].grad - inputs[1].grad).abs().max().item(),
        "parameter_gradients": worst,
    }


@parity_report.alternative
def report_on_attention_alone(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    seen = []
    for module in (mine, official):
        copied = copy.deepcopy(module)
        given = x.detach().clone().requires_grad_(True)
        output, _ = copied(given, given, given)
        output.sum().backward()
        grads = {n: p.grad for n, p in copied.named_parameters()}
        seen.append((output.detach(), given.grad, grads))
    (out, grad, own), (official_out, official_grad, other) = seen
    d = x.shape[-1]
    errors = []
    for i, name in enumerate(PROJECTIONS):
        rows = slice(i * d, (i + 1) * d)
        errors.append(own[f"{name}.weight"] - other["in_proj_weight"][rows])
        errors.append(own[f"{name}.bias"] - other["in_proj_bias"][rows])
    errors += [
        own[f"out_proj.{k}"] - other[f"out_proj.{k}"] for k in ("weight", "bias")
    ]
    return {
        "output": float((out - official_out).abs().max()),
        "input_gradient": float((grad - official_grad).abs().max()),
        "parameter_gradients": max(float(e.abs().max()) for e in errors),
    }


@parity_report.mistake("""Only parameters with equal names on both sides are compared.
in_proj_weight and in_proj_bias have no partner in `mine`, so the queries, keys and
values are never looked at: split them.""")
def equal_names_compared(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    shared = {n for n, _ in mine.named_parameters()} & {
        n for n, _ in official.named_parameters()
    }
    report["parameter_gradients"] = max(
        largest_error(ours[n], theirs[n]) for n in shared
    )
    return report


@parity_report.mistake("""in_proj's gradient is split in another order: [K | Q | V]. The
query's rows come first.""")
def gradient_split_key_first(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    swap = {"q_proj": "k_proj", "k_proj": "q_proj"}
    for name in ours:
        part = next((p for p in swap if p in name), None)
        other = name.replace(part, swap[part]) if part else name
        error = largest_error(ours[name], theirs[other])
        report["parameter_gradients"] = max(report["parameter_gradients"], error)
    return report


@parity_report.mistake(
    """Your weights' gradients are compared, your biases' are not."""
)
def biases_not_compared(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    report["parameter_gradients"] = max(
        largest_error(ours[n], theirs[n]) for n in ours if n.endswith("weight")
    )
    return report


@parity_report.mistake("""You compare the parameters themselves. What is asked for are
their gradients, `.grad`.""")
def values_compared(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours = dict(mine.named_parameters())
    theirs = split_names(dict(official.named_parameters()))
    report["parameter_gradients"] = max(
        largest_error(ours[n].detach(), theirs[n].detach()) for n in ours
    )
    return report


@parity_report.mistake("""You sort the gradients' numbers, or compare sums or norms of
them. Two modules with their heads in another order then look the same: compare each
parameter with the one of its name, entry by entry.""")
def sorted_gradients_compared(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = (
        torch.cat([g.flatten() for g in measure(m, x)[2].values()]).sort().values
        for m in (mine, official)
    )
    return {**report, "parameter_gradients": largest_error(ours, theirs)}


@parity_report.mistake("""You switch the modules to training, and dropout makes copies
differ. Compare them in the mode in which they come, or in eval.""")
def dropout_switched_on(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    modules = [copy.deepcopy(module).train() for module in (mine, official)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return parity_reference(*modules, x)


@parity_report.mistake("""You report the mean error. A mean hides one bad entry among
many good ones: report the largest.""")
def mean_error(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(
        mine, official, x, error=lambda a, b: float((a - b).abs().mean())
    )


@parity_report.mistake("""You report the mean squared error. Report the largest absolute
one.""")
def mean_squared_error(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(
        mine, official, x, error=lambda a, b: float((a - b).square().mean())
    )


@parity_report.mistake("""You report the norm of the difference. Report its largest
absolute entry.""")
def norm_of_error(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(mine, official, x, error=lambda a, b: float((a - b).norm()))


@parity_report.mistake("""You take the largest difference without `abs`: errors below
zero do not count.""")
def without_abs(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(mine, official, x, error=lambda a, b: float((a - b).max()))


@parity_report.mistake("""You report relative errors. Asked for is the largest absolute
one.""")
def relative_error(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(
        mine,
        official,
        x,
        error=lambda a, b: float((a - b).abs().max() / (b.abs().max() + 1e-12)),
    )


@parity_report.mistake("""You add up the parameters' errors. Report the largest of
them.""")
def errors_added_up(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    errors = [largest_error(ours[n], theirs[n]) for n in ours]
    return {**report, "parameter_gradients": sum(errors)}


@parity_report.mistake("""The errors of the gradients are taken without `abs`: where all
differences are negative, the largest is too.""")
def gradients_without_abs(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = with_scalar(mine, official, x, error=lambda a, b: float((a - b).max()))
    return {**report, "output": parity_reference(mine, official, x)["output"]}


@parity_report.mistake("""`input_gradient` repeats the error of the output. Compare what
flows back to x through each module.""")
def output_error_twice(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    return {**report, "input_gradient": report["output"]}


@parity_report.mistake("""You compute no gradient: `input_gradient` repeats the error of
the output, and `parameter_gradients` tells how far the parameters themselves are apart.
Equal weights can have other gradients, and other weights the same: take a scalar of
each output, and differentiate it with respect to x and to the parameters.""")
def no_gradient_computed(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = values_compared(mine, official, x)
    return {**report, "input_gradient": report["output"]}


@parity_report.mistake("""`input_gradient` is a mean of the errors, or a norm of them.
Report the largest absolute one: a mean hides one bad entry among many good ones.""")
def mean_error_of_the_input(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[1], measure(official, x)[1]
    return {**report, "input_gradient": float((ours - theirs).abs().mean())}


@parity_report.mistake(
    """`input_gradient` is a norm of the errors. Report the largest absolute one.""",
    same_as="mean_error_of_the_input",
)
def norm_of_the_inputs_error(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[1], measure(official, x)[1]
    return {**report, "input_gradient": float((ours - theirs).norm())}


@parity_report.mistake("""Your report leaves parameters out: the last one counts alone
(each overwrites the one before), or the biases, or all but out_proj. Keep the largest
error over all of them.""")
def last_parameter_alone(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    last = list(ours)[-1]
    return {**report, "parameter_gradients": largest_error(ours[last], theirs[last])}


@parity_report.mistake("""You return tensors. The report holds Python floats: `.item()`
or `float(...)`.""")
def returns_tensors(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    return {key: torch.tensor(value) for key, value in report.items()}


@parity_report.mistake("""You return a tuple. Return a dict with the keys output,
input_gradient and parameter_gradients.""")
def returns_a_tuple(mine: nn.Module, official: nn.Module, x: Tensor) -> tuple:
    return tuple(parity_reference(mine, official, x).values())


@parity_report.mistake("""parameter_gradients is a dict with one error for each
parameter. Report a single float, the largest.""")
def one_error_each(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[2], measure(official, x)[2]
    errors = {n: largest_error(ours[n], theirs[n]) for n in ours}
    return {**report, "parameter_gradients": errors}


@parity_report.mistake("""Both modules' gradients are collected in one `x.grad`, and the
second adds to the first. Give each module a leaf of its own.""")
def one_leaf_for_both(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours, theirs = measure(mine, x)[1], measure(official, x)[1]
    return {**report, "input_gradient": largest_error(ours, ours + theirs)}


@parity_report.mistake("""Each module gets its own random upstream gradient. Then even
two copies differ: send the same one back through both.""")
def two_upstreams(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    ours = measure(mine, x)
    theirs = measure(official, x, lambda out: (out * upstream_for(out).sin()).sum())
    return {
        "output": report["output"],
        "input_gradient": largest_error(ours[1], theirs[1]),
        "parameter_gradients": max(
            largest_error(ours[2][n], theirs[2][n]) for n in ours[2]
        ),
    }


@parity_report.mistake("""Both times you use `official`, or compare a gradient with
itself: the gradients agree whatever `mine` computes.""")
def compared_with_itself(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    return {**report, "input_gradient": 0.0, "parameter_gradients": 0.0}


@parity_report.mistake("""The input's gradient is always reported as zero. Compare what
reaches x through `mine` with what reaches it through `official`.""")
def input_gradient_is_zero(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return {**parity_reference(mine, official, x), "input_gradient": 0.0}


@parity_report.mistake("""Only the first item of the batch is compared.""")
def first_item_compared(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    return with_scalar(
        mine,
        official,
        x,
        error=lambda a, b: (
            largest_error(a[0], b[0]) if a.shape == x.shape else largest_error(a, b)
        ),
    )


@parity_report.mistake("""Gradients pile up in `.grad`: a second report on the same
modules counts the first one's too. Clear them before `backward`, or use
`torch.autograd.grad`.""")
def gradients_pile_up(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    seen = []
    for module in (mine, official):
        given = x.detach().clone().requires_grad_()
        output = outputs(module, given)
        (output * upstream_for(output)).sum().backward()
        grads = split_names({n: p.grad for n, p in module.named_parameters()})
        seen.append((output.detach(), given.grad, grads))
    ours, theirs = seen
    return {
        "output": largest_error(ours[0], theirs[0]),
        "input_gradient": largest_error(ours[1], theirs[1]),
        "parameter_gradients": max(
            largest_error(ours[2][n], theirs[2][n]) for n in ours[2]
        ),
    }


@parity_report.mistake("""You compute in float32, which hides every error below 1e-7 and
adds its own. Keep the modules' dtype.""")
def report_in_float32(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    modules = [copy.deepcopy(module).float() for module in (mine, official)]
    return parity_reference(*modules, x.float())


@parity_report.mistake("""You round the errors. Whether an error is 1e-4 or 1e-12 is
what a report is for: give it as it is.""")
def errors_rounded(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    return {key: round(value, 3) for key, value in report.items()}


@parity_report.mistake("""Your function adds to `x` in place. Whoever called it still
needs it.""")
def input_changed(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    x += 1e-3
    return report


@parity_report.mistake("""`mine` has other weights after your report: a report only
looks, it does not copy or train.""")
def mine_changed(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
    report = parity_reference(mine, official, x)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter -= 1e-3
    return report

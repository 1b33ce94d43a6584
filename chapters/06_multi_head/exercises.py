"""Chapter 06: split the width into heads, attend in each, merge and mix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

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

INFINITY = float("inf")

# ---------------------------------------------------------------------- split_heads

split_heads = Exercise("split_heads")


@split_heads.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("batch, all sizes different", draw.normal(2, 4, 15), 3)
    yield call("same sizes again", draw.normal(2, 4, 15), 3)
    yield call("two heads", draw.normal(3, 5, 8), 2)
    yield call("one item", draw.normal(1, 3, 8), 4)
    yield call("one token", draw.normal(3, 1, 10), 2)
    yield call("one head", draw.normal(2, 3, 5), 1, note="a single head")
    yield call(
        "as many heads as channels",
        draw.normal(2, 3, 4),
        4,
        note="each head has one channel",
    )
    yield call(
        "as many heads as tokens", draw.normal(2, 3, 12), 3, note="3 tokens and 3 heads"
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 5, 12)),
        3,
        aspect="robustness",
        note="x is a transposed view",
    )
    yield call(
        "float32",
        draw.normal(2, 3, 8).float(),
        4,
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16", draw.normal(3, 2, 6).half(), 3, aspect="robustness", gradients=False
    )
    yield call(
        "does not divide",
        draw.normal(2, 5, 10),
        4,
        aspect="errors",
        note="10 channels do not divide into 4 heads",
    )
    yield call(
        "tokens divide, channels do not",
        draw.normal(2, 4, 6),
        4,
        aspect="errors",
        note="6 channels do not divide into 4 heads, though the 4 tokens would",
    )
    yield call(
        "more heads than channels",
        draw.normal(2, 3, 4),
        8,
        aspect="errors",
        note="8 heads cannot share 4 channels",
    )


def split(x: Tensor, num_heads: int) -> Tensor:
    """Neighbouring channels belong to one head."""
    return torch.stack(x.chunk(num_heads, dim=-1), dim=1)


def merge(x: Tensor) -> Tensor:
    """The heads' channels side by side."""
    return torch.cat(x.unbind(dim=1), dim=-1)


def refuse_remainder(d_model: int, num_heads: int) -> None:
    if d_model % num_heads:
        raise ValueError(f"{d_model} channels do not divide into {num_heads} heads")


@split_heads.reference
def split_heads_reference(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return split(x, num_heads)


@split_heads.alternative
def view_and_transpose(x: Tensor, num_heads: int) -> Tensor:
    batch, tokens, d_model = x.shape
    refuse_remainder(d_model, num_heads)
    return x.view(batch, tokens, num_heads, d_model // num_heads).transpose(1, 2)


@split_heads.alternative
def unflatten_and_permute(x: Tensor, num_heads: int) -> Tensor:
    head_dim, rest = divmod(x.size(-1), num_heads)
    if rest != 0:
        raise ValueError("num_heads must divide d_model")
    return x.unflatten(-1, (num_heads, head_dim)).permute(0, 2, 1, 3).contiguous()


@split_heads.alternative
def slice_by_slice(x: Tensor, num_heads: int) -> Tensor:
    width = x.shape[2] / num_heads
    if not width.is_integer():
        raise ValueError(f"d_model={x.shape[2]}, num_heads={num_heads}")
    width = int(width)
    heads = [x[:, :, h * width : (h + 1) * width] for h in range(num_heads)]
    return torch.cat([head[:, None] for head in heads], dim=1)


@split_heads.alternative
def transposed_first(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    channels_first = x.transpose(1, 2)  # (batch, channel, token)
    heads = channels_first.reshape(len(x), num_heads, -1, x.shape[1])
    return heads.transpose(-1, -2)


def viewed_split(x: Tensor, num_heads: int) -> Tensor:
    batch, tokens, d_model = x.shape
    return x.reshape(batch, num_heads, tokens, d_model // num_heads)


def interleaved_split(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (-1, num_heads)).permute(0, 3, 1, 2)


@split_heads.mistake("""You cut the token axis: `view(B, H, N, d)` fills the heads in
memory order, so one head gets whole tokens and not a part of every token. View as (B,
N, H, d) first, then swap the two middle axes.""")
def view_without_transpose(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return viewed_split(x, num_heads)


@split_heads.mistake("""You deal out the channels like cards: head 0 gets channels 0, H,
2H, … A head owns neighbouring channels, so the last axis is cut into (H, d), not (d,
H).""")
def interleaved_channels(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return interleaved_split(x, num_heads)


@split_heads.mistake("""Your result is (B, N, H, d): the cut is right, the order of the
axes is not. Heads come before tokens, so that `@` works on tokens and channels.""")
def tokens_before_heads(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x, num_heads).transpose(1, 2)


@split_heads.mistake("""Your result starts with the head axis. The batch stays in front:
(B, H, N, head_dim).""")
def heads_before_batch(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x, num_heads).transpose(0, 1)


@split_heads.mistake("""Your last two axes are swapped: each head is (N, head_dim), one
row for each token.""")
def channels_before_tokens(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x, num_heads).mT


@split_heads.mistake("""You read `num_heads` as the width of a head. It is the number of
heads; each has d_model / num_heads channels.""")
def num_heads_as_width(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return split(x, x.shape[-1] // num_heads)


@split_heads.mistake("""You hand all channels to every head. The heads share the
channels: each gets d_model / num_heads of them.""")
def every_head_gets_all(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return x[:, None].expand(-1, num_heads, -1, -1)


@split_heads.mistake("""Every head gets the first head's channels. Head h owns the
channels from h * head_dim on.""")
def first_head_repeated(x: Tensor, num_heads: int) -> Tensor:
    heads = split_heads_reference(x, num_heads)
    return heads[:, :1].expand_as(heads)


@split_heads.mistake(
    """Your heads come in reverse order: head 0 owns the first channels."""
)
def heads_reversed(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x, num_heads).flip(1)


@split_heads.mistake("""Every item of the batch gets the first item's heads.""")
def first_item_only(x: Tensor, num_heads: int) -> Tensor:
    heads = split_heads_reference(x, num_heads)
    return heads[:1].expand_as(heads)


@split_heads.mistake("""You always cut into two heads: read `num_heads`.""")
def always_two_heads(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[-1], num_heads)
    return split_heads_reference(x, 2)


@split_heads.mistake("""You leave a width that does not divide to torch, which raises a
RuntimeError about shapes. Test `d_model % num_heads` first, whatever the number of
tokens, and raise a ValueError that names both numbers.""")
def no_divisibility_check(x: Tensor, num_heads: int) -> Tensor:
    return x.view(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


@split_heads.mistake("""Something is returned although num_heads does not divide
d_model, so some channels would be lost or in the wrong place. A message or a returned
error is not enough: `raise ValueError(…)`.""")
def remainder_dropped(x: Tensor, num_heads: int) -> Tensor:
    width = x.shape[-1] // num_heads
    return split(x[..., : width * num_heads], num_heads)


@split_heads.mistake("""You use `assert`, which raises an AssertionError and is gone
under `python -O`. Use `if …: raise ValueError(…)`.""")
def asserted(x: Tensor, num_heads: int) -> Tensor:
    if x.shape[-1] % num_heads:
        raise AssertionError("num_heads must divide d_model")
    return split(x, num_heads)


@split_heads.mistake("""Your test asks whether num_heads divides the number of tokens.
The channels are what is shared out: test the last axis.""")
def tokens_tested(x: Tensor, num_heads: int) -> Tensor:
    refuse_remainder(x.shape[1], num_heads)
    return no_divisibility_check(x, num_heads)


@split_heads.mistake("""Your result is cut off from `x`: with `detach`, `.data` or numpy
no gradient can flow back.""")
def split_detached(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x.detach(), num_heads)


@split_heads.mistake("""Your result is float32 whatever `x` is. Cutting needs no new
dtype: build no new tensor, or build it with `dtype=x.dtype`.""")
def split_as_float32(x: Tensor, num_heads: int) -> Tensor:
    return split_heads_reference(x.float(), num_heads)


@split_heads.mistake("""You return a list of heads. Stack them along a new axis 1, so
that all heads are computed in one product.""")
def list_of_heads(x: Tensor, num_heads: int) -> list[Tensor]:
    refuse_remainder(x.shape[-1], num_heads)
    return list(x.chunk(num_heads, dim=-1))


# ---------------------------------------------------------------------- merge_heads

merge_heads = Exercise("merge_heads")


@merge_heads.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("batch, all sizes different", draw.normal(2, 3, 4, 5))
    yield call("same sizes again", draw.normal(2, 3, 4, 5))
    yield call("two heads", draw.normal(3, 2, 5, 4))
    yield call("one item", draw.normal(1, 4, 3, 2))
    yield call("one token", draw.normal(3, 2, 1, 5))
    yield call("one head", draw.normal(2, 1, 3, 4), note="a single head")
    yield call(
        "one channel a head", draw.normal(2, 5, 3, 1), note="heads of one channel"
    )
    yield call(
        "as many heads as tokens",
        draw.normal(2, 3, 3, 4),
        note="3 heads and 3 tokens",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 3, 5, 4)),
        aspect="robustness",
        note="x is a transposed view",
    )
    yield call(
        "float32", draw.normal(2, 4, 3, 2).float(), aspect="robustness", gradients=False
    )
    yield call(
        "float16", draw.normal(3, 2, 2, 3).half(), aspect="robustness", gradients=False
    )


@merge_heads.reference
def merge_heads_reference(x: Tensor) -> Tensor:
    return merge(x)


@merge_heads.alternative
def transpose_and_reshape(x: Tensor) -> Tensor:
    batch, heads, tokens, head_dim = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * head_dim)


@merge_heads.alternative
def permute_contiguous_view(x: Tensor) -> Tensor:
    moved = x.permute(0, 2, 1, 3).contiguous()
    return moved.view(x.size(0), x.size(2), -1)


@merge_heads.alternative
def swapped_and_flattened(x: Tensor) -> Tensor:
    return torch.swapaxes(x, -3, -2).flatten(start_dim=-2)


@merge_heads.alternative
def written_head_by_head(x: Tensor) -> Tensor:
    batch, heads, tokens, head_dim = x.shape
    out = x.new_empty(batch, tokens, heads * head_dim)
    for h in range(heads):
        out[:, :, h * head_dim : (h + 1) * head_dim] = x[:, h]
    return out


def viewed_merge(x: Tensor) -> Tensor:
    batch, heads, tokens, head_dim = x.shape
    return x.reshape(batch, tokens, heads * head_dim)


def interleaved_merge(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(2)


@merge_heads.mistake("""You reshape without swapping the axes back: the numbers of
several tokens land in one row. Bring tokens before heads first, `transpose(1, 2)`, then
join the last two axes.""")
def reshape_without_transpose(x: Tensor) -> Tensor:
    return viewed_merge(x)


@merge_heads.mistake("""You interleave the heads: channel 0 of every head, then channel
1 of every head. The heads stand side by side, each whole: join (H, d), not (d, H).""")
def heads_interleaved(x: Tensor) -> Tensor:
    return interleaved_merge(x)


@merge_heads.mistake("""`transpose` only relabels the axes; the memory keeps its order,
and `view` cannot join axes that do not lie side by side. Use `reshape`, or
`contiguous()` first.""")
def view_after_transpose(x: Tensor) -> Tensor:
    batch, heads, tokens, head_dim = x.shape
    return x.transpose(1, 2).view(batch, tokens, heads * head_dim)


@merge_heads.mistake("""You add the heads up. They are put side by side: the result is H
* head_dim wide.""")
def heads_summed(x: Tensor) -> Tensor:
    return x.sum(dim=1)


@merge_heads.mistake("""You average the heads, and what one of them found alone is gone.
Put them side by side: the result is H * head_dim wide.""")
def heads_averaged(x: Tensor) -> Tensor:
    return x.mean(dim=1)


@merge_heads.mistake("""You repeat the mean of the heads. Each head keeps its own
channels: put them side by side.""")
def mean_repeated(x: Tensor) -> Tensor:
    return x.mean(dim=1).repeat(1, 1, x.shape[1])


@merge_heads.mistake("""You repeat the first head. Each head keeps its own channels: put
them side by side.""")
def first_head_tiled(x: Tensor) -> Tensor:
    return x[:, 0].repeat(1, 1, x.shape[1])


@merge_heads.mistake("""You join the heads along the token axis: the result has H * N
tokens. They are joined along the channels.""")
def joined_along_tokens(x: Tensor) -> Tensor:
    return x.flatten(1, 2)


@merge_heads.mistake("""Your result is (B, d_model, N): tokens come before channels.""")
def channels_first(x: Tensor) -> Tensor:
    return merge(x).mT


@merge_heads.mistake("""Your result starts with the token axis. The batch stays in
front: (B, N, d_model).""")
def tokens_first(x: Tensor) -> Tensor:
    return merge(x).transpose(0, 1)


@merge_heads.mistake("""Your heads are joined in reverse order: head 0 owns the first
channels.""")
def joined_in_reverse(x: Tensor) -> Tensor:
    return merge(x.flip(1))


@merge_heads.mistake("""Every item of the batch gets the first item's tokens.""")
def merge_first_item_only(x: Tensor) -> Tensor:
    return merge(x[:1].expand_as(x))


@merge_heads.mistake("""You swap the axes but do not join the last two: the result still
has four of them.""")
def not_joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


@merge_heads.mistake("""Your result is cut off from `x`: with `detach`, `.data` or numpy
no gradient can flow back.""")
def merge_detached(x: Tensor) -> Tensor:
    return merge(x.detach())


@merge_heads.mistake("""Your result is float32 whatever `x` is. `torch.zeros` and
`torch.empty` make float32: pass `dtype=x.dtype` (and `device=x.device`).""")
def merge_as_float32(x: Tensor) -> Tensor:
    return merge(x.float())


# --------------------------------------------------------- what the last three share

Weigh = Callable[[Tensor, Tensor | None], Tensor]


def weigh(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    """Softmax over the allowed keys; zeros where no key is allowed."""
    return along(-1)(scores, attn_mask)


def along(dim: int) -> Weigh:
    """The same with the softmax over another axis."""

    def weigh_along(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
        if attn_mask is None:
            return scores.softmax(dim=dim)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~attn_mask, lowest).softmax(dim=dim)
        return weights.masked_fill(~attn_mask, 0.0)

    return weigh_along


def root_head_dim(head_dim: int, num_heads: int) -> float:
    return head_dim**-0.5


def as_given(first: Tensor, second: Tensor, third: Tensor) -> tuple:
    return first, second, third


def attend_in_heads(
    inputs: Sequence[Tensor],
    projections: Iterable[Callable[[Tensor], Tensor]],
    num_heads: int,
    attn_mask: Tensor | None = None,
    *,
    sources: Callable[..., tuple] = as_given,
    split: Callable[[Tensor, int], Tensor] = split,
    change: Callable[..., tuple] = as_given,
    scale: Callable[[int, int], float] = root_head_dim,
    weigh: Weigh = weigh,
    detach: bool = False,
) -> tuple[Tensor, Tensor]:
    """What each head reads and its weights; a mistake replaces one of the parts."""
    pairs = zip(sources(*inputs), projections, strict=True)
    q, k, v = change(*(split(project(x), num_heads) for x, project in pairs))
    weights = weigh(q @ k.mT * scale(q.shape[-1], num_heads), attn_mask)
    return (weights.detach() if detach else weights) @ v, weights


def by_weights(weights: Iterable[Tensor]) -> list[Callable[[Tensor], Tensor]]:
    return [partial(F.linear, weight=weight) for weight in weights]


def compose(
    *tensors_and_heads: Any,
    attn_mask: Tensor | None = None,
    merge: Callable[[Tensor], Tensor] = merge,
    **parts: Any,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention, from the exercise's arguments; `parts` may be wrong."""
    *tensors, num_heads, attn_mask = with_mask(tensors_and_heads, attn_mask)
    heads, weights = attend_in_heads(
        tensors[:3], by_weights(tensors[3:6]), num_heads, attn_mask, **parts
    )
    return merge(heads) @ tensors[6].mT, weights


def contribute(
    *tensors_and_heads: Any, attn_mask: Tensor | None = None, **parts: Any
) -> Tensor:
    """Each head's contribution, from the exercise's arguments."""
    *tensors, num_heads, attn_mask = with_mask(tensors_and_heads, attn_mask)
    heads, _ = attend_in_heads(
        tensors[:3], by_weights(tensors[3:6]), num_heads, attn_mask, **parts
    )
    return heads @ columns(tensors[6], num_heads).mT


def with_mask(arguments: tuple, attn_mask: Tensor | None) -> tuple:
    """The arguments with the mask as the ninth, however it was given."""
    return arguments if len(arguments) == 9 else (*arguments, attn_mask)


def columns(w_o: Tensor, num_heads: int) -> Tensor:
    """The columns of `w_o` that each head meets: (head, d_model, head_dim)."""
    return torch.stack(w_o.chunk(num_heads, dim=1))


def identity_like(weight: Tensor) -> Tensor:
    return torch.eye(len(weight), dtype=weight.dtype, device=weight.device)


def replaced(inputs: tuple, changes: dict[int, Any]) -> tuple:
    """The arguments with some of them, by position, changed."""
    return tuple(changes.get(place, value) for place, value in enumerate(inputs))


# Positions of the arguments that `multi_head_attention` and `head_contributions` share.
QUERY, KEY, VALUE, W_Q, W_K, W_V, W_O, NUM_HEADS = range(8)


def drawn(draw: Draw, sizes: tuple[int, ...], scale: float = 1.0) -> tuple:
    """The eight arguments for sizes (B, H, Nq, Nk, d_model); scores grow as scale²."""
    b, h, nq, nk, d_model = sizes
    inputs = [draw.normal(b, n, d_model) for n in (nq, nk, nk)]
    scales = (scale, scale, 1.0, 1.0)
    root = math.sqrt(d_model)
    return (
        *inputs,
        *(draw.normal(d_model, d_model, scale=s / root) for s in scales),
        h,
    )


def with_empty_row(mask: Tensor) -> Tensor:
    """The mask with one empty row, the second, in the last item's last head."""
    mask = mask.clone()
    mask[(-1,) * (mask.dim() - 2) + (1,)] = False
    return mask


def with_some(mask: Tensor) -> Tensor:
    """The mask with the first key allowed everywhere, so that no row is empty."""
    mask = mask.clone()
    mask[..., 0] = True
    return mask


def without_key(mask: Tensor, place: int) -> Tensor:
    """The mask with one key forbidden to all queries."""
    mask = with_some(mask)
    mask[..., place] = False
    return mask


def only_the_lowest(q: Tensor, k: Tensor, num_heads: int) -> Tensor:
    """A mask that allows each query the two keys with its lowest scores."""
    scores = split(q, num_heads) @ split(k, num_heads).mT
    return scores <= scores.kthvalue(2, dim=-1, keepdim=True).values


def multi_head_cases(
    draw: Draw, outputs: tuple[str, ...] | None = None
) -> Iterator[Sample]:
    """The cases of the two functions with the same arguments."""

    def case(
        name: str, inputs: tuple, attn_mask: Tensor | None = None, **options: Any
    ) -> Sample:
        kwargs = {} if attn_mask is None else {"attn_mask": attn_mask}
        return call(name, *inputs, kwargs=kwargs, outputs=outputs, **options)

    def sized(*sizes: int, scale: float = 1.0) -> tuple:
        return drawn(draw, sizes, scale)

    def cast(inputs: tuple, dtype: torch.dtype) -> tuple:
        return (*(t.to(dtype) for t in inputs[:-1]), inputs[-1])

    few: dict[str, Any] = {"gradients": False}
    yield case("batch, all sizes different", sized(2, 3, 5, 6, 12))
    yield case("same sizes again", sized(2, 3, 5, 6, 12), **few)
    yield case("as many queries as keys", sized(3, 2, 4, 4, 10), **few)
    yield case("one item", sized(1, 2, 4, 3, 6), **few)
    yield case("one head", sized(2, 1, 3, 4, 5), note="a single head", **few)
    note = "each head has one channel"
    yield case("as many heads as channels", sized(2, 4, 3, 5, 4), note=note, **few)
    yield case("one query", sized(3, 2, 1, 4, 6), **few)
    yield case("one key", sized(2, 3, 4, 1, 6), **few)

    mask: dict[str, Any] = {"aspect": "masks"}
    few = {"aspect": "masks", "gradients": False}
    note = "attn_mask is (query, key)"
    yield case("mask", sized(2, 3, 4, 5, 6), draw.mask(4, 5), note=note, **few)
    yield call(
        "square mask, positional",
        *sized(3, 2, 5, 5, 8),
        draw.mask(5, 5),
        outputs=outputs,
        note="attn_mask is (query, key), with as many queries as keys",
        **few,
    )
    note = "attn_mask is (batch, 1, query, key)"
    each = draw.mask(3, 1, 4, 5)
    yield case("mask for each item", sized(3, 2, 4, 5, 6), each, note=note, **few)
    each = draw.mask(1, 1, 4, 5)
    yield case("mask for one item", sized(1, 3, 4, 5, 6), each, note=note, **few)
    note = "attn_mask is (batch, heads, query, key)"
    each = draw.mask(2, 3, 4, 5)
    yield case("mask for each head", sized(2, 3, 4, 5, 6), each, note=note, **mask)
    each, note = draw.mask(3, 2, 4, 4), f"{note}, with as many queries as keys"
    yield case("square masks", sized(3, 2, 4, 4, 6), each, note=note, **few)
    all_keys, note = torch.ones(3, 5).bool(), "a mask that allows everything"
    yield case("open mask", sized(1, 2, 3, 5, 4), all_keys, note=note, **few)
    some, note = with_empty_row(draw.mask(4, 5)), "query 1 may attend to no key"
    yield case("empty row", sized(2, 3, 4, 5, 6), some, note=note, **mask)
    yield case(
        "empty row in one head",
        sized(3, 2, 5, 4, 6),
        with_empty_row(draw.mask(3, 2, 5, 4)),
        note="one query of one head may attend to no key",
        **mask,
    )
    each, note = draw.mask(3, 1, 4, 6), "in item 1 no query may attend to any key"
    each[1] = False
    yield case("empty item", sized(3, 2, 4, 6, 4), each, note=note, **mask)
    inputs = sized(2, 3, 4, 5, 6, scale=150.0)
    query, key, _, w_q, w_k, *_, heads = inputs
    yield case(
        "large masked scores",
        inputs,
        only_the_lowest(query @ w_q.mT, key @ w_k.mT, heads),
        note="the forbidden scores are the largest, by thousands",
        **mask,
    )
    inputs = sized(2, 2, 5, 4, 6)
    inputs[KEY][:, 2] *= 1e12
    some, note = without_key(draw.mask(5, 4), 2), "a forbidden key scores about 1e12"
    yield case("huge masked key", inputs, some, note=note, **mask)

    robust: dict[str, Any] = {"aspect": "robustness"}
    few = {"aspect": "robustness", "gradients": False}
    yield case(
        "large scores",
        sized(2, 2, 4, 5, 8, scale=40.0),
        note="scores of several thousand, where exp overflows",
        **robust,
    )
    *tensors, heads = sized(2, 3, 5, 4, 6)
    yield case(
        "not contiguous",
        (*(noncontiguous(t) for t in tensors), heads),
        noncontiguous(draw.mask(2, 3, 5, 4)),
        note="the inputs are transposed views",
        **robust,
    )
    yield case("float32", cast(sized(2, 2, 3, 4, 6), torch.float32), **few)
    yield case("float16", cast(sized(2, 2, 3, 5, 4), torch.float16), **few)
    inputs, some = cast(sized(2, 2, 4, 3, 4), torch.float16), draw.mask(4, 3)
    note = "float16 and a mask"
    yield case("float16, mask", inputs, with_empty_row(some), note=note, **few)


# ------------------------------------------------------------- multi_head_attention

multi_head_attention = Exercise(
    "multi_head_attention",
    shortcuts=("torch.nn.functional.multi_head_attention_forward",),
)


@multi_head_attention.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield from multi_head_cases(draw, outputs=("attn_output", "attn_weights"))


@multi_head_attention.reference
def multi_head_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    # The paper's formula, head by head: Concat(head_1, …, head_h) W^O.
    outputs, maps = [], []
    head_dim = w_q.shape[0] // num_heads
    for h in range(num_heads):
        own = slice(h * head_dim, (h + 1) * head_dim)
        q, k, v = query @ w_q[own].T, key @ w_k[own].T, value @ w_v[own].T
        allowed = attn_mask
        if attn_mask is not None and attn_mask.dim() == 4:
            allowed = attn_mask[:, h if attn_mask.shape[1] > 1 else 0]
        weights = weigh(q @ k.mT / math.sqrt(head_dim), allowed)
        outputs.append(weights @ v)
        maps.append(weights)
    return torch.cat(outputs, dim=-1) @ w_o.T, torch.stack(maps, dim=1)


@multi_head_attention.alternative
def all_heads_at_once(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> tuple:
    def heads(x: Tensor, w: Tensor) -> Tensor:
        return F.linear(x, w).unflatten(-1, (num_heads, -1)).transpose(1, 2)

    q, k, v = heads(query, w_q), heads(key, w_k), heads(value, w_v)
    attn_scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5
    if attn_mask is not None:
        attn_scores = attn_scores.masked_fill(~attn_mask, -INFINITY)
    attn_weights = torch.nan_to_num(attn_scores.softmax(dim=-1), nan=0.0)
    merged = (attn_weights @ v).transpose(1, 2).flatten(2)
    return F.linear(merged, w_o), attn_weights


@multi_head_attention.alternative
def in_einsum(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> tuple:
    d_model = query.shape[-1]
    w_q, w_k, w_v = (w.reshape(num_heads, -1, d_model) for w in (w_q, w_k, w_v))
    q = torch.einsum("bnm,hdm->bhnd", query, w_q) * (d_model / num_heads) ** -0.5
    k = torch.einsum("bnm,hdm->bhnd", key, w_k)
    v = torch.einsum("bnm,hdm->bhnd", value, w_v)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k)
    if attn_mask is not None:
        scores = torch.where(attn_mask, scores, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=3)
    if attn_mask is not None:
        weights = weights * attn_mask
    w_o = w_o.reshape(d_model, num_heads, -1)
    return torch.einsum("bhqk,bhkd,mhd->bqm", weights, v, w_o), weights


@multi_head_attention.alternative
def torch_output(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> tuple:
    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)

    q, k, v = heads(query @ w_q.T), heads(key @ w_k.T), heads(value @ w_v.T)
    z = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
    with torch.no_grad():  # the weights are returned to look at
        eye = torch.eye(k.shape[-2], dtype=k.dtype, device=k.device)
        eye = eye.expand(*k.shape[:2], -1, -1)
        weights = F.scaled_dot_product_attention(q, k, eye, attn_mask=attn_mask)
    return z.transpose(1, 2).reshape(query.shape) @ w_o.T, weights


@multi_head_attention.alternative
def empty_rows_opened_then_closed(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> tuple:
    some = None
    if attn_mask is not None:
        some = attn_mask.any(dim=-1, keepdim=True)
        attn_mask = attn_mask | ~some

    def close(scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = nan_when_empty(scores, mask)
        return weights if some is None else weights * some.to(weights.dtype)

    tensors = (query, key, value, w_q, w_k, w_v, w_o)
    return compose(*tensors, num_heads, attn_mask, weigh=close)


@multi_head_attention.alternative
def heads_in_the_batch(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> tuple:
    batch, head_dim = len(query), query.shape[-1] // num_heads

    def heads(x: Tensor) -> Tensor:  # (batch * heads, token, head_dim)
        x = x.reshape(batch, -1, num_heads, head_dim).permute(0, 2, 1, 3)
        return x.reshape(batch * num_heads, -1, head_dim)

    q, k, v = heads(query @ w_q.T), heads(key @ w_k.T), heads(value @ w_v.T)
    scores = torch.bmm(q, k.transpose(1, 2)).div(head_dim**0.5)
    weights = weigh(scores.view(batch, num_heads, *scores.shape[1:]), attn_mask)
    z = torch.bmm(weights.flatten(0, 1), v).view(batch, num_heads, -1, head_dim)
    return z.permute(0, 2, 1, 3).reshape(batch, -1, query.shape[-1]) @ w_o.T, weights


@multi_head_attention.mistake("""You multiply with w_o as it is. In nn.Linear's layout a
weight is (out, in), so the product is `merged @ w_o.T`.""")
def out_proj_transposed(*inputs: Any, **mask: Any) -> tuple:
    return compose(*replaced(inputs, {W_O: inputs[W_O].mT}), **mask)


@multi_head_attention.mistake("""You multiply with w_q, w_k and w_v as they are. In
nn.Linear's layout a weight is (out, in): `query @ w_q.T`, or `F.linear(query,
w_q)`.""")
def projections_transposed(*inputs: Any, **mask: Any) -> tuple:
    turned = {place: inputs[place].mT for place in (W_Q, W_K, W_V)}
    return compose(*replaced(inputs, turned), **mask)


@multi_head_attention.mistake("""You multiply with all four weights as they are. In
nn.Linear's layout a weight is (out, in): `query @ w_q.T`, or `F.linear(query,
w_q)`.""")
def all_weights_transposed(*inputs: Any, **mask: Any) -> tuple:
    turned = {place: inputs[place].mT for place in (W_Q, W_K, W_V, W_O)}
    return compose(*replaced(inputs, turned), **mask)


@multi_head_attention.mistake("""You return the merged heads. The last step is missing:
the product with w_o, which lets the heads' channels mix.""")
def without_out_proj(*inputs: Any, **mask: Any) -> tuple:
    return compose(*replaced(inputs, {W_O: identity_like(inputs[W_O])}), **mask)


@multi_head_attention.mistake("""You use w_q for the keys. They have a projection of
their own, w_k.""")
def keys_by_w_q(*inputs: Any, **mask: Any) -> tuple:
    return compose(*replaced(inputs, {W_K: inputs[W_Q]}), **mask)


@multi_head_attention.mistake("""You do not project the values: the heads mix `value @
w_v.T`, not `value`.""")
def values_not_projected(*inputs: Any, **mask: Any) -> tuple:
    return compose(*replaced(inputs, {W_V: identity_like(inputs[W_V])}), **mask)


@multi_head_attention.mistake("""You compute one attention over the full width. Split q,
k and v into heads first: each head has scores and a softmax of its own.""")
def never_split(*inputs: Any, attn_mask: Tensor | None = None) -> tuple:
    *tensors, num_heads, attn_mask = with_mask(inputs, attn_mask)
    if attn_mask is not None and attn_mask.dim() == 4:
        attn_mask = attn_mask[:, :1]
    output, weights = compose(*tensors, 1, attn_mask)
    return output, weights.expand(-1, num_heads, -1, -1)


@multi_head_attention.mistake("""You shape the keys and values with the number of
queries. Nq and Nk may differ: read each tensor's own length, or write -1.""")
def query_length_for_keys(*inputs: Any, **mask: Any) -> tuple:
    tokens = inputs[QUERY].shape[1]

    def cut(x: Tensor, num_heads: int) -> Tensor:
        shaped = x.reshape(len(x), tokens, num_heads, x.shape[-1] // num_heads)
        return shaped.transpose(1, 2)

    return compose(*inputs, **mask, split=cut)


@multi_head_attention.mistake("""You average the attention maps and return one. Every
head keeps its own: (B, H, Nq, Nk).""")
def weights_averaged(*inputs: Any, **mask: Any) -> tuple:
    output, weights = compose(*inputs, **mask)
    return output, weights.mean(dim=1)


@multi_head_attention.mistake("""You return (attn_weights, attn_output). The output
comes first.""")
def order_swapped(*inputs: Any, **mask: Any) -> tuple:
    output, weights = compose(*inputs, **mask)
    return weights, output


@multi_head_attention.mistake("""You return the output alone. Return the pair
(attn_output, attn_weights).""")
def output_only(*inputs: Any, **mask: Any) -> Tensor:
    return compose(*inputs, **mask)[0]


@multi_head_attention.mistake("""You return the scaled scores where the weights belong:
return what softmax gave.""")
def scores_for_weights(*inputs: Any, **mask: Any) -> tuple:
    output, _ = compose(*inputs, **mask)
    return output, compose(*inputs, **mask, weigh=lambda scores, _: scores)[1]


@multi_head_attention.mistake("""Your weights are (B, Nq, H, Nk): heads come before
queries.""")
def weights_queries_first(*inputs: Any, **mask: Any) -> tuple:
    output, weights = compose(*inputs, **mask)
    return output, weights.transpose(1, 2)


@multi_head_attention.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def cast_to_float32(*inputs: Any, **mask: Any) -> tuple:
    return compose(*(t.float() for t in inputs[:7]), *inputs[7:], **mask)


@multi_head_attention.mistake("""Your function changes `query` in place. Whoever called
it still needs it: build a new tensor.""")
def query_in_place(*inputs: Any, **mask: Any) -> tuple:
    result = compose(*(t.clone() for t in inputs[:7]), *inputs[7:], **mask)
    inputs[QUERY].mul_(0.5)
    return result


# --------------------------------------------------------------- MultiHeadAttention

MultiHeadAttention = Exercise(
    "MultiHeadAttention",
    shortcuts=("torch.nn.functional.multi_head_attention_forward",),
)


def is_padding(lengths: list[int], num_keys: int) -> Tensor:
    return torch.arange(num_keys) >= torch.tensor(lengths)[:, None]


@MultiHeadAttention.cases
def _(draw: Draw) -> Iterator[Sample]:
    def block(
        name: str,
        sizes: tuple[int, ...],
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        *,
        note: str = "",
        scale: float = 1.0,
        huge_key: int | None = None,
        lowest: bool = False,
        layout: Callable[[Tensor], Tensor] = torch.clone,
        dtype: torch.dtype = torch.float64,
        positional: bool = False,
        **options: Any,
    ) -> Sample:
        *inputs, w_q, w_k, w_v, w_o, num_heads = drawn(draw, sizes, scale)
        d_model = sizes[-1]
        if huge_key is not None:
            inputs[1][:, huge_key] *= 1e12
        weights = {"q_proj": w_q, "k_proj": w_k, "v_proj": w_v, "out_proj": w_o}
        parameters = {f"{n}.weight": w.to(dtype) for n, w in weights.items()}
        parameters |= {f"{n}.bias": draw.normal(d_model, dtype=dtype) for n in weights}
        if lowest:
            q, k = (
                F.linear(x, parameters[f"{n}.weight"], parameters[f"{n}.bias"])
                for n, x in zip(weights, inputs[:2], strict=False)
            )
            attn_mask = only_the_lowest(q, k, num_heads)
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
        masks = {n: layout(m) for n, m in masks.items() if m is not None}
        return module(
            name,
            init=(d_model, num_heads),
            parameters=parameters,
            args=[
                *(layout(x.to(dtype)) for x in inputs),
                *(masks.values() if positional else ()),
            ],
            kwargs={} if positional else masks,
            outputs=("attn_output", "attn_weights"),
            note=note,
            **options,
        )

    few: dict[str, Any] = {"gradients": False}
    yield block("batch, all sizes different", (2, 3, 5, 6, 12))
    yield block("same sizes again", (2, 3, 5, 6, 12), **few)
    yield block("in training", (3, 2, 4, 5, 6), training=True)
    yield block("as many queries as keys", (3, 2, 4, 4, 10), **few)
    yield block("one item", (1, 2, 4, 3, 6), **few)
    yield block("one head", (2, 1, 3, 4, 5), note="a single head", **few)
    note = "each head has one channel"
    yield block("as many heads as channels", (2, 4, 3, 5, 4), note=note, **few)
    yield block("one query", (3, 2, 1, 4, 6), **few)

    mask: dict[str, Any] = {"aspect": "masks"}
    few = {"aspect": "masks", "gradients": False}
    note = "attn_mask is (query, key)"
    yield block("mask", (2, 3, 4, 5, 6), draw.mask(4, 5), note=note, **few)
    yield block(
        "square mask, positional",
        (3, 2, 5, 5, 8),
        draw.mask(5, 5),
        positional=True,
        note="attn_mask is the fourth argument, (query, key), as many queries as keys",
        **few,
    )
    note = "attn_mask is (batch, 1, query, key)"
    each = draw.mask(3, 1, 4, 5)
    yield block("mask for each item", (3, 2, 4, 5, 6), each, note=note, **few)
    note, each = "attn_mask is (batch, heads, query, key)", draw.mask(2, 3, 4, 5)
    on: dict[str, Any] = {**mask, "training": True}
    yield block("mask for each head", (2, 3, 4, 5, 6), each, note=note, **on)

    note, pad = "key_padding_mask alone", is_padding([3, 5, 1], 5)
    yield block("padding", (3, 2, 4, 5, 6), None, pad, note=note, **few)
    note, pad = "key_padding_mask alone, as many queries as keys", draw.mask(2, 5)
    on = {**few, "training": True}
    yield block("padding anywhere", (2, 3, 5, 5, 6), None, pad, note=note, **on)
    note, pad = "a key_padding_mask without padding", is_padding([4, 4], 4)
    yield block("no padding", (2, 2, 3, 4, 6), None, pad, note=note, **few)

    both = with_some(draw.mask(4, 5, share=0.7))
    both[1] = torch.tensor([False, False, True, True, False])
    pad, note = is_padding([3, 5, 4], 5), "both masks, attn_mask (query, key)"
    yield block("both masks", (3, 2, 4, 5, 6), both, pad, note=note, **few)
    both = with_some(draw.mask(3, 1, 4, 4, share=0.7))
    pad, note = is_padding([2, 4, 3], 4), "both masks, attn_mask (batch, 1, query, key)"
    yield block("both, for each item", (3, 2, 4, 4, 6), both, pad, note=note, **few)
    yield block(
        "both, for each head",
        (2, 3, 5, 4, 6),
        with_some(draw.mask(2, 3, 5, 4, share=0.7)),
        is_padding([2, 3], 4),
        positional=True,
        note="both masks by position, attn_mask (batch, heads, query, key)",
        **few,
    )

    some, note = with_empty_row(draw.mask(4, 5)), "query 1 may attend to no key"
    yield block("empty row", (2, 3, 4, 5, 6), some, note=note, **mask)
    yield block(
        "empty row in one head",
        (3, 2, 5, 4, 6),
        with_empty_row(draw.mask(3, 2, 5, 4)),
        training=True,
        note="one query of one head may attend to no key",
        **mask,
    )
    pad, note = is_padding([4, 0, 2], 5), "item 1 is all padding"
    yield block("all padding", (3, 2, 4, 5, 6), None, pad, note=note, **mask)
    late = draw.mask(4, 5)
    late[2] = torch.tensor([False, False, False, True, True])
    yield block(
        "empty by both masks",
        (2, 2, 4, 5, 6),
        late,
        is_padding([3, 5], 5),
        note="the two masks together leave query 2 of item 0 no key",
        **few,
    )
    some, note = without_key(draw.mask(5, 4), 2), "a forbidden key scores about 1e12"
    huge: dict[str, Any] = {**mask, "note": note}
    yield block("huge masked key", (2, 2, 5, 4, 6), some, huge_key=2, **huge)
    few["note"] = "the forbidden scores are the largest, by thousands"
    yield block("large masked scores", (2, 3, 4, 5, 6), scale=150.0, lowest=True, **few)

    robust: dict[str, Any] = {"aspect": "robustness"}
    few = {"aspect": "robustness", "gradients": False}
    note = "scores of several thousand, where exp overflows"
    yield block("large scores", (2, 2, 4, 5, 8), scale=40.0, note=note, **robust)
    yield block(
        "not contiguous",
        (2, 3, 5, 4, 6),
        with_some(draw.mask(2, 3, 5, 4, share=0.7)),
        is_padding([3, 2], 4),
        layout=noncontiguous,
        note="the inputs and masks are transposed views",
        **robust,
    )
    yield block("float32", (2, 2, 3, 4, 6), dtype=torch.float32, **few)
    some, pad = with_empty_row(draw.mask(4, 3)), is_padding([3, 2], 3)
    few["note"] = "float32 and both masks"
    yield block(
        "float32, masks", (2, 2, 4, 3, 6), some, pad, dtype=torch.float32, **few
    )
    few["note"] = ""
    yield block("float16", (2, 2, 3, 5, 4), dtype=torch.float16, **few)
    for d_model, num_heads in ((10, 4), (4, 8)):
        note = f"MultiHeadAttention({d_model}, {num_heads})"
        yield module(note, init=(d_model, num_heads), aspect="errors", note=note)


NAMES = ("q_proj", "k_proj", "v_proj", "out_proj")


@MultiHeadAttention.reference
class MultiHeadAttentionReference(nn.Module):
    parts: ClassVar[dict[str, Any]] = {}

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        refuse_remainder(d_model, num_heads)
        self.num_heads = num_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def allowed(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None
    ) -> Tensor | None:
        if key_padding_mask is None:
            return attn_mask
        real = ~key_padding_mask[:, None, None, :]  # (batch, 1, 1, key)
        return real if attn_mask is None else attn_mask & real

    def merge(self, heads: Tensor) -> Tensor:
        return merge(heads)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        heads, weights = attend_in_heads(
            (query, key, value),
            (self.q_proj, self.k_proj, self.v_proj),
            self.num_heads,
            self.allowed(attn_mask, key_padding_mask),
            **self.parts,
        )
        return self.out_proj(self.merge(heads)), weights


Block = MultiHeadAttentionReference


@MultiHeadAttention.alternative
class FromTutorials(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        if d_model % num_heads != 0:
            raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
        self.heads = num_heads
        for name in NAMES:
            setattr(self, name, nn.Linear(d_model, d_model, bias=True))

    def cut(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        q = self.cut(self.q_proj(query))
        k = self.cut(self.k_proj(key))
        v = self.cut(self.v_proj(value))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.size(-1))
        if attn_mask is not None:
            scores = scores.masked_fill(attn_mask.logical_not(), -INFINITY)
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None], -INFINITY)
        weights = F.softmax(scores, dim=-1)
        weights = weights.masked_fill(torch.isneginf(scores), 0)
        output = torch.matmul(weights, v).transpose(1, 2).contiguous()
        return self.out_proj(output.view(*query.shape)), weights


@MultiHeadAttention.alternative
class WithDropoutAndBuffer(Block):
    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.softmax = nn.Softmax(dim=-1)
        self.register_buffer("head_dim", torch.tensor(d_model / num_heads))

    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        pairs = zip(layers, (query, key, value), strict=True)
        q, k, v = (split(layer(x), self.num_heads) for layer, x in pairs)
        allowed = torch.ones_like(q @ k.mT, dtype=torch.bool)
        if attn_mask is not None:
            allowed = allowed & attn_mask
        if key_padding_mask is not None:
            allowed = allowed & ~key_padding_mask.reshape(len(key), 1, 1, -1)
        empty = ~allowed.any(dim=-1, keepdim=True)
        scores = (q / self.head_dim.sqrt()) @ k.mT
        scores = torch.where(allowed | empty, scores, scores.new_tensor(-INFINITY))
        weights = torch.where(empty, 0.0, self.softmax(scores))
        return self.out_proj(merge(self.dropout(weights) @ v)), weights


@MultiHeadAttention.alternative
class HeadByHead(Block):
    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        width = self.q_proj.in_features // self.num_heads
        output, maps = self.out_proj.bias, []
        for h in range(self.num_heads):
            own = slice(h * width, (h + 1) * width)
            pairs = zip(layers, (query, key, value), strict=True)
            q, k, v = (F.linear(x, p.weight[own], p.bias[own]) for p, x in pairs)
            allowed = self.allowed(attn_mask, key_padding_mask)
            if allowed is not None and allowed.dim() == 4:
                allowed = allowed.expand(-1, self.num_heads, -1, -1)[:, h]
            maps.append(weigh(q @ k.mT / width**0.5, allowed))
            output = output + maps[-1] @ v @ self.out_proj.weight[:, own].T
        return output, torch.stack(maps, dim=1)


@MultiHeadAttention.alternative
class ThroughTorch(Block):
    """Rows without a key are opened for torch and closed by hand afterwards."""

    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        allowed = self.allowed(attn_mask, key_padding_mask)
        if allowed is None:
            allowed = torch.ones((), dtype=torch.bool, device=query.device)
        allowed = allowed.expand(len(query), self.num_heads, query.size(1), key.size(1))
        some = allowed.any(dim=-1, keepdim=True)
        layers = (self.q_proj, self.k_proj, self.v_proj)
        pairs = zip(layers, (query, key, value), strict=True)
        q, k, v = (split(layer(x), self.num_heads) for layer, x in pairs)
        opened = allowed | ~some
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=opened) * some
        weights = weigh(q @ k.mT * q.shape[-1] ** -0.5, allowed)
        return self.out_proj(z.transpose(1, 2).flatten(2)), weights.detach()


@MultiHeadAttention.mistake("""Your forward does not use out_proj: the heads' channels
never mix.""")
class WithoutOutProj(Block):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        out_proj, self._modules["out_proj"] = self.out_proj, nn.Identity()
        try:
            return super().forward(*inputs, **masks)
        finally:
            self._modules["out_proj"] = out_proj


@MultiHeadAttention.mistake("""You multiply with the weights but do not add the biases.
Call the layers, `self.q_proj(query)`, and both happen.""")
class BiasesNotAdded(Block):
    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        weights = (getattr(self, name).weight for name in NAMES)
        allowed = self.allowed(attn_mask, key_padding_mask)
        return compose(query, key, value, *weights, self.num_heads, allowed)


@MultiHeadAttention.mistake("""Your layers have no biases. `nn.Linear(d_model, d_model)`
has one unless you switch it off.""")
class WithoutBiases(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        for name in NAMES:
            setattr(self, name, nn.Linear(d_model, d_model, bias=False))


@MultiHeadAttention.mistake("""Your out_proj has no bias. The q, k and v projections and
out_proj all have one.""")
class OutProjWithoutBias(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)


@MultiHeadAttention.mistake("""Your projections are head_dim wide: they make one head.
They are d_model wide and make all heads at once, head_dim channels for each.""")
class ProjectionsHeadWide(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        for name in NAMES[:3]:
            setattr(self, name, nn.Linear(d_model, d_model // num_heads))


@MultiHeadAttention.mistake("""You pack q, k and v into one layer, as torch's own module
does. Here they are three layers: q_proj, k_proj and v_proj.""")
class PackedProjections(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        refuse_remainder(d_model, num_heads)
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)


@MultiHeadAttention.mistake("""The output layer has another name: it is called
`out_proj`.""")
class OutProjMisnamed(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.o_proj = self.out_proj
        del self.out_proj


@MultiHeadAttention.mistake("""You wrap torch's module: it has other parameter names,
other masks and NaN for an empty row. Build the block from four nn.Linear layers.""")
class WrapsOfficial(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        refuse_remainder(d_model, num_heads)
        self.attention = nn.MultiheadAttention(d_model, num_heads, batch_first=True)


@MultiHeadAttention.mistake("""The keys are made by q_proj: use k_proj for them.""")
class KeysByQProj(Block):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        k_proj, self._modules["k_proj"] = self.k_proj, self.q_proj
        try:
            return super().forward(*inputs, **masks)
        finally:
            self._modules["k_proj"] = k_proj


@MultiHeadAttention.mistake("""You average the attention maps. Every head keeps its own:
(B, H, Nq, Nk).""")
class WeightsAveraged(Block):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(*inputs, **masks)
        return output, weights.mean(dim=1)


@MultiHeadAttention.mistake("""You return the output alone. Return the pair
(attn_output, attn_weights).""")
class OutputOnly(Block):
    def forward(self, *inputs: Any, **masks: Any) -> Tensor:
        return super().forward(*inputs, **masks)[0]


@MultiHeadAttention.mistake("""Your block adds the query to its output. Residual
connections come with the encoder layer.""")
class WithResidual(Block):
    def forward(self, query, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(query, *inputs, **masks)
        return output + query, weights


@MultiHeadAttention.mistake("""Both of your masks are inverted. In attn_mask True means
"may attend", in key_padding_mask True means "is padding".""")
class BothMasksInverted(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(
            None if attn_mask is None else ~attn_mask,
            None if key_padding_mask is None else ~key_padding_mask,
        )


@MultiHeadAttention.mistake("""Your attn_mask is inverted. Here True means "may attend";
torch's nn.MultiheadAttention has it the other way round.""")
class MaskInverted(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if attn_mask is None else ~attn_mask
        return super().allowed(turned, key_padding_mask)


@MultiHeadAttention.mistake("""Your key_padding_mask is inverted. In it True means "is
padding": those keys are left out.""")
class PaddingInverted(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if key_padding_mask is None else ~key_padding_mask
        return super().allowed(attn_mask, turned)


@MultiHeadAttention.mistake("""You use neither of the two masks.""")
class MasksIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return None


@MultiHeadAttention.mistake("""You do not use `attn_mask`.""")
class MaskIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(None, key_padding_mask)


@MultiHeadAttention.mistake("""You use an attn_mask (Nq, Nk) but not one with four axes.
(B, 1, Nq, Nk) and (B, H, Nq, Nk) broadcast in the same line of code.""")
class MaskWithFourAxesIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        used = attn_mask is not None and attn_mask.dim() == 2
        return super().allowed(attn_mask if used else None, key_padding_mask)


@MultiHeadAttention.mistake("""You use an attn_mask with four axes but not one that is
(Nq, Nk). It broadcasts in the same line of code.""")
class MaskWithTwoAxesIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        used = attn_mask is not None and attn_mask.dim() == 4
        return super().allowed(attn_mask if used else None, key_padding_mask)


@MultiHeadAttention.mistake("""You do not use an attn_mask with a row for each head, (B,
H, Nq, Nk). It broadcasts in the same line of code as the others.""")
class MaskOfEachHeadIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        used = attn_mask is not None and (
            attn_mask.dim() == 2 or attn_mask.shape[1] == 1
        )
        return super().allowed(attn_mask if used else None, key_padding_mask)


@MultiHeadAttention.mistake("""You do not use `key_padding_mask`.""")
class PaddingIgnored(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return attn_mask


@MultiHeadAttention.mistake("""When both masks are given you use key_padding_mask alone:
the second one overwrites the first. A key must be allowed by both.""")
class PaddingReplacesMask(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        kept = attn_mask if key_padding_mask is None else None
        return super().allowed(kept, key_padding_mask)


@MultiHeadAttention.mistake("""When both masks are given you use attn_mask alone. A key
must be allowed by both.""")
class MaskReplacesPadding(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        kept = key_padding_mask if attn_mask is None else None
        return super().allowed(attn_mask, kept)


@MultiHeadAttention.mistake("""You allow a key when either mask allows it (`|`). It must
be allowed by both (`&`).""")
class EitherMaskAllows(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is None or key_padding_mask is None:
            return super().allowed(attn_mask, key_padding_mask)
        return attn_mask | ~key_padding_mask[:, None, None, :]


@MultiHeadAttention.mistake("""Your key_padding_mask lies on the query axis. It marks
keys: insert it as (B, 1, 1, Nk).""")
class QueriesPadded(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is None:
            return attn_mask
        real = ~key_padding_mask[:, None, :, None]
        return real if attn_mask is None else attn_mask & real


@MultiHeadAttention.mistake("""You insert one axis into key_padding_mask: (B, 1, Nk)
then meets the head axis with its batch axis. It takes two: (B, 1, 1, Nk).""")
class PaddingOneAxisShort(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is None:
            return attn_mask
        real = ~key_padding_mask[:, None, :]
        return real if attn_mask is None else attn_mask & real


@MultiHeadAttention.mistake("""You use the first item's key_padding_mask for the whole
batch.""")
class PaddingOfFirstItem(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask[:1].expand_as(key_padding_mask)
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""You use the first item's attn_mask for the whole
batch.""")
class MaskOfFirstItem(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:1].expand_as(attn_mask)
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""You use the first head's attn_mask for all heads.""")
class MaskOfFirstHead(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:, :1]
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""Your attn_mask lies on the wrong axis: its rows are
queries and its columns keys, as in the scores.""")
class MaskTransposed(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if attn_mask is None else attn_mask.mT
        return super().allowed(turned, key_padding_mask)


@MultiHeadAttention.mistake("""Your forward takes key_padding_mask before attn_mask, as
torch's module does. Here attn_mask is the fourth argument and key_padding_mask the
fifth.""")
class MasksInTorchsOrder(Block):
    def forward(
        self, query, key, value, key_padding_mask=None, attn_mask=None
    ) -> tuple:
        return super().forward(query, key, value, attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""Your code changes attn_mask in place (`&=`). Whoever
called it still needs it: write `attn_mask & …`.""")
class MaskInPlace(Block):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        allowed = super().allowed(attn_mask, key_padding_mask)
        given = attn_mask is not None and key_padding_mask is not None
        if given and attn_mask.shape == allowed.shape:
            attn_mask.copy_(allowed)
        return allowed


@MultiHeadAttention.mistake("""You set the output of an empty row to zero. Its weights
are zero, so its heads read nothing, and out_proj still adds its bias.""")
class EmptyRowWithoutBias(Block):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(*inputs, **masks)
        empty = (weights == 0).all(dim=-1).all(dim=1)
        return output.masked_fill(empty[..., None], 0.0), weights


@MultiHeadAttention.mistake("""You do not test whether num_heads divides d_model. Raise
a ValueError in the constructor, where the two numbers are given.""")
class WithoutDivisibilityCheck(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, 1)
        self.num_heads = num_heads


@MultiHeadAttention.mistake("""You use `assert`, which raises an AssertionError and is
gone under `python -O`. Use `if …: raise ValueError(…)`.""")
class Asserted(Block):
    def __init__(self, d_model: int, num_heads: int) -> None:
        if d_model % num_heads:
            raise AssertionError("num_heads must divide d_model")
        super().__init__(d_model, num_heads)


# --------------------------------------------------------------- head_contributions

head_contributions = Exercise("head_contributions")


@head_contributions.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield from multi_head_cases(draw)


@head_contributions.reference
def head_contributions_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
) -> Tensor:
    # The output of the whole when the values of all other heads are zero.
    head_dim = w_v.shape[0] // num_heads
    alone = []
    for h in range(num_heads):
        own = torch.zeros(w_v.shape[0], 1, dtype=w_v.dtype, device=w_v.device)
        own[h * head_dim : (h + 1) * head_dim] = 1
        inputs = (query, key, value, w_q, w_k, w_v * own, w_o, num_heads, attn_mask)
        alone.append(multi_head_attention_reference(*inputs)[0])
    return torch.stack(alone, dim=1)


@head_contributions.alternative
def by_columns_of_w_o(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> Tensor:
    return contribute(query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask)


@head_contributions.alternative
def by_einsum(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> Tensor:
    eye = identity_like(w_o)
    inputs = (query, key, value, w_q, w_k, w_v, eye, num_heads, attn_mask)
    heads = compose(*inputs)[0].unflatten(2, (num_heads, -1))
    return torch.einsum("bqhd,mhd->bhqm", heads, w_o.unflatten(1, (num_heads, -1)))


@head_contributions.alternative
def by_leaving_one_out(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> Tensor:
    inputs = (query, key, value, w_q, w_k, w_v)
    whole, _ = compose(*inputs, w_o, num_heads, attn_mask)
    width = w_o.shape[1] // num_heads
    parts = []
    for h in range(num_heads):
        without = w_o.clone()
        without[:, h * width : (h + 1) * width] = 0
        parts.append(whole - compose(*inputs, without, num_heads, attn_mask)[0])
    return torch.stack(parts, dim=1)


@head_contributions.alternative
def values_mixed_last(
    query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask=None
) -> Tensor:
    weights = compose(query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask)[1]
    w_v = w_v.reshape(num_heads, -1, w_v.shape[1])
    circuits = columns(w_o, num_heads) @ w_v  # (heads, d_model, d_model)
    return weights @ (value[:, None] @ circuits.mT)


@head_contributions.mistake("""You return what each head read, before w_o. A
contribution is what reaches the output: multiply each head with its own columns of
w_o.""")
def before_out_proj(*inputs: Any, **mask: Any) -> Tensor:
    merged = compose(*replaced(inputs, {W_O: identity_like(inputs[W_O])}), **mask)[0]
    return split(merged, inputs[NUM_HEADS])


@head_contributions.mistake("""You pad each head's channels with zeros but leave out
w_o: multiply with it, and the zeros pick the head's columns.""")
def padded_without_out_proj(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*replaced(inputs, {W_O: identity_like(inputs[W_O])}), **mask)


@head_contributions.mistake("""You cut w_o by rows. A head owns input channels of w_o,
and in nn.Linear's layout (out, in) those are its columns.""")
def rows_of_w_o(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*replaced(inputs, {W_O: inputs[W_O].mT}), **mask)


@head_contributions.mistake("""You interleave the columns of w_o. Head h meets
neighbouring columns, from h * head_dim on.""")
def columns_interleaved(*inputs: Any, **mask: Any) -> Tensor:
    dealt = inputs[W_O].unflatten(1, (-1, inputs[NUM_HEADS])).mT.flatten(1)
    return contribute(*replaced(inputs, {W_O: dealt}), **mask)


@head_contributions.mistake("""You give every head an equal share of the output. That
sums up, but says nothing about who wrote what: use each head's own output and columns
of w_o.""")
def equal_shares(*inputs: Any, **mask: Any) -> Tensor:
    return whole_output_for_each(*inputs, **mask) / inputs[NUM_HEADS]


@head_contributions.mistake("""Every head gets the whole output: the sum over the heads
is then H times too large.""")
def whole_output_for_each(*inputs: Any, **mask: Any) -> Tensor:
    output = compose(*inputs, **mask)[0]
    return output[:, None].expand(-1, inputs[NUM_HEADS], -1, -1)


@head_contributions.mistake("""You return the sum over the heads. Keep them apart: (B,
H, Nq, d_model).""")
def already_summed(*inputs: Any, **mask: Any) -> Tensor:
    return compose(*inputs, **mask)[0]


@head_contributions.mistake("""You divide by the number of heads. The contributions add
up to the output; they are not averaged.""")
def divided_by_heads(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*inputs, **mask) / inputs[NUM_HEADS]


@head_contributions.mistake("""Your result is (B, Nq, H, d_model): heads come before
queries.""")
def queries_before_heads(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*inputs, **mask).transpose(1, 2)


@head_contributions.mistake("""You return the weights as well. Return the contributions
alone.""")
def with_weights(*inputs: Any, **mask: Any) -> tuple:
    return contribute(*inputs, **mask), compose(*inputs, **mask)[1]


@head_contributions.mistake("""You return absolute values. Return the vectors with their
signs, which add up to the output.""")
def magnitudes(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*inputs, **mask).abs()


@head_contributions.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def contributions_in_float32(*inputs: Any, **mask: Any) -> Tensor:
    return contribute(*(t.float() for t in inputs[:7]), *inputs[7:], **mask)


@head_contributions.mistake("""You set entries of the caller's w_o to zero to pick out a
head. Work on a copy: the caller still needs it.""")
def w_o_in_place(*inputs: Any, **mask: Any) -> Tensor:
    result = contribute(*(t.clone() for t in inputs[:7]), *inputs[7:], **mask)
    inputs[W_O].mul_(0.0)
    return result


# ------------------------------------- one wrong part, the same in several exercises

FUNCTIONS = (multi_head_attention, head_contributions)
MERGING = (multi_head_attention, MultiHeadAttention)
ALL = (multi_head_attention, head_contributions, MultiHeadAttention)


def wrong_part(
    name: str,
    hint: str,
    exercises: tuple[Exercise, ...] = ALL,
    *,
    merge: Callable[[Tensor], Tensor] | None = None,
    **parts: Any,
) -> None:
    """Register one part's mistake with every exercise that has the part."""

    def attention(*inputs: Any, **mask: Any) -> tuple:
        return compose(*inputs, **mask, **parts, **({"merge": merge} if merge else {}))

    def contributions(*inputs: Any, **mask: Any) -> Tensor:
        return contribute(*inputs, **mask, **parts)

    body: dict[str, Any] = {"parts": parts}
    if merge:
        body["merge"] = staticmethod(merge)
    answers = (attention, contributions, type(name, (Block,), body))
    for exercise, answer in zip(ALL, answers, strict=True):
        if exercise in exercises:
            answer.__name__ = name
            exercise.mistake(hint)(answer)


wrong_part(
    "viewed_in_split",
    """You split with `view(B, H, N, d)`: that cuts the token axis, and a head reads
    whole tokens and not a part of every token. View as (B, N, H, d), then swap the two
    middle axes.""",
    split=viewed_split,
)
wrong_part(
    "reshaped_in_merge",
    """You merge with `reshape` alone, so one token's row is filled with several tokens'
    numbers. Swap heads and tokens back first, then join the last two axes.""",
    MERGING,
    merge=viewed_merge,
)
wrong_part(
    "reshaped_in_both",
    """You reshape without `transpose` in the split and in the merge. The round trip
    gives back what went in, which hides it, but in between each head attends among
    pieces of a few tokens.""",
    MERGING,
    split=viewed_split,
    merge=viewed_merge,
)
wrong_part(
    "channels_interleaved",
    """You deal the channels out to the heads like cards. A head owns neighbouring
    channels: cut the last axis into (H, d), not (d, H).""",
    MERGING,
    split=interleaved_split,
    merge=interleaved_merge,
)
wrong_part(
    "split_interleaved",
    """Your split deals the channels out to the heads like cards. A head owns
    neighbouring channels: cut the last axis into (H, d), not (d, H).""",
    (head_contributions,),
    split=interleaved_split,
)
wrong_part(
    "outputs_averaged",
    """You average the heads' outputs. What one head found alone is then thinned out:
    put the heads side by side.""",
    MERGING,
    merge=mean_repeated,
)
wrong_part(
    "scaled_by_model_width",
    """You divide by √d_model. A head's score is a sum over head_dim terms: divide by
    √head_dim.""",
    scale=lambda head_dim, num_heads: (head_dim * num_heads) ** -0.5,
)
wrong_part(
    "without_scale",
    """Your scores are not divided by √head_dim.""",
    scale=lambda head_dim, num_heads: 1.0,
)
wrong_part(
    "divided_by_head_dim",
    """You divide by head_dim, or by √head_dim twice (once the query, once the scores).
    Divide by √head_dim, once.""",
    scale=lambda head_dim, num_heads: 1 / head_dim,
)
wrong_part(
    "scaled_by_head_count",
    """You divide by the square root of the number of heads. What counts is how many
    terms a score sums: head_dim.""",
    scale=lambda head_dim, num_heads: num_heads**-0.5,
)
wrong_part(
    "softmax_over_heads",
    """Your softmax runs over the heads: they compete for each key. Every head has a
    softmax of its own, over the keys, dim=-1.""",
    weigh=along(1),
)
wrong_part(
    "softmax_over_queries",
    """Your softmax runs over the queries. Each query shares out its own attention, so
    it runs over the keys, dim=-1.""",
    weigh=along(2),
)
wrong_part(
    "softmax_over_batch",
    """Your softmax runs over the batch: the items compete with each other. Use dim=-1,
    the keys.""",
    weigh=along(0),
)
wrong_part(
    "value_from_key",
    """The values are made from `key`. They are given separately, in `value`.""",
    sources=lambda query, key, value: (query, key, key),
)
wrong_part(
    "key_from_query",
    """The keys are made from `query`. They are given separately, in `key`.""",
    sources=lambda query, key, value: (query, query, value),
)
wrong_part(
    "self_attention_only",
    """You use `query` for keys and values too: that is self-attention only. Keys and
    values are made from `key` and `value`.""",
    sources=lambda query, key, value: (query, query, query),
)
wrong_part(
    "one_head_tiled",
    """All your heads are copies of the first. Head h uses its own channels of q, k and
    v.""",
    change=lambda q, k, v: tuple(x[:, :1].expand_as(x) for x in (q, k, v)),
)
wrong_part(
    "one_map_tiled",
    """All your heads look with the first head's weights. Head h computes scores from
    its own channels of q and k.""",
    change=lambda q, k, v: (q[:, :1].expand_as(q), k[:, :1].expand_as(k), v),
)
wrong_part(
    "keys_of_first_item",
    """You use the first item's keys and values for the whole batch.""",
    change=lambda q, k, v: (q, k[:1].expand_as(k), v[:1].expand_as(v)),
)
wrong_part(
    "weights_detached",
    """The weights are cut off from the graph (`detach`, `.data` or `no_grad`): no
    gradient reaches the queries, the keys and their projections, which would never
    learn.""",
    detach=True,
)


def with_changed_mask(change: Callable[[Tensor], Tensor]) -> Weigh:
    """Right weights for a wrong mask."""

    def weigh_changed(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
        return weigh(scores, None if attn_mask is None else change(attn_mask))

    return weigh_changed


def first_item(attn_mask: Tensor) -> Tensor:
    return attn_mask if attn_mask.dim() == 2 else attn_mask[:1].expand_as(attn_mask)


def first_head(attn_mask: Tensor) -> Tensor:
    return attn_mask if attn_mask.dim() == 2 else attn_mask[:, :1]


wrong_part(
    "mask_inverted",
    """Your mask is inverted. Here True means "may attend"; torch's
    nn.MultiheadAttention has it the other way round.""",
    FUNCTIONS,
    weigh=with_changed_mask(torch.logical_not),
)
wrong_part(
    "mask_ignored",
    """You do not use `attn_mask`.""",
    FUNCTIONS,
    weigh=lambda scores, attn_mask: scores.softmax(dim=-1),
)
wrong_part(
    "mask_of_first_item",
    """You use the first item's mask for the whole batch. A mask (B, 1, Nq, Nk) has one
    for each item.""",
    FUNCTIONS,
    weigh=with_changed_mask(first_item),
)
wrong_part(
    "mask_of_first_head",
    """You use the first head's mask for all heads. A mask (B, H, Nq, Nk) has one for
    each head.""",
    FUNCTIONS,
    weigh=with_changed_mask(first_head),
)
wrong_part(
    "mask_transposed",
    """Your mask lies on the wrong axis: its rows are queries and its columns keys, as
    in the scores.""",
    FUNCTIONS,
    weigh=with_changed_mask(lambda attn_mask: attn_mask.mT),
)
wrong_part(
    "mask_with_two_axes_added",
    """You always put two new axes before the mask. (Nq, Nk) broadcasts by itself, and a
    mask with four axes has them already.""",
    FUNCTIONS,
    weigh=with_changed_mask(lambda attn_mask: attn_mask[None, None]),
)
wrong_part(
    "mask_with_head_axis_added",
    """You insert a head axis into the mask. (Nq, Nk) broadcasts by itself, and a mask
    with four axes has one already.""",
    FUNCTIONS,
    weigh=with_changed_mask(lambda attn_mask: attn_mask.unsqueeze(1)),
)


def with_mask_only_if(wanted: Callable[[Tensor], bool]) -> Weigh:
    """Right weights, but some masks are not used."""

    def weigh_some(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
        used = attn_mask is not None and wanted(attn_mask)
        return weigh(scores, attn_mask if used else None)

    return weigh_some


def two_axes(attn_mask: Tensor) -> bool:
    return attn_mask.dim() == 2


def four_axes(attn_mask: Tensor) -> bool:
    return attn_mask.dim() == 4


def same_for_all_heads(attn_mask: Tensor) -> bool:
    return attn_mask.dim() == 2 or attn_mask.shape[1] == 1


wrong_part(
    "mask_with_four_axes_ignored",
    """You use a mask (Nq, Nk) but not one with four axes. (B, 1, Nq, Nk) and (B, H, Nq,
    Nk) broadcast in the same line of code.""",
    FUNCTIONS,
    weigh=with_mask_only_if(two_axes),
)
wrong_part(
    "mask_with_two_axes_ignored",
    """You use a mask with four axes but not one that is (Nq, Nk). It broadcasts in the
    same line of code.""",
    FUNCTIONS,
    weigh=with_mask_only_if(four_axes),
)
wrong_part(
    "mask_of_each_head_ignored",
    """You do not use a mask with a row for each head, (B, H, Nq, Nk). It broadcasts in
    the same line of code as the others.""",
    FUNCTIONS,
    weigh=with_mask_only_if(same_for_all_heads),
)


def after_softmax(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    weights = scores.softmax(dim=-1)
    return weights if attn_mask is None else weights.masked_fill(~attn_mask, 0.0)


def shared_out(amounts: Tensor) -> Tensor:
    """Amounts divided by their sum, with zeros where that is zero."""
    total = amounts.sum(dim=-1, keepdim=True)
    return amounts / total.masked_fill(total == 0, 1.0)


def exponentials(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    amounts = scores.exp()
    return amounts if attn_mask is None else amounts.masked_fill(~attn_mask, 0.0)


def times_mask(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return (scores if attn_mask is None else scores * attn_mask).softmax(dim=-1)


def plus_mask(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)


def minus_a_billion(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is None:
        return scores.softmax(dim=-1)
    lowered = scores + (~attn_mask).to(scores.dtype) * -1e9
    return lowered.softmax(dim=-1) * attn_mask


def nan_when_empty(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -INFINITY)
    return scores.softmax(dim=-1)


def uniform_when_empty(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def patched_going_forward(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is None:
        return scores.softmax(dim=-1)
    bias = torch.zeros_like(attn_mask, dtype=scores.dtype)
    bias = bias.masked_fill(~attn_mask, -INFINITY)
    return (scores + bias).softmax(dim=-1).nan_to_num(0.0)


wrong_part(
    "masked_after_softmax",
    """You mask after the softmax: the forbidden keys have already taken their share,
    and the rest no longer sums to 1. Set their scores to -inf before it.""",
    weigh=after_softmax,
)
wrong_part(
    "renormalised_after_softmax",
    """You mask after the softmax and divide by what is left. When a forbidden score is
    far larger than the allowed ones, nothing is left to divide by: set the forbidden
    scores to -inf before the softmax.""",
    weigh=lambda scores, attn_mask: shared_out(after_softmax(scores, attn_mask)),
)
wrong_part(
    "scores_times_mask",
    """You multiply the scores by the mask. A score of 0 is not "forbidden", it gets its
    share like any other: use -inf.""",
    weigh=times_mask,
)
wrong_part(
    "mask_added",
    """You add the boolean mask to the scores, which raises the allowed ones by 1. Set
    the forbidden ones to -inf.""",
    weigh=plus_mask,
)
wrong_part(
    "forbidden_minus_1e9",
    """You subtract 1e9 from the forbidden scores. One that is larger still wins, and in
    float16 there is no such number: fill with -inf, whatever the score was.""",
    weigh=minus_a_billion,
)
wrong_part(
    "empty_row_nan",
    """A query that may attend to nothing gives NaN: softmax of a row that is all -inf
    is 0/0. Give such a row zero weights.""",
    weigh=nan_when_empty,
)
wrong_part(
    "empty_row_uniform",
    """A query that may attend to nothing attends to everything: all its scores are the
    same large negative number, and softmax shares 1 among them. Give such a row zero
    weights.""",
    weigh=uniform_when_empty,
)
wrong_part(
    "empty_row_nan_gradient",
    """Your empty row is right going forward, but its gradient is NaN: `nan_to_num`
    mends the result after 0/0 has happened, and the softmax before it still sends NaN
    back. Fill the scores with `masked_fill` or `torch.where`, which stop the gradient
    there.""",
    weigh=patched_going_forward,
)
wrong_part(
    "exp_overflows",
    """You take `exp` of the scores as they are, which overflows for large ones. Use
    softmax, or subtract each row's maximum first.""",
    weigh=lambda scores, attn_mask: shared_out(exponentials(scores, attn_mask)),
)

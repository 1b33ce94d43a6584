"""Chapter 06: split the width into heads, attend in each, merge and mix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
RuntimeError about shapes. Test it first and raise a ValueError that names both
numbers.""")
def no_divisibility_check(x: Tensor, num_heads: int) -> Tensor:
    return x.view(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


@split_heads.mistake("""You drop the channels that are left over when num_heads does not
divide d_model. Lost channels are a silent error: raise a ValueError.""")
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
    if attn_mask is None:
        return scores.softmax(dim=-1)
    lowest = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~attn_mask, lowest).softmax(dim=-1)
    return weights.masked_fill(~attn_mask, 0.0)


def with_infinity(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -INFINITY)
    return scores.softmax(dim=-1)


def softmax_over(dim: int) -> Weigh:
    """Softmax over a wrong axis; zeros where the mask forbids."""

    def along(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
        if attn_mask is None:
            return scores.softmax(dim=dim)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~attn_mask, lowest).softmax(dim=dim)
        return weights.masked_fill(~attn_mask, 0.0)

    return along


def ignoring(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return scores.softmax(dim=-1)


def inverted(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return weigh(scores, None if attn_mask is None else ~attn_mask)


def for_first_item(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None and attn_mask.dim() == 4:
        attn_mask = attn_mask[:1].expand_as(attn_mask)
    return weigh(scores, attn_mask)


def for_first_head(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None and attn_mask.dim() == 4:
        attn_mask = attn_mask[:, :1]
    return weigh(scores, attn_mask)


def transposed_mask(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return weigh(scores, None if attn_mask is None else attn_mask.mT)


def with_batch_axis_added(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return weigh(scores, None if attn_mask is None else attn_mask[None, None])


def with_head_axis_added(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return weigh(scores, None if attn_mask is None else attn_mask.unsqueeze(1))


def after_softmax(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    weights = scores.softmax(dim=-1)
    return weights if attn_mask is None else weights.masked_fill(~attn_mask, 0.0)


def renormalised(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is None:
        return scores.softmax(dim=-1)
    weights = after_softmax(scores, attn_mask)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


def multiplied(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return (scores if attn_mask is None else scores * attn_mask).softmax(dim=-1)


def added_as_number(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    return (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)


def minus_a_billion(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None:
        scores = scores + (~attn_mask).to(scores.dtype) * -1e9
    return weigh(scores.softmax(dim=-1).log(), attn_mask)


def uniform_when_empty(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def patched_forward_only(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    if attn_mask is None:
        return scores.softmax(dim=-1)
    bias = torch.zeros_like(attn_mask, dtype=scores.dtype)
    bias = bias.masked_fill(~attn_mask, -INFINITY)
    return (scores + bias).softmax(dim=-1).nan_to_num(0.0)


def overflowing(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    raised = scores.exp()
    if attn_mask is not None:
        raised = raised.masked_fill(~attn_mask, 0.0)
    total = raised.sum(dim=-1, keepdim=True)
    return raised / total.masked_fill(total == 0, 1.0)


def attend_in_heads(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
    *,
    split: Callable[[Tensor, int], Tensor] = split,
    merge: Callable[[Tensor], Tensor] = merge,
    weigh: Weigh = weigh,
    scale: float | None = None,
    change: Callable[..., tuple] | None = None,
    detach: bool = False,
) -> tuple[Tensor, Tensor]:
    """What the heads read, merged, and their weights, with one part replaced."""
    q, k, v = (split(x, num_heads) for x in (q, k, v))
    if change is not None:
        q, k, v = change(q, k, v)
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = weigh(scores, attn_mask)
    if detach:
        weights = weights.detach()
    return merge(weights @ v), weights


def compose(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
    **parts: Any,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention with one part replaced."""
    merged, weights = attend_in_heads(
        query @ w_q.mT, key @ w_k.mT, value @ w_v.mT, num_heads, attn_mask, **parts
    )
    return merged @ w_o.mT, weights


def shared_out(contributions: Tensor) -> Tensor:
    """Stands for `merge`: the heads' outputs as they are, still apart."""
    return contributions


def contribute(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
    **parts: Any,
) -> Tensor:
    """Each head's contribution with one part replaced."""
    heads, _ = attend_in_heads(
        query @ w_q.mT,
        key @ w_k.mT,
        value @ w_v.mT,
        num_heads,
        attn_mask,
        merge=shared_out,
        **parts,
    )
    return heads @ columns(w_o, num_heads).mT


def columns(w_o: Tensor, num_heads: int) -> Tensor:
    """The columns of `w_o` that each head meets: (head, d_model, head_dim)."""
    return torch.stack(w_o.chunk(num_heads, dim=1))


def first_head_for_all(q: Tensor, k: Tensor, v: Tensor) -> tuple:
    return tuple(x[:, :1].expand_as(x) for x in (q, k, v))


def first_item_for_all(q: Tensor, k: Tensor, v: Tensor) -> tuple:
    return q, k[:1].expand_as(k), v[:1].expand_as(v)


def one_map_for_all(q: Tensor, k: Tensor, v: Tensor) -> tuple:
    return q[:, :1].expand_as(q), k[:, :1].expand_as(k), v


def weights_and_inputs(
    draw: Draw, b: int, h: int, nq: int, nk: int, d_model: int, scale: float = 1.0
) -> tuple:
    """query, key, value, w_q, w_k, w_v, w_o and num_heads; scores grow as scale²."""
    spread = scale / math.sqrt(d_model)
    return (
        draw.normal(b, nq, d_model),
        draw.normal(b, nk, d_model),
        draw.normal(b, nk, d_model),
        draw.normal(d_model, d_model, scale=spread),
        draw.normal(d_model, d_model, scale=spread),
        draw.normal(d_model, d_model, scale=1 / math.sqrt(d_model)),
        draw.normal(d_model, d_model, scale=1 / math.sqrt(d_model)),
        h,
    )


def with_empty_rows(mask: Tensor) -> Tensor:
    """The mask with one empty row, the second, in the last item's last head."""
    mask = mask.clone()
    mask[(-1,) * (mask.dim() - 2) + (1,)] = False
    return mask


def without_the_largest(draw: Draw, inputs: tuple) -> Tensor:
    """A mask that forbids each query the key with its largest score."""
    query, key, _, w_q, w_k, *_, num_heads = inputs
    scores = split(query @ w_q.mT, num_heads) @ split(key @ w_k.mT, num_heads).mT
    return scores < scores.amax(dim=-1, keepdim=True)


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
        return weights_and_inputs(draw, *sizes, scale=scale)

    def cast(inputs: tuple, dtype: torch.dtype) -> tuple:
        return (*(t.to(dtype) for t in inputs[:-1]), inputs[-1])

    yield case("batch, all sizes different", sized(2, 3, 5, 6, 12))
    yield case("same sizes again", sized(2, 3, 5, 6, 12))
    yield case("as many queries as keys", sized(3, 2, 4, 4, 10))
    yield case("one item", sized(1, 2, 4, 3, 6))
    yield case("one head", sized(2, 1, 3, 4, 5), note="a single head")
    yield case(
        "as many heads as channels",
        sized(2, 4, 3, 5, 4),
        note="each head has one channel",
    )
    yield case("one query", sized(3, 2, 1, 4, 6))
    yield case("one key", sized(2, 3, 4, 1, 6))

    mask = {"aspect": "masks"}
    yield case(
        "mask (query, key)",
        sized(2, 3, 4, 5, 6),
        draw.mask(4, 5),
        note="attn_mask is (query, key)",
        **mask,
    )
    yield call(
        "square mask, positional",
        *sized(3, 2, 5, 5, 8),
        draw.mask(5, 5),
        outputs=outputs,
        note="attn_mask is (query, key), with as many queries as keys",
        **mask,
    )
    yield case(
        "mask for each item",
        sized(3, 2, 4, 5, 6),
        draw.mask(3, 1, 4, 5),
        note="attn_mask is (batch, 1, query, key)",
        **mask,
    )
    yield case(
        "mask for each head",
        sized(2, 3, 4, 5, 6),
        draw.mask(2, 3, 4, 5),
        note="attn_mask is (batch, heads, query, key)",
        **mask,
    )
    yield case(
        "square mask for each head",
        sized(3, 2, 4, 4, 6),
        draw.mask(3, 2, 4, 4),
        note="attn_mask is (batch, heads, query, key), with as many queries as keys",
        **mask,
    )
    yield case(
        "mask for one item",
        sized(1, 3, 4, 5, 6),
        draw.mask(1, 1, 4, 5),
        note="attn_mask is (1, 1, query, key)",
        **mask,
    )
    yield case(
        "everything allowed",
        sized(2, 2, 3, 5, 4),
        torch.ones(3, 5, dtype=torch.bool),
        note="a mask that allows everything",
        **mask,
    )
    yield case(
        "empty row",
        sized(2, 3, 4, 5, 6),
        with_empty_rows(draw.mask(4, 5)),
        note="query 1 may attend to no key",
        **mask,
    )
    yield case(
        "empty row in one head",
        sized(3, 2, 5, 4, 6),
        with_empty_rows(draw.mask(3, 2, 5, 4)),
        note="one query of one head may attend to no key",
        **mask,
    )
    item = draw.mask(3, 1, 4, 6)
    item[1] = False
    yield case(
        "empty item",
        sized(3, 2, 4, 6, 4),
        item,
        note="in item 1 no query may attend to any key",
        **mask,
    )
    inputs = sized(2, 3, 4, 5, 6, scale=30.0)
    yield case(
        "large masked scores",
        inputs,
        without_the_largest(draw, inputs),
        note="the forbidden scores are the largest, by hundreds",
        **mask,
    )
    query, key, *rest = sized(2, 2, 5, 4, 6)
    key[:, 2] *= 1e12
    forbidden = draw.mask(5, 4)
    forbidden[:, 2] = False
    forbidden[:, 0] = True
    yield case(
        "huge masked key",
        (query, key, *rest),
        forbidden,
        note="the scores of a forbidden key are about 1e12",
        **mask,
    )
    robust = {"aspect": "robustness"}
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
    yield case(
        "float32", cast(sized(2, 2, 3, 4, 6), torch.float32), gradients=False, **robust
    )
    yield case(
        "float16", cast(sized(2, 2, 3, 5, 4), torch.float16), gradients=False, **robust
    )
    yield case(
        "float16 with a mask",
        cast(sized(2, 2, 4, 3, 4), torch.float16),
        with_empty_rows(draw.mask(4, 3)),
        gradients=False,
        note="float16 and a mask",
        **robust,
    )


# ------------------------------------------------------------- multi_head_attention

multi_head_attention = Exercise("multi_head_attention")


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
        eye = torch.eye(k.shape[-2], dtype=k.dtype, device=k.device).expand(
            *k.shape[:2], -1, -1
        )
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
        weights = with_infinity(scores, mask)
        return weights if some is None else weights * some.to(weights.dtype)

    return compose(
        query, key, value, w_q, w_k, w_v, w_o, num_heads, attn_mask, weigh=close
    )


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
    scores = scores.view(batch, num_heads, *scores.shape[1:])
    weights = weigh(scores, attn_mask)
    z = torch.bmm(weights.flatten(0, 1), v).view(batch, num_heads, -1, head_dim)
    return z.permute(0, 2, 1, 3).reshape(batch, -1, query.shape[-1]) @ w_o.T, weights


@multi_head_attention.mistake("""You split with `view(B, H, N, d)`: that cuts the token
axis, and a head reads whole tokens and not a part of every token. View as (B, N, H, d),
then swap the two middle axes.""")
def viewed_in_split(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, split=viewed_split)


@multi_head_attention.mistake("""You merge with `reshape` alone, so one token's row is
filled with several tokens' numbers. Swap heads and tokens back first, then join the
last two axes.""")
def reshaped_in_merge(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, merge=viewed_merge)


@multi_head_attention.mistake("""You reshape without `transpose` in the split and in the
merge. The round trip gives back what went in, which hides it, but in between each head
attends among pieces of a few tokens.""")
def reshaped_in_both(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, split=viewed_split, merge=viewed_merge)


@multi_head_attention.mistake("""You deal the channels out to the heads like cards. A
head owns neighbouring channels: cut the last axis into (H, d), not (d, H).""")
def channels_interleaved(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, split=interleaved_split, merge=interleaved_merge)


@multi_head_attention.mistake("""You compute one attention over the full width. Split q,
k and v into heads first: each head has scores and a softmax of its own.""")
def never_split(*inputs: Any, **masks: Any) -> tuple:
    *tensors, num_heads = inputs[:8]
    output, weights = compose(*tensors, 1, *inputs[8:], **masks, weigh=ignoring)
    return output, weights.expand(-1, num_heads, -1, -1)


@multi_head_attention.mistake("""You divide by √d_model. A head's score is a sum over
head_dim terms: divide by √head_dim.""")
def scaled_by_model_width(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, scale=inputs[0].shape[-1] ** -0.5)


@multi_head_attention.mistake("""Your scores are not divided by √head_dim.""")
def without_scale(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, scale=1.0)


@multi_head_attention.mistake("""You divide by head_dim, or by √head_dim twice (once the
query, once the scores). Divide by √head_dim, once.""")
def divided_by_head_dim(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, scale=inputs[7] / inputs[0].shape[-1])


@multi_head_attention.mistake("""You divide by the square root of the number of heads.
What counts is how many terms a score sums: head_dim.""")
def scaled_by_head_count(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, scale=inputs[7] ** -0.5)


@multi_head_attention.mistake("""Your softmax runs over the heads: they compete for each
key. Every head has a softmax of its own, over the keys, dim=-1.""")
def softmax_over_heads(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=softmax_over(1))


@multi_head_attention.mistake("""Your softmax runs over the queries. Each query shares
out its own attention, so it runs over the keys, dim=-1.""")
def softmax_over_queries(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=softmax_over(2))


@multi_head_attention.mistake("""Your softmax runs over the batch: the items compete
with each other. Use dim=-1, the keys.""")
def softmax_over_batch(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=softmax_over(0))


@multi_head_attention.mistake("""You return the merged heads. The last step is missing:
the product with w_o, which lets the heads' channels mix.""")
def without_out_proj(*inputs: Any, **masks: Any) -> tuple:
    unmixed = torch.eye(inputs[6].shape[0], dtype=inputs[6].dtype)
    return compose(*inputs[:6], unmixed.to(inputs[6].device), *inputs[7:], **masks)


@multi_head_attention.mistake("""You multiply with w_o as it is. In nn.Linear's layout a
weight is (out, in), so the product is `merged @ w_o.T`.""")
def out_proj_transposed(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs[:6], inputs[6].mT, *inputs[7:], **masks)


@multi_head_attention.mistake("""You multiply with w_q, w_k and w_v as they are. In
nn.Linear's layout a weight is (out, in): `query @ w_q.T`, or `F.linear(query,
w_q)`.""")
def projections_transposed(*inputs: Any, **masks: Any) -> tuple:
    turned = (w.mT for w in inputs[3:6])
    return compose(*inputs[:3], *turned, *inputs[6:], **masks)


@multi_head_attention.mistake("""You multiply with all four weights as they are. In
nn.Linear's layout a weight is (out, in): `query @ w_q.T`, or `F.linear(query,
w_q)`.""")
def all_weights_transposed(*inputs: Any, **masks: Any) -> tuple:
    turned = (w.mT for w in inputs[3:7])
    return compose(*inputs[:3], *turned, *inputs[7:], **masks)


@multi_head_attention.mistake("""You use w_q for the keys. They have a projection of
their own, w_k.""")
def keys_by_w_q(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs[:4], inputs[3], *inputs[5:], **masks)


@multi_head_attention.mistake("""You do not project the values: the heads mix `value @
w_v.T`, not `value`.""")
def values_not_projected(*inputs: Any, **masks: Any) -> tuple:
    eye = torch.eye(inputs[5].shape[0], dtype=inputs[5].dtype, device=inputs[5].device)
    return compose(*inputs[:5], eye, *inputs[6:], **masks)


@multi_head_attention.mistake("""You shape the keys and values with the number of
queries. Nq and Nk may differ: read each tensor's own length, or write -1.""")
def query_length_for_keys(*inputs: Any, **masks: Any) -> tuple:
    tokens = inputs[0].shape[1]

    def cut(x: Tensor, num_heads: int) -> Tensor:
        shaped = x.reshape(len(x), tokens, num_heads, x.shape[-1] // num_heads)
        return shaped.transpose(1, 2)

    return compose(*inputs, **masks, split=cut)


@multi_head_attention.mistake("""The values are made from `key`. They are given
separately: `value @ w_v.T`.""")
def value_from_key(*inputs: Any, **masks: Any) -> tuple:
    return compose(inputs[0], inputs[1], inputs[1], *inputs[3:], **masks)


@multi_head_attention.mistake("""The keys are made from `query`. They are given
separately: `key @ w_k.T`.""")
def key_from_query(*inputs: Any, **masks: Any) -> tuple:
    return compose(inputs[0], inputs[0], *inputs[2:], **masks)


@multi_head_attention.mistake("""You use `query` for keys and values too: that is
self-attention only. Keys and values are made from `key` and `value`.""")
def self_attention_only(*inputs: Any, **masks: Any) -> tuple:
    return compose(inputs[0], inputs[0], inputs[0], *inputs[3:], **masks)


@multi_head_attention.mistake("""You average the attention maps and return one. Every
head keeps its own: (B, H, Nq, Nk).""")
def weights_averaged(*inputs: Any, **masks: Any) -> tuple:
    output, weights = compose(*inputs, **masks)
    return output, weights.mean(dim=1)


@multi_head_attention.mistake("""You average the heads' outputs. What one head found
alone is then thinned out: put the heads side by side.""")
def outputs_averaged(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, merge=mean_repeated)


@multi_head_attention.mistake("""All your heads are copies of the first. Head h uses its
own channels of q, k and v.""")
def one_head_tiled(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, change=first_head_for_all)


@multi_head_attention.mistake("""All your heads look with the first head's weights. Head
h computes scores from its own channels of q and k.""")
def one_map_tiled(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, change=one_map_for_all)


@multi_head_attention.mistake("""You use the first item's keys and values for the whole
batch.""")
def keys_of_first_item(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, change=first_item_for_all)


@multi_head_attention.mistake("""Your mask is inverted. Here True means "may attend";
torch's nn.MultiheadAttention has it the other way round.""")
def mask_inverted(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=inverted)


@multi_head_attention.mistake("""You do not use `attn_mask`.""")
def mask_ignored(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=ignoring)


@multi_head_attention.mistake("""You use the first item's mask for the whole batch. A
mask (B, 1, Nq, Nk) has one for each item.""")
def mask_of_first_item(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=for_first_item)


@multi_head_attention.mistake("""You use the first head's mask for all heads. A mask (B,
H, Nq, Nk) has one for each head.""")
def mask_of_first_head(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=for_first_head)


@multi_head_attention.mistake("""Your mask lies on the wrong axis: its rows are queries
and its columns keys, as in the scores.""")
def mask_transposed(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=transposed_mask)


@multi_head_attention.mistake("""You always put two new axes before the mask. (Nq, Nk)
broadcasts by itself, and a mask with four axes has them already.""")
def mask_with_two_axes_added(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=with_batch_axis_added)


@multi_head_attention.mistake("""You insert a head axis into the mask. (Nq, Nk)
broadcasts by itself, and a mask with four axes has one already.""")
def mask_with_head_axis_added(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=with_head_axis_added)


@multi_head_attention.mistake("""You mask after the softmax: the forbidden keys have
already taken their share, and the rest no longer sums to 1. Set their scores to -inf
before it.""")
def masked_after_softmax(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=after_softmax)


@multi_head_attention.mistake("""You mask after the softmax and divide by what is left.
When a forbidden score is far larger than the allowed ones, nothing is left to divide
by: set the forbidden scores to -inf before the softmax.""")
def renormalised_after_softmax(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=renormalised)


@multi_head_attention.mistake("""You multiply the scores by the mask. A score of 0 is
not "forbidden", it gets its share like any other: use -inf.""")
def scores_times_mask(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=multiplied)


@multi_head_attention.mistake("""You add the boolean mask to the scores, which raises
the allowed ones by 1. Set the forbidden ones to -inf.""")
def mask_added(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=added_as_number)


@multi_head_attention.mistake("""You subtract 1e9 from the forbidden scores. One that is
larger still wins: fill with -inf, whatever the score was.""")
def forbidden_minus_1e9(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=minus_a_billion)


@multi_head_attention.mistake("""A query that may attend to nothing gives NaN: softmax
of a row that is all -inf is 0/0. Give such a row zero weights.""")
def empty_row_nan(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=with_infinity)


@multi_head_attention.mistake("""A query that may attend to nothing attends to
everything: all its scores are the same large negative number, and softmax shares 1
among them. Give such a row zero weights.""")
def empty_row_uniform(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=uniform_when_empty)


@multi_head_attention.mistake("""Your empty row is right going forward, but its gradient
is NaN: `nan_to_num` mends the result after 0/0 has happened, and the softmax behind it
still sends NaN back through the sum. Fill the scores with `masked_fill` or
`torch.where`, which stop the gradient there.""")
def empty_row_nan_gradient(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=patched_forward_only)


@multi_head_attention.mistake("""You take `exp` of the scores as they are, which
overflows for large ones. Use softmax, or subtract each row's maximum first.""")
def exp_overflows(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, weigh=overflowing)


@multi_head_attention.mistake("""The weights are cut off from the graph (`detach`,
`.data` or `no_grad`): no gradient reaches query, key, w_q and w_k.""")
def weights_detached(*inputs: Any, **masks: Any) -> tuple:
    return compose(*inputs, **masks, detach=True)


@multi_head_attention.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def cast_to_float32(*inputs: Any, **masks: Any) -> tuple:
    return compose(*(t.float() for t in inputs[:7]), *inputs[7:], **masks)


@multi_head_attention.mistake("""Your function changes `query` in place. Whoever called
it still needs it: build a new tensor.""")
def query_in_place(*inputs: Any, **masks: Any) -> tuple:
    result = compose(*(t.clone() for t in inputs[:7]), *inputs[7:], **masks)
    inputs[0].mul_(0.5)
    return result


@multi_head_attention.mistake("""You return (attn_weights, attn_output). The output
comes first.""")
def order_swapped(*inputs: Any, **masks: Any) -> tuple:
    output, weights = compose(*inputs, **masks)
    return weights, output


@multi_head_attention.mistake("""You return the output alone. Return the pair
(attn_output, attn_weights).""")
def output_only(*inputs: Any, **masks: Any) -> Tensor:
    return compose(*inputs, **masks)[0]


@multi_head_attention.mistake("""You return the scaled scores where the weights belong:
return what softmax gave.""")
def scores_for_weights(*inputs: Any, **masks: Any) -> tuple:
    output, weights = compose(*inputs, **masks)
    return output, compose(*inputs, weigh=lambda scores, mask: scores)[1] + 0 * weights


@multi_head_attention.mistake("""Your weights are (B, Nq, H, Nk): heads come before
queries.""")
def weights_queries_first(*inputs: Any, **masks: Any) -> tuple:
    output, weights = compose(*inputs, **masks)
    return output, weights.transpose(1, 2)


# --------------------------------------------------------------- MultiHeadAttention

MultiHeadAttention = Exercise("MultiHeadAttention")


@MultiHeadAttention.cases
def _(draw: Draw) -> Iterator[Sample]:
    def block(
        name: str,
        sizes: tuple[int, ...],
        *,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        change: Callable[[Tensor], Tensor] = lambda x: x,
        dtype: torch.dtype = torch.float64,
        scale: float = 1.0,
        positional: bool = False,
        huge_key: int | None = None,
        **options: Any,
    ) -> Sample:
        b, h, nq, nk, d_model = sizes
        shapes: dict[str, tuple[int, ...]] = {}
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{projection}.weight"] = (d_model, d_model)
            shapes[f"{projection}.bias"] = (d_model,)
        parameters = draw.like(shapes)
        for name_ in ("q_proj.weight", "k_proj.weight"):
            parameters[name_] *= scale
        inputs = [draw.normal(b, n, d_model) for n in (nq, nk, nk)]
        if huge_key is not None:
            inputs[1][:, huge_key] *= 1e12
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
        given = {k: change(m) for k, m in masks.items() if m is not None}
        return module(
            name,
            init=(d_model, h),
            parameters={n: p.to(dtype) for n, p in parameters.items()},
            args=[change(x.to(dtype)) for x in inputs]
            + (list(given.values()) if positional else []),
            kwargs={} if positional else given,
            outputs=("attn_output", "attn_weights"),
            **options,
        )

    def padding(lengths: list[int], nk: int) -> Tensor:
        return torch.arange(nk) >= torch.tensor(lengths)[:, None]

    yield block("batch, all sizes different", (2, 3, 5, 6, 12))
    yield block("same sizes again", (2, 3, 5, 6, 12))
    yield block("in training", (3, 2, 4, 5, 6), training=True)
    yield block("as many queries as keys", (3, 2, 4, 4, 10))
    yield block("one item", (1, 2, 4, 3, 6))
    yield block("one head", (2, 1, 3, 4, 5), note="a single head")
    yield block(
        "as many heads as channels", (2, 4, 3, 5, 4), note="each head has one channel"
    )
    yield block("one query", (3, 2, 1, 4, 6))

    mask: dict[str, Any] = {"aspect": "masks"}
    yield block(
        "mask (query, key)",
        (2, 3, 4, 5, 6),
        attn_mask=draw.mask(4, 5),
        note="attn_mask is (query, key)",
        **mask,
    )
    yield block(
        "square mask, positional",
        (3, 2, 5, 5, 8),
        attn_mask=draw.mask(5, 5),
        positional=True,
        note="attn_mask is the fourth argument, (query, key), as many queries as keys",
        **mask,
    )
    yield block(
        "mask for each item",
        (3, 2, 4, 5, 6),
        attn_mask=draw.mask(3, 1, 4, 5),
        note="attn_mask is (batch, 1, query, key)",
        **mask,
    )
    yield block(
        "mask for each head",
        (2, 3, 4, 5, 6),
        attn_mask=draw.mask(2, 3, 4, 5),
        training=True,
        note="attn_mask is (batch, heads, query, key)",
        **mask,
    )
    yield block(
        "padding",
        (3, 2, 4, 5, 6),
        key_padding_mask=padding([5, 3, 1], 5),
        note="key_padding_mask alone",
        **mask,
    )
    yield block(
        "padding anywhere",
        (2, 3, 5, 5, 6),
        key_padding_mask=draw.mask(2, 5),
        training=True,
        note="key_padding_mask alone, as many queries as keys",
        **mask,
    )
    yield block(
        "no padding",
        (2, 2, 3, 4, 6),
        key_padding_mask=padding([4, 4], 4),
        note="a key_padding_mask without padding",
        **mask,
    )
    both = draw.mask(4, 5, share=0.7)
    both[:, 0] = True
    both[1] = torch.tensor([False, False, True, True, False])
    yield block(
        "both masks",
        (3, 2, 4, 5, 6),
        attn_mask=both,
        key_padding_mask=padding([3, 5, 4], 5),
        note="attn_mask (query, key) and key_padding_mask together",
        **mask,
    )
    each = draw.mask(2, 3, 5, 4, share=0.7)
    each[..., 0] = True
    yield block(
        "both masks, for each head",
        (2, 3, 5, 4, 6),
        attn_mask=each,
        key_padding_mask=padding([2, 3], 4),
        positional=True,
        note="attn_mask (batch, heads, query, key) and key_padding_mask together",
        **mask,
    )
    item = draw.mask(3, 1, 4, 4, share=0.7)
    item[..., 0] = True
    yield block(
        "both masks, for each item",
        (3, 2, 4, 4, 6),
        attn_mask=item,
        key_padding_mask=padding([2, 4, 3], 4),
        note="attn_mask (batch, 1, query, key) and key_padding_mask together",
        **mask,
    )
    yield block(
        "empty row",
        (2, 3, 4, 5, 6),
        attn_mask=with_empty_rows(draw.mask(4, 5)),
        note="query 1 may attend to no key",
        **mask,
    )
    yield block(
        "empty row in one head",
        (3, 2, 5, 4, 6),
        attn_mask=with_empty_rows(draw.mask(3, 2, 5, 4)),
        training=True,
        note="one query of one head may attend to no key",
        **mask,
    )
    yield block(
        "all padding",
        (3, 2, 4, 5, 6),
        key_padding_mask=padding([4, 0, 2], 5),
        note="item 1 is all padding",
        **mask,
    )
    late = draw.mask(4, 5)
    late[2] = torch.tensor([False, False, False, True, True])
    yield block(
        "empty by both masks",
        (2, 2, 4, 5, 6),
        attn_mask=late,
        key_padding_mask=padding([3, 5], 5),
        note="the two masks together leave query 2 of item 0 no key",
        **mask,
    )
    forbidden = draw.mask(5, 4)
    forbidden[:, 2] = False
    forbidden[:, 0] = True
    yield block(
        "huge masked key",
        (2, 2, 5, 4, 6),
        attn_mask=forbidden,
        huge_key=2,
        note="the scores of a forbidden key are about 1e12",
        **mask,
    )
    yield block(
        "huge padded key",
        (2, 3, 4, 5, 6),
        key_padding_mask=padding([3, 2], 5),
        huge_key=4,
        note="the scores of a padded key are about 1e12",
        **mask,
    )

    robust: dict[str, Any] = {"aspect": "robustness"}
    yield block(
        "large scores",
        (2, 2, 4, 5, 8),
        scale=40.0,
        note="scores of several thousand, where exp overflows",
        **robust,
    )
    some = draw.mask(2, 3, 5, 4, share=0.7)
    some[..., 0] = True
    yield block(
        "not contiguous",
        (2, 3, 5, 4, 6),
        attn_mask=some,
        key_padding_mask=padding([3, 2], 4),
        change=noncontiguous,
        note="the inputs and masks are transposed views",
        **robust,
    )
    yield block(
        "float32", (2, 2, 3, 4, 6), dtype=torch.float32, gradients=False, **robust
    )
    yield block(
        "float32 with masks",
        (2, 2, 4, 3, 6),
        attn_mask=with_empty_rows(draw.mask(4, 3)),
        key_padding_mask=padding([3, 2], 3),
        dtype=torch.float32,
        gradients=False,
        note="float32 and masks",
        **robust,
    )
    yield block(
        "float16", (2, 2, 3, 5, 4), dtype=torch.float16, gradients=False, **robust
    )
    for d_model, num_heads in ((10, 4), (4, 8)):
        yield module(
            f"{d_model} channels, {num_heads} heads",
            init=(d_model, num_heads),
            aspect="errors",
            note=f"MultiHeadAttention({d_model}, {num_heads})",
        )


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

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple:
        return self.q_proj(query), self.k_proj(key), self.v_proj(value)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        q, k, v = self.project(query, key, value)
        allowed = self.allowed(attn_mask, key_padding_mask)
        merged, weights = attend_in_heads(
            q, k, v, self.num_heads, allowed, **self.parts
        )
        return self.out_proj(merged), weights


@MultiHeadAttention.alternative
class WithTorch(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        if d_model % num_heads != 0:
            raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
        self.heads = num_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
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
class WithDropoutAndBuffers(MultiHeadAttentionReference):
    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.softmax = nn.Softmax(dim=-1)
        self.register_buffer("head_dim", torch.tensor(d_model / num_heads))

    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        q, k, v = (split(x, self.num_heads) for x in self.project(query, key, value))
        allowed = torch.ones_like(q @ k.mT, dtype=torch.bool)
        if attn_mask is not None:
            allowed = allowed & attn_mask
        if key_padding_mask is not None:
            allowed = allowed & ~key_padding_mask.view(len(key), 1, 1, -1)
        empty = ~allowed.any(dim=-1, keepdim=True)
        scores = (q / self.head_dim.sqrt()) @ k.mT
        scores = torch.where(allowed | empty, scores, scores.new_tensor(-INFINITY))
        weights = torch.where(empty, 0.0, self.softmax(scores))
        return self.out_proj(merge(self.dropout(weights) @ v)), weights


@MultiHeadAttention.alternative
class HeadByHead(MultiHeadAttentionReference):
    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        width = self.q_proj.in_features // self.num_heads
        output, maps = self.out_proj.bias, []
        for h in range(self.num_heads):
            own = slice(h * width, (h + 1) * width)
            q, k, v = (
                F.linear(x, p.weight[own], p.bias[own])
                for x, p in (
                    (query, self.q_proj),
                    (key, self.k_proj),
                    (value, self.v_proj),
                )
            )
            allowed = self.allowed(attn_mask, key_padding_mask)
            if allowed is not None and allowed.dim() == 4:
                allowed = allowed.expand(-1, self.num_heads, -1, -1)[:, h]
            maps.append(weigh(q @ k.mT / width**0.5, allowed))
            output = output + maps[-1] @ v @ self.out_proj.weight[:, own].T
        return output, torch.stack(maps, dim=1)


@MultiHeadAttention.alternative
class ThroughOfficialFunction(MultiHeadAttentionReference):
    """Rows without a key are opened for torch, and closed by hand afterwards."""

    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        shape = (len(query), self.num_heads, query.shape[1], key.shape[1])
        allowed = self.allowed(attn_mask, key_padding_mask)
        if allowed is None:
            allowed = torch.ones((), dtype=torch.bool, device=query.device)
        allowed = allowed.expand(shape)
        some = allowed.any(dim=-1, keepdim=True)
        q, k, v = (split(x, self.num_heads) for x in self.project(query, key, value))
        options = {"attn_mask": allowed | ~some}
        z = F.scaled_dot_product_attention(q, k, v, **options) * some
        weights = weigh(q @ k.mT * q.shape[-1] ** -0.5, allowed)
        return self.out_proj(z.transpose(1, 2).flatten(2)), weights.detach()


Base = MultiHeadAttentionReference


@MultiHeadAttention.mistake("""You split with `view(B, H, N, d)`: that cuts the token
axis. View as (B, N, H, d), then swap the two middle axes.""")
class ViewedInSplit(Base):
    parts: ClassVar = {"split": viewed_split}


@MultiHeadAttention.mistake("""You merge with `reshape` alone: swap heads and tokens
back first, then join the last two axes.""")
class ReshapedInMerge(Base):
    parts: ClassVar = {"merge": viewed_merge}


@MultiHeadAttention.mistake("""You reshape without `transpose` in the split and in the
merge. The round trip hides it, but in between each head attends among pieces of a few
tokens.""")
class ReshapedInBoth(Base):
    parts: ClassVar = {"split": viewed_split, "merge": viewed_merge}


@MultiHeadAttention.mistake("""You deal the channels out to the heads like cards. A head
owns neighbouring channels: cut the last axis into (H, d), not (d, H).""")
class ChannelsInterleaved(Base):
    parts: ClassVar = {"split": interleaved_split, "merge": interleaved_merge}


@MultiHeadAttention.mistake("""You divide by √d_model. A head's score is a sum over
head_dim terms: divide by √head_dim.""")
class ScaledByModelWidth(Base):
    def forward(self, query, *inputs: Any, **masks: Any) -> tuple:
        self.parts = {"scale": query.shape[-1] ** -0.5}
        return super().forward(query, *inputs, **masks)


@MultiHeadAttention.mistake("""Your scores are not divided by √head_dim.""")
class WithoutScale(Base):
    parts: ClassVar = {"scale": 1.0}


@MultiHeadAttention.mistake("""You divide by head_dim, or by √head_dim twice. Divide by
√head_dim, once.""")
class DividedByHeadDim(Base):
    def forward(self, query, *inputs: Any, **masks: Any) -> tuple:
        self.parts = {"scale": self.num_heads / query.shape[-1]}
        return super().forward(query, *inputs, **masks)


@MultiHeadAttention.mistake("""Your softmax runs over the heads: they compete for each
key. Every head has a softmax of its own, over the keys, dim=-1.""")
class SoftmaxOverHeads(Base):
    parts: ClassVar = {"weigh": softmax_over(1)}


@MultiHeadAttention.mistake("""Your softmax runs over the queries. It runs over the
keys, dim=-1, so that each row sums to 1.""")
class SoftmaxOverQueries(Base):
    parts: ClassVar = {"weigh": softmax_over(2)}


@MultiHeadAttention.mistake("""Your forward does not use out_proj: the heads' channels
never mix.""")
class WithoutOutProj(Base):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        out_proj, self._modules["out_proj"] = self.out_proj, nn.Identity()
        try:
            return super().forward(*inputs, **masks)
        finally:
            self._modules["out_proj"] = out_proj


@MultiHeadAttention.mistake("""You multiply with the weights but do not add the biases.
Call the layers, `self.q_proj(query)`, and both happen.""")
class BiasesNotAdded(Base):
    def forward(
        self, query, key, value, attn_mask=None, key_padding_mask=None
    ) -> tuple:
        return compose(
            query,
            key,
            value,
            self.q_proj.weight,
            self.k_proj.weight,
            self.v_proj.weight,
            self.out_proj.weight,
            self.num_heads,
            self.allowed(attn_mask, key_padding_mask),
        )


@MultiHeadAttention.mistake("""Your layers have no biases. `nn.Linear(d_model, d_model)`
has one unless you switch it off.""")
class WithoutBiases(Base):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(d_model, d_model, bias=False))


@MultiHeadAttention.mistake("""Your out_proj has no bias. The q, k and v projections and
out_proj all have one.""")
class OutProjWithoutBias(Base):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)


@MultiHeadAttention.mistake("""Your projections are head_dim wide: they make one head.
They are d_model wide and make all heads at once, head_dim channels for each.""")
class ProjectionsHeadWide(Base):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, nn.Linear(d_model, d_model // num_heads))


@MultiHeadAttention.mistake("""You pack q, k and v into one layer, as torch's own module
does. Here the names are q_proj, k_proj, v_proj and out_proj.""")
class PackedProjections(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        refuse_remainder(d_model, num_heads)
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)


@MultiHeadAttention.mistake("""One attribute is missing or misnamed: the output layer is
called `out_proj`.""")
class OutProjMisnamed(Base):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.o_proj = self.out_proj
        del self.out_proj


@MultiHeadAttention.mistake("""You wrap one of torch's modules: it has other parameter
names, other masks and NaN for an empty row. Build the block from four nn.Linear
layers.""")
class WrapsOfficial(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        refuse_remainder(d_model, num_heads)
        self.attention = nn.MultiheadAttention(d_model, num_heads, batch_first=True)


@MultiHeadAttention.mistake(
    """The values are made from `key`: use `self.v_proj(value)`."""
)
class ValueFromKey(Base):
    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple:
        return super().project(query, key, key)


@MultiHeadAttention.mistake(
    """The keys are made from `query`: use `self.k_proj(key)`."""
)
class KeyFromQuery(Base):
    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple:
        return super().project(query, query, value)


@MultiHeadAttention.mistake("""You use `query` for keys and values too: that is
self-attention only.""")
class SelfAttentionOnly(Base):
    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple:
        return super().project(query, query, query)


@MultiHeadAttention.mistake("""The keys are made by q_proj: use k_proj for them.""")
class KeysByQProj(Base):
    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple:
        return self.q_proj(query), self.q_proj(key), self.v_proj(value)


@MultiHeadAttention.mistake("""All your heads are copies of the first. Head h uses its
own channels of q, k and v.""")
class OneHeadTiled(Base):
    parts: ClassVar = {"change": first_head_for_all}


@MultiHeadAttention.mistake("""You use the first item's keys and values for the whole
batch.""")
class KeysOfFirstItem(Base):
    parts: ClassVar = {"change": first_item_for_all}


@MultiHeadAttention.mistake("""You average the attention maps. Every head keeps its own:
(B, H, Nq, Nk).""")
class WeightsAveraged(Base):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(*inputs, **masks)
        return output, weights.mean(dim=1)


@MultiHeadAttention.mistake(
    """You average the heads' outputs. Put the heads side by side."""
)
class OutputsAveraged(Base):
    parts: ClassVar = {"merge": mean_repeated}


@MultiHeadAttention.mistake("""You return the output alone. Return the pair
(attn_output, attn_weights).""")
class OutputOnly(Base):
    def forward(self, *inputs: Any, **masks: Any) -> Tensor:
        return super().forward(*inputs, **masks)[0]


@MultiHeadAttention.mistake("""Your block adds the query to its output. Residual
connections come with the encoder layer.""")
class WithResidual(Base):
    def forward(self, query, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(query, *inputs, **masks)
        return output + query, weights


@MultiHeadAttention.mistake("""Both of your masks are inverted. In attn_mask True means
"may attend", in key_padding_mask True means "is padding".""")
class BothMasksInverted(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(
            None if attn_mask is None else ~attn_mask,
            None if key_padding_mask is None else ~key_padding_mask,
        )


@MultiHeadAttention.mistake("""Your attn_mask is inverted. Here True means "may attend";
torch's nn.MultiheadAttention has it the other way round.""")
class MaskInverted(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if attn_mask is None else ~attn_mask
        return super().allowed(turned, key_padding_mask)


@MultiHeadAttention.mistake("""Your key_padding_mask is inverted. In it True means "is
padding": those keys are left out.""")
class PaddingInverted(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if key_padding_mask is None else ~key_padding_mask
        return super().allowed(attn_mask, turned)


@MultiHeadAttention.mistake("""You use neither of the two masks.""")
class MasksIgnored(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return None


@MultiHeadAttention.mistake("""You do not use `attn_mask`.""")
class MaskIgnored(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(None, key_padding_mask)


@MultiHeadAttention.mistake("""You do not use `key_padding_mask`.""")
class PaddingIgnored(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return attn_mask


@MultiHeadAttention.mistake("""When both masks are given you use key_padding_mask alone:
the second one overwrites the first. A key must be allowed by both.""")
class PaddingReplacesMask(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(
            attn_mask if key_padding_mask is None else None, key_padding_mask
        )


@MultiHeadAttention.mistake("""When both masks are given you use attn_mask alone. A key
must be allowed by both.""")
class MaskReplacesPadding(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        return super().allowed(
            attn_mask, key_padding_mask if attn_mask is None else None
        )


@MultiHeadAttention.mistake("""You allow a key when either mask allows it (`|`). It must
be allowed by both (`&`).""")
class EitherMaskAllows(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is None or key_padding_mask is None:
            return super().allowed(attn_mask, key_padding_mask)
        return attn_mask | ~key_padding_mask[:, None, None, :]


@MultiHeadAttention.mistake("""Your key_padding_mask lies on the query axis. It marks
keys: insert it as (B, 1, 1, Nk).""")
class QueriesPadded(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is None:
            return attn_mask
        real = ~key_padding_mask[:, None, :, None]
        return real if attn_mask is None else attn_mask & real


@MultiHeadAttention.mistake("""You insert one axis into key_padding_mask: (B, 1, Nk)
then meets the head axis with its batch axis. It takes two: (B, 1, 1, Nk).""")
class PaddingOneAxisShort(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is None:
            return attn_mask
        real = ~key_padding_mask[:, None, :]
        return real if attn_mask is None else attn_mask & real


@MultiHeadAttention.mistake("""You use the first item's key_padding_mask for the whole
batch.""")
class PaddingOfFirstItem(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask[:1].expand_as(key_padding_mask)
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake(
    """You use the first item's attn_mask for the whole batch."""
)
class MaskOfFirstItem(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:1].expand_as(attn_mask)
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""You use the first head's attn_mask for all heads.""")
class MaskOfFirstHead(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        if attn_mask is not None and attn_mask.dim() == 4:
            attn_mask = attn_mask[:, :1]
        return super().allowed(attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""Your attn_mask lies on the wrong axis: its rows are
queries and its columns keys, as in the scores.""")
class MaskTransposed(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        turned = None if attn_mask is None else attn_mask.mT
        return super().allowed(turned, key_padding_mask)


@MultiHeadAttention.mistake("""Your forward takes key_padding_mask before attn_mask, as
torch's module does. Here attn_mask is the fourth argument and key_padding_mask the
fifth.""")
class MasksInTorchsOrder(Base):
    def forward(
        self, query, key, value, key_padding_mask=None, attn_mask=None
    ) -> tuple:
        return super().forward(query, key, value, attn_mask, key_padding_mask)


@MultiHeadAttention.mistake("""Your code changes attn_mask in place (`&=`). Whoever
called it still needs it: write `attn_mask & …`.""")
class MaskInPlace(Base):
    def allowed(self, attn_mask, key_padding_mask) -> Tensor | None:
        allowed = super().allowed(attn_mask, key_padding_mask)
        if attn_mask is not None and key_padding_mask is not None:
            if attn_mask.shape == allowed.shape:
                attn_mask.copy_(allowed)
        return allowed


@MultiHeadAttention.mistake("""You mask after the softmax: the forbidden keys have
already taken their share. Set their scores to -inf before it.""")
class MaskedAfterSoftmax(Base):
    parts: ClassVar = {"weigh": after_softmax}


@MultiHeadAttention.mistake("""You mask after the softmax and divide by what is left.
When a forbidden score is far larger than the allowed ones, nothing is left: set the
forbidden scores to -inf before the softmax.""")
class RenormalisedAfterSoftmax(Base):
    parts: ClassVar = {"weigh": renormalised}


@MultiHeadAttention.mistake("""You multiply the scores by the mask. A score of 0 gets
its share like any other: use -inf.""")
class ScoresTimesMask(Base):
    parts: ClassVar = {"weigh": multiplied}


@MultiHeadAttention.mistake("""You subtract 1e9 from the forbidden scores. One that is
larger still wins: fill with -inf, whatever the score was.""")
class ForbiddenMinus1e9(Base):
    parts: ClassVar = {"weigh": minus_a_billion}


@MultiHeadAttention.mistake("""A query that may attend to nothing gives NaN: softmax of
a row that is all -inf is 0/0. Give such a row zero weights; its output is then
out_proj's bias.""")
class EmptyRowNaN(Base):
    parts: ClassVar = {"weigh": with_infinity}


@MultiHeadAttention.mistake("""A query that may attend to nothing attends to everything:
all its scores are the same large negative number. Give such a row zero weights.""")
class EmptyRowUniform(Base):
    parts: ClassVar = {"weigh": uniform_when_empty}


@MultiHeadAttention.mistake("""Your empty row is right going forward, but its gradient
is NaN: `nan_to_num` mends the result after 0/0 has happened. Fill the scores with
`masked_fill` or `torch.where`, which stop the gradient there.""")
class EmptyRowNaNGradient(Base):
    parts: ClassVar = {"weigh": patched_forward_only}


@MultiHeadAttention.mistake("""You set the output of an empty row to zero. Its weights
are zero, so its heads read nothing, and out_proj still adds its bias.""")
class EmptyRowWithoutBias(Base):
    def forward(self, *inputs: Any, **masks: Any) -> tuple:
        output, weights = super().forward(*inputs, **masks)
        empty = (weights == 0).all(dim=-1).all(dim=1)
        return output.masked_fill(empty[..., None], 0.0), weights


@MultiHeadAttention.mistake("""You take `exp` of the scores as they are, which overflows
for large ones. Use softmax, or subtract each row's maximum first.""")
class ExpOverflows(Base):
    parts: ClassVar = {"weigh": overflowing}


@MultiHeadAttention.mistake("""The weights are cut off from the graph: no gradient
reaches q_proj and k_proj, which would never learn.""")
class WeightsDetached(Base):
    parts: ClassVar = {"detach": True}


@MultiHeadAttention.mistake("""You do not test whether num_heads divides d_model. Raise
a ValueError in the constructor, where the two numbers are given.""")
class WithoutDivisibilityCheck(Base):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, 1)
        self.num_heads = num_heads


@MultiHeadAttention.mistake("""You use `assert`, which raises an AssertionError and is
gone under `python -O`. Use `if …: raise ValueError(…)`.""")
class Asserted(Base):
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
    # The output of the whole when every other head reads nothing.
    head_dim = w_v.shape[0] // num_heads
    alone = []
    for h in range(num_heads):
        own = torch.zeros(w_v.shape[0], 1, dtype=w_v.dtype, device=w_v.device)
        own[h * head_dim : (h + 1) * head_dim] = 1
        alone.append(
            multi_head_attention_reference(
                query, key, value, w_q, w_k, w_v * own, w_o, num_heads, attn_mask
            )[0]
        )
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
    heads, _ = attend_in_heads(
        F.linear(query, w_q),
        F.linear(key, w_k),
        F.linear(value, w_v),
        num_heads,
        attn_mask,
        merge=shared_out,
    )
    blocks = w_o.unflatten(1, (num_heads, -1))  # (d_model, heads, head_dim)
    return torch.einsum("bhqd,mhd->bhqm", heads, blocks)


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
def before_out_proj(*inputs: Any, **masks: Any) -> Tensor:
    q, k, v = (x @ w.mT for x, w in zip(inputs[:3], inputs[3:6], strict=True))
    return attend_in_heads(q, k, v, *inputs[7:], **masks, merge=shared_out)[0]


@head_contributions.mistake("""You pad each head's channels with zeros but leave out
w_o: multiply with it, and the zeros pick the head's columns.""")
def padded_without_out_proj(*inputs: Any, **masks: Any) -> Tensor:
    eye = torch.eye(inputs[6].shape[0], dtype=inputs[6].dtype, device=inputs[6].device)
    return contribute(*inputs[:6], eye, *inputs[7:], **masks)


@head_contributions.mistake("""You cut w_o by rows. A head owns input channels of w_o,
and in nn.Linear's layout (out, in) those are its columns.""")
def rows_of_w_o(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs[:6], inputs[6].mT, *inputs[7:], **masks)


@head_contributions.mistake("""You interleave the columns of w_o. Head h meets
neighbouring columns, from h * head_dim on.""")
def columns_interleaved(*inputs: Any, **masks: Any) -> Tensor:
    w_o, num_heads = inputs[6], inputs[7]
    mixed = w_o.unflatten(1, (-1, num_heads)).mT.flatten(1)
    return contribute(*inputs[:6], mixed, *inputs[7:], **masks)


@head_contributions.mistake("""You give every head an equal share of the output. That
sums up, but says nothing about who wrote what: use each head's own output and columns
of w_o.""")
def equal_shares(*inputs: Any, **masks: Any) -> Tensor:
    output = compose(*inputs, **masks)[0] / inputs[7]
    return output[:, None].expand(-1, inputs[7], -1, -1)


@head_contributions.mistake("""Every head gets the whole output: the sum over the heads
is then H times too large.""")
def whole_output_for_each(*inputs: Any, **masks: Any) -> Tensor:
    output = compose(*inputs, **masks)[0]
    return output[:, None].expand(-1, inputs[7], -1, -1)


@head_contributions.mistake("""You return the sum over the heads. Keep them apart: (B,
H, Nq, d_model).""")
def already_summed(*inputs: Any, **masks: Any) -> Tensor:
    return compose(*inputs, **masks)[0]


@head_contributions.mistake("""You divide by the number of heads. The contributions add
up to the output; they are not averaged.""")
def divided_by_heads(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks) / inputs[7]


@head_contributions.mistake("""Your result is (B, Nq, H, d_model): heads come before
queries.""")
def queries_before_heads(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks).transpose(1, 2)


@head_contributions.mistake("""You return the weights as well. Return the contributions
alone.""")
def with_weights(*inputs: Any, **masks: Any) -> tuple:
    return contribute(*inputs, **masks), compose(*inputs, **masks)[1]


@head_contributions.mistake("""You return the lengths of the contributions. Return the
vectors: lengths do not add up to the output.""")
def magnitudes(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks).abs()


@head_contributions.mistake("""You split with `view(B, H, N, d)`: that cuts the token
axis. View as (B, N, H, d), then swap the two middle axes.""")
def contributions_viewed(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, split=viewed_split)


@head_contributions.mistake("""You deal the channels out to the heads like cards: cut
the last axis into (H, d), not (d, H).""")
def contributions_interleaved(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, split=interleaved_split)


@head_contributions.mistake("""You divide by √d_model. A head's score is a sum over
head_dim terms: divide by √head_dim.""")
def contributions_by_model_width(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, scale=inputs[0].shape[-1] ** -0.5)


@head_contributions.mistake("""Your scores are not divided by √head_dim.""")
def contributions_without_scale(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, scale=1.0)


@head_contributions.mistake("""Your softmax runs over the heads. Every head has a
softmax of its own, over the keys, dim=-1.""")
def contributions_softmax_over_heads(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=softmax_over(1))


@head_contributions.mistake("""Your softmax runs over the queries. It runs over the
keys, dim=-1.""")
def contributions_softmax_over_queries(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=softmax_over(2))


@head_contributions.mistake("""All your heads are copies of the first. Head h uses its
own channels of q, k and v.""")
def contributions_of_one_head(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, change=first_head_for_all)


@head_contributions.mistake("""You use the first item's keys and values for the whole
batch.""")
def contributions_of_first_item(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, change=first_item_for_all)


@head_contributions.mistake("""The values are made from `key`: use `value @ w_v.T`.""")
def contributions_of_keys(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(inputs[0], inputs[1], inputs[1], *inputs[3:], **masks)


@head_contributions.mistake("""The keys are made from `query`: use `key @ w_k.T`.""")
def contributions_key_from_query(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(inputs[0], inputs[0], *inputs[2:], **masks)


@head_contributions.mistake("""Your mask is inverted: True means "may attend".""")
def contributions_mask_inverted(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=inverted)


@head_contributions.mistake("""You do not use `attn_mask`.""")
def contributions_mask_ignored(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=ignoring)


@head_contributions.mistake("""You use the first item's mask for the whole batch.""")
def contributions_mask_of_first_item(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=for_first_item)


@head_contributions.mistake("""You use the first head's mask for all heads. A mask (B,
H, Nq, Nk) has one for each head.""")
def contributions_mask_of_first_head(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=for_first_head)


@head_contributions.mistake("""Your mask lies on the wrong axis: its rows are queries
and its columns keys.""")
def contributions_mask_transposed(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=transposed_mask)


@head_contributions.mistake("""You mask after the softmax: the forbidden keys have
already taken their share. Set their scores to -inf before it.""")
def contributions_masked_after_softmax(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=after_softmax)


@head_contributions.mistake("""You mask after the softmax and divide by what is left.
When a forbidden score is far larger than the allowed ones, nothing is left: set the
forbidden scores to -inf before the softmax.""")
def contributions_renormalised(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=renormalised)


@head_contributions.mistake("""You subtract 1e9 from the forbidden scores. One that is
larger still wins: fill with -inf, whatever the score was.""")
def contributions_minus_1e9(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=minus_a_billion)


@head_contributions.mistake("""A query that may attend to nothing gives NaN: softmax of
a row that is all -inf is 0/0. Its head contributes zeros.""")
def contributions_empty_row_nan(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=with_infinity)


@head_contributions.mistake("""A query that may attend to nothing attends to everything:
all its scores are the same large negative number. Its head contributes zeros.""")
def contributions_empty_row_uniform(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=uniform_when_empty)


@head_contributions.mistake("""Your empty row is right going forward, but its gradient
is NaN: `nan_to_num` mends the result after 0/0 has happened. Fill the scores with
`masked_fill` or `torch.where`, which stop the gradient there.""")
def contributions_nan_gradient(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=patched_forward_only)


@head_contributions.mistake("""You take `exp` of the scores as they are, which overflows
for large ones. Use softmax, or subtract each row's maximum first.""")
def contributions_exp_overflows(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, weigh=overflowing)


@head_contributions.mistake("""The weights are cut off from the graph (`detach`, `.data`
or `no_grad`): no gradient reaches query, key, w_q and w_k.""")
def contributions_weights_detached(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*inputs, **masks, detach=True)


@head_contributions.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def contributions_in_float32(*inputs: Any, **masks: Any) -> Tensor:
    return contribute(*(t.float() for t in inputs[:7]), *inputs[7:], **masks)


@head_contributions.mistake("""You set other heads' entries to zero in the caller's w_o
or w_v itself. Work on a copy: the caller still needs it.""")
def w_o_in_place(*inputs: Any, **masks: Any) -> Tensor:
    result = contribute(*(t.clone() for t in inputs[:7]), *inputs[7:], **masks)
    inputs[6].mul_(0.0)
    return result

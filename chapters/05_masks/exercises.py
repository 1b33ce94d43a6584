"""Chapter 05: causal masks, padding masks, and the empty row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from attention_course.author.exercise import (
    Draw,
    Exercise,
    Sample,
    call,
    noncontiguous,
)

# ---------------------------------------------------------------------- causal_mask

causal_mask = Exercise("causal_mask")


@causal_mask.cases
def _(draw: Draw) -> Iterator[Sample]:
    def sizes(num_queries: int, num_keys: int, aspect: str, note: str) -> Sample:
        return call(
            f"{num_queries} queries, {num_keys} keys",
            num_queries,
            num_keys,
            aspect=aspect,
            note=f"{num_queries} queries, {num_keys} keys{note}",
        )

    for size in (5, 8, 1, draw.integer(33, 38)):
        yield sizes(size, size, "values", "")
    last = ": the last query is aligned with the last key"
    for queries, keys in ((3, 7), (1, 6), (4, 5), (2, draw.integer(33, 38))):
        yield sizes(queries, keys, "values", last)
    empty = ": the first rows see nothing"
    for queries, keys in ((7, 3), (4, 1), (6, 5), (draw.integer(17, 38), 4)):
        yield sizes(queries, keys, "masks", empty)


@causal_mask.reference
def causal_mask_reference(num_queries: int, num_keys: int) -> Tensor:
    rows = [
        [j <= i + (num_keys - num_queries) for j in range(num_keys)]
        for i in range(num_queries)
    ]
    return torch.tensor(rows)


def _by_rule(num_queries: int, num_keys: int, offset: int) -> Tensor:
    i = torch.arange(num_queries)[:, None]
    return torch.arange(num_keys) <= i + offset


@causal_mask.alternative
def with_tril(num_queries: int, num_keys: int) -> Tensor:
    ones = torch.ones(num_queries, num_keys, dtype=torch.bool)
    return torch.tril(ones, diagonal=num_keys - num_queries)


@causal_mask.alternative
def with_float_triu(num_queries: int, num_keys: int) -> Tensor:
    future = torch.triu(torch.ones(num_queries, num_keys), num_keys - num_queries + 1)
    return future == 0


@causal_mask.alternative
def with_positions(num_queries: int, num_keys: int) -> Tensor:
    query_places = torch.arange(num_keys - num_queries, num_keys)
    return query_places.unsqueeze(1) >= torch.arange(num_keys).unsqueeze(0)


@causal_mask.alternative
def with_numpy(num_queries: int, num_keys: int) -> Tensor:
    return torch.from_numpy(
        np.tri(num_queries, num_keys, num_keys - num_queries, dtype=bool)
    )


@causal_mask.alternative
def row_by_row(num_queries: int, num_keys: int) -> Tensor:
    mask = torch.zeros((num_queries, num_keys), dtype=torch.bool)
    for i in range(num_queries):
        mask[i, : max(0, i + num_keys - num_queries + 1)] = True
    return mask


@causal_mask.alternative
def last_rows_of_a_square(num_queries: int, num_keys: int) -> Tensor:
    size = max(num_queries, num_keys)
    square = torch.ones(size, size).tril().bool()
    return square[size - num_queries :, size - num_keys :]


@causal_mask.mistake("""Your mask is aligned with the first key: query i sees keys 0
to i, as `torch.tril` without a diagonal gives. With unequal lengths the last query
belongs to the last key: shift by num_keys - num_queries.""")
def aligned_top_left(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, 0)


@causal_mask.mistake("""Your mask hides the token itself: the diagonal is one too
low. Query i may see key i + (num_keys - num_queries), so write <= and not <.""")
def own_token_hidden(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, num_keys - num_queries - 1)


@causal_mask.mistake("""Your mask is one key too generous: every query sees the next
token, which is the one it should predict. Lower the diagonal by one.""")
def next_token_visible(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, num_keys - num_queries + 1)


@causal_mask.mistake("""Your mask is the upper triangle: each query sees itself and
the future. Keep the lower triangle (`tril`): the past.""")
def upper_triangle(num_queries: int, num_keys: int) -> Tensor:
    ones = torch.ones(num_queries, num_keys, dtype=torch.bool)
    return ones.triu(num_keys - num_queries)


@causal_mask.mistake("""Your mask is inverted: True stands where attention is
forbidden. In this course True means *may attend*.""")
def inverted(num_queries: int, num_keys: int) -> Tensor:
    return ~causal_mask_reference(num_queries, num_keys)


@causal_mask.mistake("""Your shift has the wrong sign: it is num_keys - num_queries.
With more keys than queries, the first query already sees several keys.""")
def shifted_the_other_way(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, num_queries - num_keys)


@causal_mask.mistake("""With more queries than keys you align at the top left. The
shift num_keys - num_queries may be negative: then the first rows see nothing.""")
def shift_never_negative(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, max(0, num_keys - num_queries))


@causal_mask.mistake("""You use the size of the shift without its sign. With more
queries than keys the shift is negative, and the first rows see nothing.""")
def shift_without_sign(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, abs(num_keys - num_queries))


@causal_mask.mistake("""You let the empty rows see the first key. A row without any
allowed key stays all False: what becomes of it is the softmax's affair.""")
def empty_rows_see_first_key(num_queries: int, num_keys: int) -> Tensor:
    mask = causal_mask_reference(num_queries, num_keys)
    mask[:, 0] = True
    return mask


@causal_mask.mistake("""You let the empty rows see everything. A row without any
allowed key stays all False: what becomes of it is the softmax's affair.""")
def empty_rows_see_all(num_queries: int, num_keys: int) -> Tensor:
    mask = causal_mask_reference(num_queries, num_keys)
    return mask | ~mask.any(dim=1, keepdim=True)


@causal_mask.mistake("""Your mask has a row for each key. A row belongs to a query:
the shape is (num_queries, num_keys).""")
def sizes_swapped(num_queries: int, num_keys: int) -> Tensor:
    return causal_mask_reference(num_queries, num_keys).T


@causal_mask.mistake("""Your mask is square, with a side of num_keys. It has one row
for each query: (num_queries, num_keys).""")
def square_of_keys(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_keys, num_keys, 0)


@causal_mask.mistake("""Your mask is square, with a side of num_queries. It has one
column for each key: (num_queries, num_keys).""")
def square_of_queries(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_queries, 0)


@causal_mask.mistake("""Your mask holds numbers, 1 and 0. Return booleans: add
`dtype=torch.bool`, or compare. Torch would read a float mask as something to add to
the scores.""")
def float_mask(num_queries: int, num_keys: int) -> Tensor:
    return causal_mask_reference(num_queries, num_keys).float()


@causal_mask.mistake("""Your mask holds integers, 1 and 0. Return booleans: with
integers `~mask` is -1 or -2, and torch's attention refuses them.""")
def integer_mask(num_queries: int, num_keys: int) -> Tensor:
    return causal_mask_reference(num_queries, num_keys).long()


@causal_mask.mistake("""You return an additive mask, of 0 and -inf. That form comes
later, in `to_additive`; here return booleans, True for may attend.""")
def additive_mask(num_queries: int, num_keys: int) -> Tensor:
    may_attend = causal_mask_reference(num_queries, num_keys)
    return torch.zeros(may_attend.shape).masked_fill(~may_attend, float("-inf"))


@causal_mask.mistake("""Your mask has leading dimensions of 1. Return the matrix
(num_queries, num_keys): broadcasting adds them where they are needed.""")
def extra_dimensions(num_queries: int, num_keys: int) -> Tensor:
    return causal_mask_reference(num_queries, num_keys)[None, None]


@causal_mask.mistake("""You cut each row with a slice whose end is below zero when the
row should be empty: `mask[i, :-2]` counts from the end, and most of the row is filled.
Bound the end: `max(0, ...)`.""")
def negative_end(num_queries: int, num_keys: int) -> Tensor:
    mask = torch.zeros(num_queries, num_keys, dtype=torch.bool)
    for i in range(num_queries):
        mask[i, : i + num_keys - num_queries + 1] = True
    return mask


@causal_mask.mistake("""Your mask hides nothing: every query sees every key.""")
def all_visible(num_queries: int, num_keys: int) -> Tensor:
    return torch.ones(num_queries, num_keys, dtype=torch.bool)


@causal_mask.mistake("""Each of your queries sees one key only. It may see that key
and every one before it.""")
def diagonal_alone(num_queries: int, num_keys: int) -> Tensor:
    mask = causal_mask_reference(num_queries, num_keys)
    return mask & ~mask.tril(num_keys - num_queries - 1)


@causal_mask.mistake("""Your mask runs the wrong way: you turned the rows of a
top-left triangle over. Shift the diagonal by num_keys - num_queries instead.""")
def rows_reversed(num_queries: int, num_keys: int) -> Tensor:
    return _by_rule(num_queries, num_keys, num_keys - num_queries).flip(0)


# --------------------------------------------------------------------- padding_mask

padding_mask = Exercise("padding_mask")


@padding_mask.cases
def _(draw: Draw) -> Iterator[Sample]:
    def lengths(batch: int, num_keys: int) -> Tensor:
        """Different lengths of every size, none of them 0 or num_keys."""
        return draw.permutation(num_keys - 1)[:batch] + 1

    def with_ends(batch: int, num_keys: int) -> Tensor:
        found = draw.integers(1, num_keys, batch)
        found[draw.permutation(batch)[:2]] = torch.tensor([0, num_keys])
        return found

    yield call("three lengths", lengths(3, 7), 7)
    yield call("same sizes again", lengths(3, 7).flip(0) % 6 + 1, 7)
    yield call("as many items as keys", with_ends(5, 5), 5)
    yield call("more items than keys", draw.integers(0, 5, 18), 4)
    yield call(
        "nobody fills the row",
        torch.tensor([3, 2, 5, 1]),
        9,
        note="the longest item is shorter than num_keys",
    )
    yield call("one item", lengths(1, 40), 40)
    yield call("one key", torch.tensor([1, 0, 0, 1, 1]), 1)
    yield call(
        "ends",
        torch.tensor([8, 0, 4, 1, 7, 8]),
        8,
        note="lengths of 0 and of num_keys among them",
    )
    yield call("all full", torch.tensor([6, 6, 6]), 6, note="nothing is padding")
    yield call("all empty", torch.tensor([0, 0]), 3, note="everything is padding")
    yield call(
        "not contiguous",
        noncontiguous(with_ends(4, 10)),
        10,
        aspect="robustness",
        note="the lengths do not lie side by side in memory",
    )


@padding_mask.reference
def padding_mask_reference(lengths: Tensor, num_keys: int) -> Tensor:
    return torch.arange(num_keys, device=lengths.device) >= lengths[:, None]


@padding_mask.alternative
def item_by_item(lengths: Tensor, num_keys: int) -> Tensor:
    mask = torch.zeros(len(lengths), num_keys, dtype=torch.bool, device=lengths.device)
    for item, length in enumerate(lengths.tolist()):
        mask[item, length:] = True
    return mask


@padding_mask.alternative
def not_real(lengths: Tensor, num_keys: int) -> Tensor:
    places = torch.arange(num_keys, device=lengths.device).expand(len(lengths), -1)
    return ~(places < lengths.unsqueeze(-1))


@padding_mask.alternative
def by_counting(lengths: Tensor, num_keys: int) -> Tensor:
    marks = torch.zeros(
        lengths.shape[0], num_keys + 1, dtype=torch.long, device=lengths.device
    )
    marks.scatter_(1, lengths.unsqueeze(1), 1)
    return marks.cumsum(dim=1)[:, :num_keys].bool()


@padding_mask.alternative
def from_lists(lengths: Tensor, num_keys: int) -> Tensor:
    rows = [[j >= int(length) for j in range(num_keys)] for length in lengths]
    return torch.tensor(rows, device=lengths.device)


@padding_mask.alternative
def padded_sequences(lengths: Tensor, num_keys: int) -> Tensor:
    full = torch.ones(num_keys, device=lengths.device)
    rows = [full[: int(n)] for n in lengths]
    padded = nn.utils.rnn.pad_sequence([full, *rows], batch_first=True)
    return padded[1:] == 0


@padding_mask.mistake("""Your mask is inverted: True stands on the real tokens. A
key_padding_mask says what *is padding*.""")
def padding_inverted(lengths: Tensor, num_keys: int) -> Tensor:
    return ~padding_mask_reference(lengths, num_keys)


@padding_mask.mistake("""Your mask begins one key too late. An item of length n has
tokens 0 to n - 1, so key n is padding already: compare with >=.""")
def begins_too_late(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths + 1, num_keys)


@padding_mask.mistake("""Your mask begins one key too early: the last real token is
called padding. An item of length n has tokens 0 to n - 1.""")
def begins_too_early(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths - 1, num_keys)


@padding_mask.mistake("""Your mask is as wide as the longest item. Make it num_keys
wide: the batch may be padded further than its longest item.""")
def width_of_longest(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, int(lengths.max()))


@padding_mask.mistake("""Your padding stands on the left. The real tokens come first,
keys 0 to length - 1, and the padding after them.""")
def padding_on_the_left(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys).flip(1)


@padding_mask.mistake("""Your mask has a row for each key. A row belongs to an item of
the batch: (B, num_keys).""")
def keys_first(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys).T


@padding_mask.mistake("""You compare `arange(num_keys)` with `lengths` as it is: key j
meets length j. Give lengths a second dimension, `lengths[:, None]`, so that every key
meets every length.""")
def without_new_axis(lengths: Tensor, num_keys: int) -> Tensor:
    return torch.arange(num_keys, device=lengths.device) >= lengths


@padding_mask.mistake("""You use the first item's length for the whole batch. Each
item has its own.""")
def first_length_for_all(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths[:1].expand(len(lengths)), num_keys)


@padding_mask.mistake("""You use the longest length for the whole batch. Each item
has its own.""")
def longest_for_all(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths.max().expand(len(lengths)), num_keys)


@padding_mask.mistake("""You mark the last num_keys - length keys with a slice that
counts from the end. For an item without padding that is `[-0:]`, which is the whole
row. Count from the front: `[length:]`.""")
def slice_from_the_end(lengths: Tensor, num_keys: int) -> Tensor:
    mask = torch.zeros(len(lengths), num_keys, dtype=torch.bool, device=lengths.device)
    for item, length in enumerate(lengths.tolist()):
        mask[item, -(num_keys - length) :] = True
    return mask


@padding_mask.mistake("""You removed the dimension of the batch (`squeeze`, or `[0]`). A
batch of one keeps it: (1, num_keys).""")
def batch_squeezed(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys).squeeze(0)


@padding_mask.mistake("""Your mask holds numbers, 1 and 0. Return booleans: torch
would add a float mask to the scores.""")
def float_padding(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys).float()


@padding_mask.mistake("""Your mask holds integers, 1 and 0. Return booleans: with
integers `~mask` is -1 or -2.""")
def integer_padding(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys).long()


@padding_mask.mistake("""You return an additive mask, of 0 and -inf. Return booleans,
True for padding.""")
def additive_padding(lengths: Tensor, num_keys: int) -> Tensor:
    is_padding = padding_mask_reference(lengths, num_keys)
    zeros = torch.zeros(is_padding.shape, device=lengths.device)
    return zeros.masked_fill(is_padding, float("-inf"))


@padding_mask.mistake("""You keep one key in an empty item. A length of 0 means that
every key is padding.""")
def empty_item_keeps_a_key(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths.clamp(min=1), num_keys)


@padding_mask.mistake("""You treat a length of 0 as "not given", and mask nothing. It
means that every key is padding.""")
def zero_means_full(lengths: Tensor, num_keys: int) -> Tensor:
    full = lengths.masked_fill(lengths == 0, num_keys)
    return padding_mask_reference(full, num_keys)


@padding_mask.mistake("""Your mask has dimensions of 1 for heads and queries. Return
(B, num_keys); `combine_masks` adds them.""")
def four_dimensions(lengths: Tensor, num_keys: int) -> Tensor:
    return padding_mask_reference(lengths, num_keys)[:, None, None, :]


@padding_mask.mistake("""Your mask has a matrix for each item. Padding is a property
of keys alone: (B, num_keys).""")
def matrix_per_item(lengths: Tensor, num_keys: int) -> Tensor:
    mask = padding_mask_reference(lengths, num_keys)
    return mask[:, None, :].expand(-1, num_keys, -1)


@padding_mask.mistake("""You marked one key per item, the first after its end. All
keys from there on are padding.""")
def one_key_marked(lengths: Tensor, num_keys: int) -> Tensor:
    return torch.arange(num_keys, device=lengths.device) == lengths[:, None]


@padding_mask.mistake("""You change `lengths` in place. Whoever called you still needs
it: write `lengths - 1`, not `lengths -= 1`.""")
def lengths_changed(lengths: Tensor, num_keys: int) -> Tensor:
    result = padding_mask_reference(lengths, num_keys)
    lengths -= 1
    return result


# -------------------------------------------------------------------- combine_masks

combine_masks = Exercise("combine_masks")


@combine_masks.cases
def _(draw: Draw) -> Iterator[Sample]:
    def causal(num_queries: int, num_keys: int) -> Tensor:
        return _by_rule(num_queries, num_keys, num_keys - num_queries)

    yield call("all sizes different", draw.mask(4, 5), draw.mask(3, 5))
    yield call("same sizes again", draw.mask(4, 5), draw.mask(3, 5))
    yield call("as many queries as keys", draw.mask(6, 6), draw.mask(2, 6))
    yield call("as many items as queries", draw.mask(4, 7), draw.mask(4, 7))
    yield call("all sizes alike", draw.mask(3, 3), draw.mask(3, 3))
    yield call("one item", draw.mask(18, 20), draw.mask(1, 20))
    yield call("one query", draw.mask(1, 34), draw.mask(11, 34))
    yield call(
        "one key",
        torch.tensor([[True], [False], [True]]),
        torch.tensor([[False], [True]]),
    )
    yield call(
        "causal and padded at the end",
        causal(7, 7),
        padding_mask_reference(torch.tensor([7, 3, 5, 1]), 7),
        note="a causal mask, and items of different lengths",
    )
    yield call(
        "empty rows",
        causal(6, 4),
        torch.tensor([[True] * 4, [True, False, True, False], [False] * 4]),
        aspect="masks",
        note="some queries may see no key at all",
    )
    yield call(
        "padding at the start",
        causal(5, 5),
        torch.tensor([[True, True, False, False, False], [False] * 5]),
        aspect="masks",
        note="padding stands before the tokens, so the first rows are empty",
    )
    yield call(
        "no padding",
        draw.mask(5, 8),
        torch.zeros(2, 8, dtype=torch.bool),
        aspect="masks",
        note="nothing is padding",
    )
    yield call(
        "everything allowed",
        torch.ones(4, 6, dtype=torch.bool),
        draw.mask(3, 6),
        aspect="masks",
        note="attn_mask allows everything",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.mask(5, 4)),
        noncontiguous(draw.mask(3, 4)),
        aspect="robustness",
        note="the masks are transposed views",
    )


@combine_masks.reference
def combine_masks_reference(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask & ~key_padding_mask[:, None, None, :]


@combine_masks.alternative
def forbidden_or(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    forbidden = ~attn_mask[None, None] | key_padding_mask.unsqueeze(1).unsqueeze(2)
    return ~forbidden


@combine_masks.alternative
def filled(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    batch, keys = key_padding_mask.shape
    wide = attn_mask.expand(batch, 1, -1, -1)
    return wide.masked_fill(key_padding_mask.view(batch, 1, 1, keys), False)


@combine_masks.alternative
def filled_by_slices(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    items = []
    for is_padding in key_padding_mask:
        item = attn_mask.clone()
        item[:, is_padding] = False
        items.append(item)
    return torch.stack(items).unsqueeze(1)


@combine_masks.alternative
def by_einsum(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    real = (~key_padding_mask).float()
    return torch.einsum("qk,bk->bqk", attn_mask.float(), real)[:, None] > 0.5


@combine_masks.alternative
def by_entries(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    allowed, padding = attn_mask.tolist(), key_padding_mask.tolist()
    result = [
        [[a and not p for a, p in zip(row, item, strict=True)] for row in allowed]
        for item in padding
    ]
    return torch.tensor(result, device=attn_mask.device).unsqueeze(1)


@combine_masks.alternative
def by_where(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    padding = key_padding_mask[:, None, None]
    return torch.where(padding, torch.zeros_like(attn_mask), attn_mask)


@combine_masks.mistake("""You forgot to turn the padding mask around. It says what *is
padding*, attn_mask says what *may* be seen: combine with `~key_padding_mask`.""")
def padding_not_inverted(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask & key_padding_mask[:, None, None, :]


@combine_masks.mistake("""You combined with OR: a key is visible if either mask allows
it. Both have to: use AND, `&`.""")
def either_allows(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask | ~key_padding_mask[:, None, None, :]


@combine_masks.mistake("""You took OR of the two masks as they are, although True means
may attend in one and padding in the other. Invert the padding mask and use AND.""")
def or_without_inversion(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask | key_padding_mask[:, None, None, :]


@combine_masks.mistake("""Your result is inverted: True stands where attention is
forbidden. Return True for may attend.""")
def result_inverted(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return ~combine_masks_reference(attn_mask, key_padding_mask)


@combine_masks.mistake("""You read attn_mask as "True is forbidden". In this course
True in attn_mask means *may attend*; only the padding mask has to be inverted.""")
def attn_mask_inverted(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return ~attn_mask & ~key_padding_mask[:, None, None, :]


@combine_masks.mistake("""You inverted attn_mask, and left the padding mask as it is.
It is the other way round: True means *may attend* in attn_mask and *is padding* in
key_padding_mask.""")
def wrong_one_inverted(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return ~attn_mask & key_padding_mask[:, None, None, :]


@combine_masks.mistake("""The second mask overwrites the first: your result is the
padding alone, attn_mask has no effect.""")
def padding_overwrites(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    shape = (len(key_padding_mask), 1, *attn_mask.shape)
    return (~key_padding_mask[:, None, None, :]).expand(shape)


@combine_masks.mistake("""Your result is attn_mask alone: the padding has no effect.""")
def padding_ignored(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask.expand(len(key_padding_mask), 1, *attn_mask.shape)


@combine_masks.mistake("""You mask the padded *queries* as well, with a second copy of
the padding mask. A key_padding_mask hides keys only; what padded queries compute is
thrown away later, and their empty rows are trouble.""")
def queries_padded_too(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    both = combine_masks_reference(attn_mask, key_padding_mask)
    return both & ~key_padding_mask[:, None, :, None]


@combine_masks.mistake("""You mask the padded *queries* and not the keys: the padding
lies on the row axis. Put it on the last axis, `key_padding_mask[:, None, None, :]`.""")
def queries_padded(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask & ~key_padding_mask[:, None, :, None]


@combine_masks.mistake("""You use the first item's padding for the whole batch. Each
item has its own.""")
def first_item_for_all(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(
        attn_mask, key_padding_mask[:1].expand_as(key_padding_mask)
    )


@combine_masks.mistake("""Your result has no axis for the heads: return (B, 1, Nq, Nk).
Without the 1, torch would line up the batch with the heads.""")
def no_head_axis(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(attn_mask, key_padding_mask)[:, 0]


@combine_masks.mistake("""The axis of length 1 stands before the batch. It is for the
heads, so it comes second: (B, 1, Nq, Nk).""")
def head_axis_first(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(attn_mask, key_padding_mask).transpose(0, 1)


@combine_masks.mistake("""You combine (Nq, Nk) with (B, Nk) as they are: query i meets
item i. Give the padding mask axes for heads and queries first,
`key_padding_mask[:, None, None, :]`.""")
def lined_up_with_queries(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return (attn_mask & ~key_padding_mask)[None, None]


@combine_masks.mistake("""You mask a key for the whole batch if it is padding in any
item. Each item has its own padding.""")
def padding_of_any_item(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    anywhere = key_padding_mask.any(dim=0, keepdim=True)
    return combine_masks_reference(attn_mask, anywhere.expand_as(key_padding_mask))


@combine_masks.mistake("""Your rows and columns have changed places: return (B, 1, Nq,
Nk), a row for each query.""")
def rows_and_columns_swapped(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(attn_mask, key_padding_mask).mT


@combine_masks.mistake("""You leave an item that is nothing but padding unmasked. Mask
it like every other: its rows are empty, and `masked_softmax` deals with them.""")
def padded_item_unmasked(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    nothing_else = key_padding_mask.all(dim=1, keepdim=True)
    return combine_masks_reference(attn_mask, key_padding_mask & ~nothing_else)


@combine_masks.mistake("""You combined with XOR. A key may be seen if attn_mask allows
it AND it is not padding.""")
def exclusive_or(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return attn_mask ^ key_padding_mask[:, None, None, :]


@combine_masks.mistake("""You opened rows in which nothing is allowed. Leave them
empty: `masked_softmax` deals with them.""")
def empty_rows_opened(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    both = combine_masks_reference(attn_mask, key_padding_mask)
    return both | ~both.any(dim=-1, keepdim=True)


@combine_masks.mistake("""Your result holds numbers. Return booleans, True for may
attend: combine with `&`, not `*`.""")
def float_result(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(attn_mask, key_padding_mask).float()


@combine_masks.mistake("""Your result holds integers. Return booleans, True for may
attend.""")
def integer_result(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    return combine_masks_reference(attn_mask, key_padding_mask).long()


@combine_masks.mistake("""You return an additive mask, of 0 and -inf. Return booleans,
True for may attend.""")
def additive_result(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    both = combine_masks_reference(attn_mask, key_padding_mask)
    zeros = torch.zeros(both.shape, device=both.device)
    return zeros.masked_fill(~both, float("-inf"))


@combine_masks.mistake("""You change a mask in place (`&=`, `logical_not_` or an
assignment). The caller uses it again in the next layer: make a new tensor.""")
def mask_changed(attn_mask: Tensor, key_padding_mask: Tensor) -> Tensor:
    result = combine_masks_reference(attn_mask, key_padding_mask)
    key_padding_mask.logical_not_()
    return result


# ------------------------------------------------------------------- masked_softmax

masked_softmax = Exercise("masked_softmax")


@masked_softmax.cases
def _(draw: Draw) -> Iterator[Sample]:
    def with_empty_rows(*shape: int) -> Tensor:
        """A mask whose first matrix has an empty row; so has the last, another one."""
        mask = draw.mask(*shape)
        matrices = mask.view(-1, *shape[-2:])
        matrices[0, 0] = False
        matrices[-1, -1] = False
        return mask

    yield call("one mask for all", draw.normal(2, 3, 4, 5), draw.mask(4, 5))
    yield call("same sizes again", draw.normal(2, 3, 4, 5), draw.mask(4, 5))
    yield call("a mask for each item", draw.normal(3, 2, 5, 6), draw.mask(3, 1, 5, 6))
    yield call("a mask for each head", draw.normal(2, 9, 3, 7), draw.mask(2, 9, 3, 7))
    yield call("no batch", draw.normal(5, 36), draw.mask(5, 36))
    yield call("no heads", draw.normal(4, 6, 3), draw.mask(4, 6, 3))
    yield call(
        "padding only",
        draw.normal(11, 2, 3, 6),
        draw.mask(11, 1, 1, 6),
        note="a mask of shape (B, 1, 1, Nk)",
    )
    yield call(
        "as many items as queries and keys",
        draw.normal(4, 4, 4, 4, scale=2.0),
        draw.mask(4, 1, 4, 4),
    )
    yield call("one item", draw.normal(1, 2, 18, 4), draw.mask(1, 1, 18, 4))
    yield call(
        "nothing masked",
        draw.normal(2, 3, 5, 4),
        torch.ones(5, 4, dtype=torch.bool),
        note="the mask allows everything",
    )
    yield call(
        "empty rows",
        draw.normal(2, 3, 4, 6),
        with_empty_rows(4, 6),
        aspect="masks",
        note="some rows are fully masked",
    )
    yield call(
        "empty rows of some items",
        draw.normal(3, 2, 5, 4),
        with_empty_rows(3, 1, 5, 4),
        aspect="masks",
        note="some rows of some items are fully masked",
    )
    yield call(
        "empty rows of some heads",
        draw.normal(2, 3, 4, 5, scale=3.0),
        with_empty_rows(2, 3, 4, 5),
        aspect="masks",
        note="some rows of some heads are fully masked",
    )
    padding = torch.tensor([[True] * 4, [False] * 4, [True, False, True, True]])
    yield call(
        "an item of padding only",
        draw.normal(3, 2, 5, 4),
        padding[:, None, None, :].expand(3, 1, 5, 4).clone(),
        aspect="masks",
        note="one item is fully masked",
    )
    yield call(
        "everything masked",
        draw.normal(2, 1, 3, 5),
        torch.zeros(3, 5, dtype=torch.bool),
        aspect="masks",
        note="everything is masked",
    )
    yield call(
        "one key",
        draw.normal(2, 3, 2, 1),
        torch.tensor([[True], [False]]),
        aspect="masks",
        note="one key, visible to one query only",
    )
    for name, height in (("large", 40.0), ("larger", 1e6), ("huge", 1e30)):
        mask = with_empty_rows(2, 1, 4, 5)
        scores = draw.normal(2, 3, 4, 5)
        heights = draw.uniform(2, 3, 4, 5, low=0.5, high=1.0) * height
        yield call(
            f"{name} masked scores",
            torch.where(mask, scores, heights),
            mask,
            aspect="masks",
            note=f"masked scores of about {height:g}",
        )
    mask = with_empty_rows(5, 6)
    largest = torch.finfo(torch.float64).max
    yield call(
        "the largest masked scores",
        draw.normal(2, 2, 5, 6).masked_fill(~mask, largest),
        mask,
        aspect="masks",
        note="each masked score is the largest number of its dtype",
    )
    mask = with_empty_rows(2, 1, 4, 6)
    yield call(
        "masked scores of both signs",
        torch.where(mask, draw.normal(2, 3, 4, 6), draw.normal(2, 3, 4, 6, scale=1e20)),
        mask,
        aspect="masks",
        note="huge masked scores, positive and negative",
    )
    mask = with_empty_rows(3, 1, 4, 5)
    yield call(
        "large scores",
        draw.normal(3, 2, 4, 5, scale=2000.0),
        mask,
        aspect="robustness",
        note="scores of several thousand, where exp overflows",
    )
    yield call(
        "very negative scores",
        draw.normal(2, 3, 5, 4) - 50_000.0,
        with_empty_rows(2, 1, 5, 4),
        aspect="robustness",
        note="all scores lie near -50000, where a fill of -10000 would win",
    )
    yield call(
        "very positive scores",
        draw.normal(2, 2, 3, 5) + 50_000.0,
        with_empty_rows(2, 1, 3, 5),
        aspect="robustness",
        note="all scores lie near 50000",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 3, 5, 6)),
        noncontiguous(with_empty_rows(2, 1, 5, 6)),
        aspect="robustness",
        note="scores and mask are transposed views",
    )
    for dtype, height in ((torch.float32, 1e30), (torch.float16, 60_000.0)):
        name = str(dtype).removeprefix("torch.")
        mask = with_empty_rows(2, 1, 4, 5)
        yield call(
            name,
            draw.normal(2, 3, 4, 5).masked_fill(~mask, height).to(dtype),
            mask,
            aspect="robustness",
            gradients=False,
            note=f"{name}, masked scores of {height:g}",
        )


@masked_softmax.reference
def masked_softmax_reference(scores: Tensor, attn_mask: Tensor) -> Tensor:
    mask = attn_mask.expand_as(scores)
    not_empty = mask.any(dim=-1, keepdim=True)
    visible = scores.masked_fill(~mask & not_empty, float("-inf"))
    return visible.masked_fill(~not_empty, 0.0).softmax(dim=-1) * not_empty


@masked_softmax.alternative
def zeros_after_softmax(scores: Tensor, attn_mask: Tensor) -> Tensor:
    weights = scores.masked_fill(~attn_mask, float("-inf")).softmax(dim=-1)
    return weights.masked_fill(~attn_mask, 0.0)


@masked_softmax.alternative
def nan_to_zero(scores: Tensor, attn_mask: Tensor) -> Tensor:
    hidden = torch.full_like(scores, float("-inf"))
    return torch.where(attn_mask, scores, hidden).softmax(-1).nan_to_num(0.0)


@masked_softmax.alternative
def lowest_number(scores: Tensor, attn_mask: Tensor) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~attn_mask, lowest), dim=-1) * attn_mask


@masked_softmax.alternative
def additive_with_open_rows(scores: Tensor, attn_mask: Tensor) -> Tensor:
    not_empty = attn_mask.any(dim=-1, keepdim=True)
    opened = attn_mask | ~not_empty
    bias = torch.zeros(opened.shape, dtype=scores.dtype, device=scores.device)
    weights = (scores + bias.masked_fill(~opened, float("-inf"))).softmax(dim=-1)
    return torch.where(not_empty, weights, torch.zeros_like(weights))


@masked_softmax.alternative
def exp_by_hand(scores: Tensor, attn_mask: Tensor) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    visible = torch.where(attn_mask, scores, lowest)
    shift = visible.amax(dim=-1, keepdim=True).detach()
    exponent = torch.where(attn_mask, scores - shift, float("-inf"))
    total = exponent.exp().sum(dim=-1, keepdim=True)
    return exponent.exp() / torch.where(total > 0, total, torch.ones_like(total))


@masked_softmax.alternative
def row_by_row_softmax(scores: Tensor, attn_mask: Tensor) -> Tensor:
    number = scores.shape[-1]
    rows = []
    masks = attn_mask.expand(scores.shape).reshape(-1, number)
    for row, mask in zip(scores.reshape(-1, number), masks, strict=True):
        places = mask.nonzero()[:, 0]
        weights = torch.zeros_like(row)
        if len(places):
            weights = weights.index_put((places,), row[places].softmax(0))
        rows.append(weights)
    return torch.stack(rows).view(scores.shape)


@masked_softmax.alternative
def torch_masked_in_float64(scores: Tensor, attn_mask: Tensor) -> Tensor:
    visible = scores.double().masked_fill(attn_mask.logical_not(), -torch.inf)
    weights = torch.exp(visible - visible.logsumexp(dim=-1, keepdim=True))
    return weights.where(attn_mask, 0.0).to(scores.dtype)


def _filled(scores: Tensor, attn_mask: Tensor, value: float) -> Tensor:
    return scores.masked_fill(~attn_mask, value).softmax(dim=-1)


@masked_softmax.mistake("""A fully masked row comes out as NaN: softmax of nothing but
-inf is 0/0. Such a row has to give zeros.""")
def nan_row(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, float("-inf"))


@masked_softmax.mistake("""Your mask is inverted: you kept what is forbidden. True
means may attend; fill where `~attn_mask`.""")
def mask_inverted(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return masked_softmax_reference(scores, ~attn_mask)


@masked_softmax.mistake("""You inverted the mask, and fully masked rows are NaN. True
means may attend; fill where `~attn_mask`, and then see to empty rows.""")
def mask_inverted_nan(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return scores.masked_fill(attn_mask, float("-inf")).softmax(dim=-1)


@masked_softmax.mistake("""You multiply the scores with the mask: that sets masked
scores to 0, and exp(0) = 1 is a good weight. Set them to -inf.""")
def scores_times_mask(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return (scores * attn_mask).softmax(dim=-1)


@masked_softmax.mistake("""You set masked scores to 0 before the softmax, and zero their
weights after it. In between they took their share of the row, as exp(0) = 1: fill
with -inf.""")
def filled_with_zero(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return (scores * attn_mask).softmax(dim=-1) * attn_mask


@masked_softmax.mistake("""You mask after the softmax: the masked keys have taken their
share already, and the rows no longer sum to 1. Mask the scores.""")
def masked_after(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return scores.softmax(dim=-1) * attn_mask


@masked_softmax.mistake("""You mask after the softmax and divide by the new sum. A large
masked score leaves nothing to divide: everything else has underflowed to 0. Mask the
scores.""")
def masked_after_and_rescaled(scores: Tensor, attn_mask: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * attn_mask
    return weights / weights.sum(dim=-1, keepdim=True)


@masked_softmax.mistake("""You mask too late: a large masked score takes part before you
hide it, in the softmax's sum or as the maximum that you subtract. Everything else
underflows, and the row gives zeros although keys are left. Mask the scores first.""")
def masked_after_and_patched(scores: Tensor, attn_mask: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * attn_mask
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))


@masked_softmax.mistake("""You fill with -10. That is a score like another: masked keys
keep a small weight. Fill with -inf.""")
def filled_with_minus_ten(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, -10.0)


@masked_softmax.mistake("""You fill with -10000. Real scores may lie below that, and a
fully masked row comes out uniform. Fill with -inf.""")
def filled_with_minus_1e4(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, -1e4)


@masked_softmax.mistake("""You fill with -10000 and clear the masked weights afterwards.
Where all real scores lie below -10000 the masked keys take everything first. Fill with
-inf.""")
def filled_with_minus_1e4_and_cleared(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, -1e4) * attn_mask


@masked_softmax.mistake("""You fill with -1e9: a fully masked row comes out uniform, and
float16 cannot hold the number. Fill with -inf, and see to empty rows.""")
def filled_with_minus_1e9(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, -1e9)


@masked_softmax.mistake("""You fill with -1e9, which float16 cannot hold: its lowest
number is -65504. Fill with -inf.""")
def minus_1e9_in_half(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, -1e9) * attn_mask


@masked_softmax.mistake("""A fully masked row comes out uniform: all its scores got the
same lowest number. Such a row has to give zeros.""")
def uniform_row(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return _filled(scores, attn_mask, torch.finfo(scores.dtype).min)


@masked_softmax.mistake("""You *add* -1e9 to masked scores. A masked score of 1e30 does
not notice. Replace masked scores, or add -inf.""")
def minus_1e9_added(scores: Tensor, attn_mask: Tensor) -> Tensor:
    bias = (~attn_mask).to(scores.dtype) * -1e9
    return (scores + bias).softmax(dim=-1)


@masked_softmax.mistake("""You *add* -1e9 to masked scores, and clear their weights
afterwards. A masked score of 1e30 does not notice, and takes the whole row. Replace
masked scores, or add -inf.""")
def minus_1e9_added_and_cleared(scores: Tensor, attn_mask: Tensor) -> Tensor:
    bias = (~attn_mask).to(scores.dtype) * -1e9
    return (scores + bias).softmax(dim=-1) * attn_mask


@masked_softmax.mistake("""You add the lowest number to masked scores: with a huge
masked score that is an ordinary score again. Replace masked scores, or add -inf.""")
def lowest_added(scores: Tensor, attn_mask: Tensor) -> Tensor:
    bias = (~attn_mask).to(scores.dtype) * torch.finfo(scores.dtype).min
    return (scores + bias).softmax(dim=-1) * attn_mask


@masked_softmax.mistake("""You add the mask itself, as 1 and 0: allowed keys get a bonus
of 1, nothing is hidden. Fill masked scores with -inf.""")
def mask_added_as_float(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return (scores + attn_mask).softmax(dim=-1)


@masked_softmax.mistake("""Your values are right, but the gradient of a fully masked row
is NaN: you added -inf and patched the NaN afterwards. Replace masked scores
(`masked_fill`), which cuts their gradient, or open empty rows before the softmax.""")
def nan_in_gradient(scores: Tensor, attn_mask: Tensor) -> Tensor:
    zeros = torch.zeros(attn_mask.shape, dtype=scores.dtype, device=scores.device)
    bias = zeros.masked_fill(~attn_mask, float("-inf"))
    return (scores + bias).softmax(dim=-1).nan_to_num(0.0)


@masked_softmax.mistake("""You multiply `~attn_mask` with -inf: where the mask allows,
that is 0 · inf = NaN. Use `masked_fill` or `torch.where`.""")
def zero_times_infinity(scores: Tensor, attn_mask: Tensor) -> Tensor:
    bias = (~attn_mask).to(scores.dtype) * float("-inf")
    return (scores + bias).softmax(dim=-1)


@masked_softmax.mistake(
    """You shift by the largest of *all* scores, masked ones included.""",
    same_as="masked_after_and_patched",
)
def shifted_by_masked_maximum(scores: Tensor, attn_mask: Tensor) -> Tensor:
    exponent = (scores - scores.amax(dim=-1, keepdim=True)).exp() * attn_mask
    total = exponent.sum(dim=-1, keepdim=True)
    return exponent / total.clamp(min=torch.finfo(scores.dtype).tiny)


@masked_softmax.mistake("""You mask after the softmax, and rescale with a small number
in the denominator. Where masked scores are huge, nothing is left to rescale; and every
weight comes out a little too small. Mask the scores, before the softmax.""")
def masked_after_with_epsilon(scores: Tensor, attn_mask: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * attn_mask
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)


@masked_softmax.mistake("""You write into `scores[~attn_mask]`. An index needs a mask of
the same shape; yours may be smaller, for all items or heads. `masked_fill` and
`torch.where` broadcast it, and leave the caller's scores as they are.""")
def indexed_by_mask(scores: Tensor, attn_mask: Tensor) -> Tensor:
    filled = scores.clone()
    filled[~attn_mask] = float("-inf")
    return filled.softmax(dim=-1).masked_fill(~attn_mask, 0.0)


@masked_softmax.mistake("""The sum in the denominator is cut off from the graph
(`detach`). The values are right, the gradient is not: every score also acts through
the sum.""")
def denominator_detached(scores: Tensor, attn_mask: Tensor) -> Tensor:
    visible = scores.masked_fill(~attn_mask, float("-inf"))
    top = visible.detach().amax(dim=-1, keepdim=True).nan_to_num(neginf=0.0)
    exponent = (visible - top).exp()
    total = exponent.sum(dim=-1, keepdim=True).detach()
    return exponent / torch.where(total > 0, total, torch.ones_like(total))


@masked_softmax.mistake("""You take `exp` of the scores as they are, which overflows.
Subtract the largest visible score of each row first, or use softmax.""")
def exp_without_shift(scores: Tensor, attn_mask: Tensor) -> Tensor:
    exponent = scores.masked_fill(~attn_mask, float("-inf")).exp()
    total = exponent.sum(dim=-1, keepdim=True)
    return exponent / torch.where(total > 0, total, torch.ones_like(total))


@masked_softmax.mistake("""Your softmax runs over the queries, dim=-2. Each query shares
out its own attention: dim=-1.""")
def over_queries(scores: Tensor, attn_mask: Tensor) -> Tensor:
    filled = scores.masked_fill(~attn_mask, float("-inf"))
    return filled.softmax(dim=-2).nan_to_num(0.0)


@masked_softmax.mistake("""Your softmax runs over dim=1, which are the heads if there
are any. Use dim=-1, the keys.""")
def over_dim_one(scores: Tensor, attn_mask: Tensor) -> Tensor:
    filled = scores.masked_fill(~attn_mask, float("-inf"))
    return filled.softmax(dim=1).nan_to_num(0.0)


@masked_softmax.mistake("""You use the first item's mask for the whole batch. A mask of
shape (B, 1, Nq, Nk) or (B, H, Nq, Nk) says something else for each.""")
def first_mask_for_all(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return masked_softmax_reference(scores, attn_mask[:1])


@masked_softmax.mistake("""You use one head's mask for all heads. A mask of shape
(B, H, Nq, Nk) has one for each.""")
def first_head_for_all(scores: Tensor, attn_mask: Tensor) -> Tensor:
    mask = attn_mask[:, :1] if attn_mask.dim() == 4 else attn_mask
    return masked_softmax_reference(scores, mask)


@masked_softmax.mistake("""Your result does not depend on the mask: it is the plain
softmax of the scores.""")
def mask_ignored(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return scores.softmax(dim=-1)


@masked_softmax.mistake("""You return the masked scores. Take the softmax of them.""")
def softmax_forgotten(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return scores.masked_fill(~attn_mask, float("-inf"))


@masked_softmax.mistake("""A fully masked row gives its whole weight to the first key.
It has nobody to attend to: all zeros.""")
def empty_row_sees_first_key(scores: Tensor, attn_mask: Tensor) -> Tensor:
    opened = attn_mask.clone()
    opened[..., 0] |= ~attn_mask.any(dim=-1)
    return masked_softmax_reference(scores, opened)


@masked_softmax.mistake("""In a fully masked row you fall back on the scores as if there
were no mask. It has nobody to attend to: all zeros.""")
def empty_row_unmasked(scores: Tensor, attn_mask: Tensor) -> Tensor:
    opened = attn_mask | ~attn_mask.any(dim=-1, keepdim=True)
    return masked_softmax_reference(scores, opened)


@masked_softmax.mistake("""You add a small number to the denominator: every weight comes
out a little too small. Handle the empty row by itself.""")
def epsilon_in_denominator(scores: Tensor, attn_mask: Tensor) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    visible = scores.masked_fill(~attn_mask, lowest)
    shifted = visible - visible.amax(dim=-1, keepdim=True).detach()
    exponent = shifted.exp() * attn_mask
    return exponent / (exponent.sum(dim=-1, keepdim=True) + 1e-6)


@masked_softmax.mistake("""You fill the scores in place (`masked_fill_`, or an
assignment). The caller's scores are changed: use `masked_fill` or `torch.where`.""")
def in_place(scores: Tensor, attn_mask: Tensor) -> Tensor:
    scores.masked_fill_(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1).masked_fill(~attn_mask, 0.0)


@masked_softmax.mistake("""You compute in float32: float64 scores lose half their
digits, and the result has another dtype than the scores.""")
def cast_to_float32(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return masked_softmax_reference(scores.float(), attn_mask)


@masked_softmax.mistake("""You compute in float32 and convert back: float64 scores lose
half their digits on the way. Compute in the dtype of the scores, or in a wider one.""")
def through_float32(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return masked_softmax_reference(scores.float(), attn_mask).to(scores.dtype)


@masked_softmax.mistake("""The weights are cut off from the scores (`detach`, `.data`
or `no_grad`): no gradient can flow back.""")
def detached(scores: Tensor, attn_mask: Tensor) -> Tensor:
    return masked_softmax_reference(scores.detach(), attn_mask)


# ---------------------------------------------------------------------- to_additive

to_additive = Exercise("to_additive")


@to_additive.cases
def _(draw: Draw) -> Iterator[Sample]:
    half, single, double = torch.float16, torch.float32, torch.float64
    mask = draw.mask(4, 5)
    yield call("float64", mask, double)
    yield call("same sizes again", draw.mask(4, 5), double)
    yield call("float32", mask, single, note="the first mask again, in float32")
    yield call("float16", draw.mask(3, 7), half, note="float16, which ends at 65504")
    yield call("a mask for each item", draw.mask(2, 1, 5, 4), double)
    yield call("a mask for each head", draw.mask(3, 9, 4, 6), single)
    yield call("one item, half", draw.mask(1, 1, 6, 6), half)
    yield call("one row", draw.mask(1, 40), single)
    yield call("three dimensions", draw.mask(4, 3, 5), half)
    empty = draw.mask(5, 6)
    empty[0], empty[3] = False, True
    yield call(
        "empty row",
        empty,
        double,
        aspect="masks",
        note="one row is fully masked, one fully visible",
    )
    yield call(
        "all allowed",
        torch.ones(3, 4, dtype=torch.bool),
        single,
        aspect="masks",
        note="the mask allows everything",
    )
    yield call(
        "all forbidden",
        torch.zeros(2, 5, dtype=torch.bool),
        half,
        aspect="masks",
        note="the mask forbids everything",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.mask(5, 7)),
        double,
        aspect="robustness",
        note="the mask is a transposed view",
    )


@to_additive.reference
def to_additive_reference(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(attn_mask.shape, dtype=dtype, device=attn_mask.device)
    return zeros.masked_fill(~attn_mask, float("-inf"))


@to_additive.alternative
def logarithm(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return attn_mask.float().log().to(dtype)


@to_additive.alternative
def two_way_where(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(attn_mask, 0.0, -torch.inf).to(dtype)


@to_additive.alternative
def by_assignment(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    bias = torch.full_like(attn_mask, float("-inf"), dtype=dtype)
    bias[attn_mask] = 0
    return bias


@to_additive.alternative
def by_lists(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    flat = [0.0 if allowed else -np.inf for allowed in attn_mask.flatten().tolist()]
    bias = torch.tensor(flat, dtype=dtype, device=attn_mask.device)
    return bias.reshape(attn_mask.shape)


@to_additive.alternative
def lookup(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    table = torch.tensor([-torch.inf, 0.0], dtype=dtype, device=attn_mask.device)
    return table[attn_mask.long()]


@to_additive.mistake("""Your mask is inverted: you put -inf where attention is allowed.
True means may attend, and becomes 0.""")
def additive_inverted(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return to_additive_reference(~attn_mask, dtype)


@to_additive.mistake("""You only changed the dtype: 1 and 0. An additive mask has 0
where attention is allowed and -inf where it is not.""")
def cast_only(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return attn_mask.to(dtype)


@to_additive.mistake("""You return 0 for allowed and 1 for forbidden. Forbidden entries
have to be -inf: adding 1 to a score makes it larger.""")
def cast_of_inverse(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (~attn_mask).to(dtype)


@to_additive.mistake("""Your allowed entries are 1. They have to be 0: what is added to
an allowed score must not change it.""")
def ones_for_allowed(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return attn_mask.to(dtype).masked_fill(~attn_mask, float("-inf"))


@to_additive.mistake("""You multiply with -inf: 0 · inf is NaN. Choose between 0 and
-inf, with `masked_fill` or `torch.where`.""")
def zero_times_minus_inf(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (~attn_mask).to(dtype) * float("-inf")


@to_additive.mistake("""You use -1e9 in place of -inf. A masked score of 1e30 would not
notice, and float16 cannot hold the number.""")
def minus_1e9(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(attn_mask.shape, dtype=dtype, device=attn_mask.device)
    return zeros.masked_fill(~attn_mask, -1e9)


@to_additive.mistake("""You use -1e9 in place of -inf. A masked score of 1e30 would not
notice it.""")
def minus_1e9_converted(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(attn_mask, 0.0, -1e9).to(dtype)


@to_additive.mistake("""You use -10000 in place of -inf. Real scores may lie below
that.""")
def minus_1e4(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(attn_mask, 0.0, -1e4).to(dtype)


@to_additive.mistake("""You use -10 in place of -inf: masked keys would keep a small
weight.""")
def minus_ten(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(attn_mask, 0.0, -10.0).to(dtype)


@to_additive.mistake("""You use the dtype's lowest number in place of -inf. Added to a
huge masked score it gives an ordinary one.""")
def lowest_finite(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(attn_mask.shape, dtype=dtype, device=attn_mask.device)
    return zeros.masked_fill(~attn_mask, torch.finfo(dtype).min)


@to_additive.mistake("""Your forbidden entries are +inf: they would win every row. Use
-inf.""")
def plus_infinity(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return -to_additive_reference(attn_mask, dtype)


@to_additive.mistake("""You ignore `dtype` and always return float32. Added to float16
scores it would change their dtype; to float64 ones it need not be float32.""")
def always_float32(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return to_additive_reference(attn_mask, torch.float32)


@to_additive.mistake("""You ignore `dtype` and always return float64.""")
def always_float64(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return to_additive_reference(attn_mask, torch.float64)


@to_additive.mistake("""You use the first item's mask for the whole batch. Each item
has its own.""")
def first_of_batch(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    first = attn_mask[:1].expand_as(attn_mask) if attn_mask.dim() > 2 else attn_mask
    return to_additive_reference(first, dtype)


@to_additive.mistake("""Your rows and columns have changed places. Keep the shape of
the mask.""")
def transposed(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    return to_additive_reference(attn_mask.mT, dtype)


@to_additive.mistake("""You opened fully masked rows. Convert the mask as it is: every
False becomes -inf.""")
def empty_row_opened(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    opened = attn_mask | ~attn_mask.any(dim=-1, keepdim=True)
    return to_additive_reference(opened, dtype)


@to_additive.mistake("""You added leading dimensions to the mask. Keep its shape:
broadcasting adds what is missing.""")
def shape_widened(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    widened = attn_mask if attn_mask.dim() == 4 else attn_mask[None]
    return to_additive_reference(widened, dtype)


@to_additive.mistake("""You change the mask in place. The caller uses it again: make a
new tensor.""")
def boolean_mask_changed(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    result = to_additive_reference(attn_mask, dtype)
    attn_mask.logical_not_()
    return result

"""Chapter 07: sines and cosines, in one and two dimensions; rotations; resizing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_course.author.exercise import (
    Draw,
    Exercise,
    Sample,
    call,
    noncontiguous,
)

table = partial(call, gradients=False, tolerance=1e-4)
"""A case without a tensor among its inputs, whose result is a table."""

# ------------------------------------------------------------- sinusoidal_positions

sinusoidal_positions = Exercise("sinusoidal_positions")


@sinusoidal_positions.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield table("six channels", 5, 6)
    yield table("more channels than positions", 4, 18)
    yield table("more positions than channels", draw.integer(30, 40), 8)
    yield table("two channels", 7, 2)
    yield table("as many positions as channels", 10, 10)
    yield table("five channels", 6, 5, note="d_model is odd")
    yield table("eleven channels", 4, 11, note="d_model is odd")
    yield table("three channels", 9, 3, note="d_model is odd")
    yield table("one channel", 3, 1, note="d_model is odd: a single sine")
    yield table("one position", 1, 4, note="position 0 alone")
    yield table("fewer positions", 2, 6, note="fewer positions than asked for before")
    yield table("many positions", 150, 4, note="150 positions")


Waves = Callable[[int, int], tuple[Tensor, Tensor]]


def angles_of(
    positions: Tensor,
    d_model: int,
    *,
    base: float = 10000.0,
    exponent: Callable[[Tensor, int], Tensor] = lambda pair, d: 2 * pair / d,
) -> Tensor:
    """The angle (position, pair) for each pair of channels, in float64."""
    pair = torch.arange((d_model + 1) // 2, dtype=torch.float64)
    return positions.double()[:, None] / base ** exponent(pair, d_model)[None, :]


def interleave(even: Tensor, odd: Tensor, d_model: int) -> Tensor:
    return torch.stack([even, odd], dim=-1).flatten(-2)[..., :d_model]


def as_table(numbers: Tensor) -> Tensor:
    return numbers.to(torch.get_default_dtype())


def sinusoid(positions: Tensor, d_model: int, **change: Any) -> Tensor:
    angles = angles_of(positions, d_model, **change)
    return interleave(angles.sin(), angles.cos(), d_model)


@sinusoidal_positions.reference
def sinusoidal_reference(num_positions: int, d_model: int) -> Tensor:
    rows = [
        [
            (math.cos if channel % 2 else math.sin)(
                position / 10000 ** ((channel - channel % 2) / d_model)
            )
            for channel in range(d_model)
        ]
        for position in range(num_positions)
    ]
    return torch.tensor(rows, dtype=torch.float64).to(torch.get_default_dtype())


@sinusoidal_positions.alternative
def strided_assignment(num_positions: int, d_model: int) -> Tensor:
    pe = torch.zeros(num_positions, d_model)
    position = torch.arange(num_positions, dtype=torch.float).unsqueeze(1)
    div_term = torch.exp(
        torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model)
    )
    pe[:, 0::2] = torch.sin(position * div_term)
    pe[:, 1::2] = torch.cos(position * div_term[: d_model // 2])
    return pe


@sinusoidal_positions.alternative
def stacked_and_cut(num_positions: int, d_model: int) -> Tensor:
    frequency = 10000 ** (-torch.arange(0, d_model, 2) / d_model)
    angle = torch.outer(torch.arange(num_positions).to(frequency.dtype), frequency)
    both = torch.stack((angle.sin(), angle.cos()), dim=2)
    return both.reshape(num_positions, -1)[:, :d_model]


@sinusoidal_positions.alternative
def phase_shifted_sines(num_positions: int, d_model: int) -> Tensor:
    channel = torch.arange(d_model)
    frequency = torch.pow(10000.0, -(channel // 2 * 2) / d_model)
    angle = torch.arange(num_positions)[:, None] * frequency
    return torch.sin(angle + (channel % 2) * (math.pi / 2))


@sinusoidal_positions.alternative
def chosen_with_where(num_positions: int, d_model: int) -> Tensor:
    channel = torch.arange(d_model, dtype=torch.float64)
    position = torch.arange(num_positions, dtype=torch.float64)
    pair = torch.div(channel, 2, rounding_mode="floor")
    angle = position[:, None] / torch.pow(
        torch.tensor(10000.0, dtype=torch.float64), 2 * pair / d_model
    )
    out = torch.where(channel % 2 == 0, torch.sin(angle), torch.cos(angle))
    return out.to(torch.get_default_dtype())


@sinusoidal_positions.alternative
def complex_exponentials(num_positions: int, d_model: int) -> Tensor:
    half = math.ceil(d_model / 2)
    rates = torch.logspace(0, -4 * 2 * (half - 1) / d_model, half)
    turning = torch.polar(torch.ones(()), torch.arange(num_positions)[:, None] * rates)
    out = torch.empty(num_positions, 2 * half)
    out[:, ::2], out[:, 1::2] = turning.imag, turning.real
    return out[:, :d_model].clone()


@sinusoidal_positions.mistake("""Your exponent is i/d_model for pair i: the paper's is
2i/d_model. The slowest clock of your table is a hundred times too fast.""")
def exponent_i_for_2i(num_positions: int, d_model: int) -> Tensor:
    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=lambda i, d: i / d))


@sinusoidal_positions.mistake("""Your exponent is 4i/d_model: you doubled a number that
was even already. `torch.arange(0, d_model, 2)` is 2i.""")
def exponent_4i_for_2i(num_positions: int, d_model: int) -> Tensor:
    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=lambda i, d: 4 * i / d))


@sinusoidal_positions.mistake("""Each of your channels has a frequency of its own. Sine
and cosine of a pair share one: channels 2i and 2i + 1 both use 2i/d_model.""")
def every_channel_its_own_frequency(num_positions: int, d_model: int) -> Tensor:
    channel = torch.arange(d_model, dtype=torch.float64)
    angle = torch.arange(num_positions)[:, None] / 10000 ** (channel / d_model)
    return as_table(torch.where(channel % 2 == 0, angle.sin(), angle.cos()))


@sinusoidal_positions.mistake("""All sines come first and then all cosines. The paper
interleaves them: sine in the even channels, cosine in the odd ones.""")
def halves_instead_of_interleaved(num_positions: int, d_model: int) -> Tensor:
    angles = angles_of(torch.arange(num_positions), d_model)
    return as_table(torch.cat([angles.sin(), angles.cos()], dim=1)[:, :d_model])


@sinusoidal_positions.mistake("""An odd d_model fails: there is one sine more than
there are cosines. Cut the cosines, or the finished table, to fit.""")
def odd_width_crashes(num_positions: int, d_model: int) -> Tensor:
    pe = torch.zeros(num_positions, d_model)
    angles = angles_of(torch.arange(num_positions), d_model).float()
    pe[:, 0::2] = angles.sin()
    pe[:, 1::2] = angles.cos()
    return pe


@sinusoidal_positions.mistake("""You refuse an odd d_model. It works: the last sine has
no cosine beside it.""")
def odd_width_refused(num_positions: int, d_model: int) -> Tensor:
    if d_model % 2:
        raise ValueError("d_model must be even")
    return as_table(sinusoid(torch.arange(num_positions), d_model))


@sinusoidal_positions.mistake("""For an odd d_model your table has one channel too few
or too many: it is d_model wide, and the last channel is a sine.""")
def odd_width_one_too_wide(num_positions: int, d_model: int) -> Tensor:
    angles = angles_of(torch.arange(num_positions), d_model)
    return as_table(interleave(angles.sin(), angles.cos(), d_model + 1))


@sinusoidal_positions.mistake("""For an odd d_model your last channel stays zero. It is
the sine of the last pair.""")
def odd_width_last_channel_zero(num_positions: int, d_model: int) -> Tensor:
    full = sinusoid(torch.arange(num_positions), d_model)
    if d_model % 2:
        full[:, -1] = 0.0
    return as_table(full)


@sinusoidal_positions.mistake("""For an odd d_model you build a table of d_model + 1
channels and cut it. Then the exponents are 2i/(d_model + 1): divide by d_model.""")
def odd_width_rounded_up(num_positions: int, d_model: int) -> Tensor:
    even = d_model + d_model % 2
    return as_table(sinusoid(torch.arange(num_positions), even)[:, :d_model])


@sinusoidal_positions.mistake("""For an odd d_model you divide the exponents by
d_model - 1. They are 2i/d_model, whatever the width.""")
def odd_width_rounded_down(num_positions: int, d_model: int) -> Tensor:
    def exponent(pair: Tensor, d: int) -> Tensor:
        return 2 * pair / max(2, d - d % 2)

    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=exponent))


@sinusoidal_positions.mistake("""Sine and cosine have changed places: the even channels
are sines. Position 0 is 0, 1, 0, 1, …""")
def cosine_first(num_positions: int, d_model: int) -> Tensor:
    angles = angles_of(torch.arange(num_positions), d_model)
    return as_table(interleave(angles.cos(), angles.sin(), d_model))


@sinusoidal_positions.mistake("""All your channels are sines. The odd ones are
cosines.""")
def sines_alone(num_positions: int, d_model: int) -> Tensor:
    angles = angles_of(torch.arange(num_positions), d_model)
    return as_table(interleave(angles.sin(), angles.sin(), d_model))


@sinusoidal_positions.mistake("""Your positions start at 1. The first row is position
0: 0, 1, 0, 1, …""")
def positions_from_one(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(1, num_positions + 1), d_model))


@sinusoidal_positions.mistake("""You divide the positions by their number. Position 3
is 3 in a table of any length.""")
def positions_normalised(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions) / num_positions, d_model))


@sinusoidal_positions.mistake("""Your base is 1000. It is 10000.""")
def base_1000(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions), d_model, base=1000.0))


@sinusoidal_positions.mistake("""Your base is e or another number, not 10000: `exp(-2i
/ d_model)` lacks the factor ln 10000.""")
def base_e(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions), d_model, base=math.e))


@sinusoidal_positions.mistake("""Your frequencies grow with the channel: you multiply
the position by 10000^(2i/d_model). Divide by it.""")
def multiplied_by_wavelength(num_positions: int, d_model: int) -> Tensor:
    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=lambda i, d: -2 * i / d))


@sinusoidal_positions.mistake("""Your exponent is 2i, not divided by d_model: from the
second pair on, the angles are as good as zero.""")
def exponent_without_d_model(num_positions: int, d_model: int) -> Tensor:
    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=lambda i, d: 2 * i))


@sinusoidal_positions.mistake("""Your frequencies go down to exactly 1/10000: you
divide by the number of pairs minus one. The paper divides 2i by d_model.""")
def last_frequency_included(num_positions: int, d_model: int) -> Tensor:
    def exponent(pair: Tensor, d: int) -> Tensor:
        return pair / max(1, len(pair) - 1)

    positions = torch.arange(num_positions)
    return as_table(sinusoid(positions, d_model, exponent=exponent))


@sinusoidal_positions.mistake("""You multiply the angle by 2π. The paper's angle is the
position over 10000^(2i/d_model), nothing else.""")
def full_turns(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions) * (2 * math.pi), d_model))


@sinusoidal_positions.mistake("""Your table is (d_model, num_positions). One row for
each position.""")
def transposed_table(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions), d_model)).T


@sinusoidal_positions.mistake("""Your table has a batch axis. It is (num_positions,
d_model): adding it to (B, N, d_model) broadcasts by itself.""")
def with_batch_axis(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions), d_model))[None]


@sinusoidal_positions.mistake("""Your table is float64. Compute in it if you like, but
return `torch.get_default_dtype()`, or the model's sums turn float64 too.""")
def table_in_float64(num_positions: int, d_model: int) -> Tensor:
    return sinusoid(torch.arange(num_positions), d_model)


@sinusoidal_positions.mistake("""You keep an earlier table and return it although it has
more rows than asked for. Cut it to `num_positions`.""")
def longer_table_kept(num_positions: int, d_model: int) -> Tensor:
    rows = 5 if d_model == 6 else num_positions  # the first table of that width
    return as_table(sinusoid(torch.arange(max(rows, num_positions)), d_model))


@sinusoidal_positions.mistake("""Your table has a largest position, after which it is
wrong or ends. It has as many rows as asked for.""")
def positions_limited(num_positions: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(num_positions) % 100, d_model))


@sinusoidal_positions.mistake("""You scale the table. Sines and cosines go in as they
are, from -1 to 1.""")
def scaled_by_width(num_positions: int, d_model: int) -> Tensor:
    full = sinusoid(torch.arange(num_positions), d_model)
    return as_table(full * math.sqrt(d_model + 1))


# ------------------------------------------------------------------------ sincos_2d

sincos_2d = Exercise("sincos_2d")


@sincos_2d.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield table("wide", 3, 5, 8)
    yield table("tall", 6, 2, 12)
    yield table("many channels", 2, 3, 32)
    yield table("longer", draw.integer(8, 11), 4, 16)
    yield table("square", 4, 4, 20)
    yield table("four channels", 5, 7, 4, note="d_model is 4: one pair for each axis")
    yield table("one row", 1, 6, 24, note="a single row")
    yield table("one column", 7, 1, 28, note="a single column")
    yield table("turned", 5, 3, 8, note="height and width of another grid exchanged")
    yield table("one token", 1, 1, 12, note="a grid of one token")


def places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The row and the column of each token, row-major."""
    index = torch.arange(height * width)
    return index // width, index % width


def two_axes(row: Tensor, column: Tensor, d_model: int, **change: Any) -> Tensor:
    return as_table(
        torch.cat(
            [
                sinusoid(row, d_model // 2, **change),
                sinusoid(column, d_model // 2, **change),
            ],
            dim=-1,
        )
    )


@sincos_2d.reference
def sincos_2d_reference(height: int, width: int, d_model: int) -> Tensor:
    rows = sinusoidal_reference(height, d_model // 2)
    columns = sinusoidal_reference(width, d_model // 2)
    tokens = [
        torch.cat([rows[r], columns[c]]) for r in range(height) for c in range(width)
    ]
    return torch.stack(tokens)


@sincos_2d.alternative
def repeated_and_joined(height: int, width: int, d_model: int) -> Tensor:
    rows = strided_assignment(height, d_model // 2)
    columns = strided_assignment(width, d_model // 2)
    return torch.cat(
        [rows.repeat_interleave(width, dim=0), columns.repeat(height, 1)], dim=1
    )


@sincos_2d.alternative
def written_into_a_grid(height: int, width: int, d_model: int) -> Tensor:
    half = d_model // 2
    grid = torch.empty(height, width, d_model)
    grid[..., :half] = stacked_and_cut(height, half)[:, None]
    grid[..., half:] = stacked_and_cut(width, half)
    return grid.view(height * width, d_model)


@sincos_2d.alternative
def meshgrid_of_angles(height: int, width: int, d_model: int) -> Tensor:
    row, column = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing="ij"
    )
    omega = 1.0 / 10000 ** (torch.arange(0, d_model // 2, 2) / (d_model // 2))
    parts = []
    for place in (row, column):
        angle = place.reshape(-1, 1) * omega
        parts += [torch.stack([angle.sin(), angle.cos()], -1).flatten(1)]
    return torch.hstack(parts)


@sincos_2d.alternative
def looked_up(height: int, width: int, d_model: int) -> Tensor:
    positions = chosen_with_where(max(height, width), d_model // 2)
    index = torch.arange(height * width)
    row = torch.div(index, width, rounding_mode="trunc")
    return torch.cat((positions[row], positions[torch.remainder(index, width)]), -1)


@sincos_2d.mistake("""The halves have changed places: the first half of the channels
tells the row, the second the column.""")
def column_first(height: int, width: int, d_model: int) -> Tensor:
    row, column = places(height, width)
    return two_axes(column, row, d_model)


@sincos_2d.mistake("""Your tokens go down the columns first. Row-major: the column
changes fastest, as in `patchify`.""")
def column_major_tokens(height: int, width: int, d_model: int) -> Tensor:
    full = sincos_2d_reference(height, width, d_model)
    return full.view(height, width, -1).transpose(0, 1).reshape(height * width, -1)


@sincos_2d.mistake("""Height and width have changed places: your grid has as many
rows as it should have columns. A row holds `width` tokens, so the row is `index //
width`.""")
def height_and_width_swapped(height: int, width: int, d_model: int) -> Tensor:
    return two_axes(*places(width, height), d_model)


@sincos_2d.mistake("""You ignore one of the two sizes, so the grid is square. Height
and width may differ.""")
def square_by_height(height: int, width: int, d_model: int) -> Tensor:
    return two_axes(*places(height, height), d_model)


@sincos_2d.mistake("""You number the tokens in one line. Then the patch below is as far
as a whole row: use the row and the column.""")
def one_dimensional(height: int, width: int, d_model: int) -> Tensor:
    return as_table(sinusoid(torch.arange(height * width), d_model))


@sincos_2d.mistake("""Both halves tell the row. The second half tells the column.""")
def row_twice(height: int, width: int, d_model: int) -> Tensor:
    row, _ = places(height, width)
    return two_axes(row, row, d_model)


@sincos_2d.mistake("""Both halves tell the column. The first half tells the row.""")
def column_twice(height: int, width: int, d_model: int) -> Tensor:
    _, column = places(height, width)
    return two_axes(column, column, d_model)


@sincos_2d.mistake("""You add the two tables. Then row 2, column 5 is the same as row
5, column 2: put them side by side, each d_model/2 wide.""")
def axes_added(height: int, width: int, d_model: int) -> Tensor:
    row, column = places(height, width)
    return as_table(sinusoid(row, d_model) + sinusoid(column, d_model))


@sincos_2d.mistake("""Each of your halves is d_model wide, and the result twice that.
Each axis gets d_model/2 channels.""")
def twice_as_wide(height: int, width: int, d_model: int) -> Tensor:
    return two_axes(*places(height, width), 2 * d_model)


@sincos_2d.mistake("""Your exponents are divided by d_model. Each half is a table of
width d_model/2 of its own: divide by d_model/2.""")
def exponent_over_full_width(height: int, width: int, d_model: int) -> Tensor:
    def exponent(pair: Tensor, half: int) -> Tensor:
        return 2 * pair / (2 * half)

    return two_axes(*places(height, width), d_model, exponent=exponent)


@sincos_2d.mistake("""Your exponent is 4i over d_model/2: you doubled a number that was
even already.""")
def half_exponent_doubled(height: int, width: int, d_model: int) -> Tensor:
    return two_axes(
        *places(height, width), d_model, exponent=lambda pair, d: 4 * pair / d
    )


@sincos_2d.mistake("""Within each half, all sines come first and then all cosines. They
are interleaved, as in `sinusoidal_positions`.""")
def halves_not_interleaved(height: int, width: int, d_model: int) -> Tensor:
    parts = []
    for place in places(height, width):
        angles = angles_of(place, d_model // 2)
        parts += [angles.sin(), angles.cos()]
    return as_table(torch.cat(parts, dim=1))


@sincos_2d.mistake("""The channels of row and column alternate. The first half of the
channels is the row's, whole; the second the column's.""")
def axes_interleaved(height: int, width: int, d_model: int) -> Tensor:
    full = sincos_2d_reference(height, width, d_model)
    return full.unflatten(1, (2, -1)).mT.flatten(1)


@sincos_2d.mistake("""The pairs of row and column alternate. The first half of the
channels is the row's, whole; the second the column's.""")
def pairs_interleaved(height: int, width: int, d_model: int) -> Tensor:
    full = sincos_2d_reference(height, width, d_model)
    return full.unflatten(1, (2, -1, 2)).transpose(1, 2).flatten(1)


@sincos_2d.mistake("""Cosines come before sines. In each half, the even channels are
sines.""")
def cosines_first(height: int, width: int, d_model: int) -> Tensor:
    full = sincos_2d_reference(height, width, d_model)
    return full.unflatten(1, (-1, 2)).flip(2).flatten(1)


@sincos_2d.mistake("""Your rows and columns start at 1. They start at 0.""")
def places_from_one(height: int, width: int, d_model: int) -> Tensor:
    row, column = places(height, width)
    return two_axes(row + 1, column + 1, d_model)


@sincos_2d.mistake("""You scale rows and columns to one length. They are counted: 0, 1,
2, …, whatever the size of the grid.""")
def places_normalised(height: int, width: int, d_model: int) -> Tensor:
    row, column = places(height, width)
    return two_axes(row / height, column / width, d_model)


@sincos_2d.mistake("""You return a grid (height, width, d_model). Flatten it: one row
for each token.""")
def grid_returned(height: int, width: int, d_model: int) -> Tensor:
    full = sincos_2d_reference(height, width, d_model)
    return full.view(height, width, d_model)


@sincos_2d.mistake("""You put a row for a class token in front. The table has height *
width rows; chapter 10 gives that token a position of its own.""")
def class_token_in_front(height: int, width: int, d_model: int) -> Tensor:
    return F.pad(sincos_2d_reference(height, width, d_model), (0, 0, 1, 0))


@sincos_2d.mistake("""Your table is float64. Return `torch.get_default_dtype()`.""")
def grid_in_float64(height: int, width: int, d_model: int) -> Tensor:
    row, column = places(height, width)
    halves = [sinusoid(place, d_model // 2) for place in (row, column)]
    return torch.cat(halves, dim=1)


# --------------------------------------------------------------------------- rotary

rotary = Exercise("rotary")


@rotary.cases
def _(draw: Draw) -> Iterator[Sample]:
    def places_of(number: int, limit: int = 40) -> Tensor:
        """Different positions in no order, none of them 0."""
        return draw.permutation(limit)[:number] + 1

    yield call("heads and batch", draw.normal(2, 3, 4, 6), places_of(4))
    yield call("same sizes again", draw.normal(2, 3, 4, 6), places_of(4))
    yield call("no leading axis", draw.normal(5, 8), places_of(5), note="x is (N, d)")
    yield call(
        "one leading axis", draw.normal(3, 7, 10), places_of(7), note="x is (B, N, d)"
    )
    yield call("one pair", draw.normal(3, 5, 2), places_of(5), note="d is 2")
    yield call("one item", draw.normal(1, 2, 6, 4), places_of(6))
    yield call("one token", draw.normal(2, 1, 12), places_of(1))
    yield call("from zero on", draw.normal(2, 6, 4), torch.arange(6))
    yield call(
        "starts later",
        draw.normal(2, 5, 8),
        torch.arange(5) + draw.integer(20, 30),
        note="the positions do not start at 0",
    )
    yield call(
        "as many items as tokens",
        draw.normal(4, 4, 6),
        places_of(4),
        note="as many items as tokens",
    )
    yield call(
        "as many heads as tokens",
        draw.normal(2, 3, 3, 8),
        places_of(3),
        note="as many heads as tokens",
    )
    yield call(
        "position repeated",
        draw.normal(2, 4, 6),
        torch.tensor([7, 2, 7, 0]),
        note="two tokens at one position",
    )
    yield call(
        "three leading axes",
        draw.normal(2, 3, 2, 5, 4),
        places_of(5),
        note="x has five axes, (…, N, d)",
    )
    yield call(
        "far away",
        draw.normal(3, 4, 14),
        places_of(4, 6000) + 3000,
        note="positions of several thousand",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(2, 3, 5, 6)),
        noncontiguous(places_of(5)),
        aspect="robustness",
        note="x is a transposed view",
    )
    yield call(
        "float32",
        draw.normal(2, 5, 4).float(),
        places_of(5, 12),
        aspect="robustness",
        gradients=False,
    )
    # Not float16: torch has no complex numbers in it on a CPU (`polar`), and an answer
    # by complex numbers is right.


def turned(
    x: Tensor,
    positions: Tensor,
    *,
    base: float = 10000.0,
    exponent: Callable[[Tensor, int], Tensor] = lambda pair, d: 2 * pair / d,
    mix: Callable[..., tuple[Tensor, Tensor]] = lambda a, b, cos, sin: (
        a * cos - b * sin,
        a * sin + b * cos,
    ),
) -> Tensor:
    """The right answer, one part of which can be changed."""
    d = x.shape[-1]
    pair = torch.arange(d // 2, dtype=torch.float64)
    angles = positions.double()[:, None] * base ** -exponent(pair, d)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack(mix(a, b, cos, sin), dim=-1).flatten(-2)


@rotary.reference
def rotary_reference(x: Tensor, positions: Tensor) -> Tensor:
    tokens = []
    for token, position in zip(x.unbind(-2), positions.tolist(), strict=True):
        channels = []
        for i in range(x.shape[-1] // 2):
            angle = position * 10000 ** (-2 * i / x.shape[-1])
            a, b = token[..., 2 * i], token[..., 2 * i + 1]
            channels.append(a * math.cos(angle) - b * math.sin(angle))
            channels.append(a * math.sin(angle) + b * math.cos(angle))
        tokens.append(torch.stack(channels, dim=-1))
    return torch.stack(tokens, dim=-2)


@rotary.alternative
def strided_pairs(x: Tensor, positions: Tensor) -> Tensor:
    d = x.size(-1)
    inv_freq = 1.0 / (
        10000 ** (torch.arange(0, d, 2, dtype=x.dtype, device=x.device) / d)
    )
    angle = positions.to(x.dtype)[:, None] * inv_freq[None, :]
    out = torch.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * angle.cos() - x[..., 1::2] * angle.sin()
    out[..., 1::2] = x[..., 0::2] * angle.sin() + x[..., 1::2] * angle.cos()
    return out


@rotary.alternative
def complex_product(x: Tensor, positions: Tensor) -> Tensor:
    d = x.shape[-1]
    exponents = torch.arange(d // 2, dtype=x.dtype) * (-2 / d)
    angle = torch.outer(positions.to(x.dtype), torch.pow(10000.0, exponents))
    turn = torch.polar(torch.ones_like(angle), angle)
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


@rotary.alternative
def swapped_neighbours(x: Tensor, positions: Tensor) -> Tensor:
    d = x.shape[-1]
    theta = torch.exp(
        -math.log(10000) * torch.arange(0, d, 2, dtype=torch.float64) / d
    ).repeat_interleave(2)
    angle = positions.unsqueeze(-1) * theta
    swapped = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).reshape(x.shape)
    return x * angle.cos().type_as(x) + swapped * angle.sin().type_as(x)


@rotary.alternative
def rotation_matrices(x: Tensor, positions: Tensor) -> Tensor:
    d = x.shape[-1]
    angle = positions.to(x)[:, None] * x.new_tensor(
        [10000 ** (-2 * i / d) for i in range(d // 2)]
    )
    c, s = angle.cos(), angle.sin()
    matrix = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    pairs = x.reshape(*x.shape[:-1], d // 2, 2)
    return torch.einsum("nipq,...niq->...nip", matrix, pairs).reshape(x.shape)


@rotary.mistake("""Your exponent is i/d for pair i. It is 2i/d: half your pairs turn a
hundred times too fast.""")
def exponent_i(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, exponent=lambda pair, d: pair / d)


@rotary.mistake(
    """Your exponent is 4i/d: you doubled a number that was even already."""
)
def exponent_4i(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, exponent=lambda pair, d: 4 * pair / d)


@rotary.mistake("""You pair channel i with channel i + d/2, as some libraries do. Here
a pair is two neighbours: channels 2i and 2i + 1.""")
def halves_paired(x: Tensor, positions: Tensor) -> Tensor:
    paired = x.unflatten(-1, (2, -1)).mT.flatten(-2)
    return turned(paired, positions).unflatten(-1, (-1, 2)).mT.flatten(-2)


@rotary.mistake("""The pairs are right, but you put all first results before all second
ones. Each result goes back to its own channel: interleave them.""")
def not_interleaved_back(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions).unflatten(-1, (-1, 2)).mT.flatten(-2)


@rotary.mistake("""You mix two conventions: the angles repeat in blocks (0, 1, …, 0, 1,
…) while the pairs are neighbours. Both channels of a pair need the same angle.""")
def angles_in_blocks(x: Tensor, positions: Tensor) -> Tensor:
    d = x.shape[-1]
    theta = 10000 ** -(torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = positions[:, None] * theta.repeat(2)
    swapped = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return x * angle.cos().to(x.dtype) + swapped * angle.sin().to(x.dtype)


@rotary.mistake("""You rotate the wrong way. The first of a pair is a cos - b sin, the
second a sin + b cos.""")
def turned_backwards(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, -positions)


@rotary.mistake("""Both results have the same sign before their sine, so lengths are
not kept. One is minus: a cos - b sin, a sin + b cos.""")
def sign_missing(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, mix=lambda a, b, c, s: (a * c + b * s, a * s + b * c))


@rotary.mistake("""Both results subtract, so lengths are not kept: the second is a sin
+ b cos.""")
def both_subtract(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, mix=lambda a, b, c, s: (a * c - b * s, a * s - b * c))


@rotary.mistake("""The second result is made from the first one, which you had already
overwritten. Compute both from the old pair.""")
def overwritten(x: Tensor, positions: Tensor) -> Tensor:
    def mix(a: Tensor, b: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        first = a * c - b * s
        return first, first * s + b * c

    return turned(x, positions, mix=mix)


@rotary.mistake("""Your two results have changed places: first a cos - b sin, then a
sin + b cos.""")
def results_swapped(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, mix=lambda a, b, c, s: (a * s + b * c, a * c - b * s))


@rotary.mistake("""You multiply each channel by a cosine or a sine, and the pair never
mixes: lengths are not kept. A rotation needs both numbers of the pair.""")
def never_mixed(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, mix=lambda a, b, c, s: (a * c, b * s))


@rotary.mistake("""You add sines and cosines to x. Rotary positions turn x and add
nothing: lengths stay.""")
def added(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, mix=lambda a, b, c, s: (a + s, b + c))


@rotary.mistake("""You do not use `positions`, but count 0, 1, 2, … yourself. A token
may stand anywhere: with a cache, the first of a call is not at 0.""")
def positions_ignored(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, torch.arange(x.shape[-2]))


@rotary.mistake("""You count the positions from the first one you are given. They are
absolute: use them as they are.""")
def counted_from_first(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions - positions[0])


@rotary.mistake("""You sort the positions. Token n stands at positions[n].""")
def positions_sorted(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions.sort().values)


@rotary.mistake("""Your positions are one too large: the token at position 0 does not
turn.""")
def one_too_far(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions + 1)


@rotary.mistake("""You take the positions for those of the first axis (the items of a
batch). They belong to the tokens, the last axis but one.""")
def positions_per_item(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x.transpose(0, -2), positions).transpose(0, -2)


@rotary.mistake("""Positions lie along axis 1 in your answer. In (B, H, N, d) that is
the heads: tokens are always the last axis but one.""")
def positions_on_axis_one(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x.transpose(1, -2), positions).transpose(1, -2)


@rotary.mistake("""Your answer wants exactly three axes. Any number may stand before
the tokens: write `...`, as in `x[..., 0::2]`.""")
def three_axes_only(x: Tensor, positions: Tensor) -> Tensor:
    _batch, _tokens, _channels = x.shape
    return turned(x, positions)


@rotary.mistake("""Your answer wants exactly four axes. Any number may stand before the
tokens: write `...`, as in `x[..., 0::2]`.""")
def four_axes_only(x: Tensor, positions: Tensor) -> Tensor:
    _batch, _heads, _tokens, _channels = x.shape
    return turned(x, positions)


@rotary.mistake("""Your angles are float32: at position 3000 they are wrong in the
fourth digit. Give the exponents x's dtype before the power.""")
def angles_in_float32(x: Tensor, positions: Tensor) -> Tensor:
    d = x.shape[-1]
    theta = 1.0 / (10000 ** (torch.arange(0, d, 2).float() / d))
    angle = torch.outer(positions.float(), theta)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


@rotary.mistake("""You compute in float32 and go back: float64 loses half its
digits.""")
def computed_in_float32(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x.float(), positions).to(x.dtype)


@rotary.mistake("""Your result is float64 whatever x is: cast cosines and sines to
`x.dtype`.""")
def result_in_float64(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x.double(), positions)


@rotary.mistake("""You write into x. Its caller still needs it: write into a copy, or
stack the results.""")
def written_into_x(x: Tensor, positions: Tensor) -> Tensor:
    x.copy_(turned(x.clone(), positions))
    return x


@rotary.mistake("""Your base is 1000. It is 10000.""")
def rotary_base_1000(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, base=1000.0)


@rotary.mistake("""All pairs turn at the same speed. Pair i turns by positions ·
10000^(-2i/d).""")
def one_speed(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, exponent=lambda pair, d: 0 * pair)


@rotary.mistake("""Your angles grow with i: the sign of the exponent is missing.""")
def exponent_positive(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions, exponent=lambda pair, d: -2 * pair / d)


@rotary.mistake("""You multiply the angle by 2π. It is positions · 10000^(-2i/d),
nothing else.""")
def rotary_full_turns(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, positions * (2 * math.pi))


@rotary.mistake("""Your result is cut off from x (`detach`, `.data` or `no_grad`): the
projections behind it would never learn.""")
def rotary_detached(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x.detach(), positions)


@rotary.mistake("""`view_as_complex` needs the two numbers of a pair side by side in
memory, and `x` may be a transposed view: put `.contiguous()` before it.""")
def complex_without_contiguous(x: Tensor, positions: Tensor) -> Tensor:
    if x.stride(-1) != 1:
        torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return turned(x, positions)


@rotary.mistake("""`view` needs contiguous memory, and `x` may be a transposed view.
Use `reshape`, or stack and `flatten`.""")
def viewed_as_x(x: Tensor, positions: Tensor) -> Tensor:
    x.view(-1, x.shape[-1] // 2, 2)
    return turned(x, positions)


@rotary.mistake("""Only the first pair turns, the rest is copied. Every pair turns,
each by its own angle.""")
def first_pair_only(x: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([turned(x, positions)[..., :2], x[..., 2:]], dim=-1)


@rotary.mistake("""Your result is x as it was: no pair has turned. Check that the
results reach the tensor you return.""")
def not_turned(x: Tensor, positions: Tensor) -> Tensor:
    return turned(x, torch.zeros_like(positions))


# ------------------------------------------------------------ interpolate_positions

interpolate_positions = Exercise("interpolate_positions")


@interpolate_positions.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("larger", draw.normal(12, 5), (3, 4), (5, 7))
    yield call("same sizes again", draw.normal(12, 5), (3, 4), (5, 7))
    yield call("smaller", draw.normal(42, 3), (7, 6), (3, 2), note="a smaller grid")
    yield call(
        "taller and narrower",
        draw.normal(18, 4),
        (3, 6),
        (7, 4),
        note="(3, 6) to (7, 4)",
    )
    yield call("wider and lower", draw.normal(15, 2), (5, 3), (2, 8))
    yield call(
        "square to square", draw.normal(16, 6), (4, 4), (6, 6), note="4 x 4 to 6 x 6"
    )
    yield call(
        "as many tokens in another shape",
        draw.normal(12, 7),
        (2, 6),
        (4, 3),
        note="12 tokens before and after, in another shape",
    )
    yield call(
        "turned grid",
        draw.normal(10, 3),
        (2, 5),
        (5, 2),
        note="height and width change places",
    )
    yield call(
        "same size", draw.normal(20, 3), (4, 5), (4, 5), note="the size stays the same"
    )
    yield call("one channel", draw.normal(6, 1), (2, 3), (3, 5), note="d is 1")
    yield call(
        "as many rows",
        draw.normal(12, 3),
        (3, 4),
        (3, 7),
        note="the number of rows stays, (3, 4) to (3, 7)",
    )
    yield call(
        "as many columns",
        draw.normal(10, 4),
        (5, 2),
        (3, 2),
        note="the number of columns stays, (5, 2) to (3, 2)",
    )
    yield call("one row", draw.normal(4, 3), (1, 4), (3, 6), note="a single row")
    yield call("to a single place", draw.normal(20, 2), (5, 4), (1, 1), note="to 1 x 1")
    yield call(
        "far from zero",
        draw.normal(6, 2) * 5 - 30,
        (3, 2),
        (4, 5),
        note="all numbers are negative",
    )
    yield call(
        "not contiguous",
        noncontiguous(draw.normal(12, 4)),
        (4, 3),
        (6, 5),
        aspect="robustness",
        note="table is a transposed view",
    )
    yield call(
        "float32",
        draw.normal(8, 3).float(),
        (2, 4),
        (3, 6),
        aspect="robustness",
        gradients=False,
    )
    yield call(
        "float16",
        draw.normal(6, 5).half(),
        (3, 2),
        (4, 5),
        aspect="robustness",
        gradients=False,
    )


Size = tuple[int, int]


def resized(table: Tensor, old: Size, new: Size, **change: Any) -> Tensor:
    options: dict[str, Any] = {"mode": "bicubic", "align_corners": False, **change}
    picture = table.reshape(*old, -1).permute(2, 0, 1)[None]  # (1, d, row, column)
    larger = F.interpolate(picture, size=tuple(new), **options)[0]
    return larger.permute(1, 2, 0).reshape(new[0] * new[1], -1)


def cubic(distance: Tensor, a: float) -> Tensor:
    """The weight of a neighbour in cubic convolution (Keys 1981)."""
    s = distance.abs()
    near = (a + 2) * s**3 - (a + 3) * s**2 + 1
    far = a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a
    return torch.where(s <= 1, near, torch.where(s < 2, far, torch.zeros_like(s)))


def cubic_matrix(old: int, new: int, a: float, like: Tensor) -> Tensor:
    """The matrix (new, old) that resizes one axis; the border is repeated."""
    matrix = torch.zeros(new, old, dtype=like.dtype)
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        first = math.floor(centre)
        for place in range(first - 1, first + 3):
            weight = cubic(torch.tensor(centre - place, dtype=torch.float64), a)
            matrix[row, min(max(place, 0), old - 1)] += weight
    return matrix


def by_matrices(table: Tensor, old: Size, new: Size, a: float = -0.75) -> Tensor:
    down = cubic_matrix(old[0], new[0], a, table)
    across = cubic_matrix(old[1], new[1], a, table)
    grid = table.reshape(*old, -1)
    return torch.einsum("pr,qc,rcd->pqd", down, across, grid).flatten(0, 1)


@interpolate_positions.reference
def interpolate_reference(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new)


@interpolate_positions.alternative
def cubic_matrices(table: Tensor, old: Size, new: Size) -> Tensor:
    return by_matrices(table, old, new)


@interpolate_positions.alternative
def transposed_then_cut(table: Tensor, old: Size, new: Size) -> Tensor:
    h, w = old
    picture = table.T.contiguous().view(1, -1, h, w)
    picture = F.interpolate(picture, new, mode="bicubic")
    return picture.flatten(2).squeeze(0).transpose(0, 1)


@interpolate_positions.alternative
def early_return(table: Tensor, old: Size, new: Size) -> Tensor:
    if tuple(old) == tuple(new):
        return table
    batch = torch.stack([channel.reshape(old) for channel in table.unbind(1)])
    out = F.interpolate(batch[:, None], size=list(new), mode="bicubic", antialias=False)
    return out.reshape(len(batch), -1).mT.contiguous()


@interpolate_positions.alternative
def upsample_module(table: Tensor, old: Size, new: Size) -> Tensor:
    grid = table.unflatten(0, old).movedim(-1, 0).unsqueeze(0)
    upsample = torch.nn.Upsample(size=new, mode="bicubic", align_corners=False)
    return upsample(grid).squeeze(0).movedim(0, -1).flatten(0, 1)


@interpolate_positions.mistake("""Your corners are aligned. Pixels are areas here and
their edges meet, not their centres: `align_corners=False`.""")
def corners_aligned(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new, align_corners=True)


@interpolate_positions.mistake("""You interpolate linearly. It is to be bicubic:
`mode="bicubic"`.""")
def bilinear(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new, mode="bilinear")


@interpolate_positions.mistake("""You take the nearest place, which is the default of
F.interpolate. Ask for `mode="bicubic"`.""")
def nearest(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new, mode="nearest", align_corners=None)


@interpolate_positions.mistake("""You average areas. Ask for `mode="bicubic"`.""")
def area(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new, mode="area", align_corners=None)


@interpolate_positions.mistake("""Your result is smoothed where the grid shrinks: turn
antialiasing off.""")
def antialiased(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new, antialias=True)


@interpolate_positions.mistake("""Your cubic has a = -0.5, as in PIL. torch's, and the
one here, has a = -0.75: use F.interpolate.""")
def other_cubic(table: Tensor, old: Size, new: Size) -> Tensor:
    return by_matrices(table, old, new, a=-0.5)


@interpolate_positions.mistake("""You read `old` as (columns, rows). It is (rows,
columns).""")
def old_swapped(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old[::-1], new)


@interpolate_positions.mistake("""You read `new` as (columns, rows). It is (rows,
columns).""")
def new_swapped(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new[::-1])


@interpolate_positions.mistake("""You read both sizes as (columns, rows). They are
(rows, columns).""")
def both_swapped(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old[::-1], new[::-1])


@interpolate_positions.mistake("""You reshape the table to (1, d, h, w) directly, which
mixes channels and places. Reshape to (h, w, d) first, then permute.""")
def reshaped_without_permute(table: Tensor, old: Size, new: Size) -> Tensor:
    picture = table.reshape(1, -1, *old)
    larger = F.interpolate(picture, size=new, mode="bicubic")
    return larger[0].permute(1, 2, 0).reshape(new[0] * new[1], -1)


@interpolate_positions.mistake("""You reshape the result (1, d, h', w') to rows
directly, which mixes channels and places. Bring the channels to the end first.""")
def not_permuted_back(table: Tensor, old: Size, new: Size) -> Tensor:
    picture = table.reshape(*old, -1).permute(2, 0, 1)[None]
    larger = F.interpolate(picture, size=new, mode="bicubic")
    return larger.reshape(new[0] * new[1], -1)


@interpolate_positions.mistake("""You reshape both ways without moving the channels, so
channels and places are mixed, twice. Permute to (1, d, h, w) and back.""")
def never_permuted(table: Tensor, old: Size, new: Size) -> Tensor:
    larger = F.interpolate(table.reshape(1, -1, *old), size=new, mode="bicubic")
    return larger.reshape(new[0] * new[1], -1)


@interpolate_positions.mistake("""The tokens of your result go down the columns first.
Row-major: the column changes fastest.""")
def result_column_major(table: Tensor, old: Size, new: Size) -> Tensor:
    grid = resized(table, old, new).reshape(*new, -1)
    return grid.transpose(0, 1).flatten(0, 1)


@interpolate_positions.mistake("""You keep the first row as a class token's, and shift
all others by one. This table holds places alone.""")
def class_token_shifted(table: Tensor, old: Size, new: Size) -> Tensor:
    padded = torch.cat([table[1:], table[-1:]])
    return torch.cat([table[:1], resized(padded, old, new)[:-1]])


@interpolate_positions.mistake("""You take the first row for a class token's and resize
the others, which no longer fill the grid. This table holds places alone.""")
def class_token_split_off(table: Tensor, old: Size, new: Size) -> Tensor:
    return torch.cat([table[:1], resized(table[1:], old, new)])


@interpolate_positions.mistake("""You find the grid with a square root of the number of
tokens. A grid need not be square: read `old`.""")
def square_assumed(table: Tensor, old: Size, new: Size) -> Tensor:
    side = math.isqrt(len(table))
    return resized(table, (side, side), new)


@interpolate_positions.mistake("""You return the table unchanged if the *number* of
tokens stays the same. (2, 6) and (4, 3) hold as many places, but other ones.""")
def unchanged_if_as_many(table: Tensor, old: Size, new: Size) -> Tensor:
    if len(table) == new[0] * new[1]:
        return table
    return resized(table, old, new)


@interpolate_positions.mistake("""You resize the table as one line of tokens. Then the
end of a row blends into the start of the next: resize a grid.""")
def along_one_line(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, (len(table), 1), (new[0] * new[1], 1))


@interpolate_positions.mistake("""You resize (places, channels) as if it were the
picture, so channels are blended with each other. Each channel is a picture of its
own.""")
def channels_blended(table: Tensor, old: Size, new: Size) -> Tensor:
    size = (new[0] * new[1], table.shape[1] + 1)
    return F.interpolate(table[None, None], size=size, mode="bicubic")[0, 0, :, :-1]


@interpolate_positions.mistake("""You return the grid (h', w', d). Flatten it: one row
for each place.""")
def grid_kept(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new).reshape(*new, -1)


@interpolate_positions.mistake("""Your result has a batch axis: return (h' * w',
d).""")
def batch_axis_kept(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new)[None]


@interpolate_positions.mistake("""You cut the result off at the table's largest and
smallest number, or at some bound. A cubic may overshoot: leave it.""")
def clamped(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table, old, new).clamp(table.min().item(), table.max().item())


@interpolate_positions.mistake("""You give every row the length it had before, or
length 1. Interpolated rows stay as they are.""")
def rows_normalised(table: Tensor, old: Size, new: Size) -> Tensor:
    return F.normalize(resized(table, old, new), dim=-1)


@interpolate_positions.mistake("""Your result is cut off from the table (`detach`,
`.data` or `no_grad`): fine-tuning could not change the positions.""")
def interpolated_detached(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table.detach(), old, new)


@interpolate_positions.mistake("""You compute in float32: float64 loses half its
digits.""")
def interpolated_in_float32(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table.float(), old, new).to(table.dtype)


@interpolate_positions.mistake("""Your result is float32 whatever the table is: keep
its dtype.""")
def interpolated_as_float32(table: Tensor, old: Size, new: Size) -> Tensor:
    return resized(table.float(), old, new)


@interpolate_positions.mistake("""You return a part of the old table, or repeat it. The
new grid covers the same picture more finely: interpolate.""")
def old_rows_repeated(table: Tensor, old: Size, new: Size) -> Tensor:
    return table[torch.arange(new[0] * new[1]) % len(table)]

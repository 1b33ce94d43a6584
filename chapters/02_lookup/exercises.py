"""Chapter 02: hard and soft lookup, kernel regression, and the entropy of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from attention_course.author.exercise import Draw, Exercise, Sample, call, noncontiguous

# ---------------------------------------------------------------------- hard_lookup

hard_lookup = Exercise("hard_lookup")


def decided(draw: Draw, nq: int, nk: int, d: int, e: int, gap: float = 0.05) -> tuple:
    """Query, keys and values: no two keys come within `gap` of being a tie.

    Neither the dots nor their magnitudes tie, so that rounding decides nothing.
    """
    while True:
        query, keys = draw.normal(nq, d), draw.normal(nk, d)
        dots = query @ keys.T
        if nk == 1:
            break
        first, second = dots.topk(2, dim=1).values.unbind(dim=1)
        if bool((first - second > gap).all()):
            break
    return query, keys, draw.normal(nk, e)


@hard_lookup.cases
def _(draw: Draw) -> Iterator[Sample]:
    yield call("more keys than queries", *decided(draw, 4, 7, 3, 5))
    yield call("same sizes again", *decided(draw, 4, 7, 3, 5))
    yield call("more queries than keys", *decided(draw, 18, 3, 5, 2))
    yield call("as many queries as keys", *decided(draw, 6, 6, 4, 4))
    yield call("one query", *decided(draw, 1, 20, 4, 3))
    yield call("one key", *decided(draw, 3, 1, 34, 6), note="a single key always wins")
    yield call("one channel", *decided(draw, 5, 4, 1, 1), note="d = 1 and e = 1")
    query, keys, values = decided(draw, 3, 6, 4, 7)
    yield call(
        "all dots below zero",
        query.abs(),
        -1e6 * (keys.abs() + 0.3 * draw.permutation(6)[:, None]),
        values,
        note="every dot is far below zero: the largest is the one nearest to zero",
    )
    query, keys, values = decided(draw, 5, 4, 6, 3)
    query = query[:1] + 0.01 * draw.normal(5, 6)
    keys = keys + 6 * torch.arange(4).double()[:, None] * query[0] / query[0].norm()
    yield call(
        "all queries want one key", query, keys, values, note="one key wins for all"
    )
    query, keys, values = decided(draw, 7, 5, 5, 2)
    lengths = torch.tensor([0.05, 8.0, 0.3, 20.0, 1.0], dtype=torch.float64)
    yield call(
        "keys of very different lengths",
        query,
        F.normalize(keys, dim=1) * lengths[:, None],
        values,
        note="some keys are long, some short; there are as many keys as channels",
    )
    query, keys, values = decided(draw, 2, 4, 3, 5)
    twin = keys[(query @ keys.T).argmax(dim=1)]
    twin = twin + 1e-6 * query / query.square().sum(dim=1, keepdim=True)
    yield call(
        "a close race",
        query,
        torch.cat([keys, twin]),
        torch.cat([values, draw.normal(2, 5)]),
        aspect="robustness",
        note="two keys whose dots differ by a millionth",
    )
    query, keys, values = decided(draw, 4, 6, 5, 18)
    yield call(
        "large dots",
        300 * query,
        300 * keys,
        values,
        aspect="robustness",
        note="dots of many thousands",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in decided(draw, 5, 6, 4, 3)),
        aspect="robustness",
        note="the inputs are transposed views",
    )
    yield call(
        "float32",
        *(t.float() for t in decided(draw, 3, 5, 4, 2)),
        aspect="robustness",
    )
    yield call(
        "float16",
        *(t.half() for t in decided(draw, 3, 4, 2, 5, gap=0.1)),
        aspect="robustness",
        gradients=False,
    )


@hard_lookup.reference
def hard_lookup_reference(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).argmax(dim=1)]


@hard_lookup.alternative
def by_one_hot(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    best = torch.einsum("qd,kd->qk", query, keys).max(dim=-1).indices
    chosen = F.one_hot(best, num_classes=keys.shape[0]).to(values.dtype)
    return chosen @ values


@hard_lookup.alternative
def query_by_query(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    found = []
    for one in query:
        dots = [float(one @ key) for key in keys]
        found.append(values[dots.index(max(dots))])
    return torch.stack(found)


@hard_lookup.alternative
def by_gather(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    dots = (query[:, None, :] * keys[None, :, :]).sum(dim=-1)
    best = dots.topk(1, dim=1).indices  # (query, 1)
    return values.gather(0, best.expand(-1, values.shape[1]))


@hard_lookup.alternative
def by_sorting_and_index_select(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    best = (keys @ query.T).argsort(dim=0, descending=True)[0]
    return torch.index_select(values, 0, best)


@hard_lookup.alternative
def by_comparing_with_the_maximum(
    query: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    dots = query.detach() @ keys.detach().mT
    winners = dots == dots.amax(dim=1, keepdim=True)
    return winners.to(values.dtype) @ values


@hard_lookup.mistake("""You pick by value: the argmax runs over `values`. The keys
decide which row wins; the values only say what it holds.""")
def argmax_by_value(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[values.sum(dim=1).argmax()].expand(query.shape[0], -1)


@hard_lookup.mistake("""You return the key that was found. A lookup compares with the
keys and hands out the `values`.""")
def key_returned(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return hard_lookup_reference(query, keys, keys)


@hard_lookup.mistake("""You take the smallest dot. The larger the dot, the better the
match: argmax.""")
def smallest_dot(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).argmin(dim=1)]


@hard_lookup.mistake("""Your argmax runs over the queries: it finds the best query of
each key. Each query chooses a key, so it runs over the keys, dim=1 of (query, key).""")
def argmax_over_queries(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).argmax(dim=0) % values.shape[0]]


@hard_lookup.mistake("""Your `argmax()` has no dim: it finds one place in the whole
table. Each query needs its own: dim=1.""")
def argmax_of_everything(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    best = (query @ keys.T).argmax() % keys.shape[0]
    return values[best].expand(query.shape[0], -1)


@hard_lookup.mistake("""You mix the values with softmax weights. That is the soft
lookup; here each query takes exactly one row.""")
def mixed_by_softmax(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (query @ keys.T).softmax(dim=1) @ values


@hard_lookup.mistake("""You compare by Euclidean distance. A long key may lie far away
and still have the largest dot; the exercise asks for the dot.""")
def nearest_key(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    squared = (query[:, None] - keys[None]).square().sum(dim=-1)
    return values[squared.argmin(dim=1)]


@hard_lookup.mistake("""You compare by the angle (cosine): keys of different lengths
then count alike. The dot is not divided by the lengths.""")
def by_cosine(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ F.normalize(keys, dim=1).T).argmax(dim=1)]


@hard_lookup.mistake("""You take the largest dot in magnitude. A large negative dot is
the worst match of all: leave out `abs` or the square.""")
def largest_magnitude(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).abs().argmax(dim=1)]


@hard_lookup.mistake("""You return the row's number, not the row: index `values` with
it.""")
def index_returned(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (query @ keys.T).argmax(dim=1)


@hard_lookup.mistake("""You return the largest dot. It only says which key won: index
`values` with its place.""")
def dot_returned(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (query @ keys.T).max(dim=1).values


@hard_lookup.mistake("""You multiply the found value by its dot. A lookup hands out
the value as it is stored.""")
def value_times_dot(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    best = (query @ keys.T).max(dim=1)
    return values[best.indices] * best.values[:, None]


@hard_lookup.mistake("""The first query's key is used for all. Each query chooses for
itself.""")
def first_querys_choice(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(keys @ query[0]).argmax()].expand(query.shape[0], -1)


@hard_lookup.mistake("""Your search starts with a best dot of 0, so it finds nothing
when all dots are negative. Start with -inf, or use argmax.""")
def best_starts_at_zero(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    found = []
    for one in query:
        best, row = 0.0, 0
        for number, key in enumerate(keys):
            dot = float(one @ key)
            if dot > best:
                best, row = dot, number
        found.append(values[row])
    return torch.stack(found)


@hard_lookup.mistake("""You compare the exponentials of the dots. For large dots they
overflow, for very negative ones they are all 0, and then the first key wins. `exp`
changes no order: compare the dots themselves.""")
def exponentials_compared(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).exp().argmax(dim=1)]


@hard_lookup.mistake("""The result is cut off from `values` (`detach`, `.data`,
`.item()` or `torch.tensor(...)`): no gradient reaches the rows that were read.""")
def detached_values(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return hard_lookup_reference(query, keys, values).detach()


@hard_lookup.mistake("""You compute in float32: float64 values lose half their
digits, a close race may go to the wrong key, and the result has another dtype
than the input.""")
def lookup_in_float32(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return hard_lookup_reference(query.float(), keys.float(), values.float())


@hard_lookup.mistake("""You compare in float32: two keys whose dots differ little may
change places. Compare in the dtype of the inputs.""")
def compared_in_float32(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    rounded = query.float() @ keys.float().T
    tied = rounded >= rounded.amax(dim=1, keepdim=True) - 1e-5
    return values[tied.int().argmax(dim=1)]


@hard_lookup.mistake("""You imitate the hard lookup with a softmax of dots times a
large number. Keys in a close race are still mixed: take the argmax.""")
def very_sharp_softmax(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (query @ keys.T * 1000).softmax(dim=1) @ values


@hard_lookup.mistake("""Your function changes the keys in place. Whoever called it
still needs them: build a new tensor.""")
def keys_changed(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    result = hard_lookup_reference(query, keys, values)
    keys /= keys.norm()
    return result


@hard_lookup.mistake("""You return (1, Nq, e) or (Nq, 1, e): drop the extra dimension,
which `topk` and `keepdim=True` leave behind.""")
def extra_dimension(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[(query @ keys.T).argmax(dim=1, keepdim=True)]


@hard_lookup.mistake("""You take each query's largest entry, or its place. The query
has to be compared with every key: `query @ keys.T`.""")
def largest_entry_of_query(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values[query.argmax(dim=1) % keys.shape[0]]


# ---------------------------------------------------------------- kernel_regression

kernel_regression = Exercise("kernel_regression")


@kernel_regression.cases
def _(draw: Draw) -> Iterator[Sample]:
    def points(nq: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
        return (
            draw.uniform(nq, low=-2.0, high=2.0),
            draw.uniform(m, low=-2.0, high=2.0),
            draw.normal(m),
        )

    yield call("more points than queries", *points(4, 7), 0.5)
    yield call("same sizes, other bandwidth", *points(4, 7), 0.8)
    yield call("more queries than points", *points(18, 3), 0.7)
    yield call("as many queries as points", *points(6, 6), 0.6)
    yield call("one query", *points(1, 5), 0.4)
    yield call("one point", *points(4, 1), 0.3, note="a single point: its y everywhere")
    yield call("wide", *points(5, 8), 3.0, note="a bandwidth wider than the data")
    yield call("very wide", *points(3, 34), 150.0, note="so wide that all points count")
    x_query, x, y = points(5, 4)
    yield call(
        "two points at one place",
        x_query,
        torch.cat([x, x[:2]]),
        torch.cat([y, draw.normal(2)]),
        0.45,
        note="two places where two points lie",
    )
    _, x, y = points(1, 6)
    yield call("at the points", x.clone(), x, y, 0.35, note="asked at the points")
    x_query, x, y = points(4, 5)
    yield call(
        "large units",
        4000 + 50 * x_query,
        4000 + 50 * x,
        20 * y,
        30.0,
        note="x is around 4000, the bandwidth is 30",
    )
    # Points a whole bandwidth apart, so that far away one of them has all the weight.
    ladder = torch.arange(5).double() + draw.uniform(5, low=-0.2, high=0.2)
    ladder = ladder[draw.permutation(5)]
    near_and_far = torch.tensor([2.3, -45.0, 0.9, 60.0], dtype=torch.float64)
    yield call(
        "far from all points",
        near_and_far * 0.02,
        ladder * 0.02,
        draw.normal(5),
        0.02,
        aspect="robustness",
        note="queries 40 to 60 bandwidths away, where every K(u) is 0 in the computer",
    )
    yield call(
        "very far from all points",
        torch.tensor([1000.0, 1.4, -1000.0], dtype=torch.float64) * 0.5,
        ladder * 0.5,
        draw.normal(5),
        0.5,
        aspect="robustness",
        note="queries 1000 bandwidths away",
    )
    yield call(
        "somewhat far",
        torch.tensor([-9.0, 12.5], dtype=torch.float64) * 0.3,
        ladder * 0.3,
        draw.normal(5),
        0.3,
        aspect="robustness",
        note="queries about 10 bandwidths away, where K(u) is tiny",
    )
    yield call(
        "narrow",
        ladder[:4] + draw.uniform(4, low=0.05, high=0.15),
        ladder,
        draw.normal(5),
        0.001,
        aspect="robustness",
        note="a bandwidth far smaller than the gaps between the points",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in points(5, 6)),
        0.55,
        aspect="robustness",
        note="the inputs do not lie side by side in memory",
    )
    yield call(
        "float32",
        *(t.float() for t in points(3, 5)),
        0.75,
        aspect="robustness",
    )
    x_query, x, y = points(3, 4)
    yield call(
        "float16",
        (x_query / 3).half(),
        (x / 3).half(),
        y.clamp(-1, 1).half(),
        0.7,
        aspect="robustness",
        gradients=False,
    )


def offsets(x_query: Tensor, x: Tensor, bandwidth: float) -> Tensor:
    return (x_query[:, None] - x[None, :]) / bandwidth  # (query, point)


@kernel_regression.reference
def kernel_regression_reference(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    u = offsets(x_query, x, bandwidth)
    return (-u.square() / 2).softmax(dim=1) @ y


@kernel_regression.alternative
def shifted_by_hand(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    exponent = -0.5 * ((x_query.unsqueeze(1) - x) / bandwidth) ** 2
    kernel = torch.exp(exponent - exponent.max(dim=1, keepdim=True).values)
    return (kernel * y).sum(dim=1) / kernel.sum(dim=1)


@kernel_regression.alternative
def by_logsumexp(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    log_kernel = -offsets(x_query, x, bandwidth).pow(2).mul(0.5)
    total = torch.logsumexp(log_kernel, dim=-1, keepdim=True)
    return torch.einsum("qm,m->q", (log_kernel - total).exp(), y)


@kernel_regression.alternative
def with_the_constant_of_the_density(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    difference = torch.sub(x.unsqueeze(0), x_query.unsqueeze(-1))
    logits = -(difference**2) / (2 * bandwidth**2)
    logits = logits - math.log(bandwidth * math.sqrt(2 * math.pi))
    return F.softmax(logits, dim=-1).matmul(y.unsqueeze(-1)).squeeze(-1)


@kernel_regression.alternative
def query_after_query(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    results = []
    for place in x_query:
        squared = ((place - x) / bandwidth) ** 2
        kernel = torch.exp(-(squared - squared.min()) / 2)
        results.append(torch.dot(kernel, y) / kernel.sum())
    return torch.stack(results)


@kernel_regression.alternative
def by_the_binomial_formula(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    """The square of the query is the same for all points: softmax does not see it."""
    centre = x.mean().detach()
    a, b = (x_query - centre) / bandwidth, (x - centre) / bandwidth
    return torch.softmax(torch.outer(a, b) - b.square() / 2, dim=1) @ y


@kernel_regression.alternative
def points_first(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    u = (x[:, None] - x_query[None, :]) / bandwidth  # (point, query)
    return (torch.softmax(-u * u / 2, dim=0) * y[:, None]).sum(dim=0)


def smooth(exponent: Tensor, y: Tensor) -> Tensor:
    return exponent.softmax(dim=1) @ y


@kernel_regression.mistake("""Your exponent has no minus sign: the farthest point gets
the largest weight. K(u) = exp(-u²/2).""")
def not_negated(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(offsets(x_query, x, bandwidth).square() / 2, y)


@kernel_regression.mistake("""You don't square: exp(-u/2) prefers whatever lies on one
side. The kernel is exp(-u²/2).""")
def not_squared(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(-offsets(x_query, x, bandwidth) / 2, y)


@kernel_regression.mistake("""You take the distance where its square belongs:
exp(-|u|/2) is another kernel.""")
def distance_not_squared(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return smooth(-offsets(x_query, x, bandwidth).abs() / 2, y)


@kernel_regression.mistake("""You use exp(-|u|), the Laplace kernel. The exercise asks
for the Gaussian: exp(-u²/2).""")
def laplace_kernel(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(-offsets(x_query, x, bandwidth).abs(), y)


@kernel_regression.mistake("""You left out the ½ in exp(-u²/2): your curve has the
bandwidth h/√2.""")
def without_half(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(-offsets(x_query, x, bandwidth).square(), y)


@kernel_regression.mistake("""You square the ½ as well: exp(-(u/2)²) is exp(-u²/4).
Square u first, then halve.""")
def half_squared(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(-(offsets(x_query, x, bandwidth) / 2).square(), y)


@kernel_regression.mistake("""You multiply by the bandwidth. A wider bandwidth should
look farther, so u is the distance *divided* by it.""")
def bandwidth_inverted(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return smooth(-offsets(x_query, x, 1 / bandwidth).square() / 2, y)


@kernel_regression.mistake("""You divide the squared distance by h. Divide the
distance by h before you square it: that makes h².""")
def divided_after_the_square(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return smooth(-offsets(x_query, x, 1.0).square() / (2 * bandwidth), y)


@kernel_regression.mistake("""You divide by the bandwidth twice: the distance is
divided by h, then the square again by h or h².""")
def divided_twice(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return smooth(-offsets(x_query, x, bandwidth**2).square() / 2, y)


@kernel_regression.mistake("""You don't use the bandwidth: u = (x_query -
x)/bandwidth.""")
def bandwidth_ignored(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return smooth(-offsets(x_query, x, 1.0).square() / 2, y)


@kernel_regression.mistake("""You normalise over the queries. Each query shares out
one unit of weight among the points: the sum runs over the M points.""")
def normalised_over_queries(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return (-offsets(x_query, x, bandwidth).square() / 2).softmax(dim=0) @ y


@kernel_regression.mistake("""You divide by the plain sum of K(u). Far from all points
every K(u) is 0 in the computer, and 0/0 is NaN. Subtract each row's largest exponent
first, as softmax does.""")
def normalised_by_raw_sum(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    kernel = (-offsets(x_query, x, bandwidth).square() / 2).exp()
    return kernel @ y / kernel.sum(dim=1)


@kernel_regression.mistake("""You add a small number to the sum, or bound it from
below. Far from all points that gives 0; the weighted mean goes to the nearest point's
y. Subtract each row's largest exponent instead.""")
def small_number_added(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    kernel = (-offsets(x_query, x, bandwidth).square() / 2).exp()
    return kernel @ y / (kernel.sum(dim=1) + 1e-12)


@kernel_regression.mistake("""You replace NaN by 0. Far from all points the weighted
mean goes to the nearest point's y: subtract each row's largest exponent, and no NaN
comes up.""")
def nan_replaced(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return torch.nan_to_num(normalised_by_raw_sum(x_query, x, y, bandwidth))


@kernel_regression.mistake("""Far from all points you return the mean of y. The
formula goes to the nearest point's y there: subtract each row's largest exponent
before exp.""")
def mean_far_away(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    kernel = (-offsets(x_query, x, bandwidth).square() / 2).exp()
    total = kernel.sum(dim=1)
    empty = total == 0
    return torch.where(empty, y.mean(), kernel @ y / torch.where(empty, 1.0, total))


@kernel_regression.mistake("""You subtract the largest exponent of the whole table.
Where one query is near and another far, the far one still has nothing but zeros: each
row needs its own maximum.""")
def shifted_by_one_maximum(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    exponent = -offsets(x_query, x, bandwidth).square() / 2
    kernel = (exponent - exponent.max()).exp()
    return kernel @ y / kernel.sum(dim=1)


@kernel_regression.mistake("""You don't divide by the sum of the weights: where points
are dense, the curve grows too high.""")
def not_normalised(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return (-offsets(x_query, x, bandwidth).square() / 2).exp() @ y


@kernel_regression.mistake("""You divide by the number of points. The weights are
shares of their own sum, which is different at each query.""")
def divided_by_number(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return not_normalised(x_query, x, y, bandwidth) / x.shape[0]


@kernel_regression.mistake("""You return the y of the nearest point. That is the limit
for a bandwidth of 0; the other points count too.""")
def nearest_point(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return y[offsets(x_query, x, bandwidth).abs().argmin(dim=1)]


@kernel_regression.mistake("""You return the mean of all y, whatever the query: the
limit for an infinite bandwidth.""")
def plain_mean(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return y.mean().expand(x_query.shape[0])


@kernel_regression.mistake("""You weight by the product x_query · x. The kernel is a
function of the *difference* of the two.""")
def products_for_distances(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return smooth(torch.outer(x_query, x) / bandwidth, y)


@kernel_regression.mistake("""You mix the x of the points. The weights come from x,
what they mix is y.""")
def x_mixed(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return kernel_regression_reference(x_query, x, x, bandwidth)


@kernel_regression.mistake("""Your result is (Nq, 1), or (1, Nq): return a vector,
(Nq,).""")
def column_returned(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return kernel_regression_reference(x_query, x, y, bandwidth)[:, None]


@kernel_regression.mistake("""You return the weights. Mix y with them: (Nq, M) times
(M,).""")
def weights_returned(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return (-offsets(x_query, x, bandwidth).square() / 2).softmax(dim=1)


@kernel_regression.mistake("""The weights are cut off from the graph (`detach`,
`no_grad`, `.item()`): no gradient reaches x_query and x.""")
def weights_without_gradient(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return kernel_regression_reference(x_query.detach(), x.detach(), y, bandwidth)


@kernel_regression.mistake("""Your result is cut off from all inputs (`detach`,
`.data`, or `torch.tensor(...)` around numbers): no gradient can flow back.""")
def regression_detached(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return kernel_regression_reference(x_query, x, y, bandwidth).detach()


@kernel_regression.mistake("""You compute in float32: float64 inputs lose half their
digits, and the result has another dtype than the input.""")
def regression_in_float32(
    x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float
) -> Tensor:
    return kernel_regression_reference(x_query.float(), x.float(), y.float(), bandwidth)


@kernel_regression.mistake("""You change an input in place (`x -= ...`, `x /= ...`).
Whoever called the function still needs it.""")
def x_changed(x_query: Tensor, x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    x /= bandwidth
    return kernel_regression_reference(x_query / bandwidth, x, y, 1.0)


# ---------------------------------------------------------------------- soft_lookup

soft_lookup = Exercise("soft_lookup")


@soft_lookup.cases
def _(draw: Draw) -> Iterator[Sample]:
    def inputs(nq: int, nk: int, d: int, e: int, scale: float = 1.0) -> tuple:
        return (
            draw.normal(nq, d, scale=scale),
            draw.normal(nk, d, scale=scale),
            draw.normal(nk, e),
        )

    yield call("more keys than queries", *inputs(4, 7, 3, 5), 0.6)
    yield call("same sizes, other temperature", *inputs(4, 7, 3, 5), 1.7)
    yield call("more queries than keys", *inputs(18, 3, 5, 2), 2.0)
    yield call("as many queries as keys", *inputs(6, 6, 4, 4), 0.8)
    yield call(
        "temperature 1", *inputs(3, 4, 4, 7), 1.0, note="as many keys as channels"
    )
    yield call("one query", *inputs(1, 20, 4, 3), 0.5)
    yield call("one key", *inputs(3, 1, 2, 6), 0.7, note="a single key has weight 1")
    yield call("one channel", *inputs(5, 4, 1, 1), 1.3, note="d = 1 and e = 1")
    yield call("hot", *inputs(4, 5, 36, 3), 50.0, note="a high temperature: all alike")
    yield call("cool", *inputs(3, 8, 5, 18), 0.15, note="a low temperature")
    query, keys, values = inputs(3, 6, 4, 2)
    lengths = torch.tensor([0.1, 3.0, 0.3, 2.0, 1.0, 0.5], dtype=torch.float64)
    yield call(
        "keys of very different lengths",
        query,
        F.normalize(keys, dim=1) * lengths[:, None],
        values,
        0.9,
        note="some keys are long, some short",
    )
    yield call(
        "almost frozen",
        *inputs(5, 6, 4, 3),
        1e-3,
        aspect="robustness",
        note="a temperature of 0.001, where exp overflows",
    )
    query, keys, values = inputs(3, 5, 4, 2)
    yield call(
        "almost frozen, dots below zero",
        query.abs() + 0.3,
        -keys.abs() - 0.3,
        values,
        1e-3,
        aspect="robustness",
        note="a temperature of 0.001 and negative dots, where every exp is 0",
    )
    query, keys, values = inputs(1, 4, 3, 5)
    yield call(
        "one row high, one row low",
        torch.cat([query.abs() + 0.3, -query.abs() - 0.3]),
        keys.abs() + 0.3,
        values,
        1e-3,
        aspect="robustness",
        note="one query's dots are far above zero, another's far below",
    )
    query, keys, values = inputs(3, 4, 5, 2, scale=0.02)
    yield call(
        "small dots, small temperature",
        query,
        keys,
        values,
        1e-3,
        aspect="robustness",
        note="dots about as small as the temperature, 0.001",
    )
    yield call(
        "large dots",
        *inputs(4, 6, 5, 3, scale=40.0),
        1.5,
        aspect="robustness",
        note="dots of several thousand",
    )
    yield call(
        "large dots, high temperature",
        *inputs(3, 5, 4, 6, scale=30.0),
        900.0,
        aspect="robustness",
        note="large dots that the temperature brings back to about 1",
    )
    yield call(
        "not contiguous",
        *(noncontiguous(t) for t in inputs(5, 6, 4, 3)),
        0.65,
        aspect="robustness",
        note="the inputs are transposed views",
    )
    yield call(
        "float32",
        *(t.float() for t in inputs(3, 5, 4, 2)),
        0.75,
        aspect="robustness",
    )
    yield call(
        "float16",
        *(t.half() for t in inputs(3, 4, 2, 5)),
        1.5,
        aspect="robustness",
        gradients=False,
    )


@soft_lookup.reference
def soft_lookup_reference(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return (query @ keys.T / temperature).softmax(dim=1) @ values


@soft_lookup.alternative
def shifted_before_dividing(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    dots = torch.einsum("qd,kd->qk", query, keys)
    powers = torch.exp((dots - dots.amax(dim=-1, keepdim=True)) / temperature)
    return (powers @ values) / powers.sum(dim=-1, keepdim=True)


@soft_lookup.alternative
def by_torch_attention(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    q, k, v = query[None], keys[None], values[None]
    return F.scaled_dot_product_attention(q, k, v, scale=1 / temperature)[0]


@soft_lookup.alternative
def query_cooled_first(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    logits = F.linear(query / temperature, keys)
    return torch.einsum("qk,ke->qe", F.softmax(logits, dim=-1), values)


@soft_lookup.alternative
def one_query_at_a_time(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    rows = []
    for one in query:
        log_weights = F.log_softmax(keys.mv(one) / temperature, dim=0)
        rows.append((log_weights.exp()[:, None] * values).sum(dim=0))
    return torch.stack(rows)


@soft_lookup.alternative
def keys_first(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    weights = torch.softmax(keys @ query.T * (1 / temperature), dim=0)  # (key, query)
    return weights.T @ values


def mix(logits: Tensor, values: Tensor) -> Tensor:
    return logits.softmax(dim=1) @ values


@soft_lookup.mistake("""You multiply by the temperature. A low temperature should
sharpen: divide the dots by it.""")
def temperature_multiplied(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T * temperature, values)


@soft_lookup.mistake("""You don't use the temperature: the softmax is taken of dots /
temperature.""")
def temperature_ignored(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T, values)


@soft_lookup.mistake("""You divide by √d as well. That is attention's own temperature;
here the temperature is given, and nothing else divides.""")
def root_d_too(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / temperature / query.shape[1] ** 0.5, values)


@soft_lookup.mistake("""You divide by √d in place of the temperature.""")
def root_d_instead(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / query.shape[1] ** 0.5, values)


@soft_lookup.mistake("""You divide by the temperature twice: once the query or the
dots is enough.""")
def divided_by_square(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / temperature**2, values)


@soft_lookup.mistake("""You divide by the root of the temperature. Divide the dots by
the temperature itself.""")
def divided_by_root(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / temperature**0.5, values)


@soft_lookup.mistake("""You divide by the temperature after the softmax. Then the
weights do not sum to 1, and are as sharp as before.""")
def divided_after_softmax(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T, values) / temperature


@soft_lookup.mistake("""Your softmax runs over the queries: the columns sum to 1. Each
query shares out its weight among the keys, dim=1 of (query, key).""")
def softmax_over_queries(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return (query @ keys.T / temperature).softmax(dim=0) @ values


@soft_lookup.mistake("""Your softmax runs over the whole table. Each query's weights
sum to 1 by themselves: dim=1.""")
def softmax_over_everything(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    dots = query @ keys.T / temperature
    return dots.flatten().softmax(dim=0).view_as(dots) @ values


@soft_lookup.mistake("""You take `exp` of dots / temperature as they are. At a low
temperature it overflows, and inf/inf is NaN. Use softmax, or subtract each row's
maximum first.""")
def exp_overflows(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    powers = (query @ keys.T / temperature).exp()
    return powers / powers.sum(dim=1, keepdim=True) @ values


@soft_lookup.mistake("""You subtract the maximum of the whole table. A row that lies
far below another then has nothing but zeros: each row needs its own maximum.""")
def one_maximum_for_all(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    dots = query @ keys.T / temperature
    powers = (dots - dots.max()).exp()
    return powers / powers.sum(dim=1, keepdim=True) @ values


@soft_lookup.mistake("""You divide the dots by the temperature, and subtract the
largest dot undivided. Divide first, then subtract the maximum of what you divided.""")
def shift_not_divided(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    dots = query @ keys.T
    powers = (dots / temperature - dots.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True) @ values


@soft_lookup.mistake("""You cut the exponents off at a bound so that exp does not
overflow. Beyond it all keys look alike: subtract each row's maximum instead.""")
def exponents_clamped(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix((query @ keys.T / temperature).clamp(-50.0, 50.0), values)


@soft_lookup.mistake("""You keep the temperature above a bound. Softmax subtracts each
row's maximum by itself: it needs no such help, and the weights come out too soft.""")
def temperature_clamped(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / max(temperature, 0.01), values)


@soft_lookup.mistake("""You add a small number to the temperature. That changes every
result: divide by the temperature as it is.""")
def small_number_on_temperature(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / (temperature + 1e-6), values)


@soft_lookup.mistake("""You take the row with the largest dot. That is the hard
lookup; here every key has some weight.""")
def hard(query: Tensor, keys: Tensor, values: Tensor, temperature: float) -> Tensor:
    return values[(query @ keys.T).argmax(dim=1)]


@soft_lookup.mistake("""You compare by the angle (cosine). The lengths of query and
key count: take the plain dot.""")
def soft_by_cosine(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(
        F.normalize(query, dim=1) @ F.normalize(keys, dim=1).T / temperature, values
    )


@soft_lookup.mistake("""You compare by distance, as kernel regression does. Here the
score is the dot of query and key.""")
def soft_by_distance(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    squared = (query[:, None] - keys[None]).square().sum(dim=-1)
    return mix(-squared / temperature, values)


@soft_lookup.mistake("""You negate the dots: the worst match gets the largest weight.
Only distances need a minus.""")
def dots_negated(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(-(query @ keys.T) / temperature, values)


@soft_lookup.mistake("""You divide by the sum of the dots, without softmax. Dots may
be negative or cancel: exp makes them positive first.""")
def divided_by_sum_of_dots(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    dots = query @ keys.T / temperature
    return dots / dots.sum(dim=1, keepdim=True) @ values


@soft_lookup.mistake("""You mix the keys. The keys decide the weights; what they mix
is `values`.""")
def keys_mixed(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return mix(query @ keys.T / temperature, keys)


@soft_lookup.mistake("""You return the weights. Mix the values with them.""")
def only_weights(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return (query @ keys.T / temperature).softmax(dim=1)


@soft_lookup.mistake("""You return a pair. The result is the mixed values, and only
that.""")
def pair_returned(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> tuple:
    weights = (query @ keys.T / temperature).softmax(dim=1)
    return weights @ values, weights


@soft_lookup.mistake("""Every key gets the same weight: your result is the plain mean
of the values.""")
def mean_of_values(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return values.mean(dim=0).expand(query.shape[0], -1)


@soft_lookup.mistake("""The weights are cut off from the graph (`detach`, `no_grad`):
no gradient reaches query and keys, which is the point of a soft lookup.""")
def soft_weights_detached(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return (query @ keys.T / temperature).softmax(dim=1).detach() @ values


@soft_lookup.mistake("""Your result is cut off from all inputs (`detach`, `.data` or
`torch.tensor(...)`): no gradient can flow back.""")
def soft_lookup_detached(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return soft_lookup_reference(query, keys, values, temperature).detach()


@soft_lookup.mistake("""You compute in float32: float64 inputs lose half their digits,
and the result has another dtype than the input.""")
def soft_in_float32(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    return soft_lookup_reference(
        query.float(), keys.float(), values.float(), temperature
    )


@soft_lookup.mistake("""You divide `query` in place (`query /= temperature`). The
caller's query is changed, and a second call divides it again.""")
def query_divided_in_place(
    query: Tensor, keys: Tensor, values: Tensor, temperature: float
) -> Tensor:
    query /= temperature
    return mix(query @ keys.T, values)


# ---------------------------------------------------------------- attention_entropy

attention_entropy = Exercise("attention_entropy")


@attention_entropy.cases
def _(draw: Draw) -> Iterator[Sample]:
    def weights(*shape: int, scale: float = 1.0) -> Tensor:
        return draw.normal(*shape, scale=scale).softmax(dim=-1)

    # Weights sum to 1, so the gradient is compared along that simplex alone; the view
    # does so for a single row of weights.
    along = "gradient_along_simplex"
    yield call("one row", weights(5), view=along)
    yield call("one row of the same size", weights(5, scale=2.0), view=along)
    yield call("a longer row", weights(40), view=along)
    yield call("two keys", weights(2), view=along)
    yield call("a batch of one row", weights(1, 6), view=along)
    yield call("four dimensions, one row", weights(1, 1, 1, 4), view=along)
    yield call("query and key", weights(18, 7), gradients=False)
    yield call("same sizes again", weights(18, 7, scale=2.0), gradients=False)
    yield call("as many queries as keys", weights(6, 6), gradients=False)
    yield call("batch, query, key", weights(11, 5, 4), gradients=False)
    yield call("batch, heads, query, key", weights(2, 3, 4, 5), gradients=False)
    yield call("one item, one head", weights(1, 1, 3, 20), gradients=False)
    yield call("five dimensions", weights(2, 1, 3, 2, 6), gradients=False)
    yield call(
        "one key", weights(3, 1), gradients=False, note="a single key: no choice at all"
    )
    yield call(
        "uniform",
        torch.full((2, 9), 1 / 9, dtype=torch.float64),
        gradients=False,
        note="all weights alike",
    )
    row, other = draw.permutation(5)[:2].tolist()
    yield call(
        "one-hot",
        torch.eye(5, dtype=torch.float64)[[row, other, row]],
        gradients=False,
        note="one weight is 1, the others are exactly 0",
    )
    masked = draw.normal(2, 4, 6)
    masked[draw.mask(2, 4, 6, share=0.4)] = -math.inf
    yield call(
        "some weights are zero",
        masked.softmax(dim=-1),
        gradients=False,
        note="some weights are exactly 0, as after a mask",
    )
    tiny = torch.tensor([[1e-300, 1e-40, 9e-9, 1e-5]], dtype=torch.float64)
    rest = weights(1, 4) * (1 - tiny.sum())  # all eight sum to 1
    yield call(
        "tiny weights",
        torch.cat([rest, tiny], dim=-1),
        gradients=False,
        aspect="robustness",
        note="some weights are as small as 1e-300",
    )
    yield call(
        "small weights",
        weights(3, 7, scale=6.0),
        gradients=False,
        note="weights of very different sizes",
    )
    yield call(
        "not contiguous",
        noncontiguous(weights(3, 4, 5)),
        gradients=False,
        aspect="robustness",
        note="the weights are a transposed view",
    )
    yield call(
        "one row, not contiguous",
        noncontiguous(weights(7)),
        view=along,
        aspect="robustness",
        note="the weights do not lie side by side in memory",
    )
    yield call("float32", weights(3, 4).float(), aspect="robustness", gradients=False)
    parts = [draw.permutation(4) for _ in range(3)]
    shares = torch.tensor([8, 4, 3, 1], dtype=torch.float64) / 16
    yield call(
        "float16",
        torch.stack([shares[part] for part in parts]).half(),
        aspect="robustness",
        gradients=False,
    )


@attention_entropy.reference
def attention_entropy_reference(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=-1)


@attention_entropy.alternative
def by_xlogy(weights: Tensor) -> Tensor:
    return -torch.xlogy(weights, weights).sum(-1)


@attention_entropy.alternative
def by_where(weights: Tensor) -> Tensor:
    positive = weights > 0
    logs = torch.where(positive, weights, torch.ones_like(weights)).log()
    return -(weights * logs).sum(dim=-1)


@attention_entropy.alternative
def where_after_the_log(weights: Tensor) -> Tensor:
    terms = weights * torch.log(weights)
    return -torch.where(weights == 0, torch.zeros_like(terms), terms).sum(dim=-1)


@attention_entropy.alternative
def nan_to_num(weights: Tensor) -> Tensor:
    return torch.einsum("...k->...", -torch.nan_to_num(weights * weights.log()))


@attention_entropy.alternative
def by_clamping(weights: Tensor) -> Tensor:
    smallest = torch.finfo(weights.dtype).tiny
    return (weights * -weights.clamp(min=smallest).log()).sum(dim=-1)


@attention_entropy.alternative
def very_small_number_added(weights: Tensor) -> Tensor:
    return -(weights * (weights + 1e-12).log()).sum(dim=-1)


@attention_entropy.alternative
def by_categorical(weights: Tensor) -> Tensor:
    return torch.distributions.Categorical(probs=weights).entropy()


@attention_entropy.alternative
def row_by_row(weights: Tensor) -> Tensor:
    rows = weights.reshape(-1, weights.shape[-1])
    entropies = []
    for row in rows:
        kept = row[row > 0]
        entropies.append((kept * (1 / kept).log()).sum())
    return torch.stack(entropies).reshape(weights.shape[:-1])


@attention_entropy.alternative
def distance_from_uniform(weights: Tensor) -> Tensor:
    number = weights.shape[-1]
    kept = weights.clamp_min(torch.finfo(weights.dtype).tiny)
    divergence = (weights * (kept * number).log()).sum(dim=-1)
    return math.log(number) - divergence


@attention_entropy.mistake("""You take the log of 0: 0 · (-inf) is NaN. A weight of 0
adds nothing: `torch.where`, `torch.xlogy` and `torch.special.entr` know that.""")
def log_of_zero(weights: Tensor) -> Tensor:
    return -(weights * weights.log()).sum(dim=-1)


@attention_entropy.mistake("""You have the opposite sign: logs of weights are
negative, the entropy is not.""")
def entropy_negated(weights: Tensor) -> Tensor:
    return -attention_entropy_reference(weights)


@attention_entropy.mistake("""You use log₂, which counts bits. Here the log is the
natural one.""")
def entropy_in_bits(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights) / math.log(2)


@attention_entropy.mistake("""You use log₁₀. Here the log is the natural one,
`torch.log`.""")
def entropy_with_log10(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights) / math.log(10)


@attention_entropy.mistake("""You take the mean over the keys. The entropy is a sum of
-w log w.""")
def mean_over_keys(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).mean(dim=-1)


@attention_entropy.mistake("""You sum over everything. Each row of weights has an
entropy of its own: sum over dim=-1.""")
def sum_of_everything(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum()


@attention_entropy.mistake("""You return one mean for all rows. Each row of weights
has an entropy of its own: the result is (...,).""")
def mean_of_rows(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights).mean()


@attention_entropy.mistake("""You sum over dim=0. The keys are the last dimension:
dim=-1, for any number of dimensions before it.""")
def sum_over_first(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=0)


@attention_entropy.mistake("""You sum over dim=1, which is the keys for a matrix
alone. The keys are the last dimension: dim=-1.""")
def sum_over_dim_one(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=min(1, weights.dim() - 1))


@attention_entropy.mistake("""You sum over the queries, dim=-2. Each query's weights
are the last dimension: dim=-1.""")
def sum_over_queries(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=max(-2, -weights.dim()))


@attention_entropy.mistake("""Your result keeps a last dimension of 1: leave
`keepdim=True` out.""")
def dimension_kept(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=-1, keepdim=True)


@attention_entropy.mistake("""You don't sum: -w log w is what one key adds. The
entropy is the sum over the keys.""")
def not_summed(weights: Tensor) -> Tensor:
    return torch.special.entr(weights)


@attention_entropy.mistake("""You divide by ln N, the largest possible entropy. The
entropy itself is asked for, in nats.""")
def divided_by_largest(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights) / math.log(weights.shape[-1])


@attention_entropy.mistake("""You return ln N minus the entropy, the distance from
uniform weights: large where the entropy is small.""")
def distance_to_uniform(weights: Tensor) -> Tensor:
    return math.log(weights.shape[-1]) - attention_entropy_reference(weights)


@attention_entropy.mistake("""You left out the factor w: each log is weighted by its
own weight.""")
def logs_without_weights(weights: Tensor) -> Tensor:
    return -weights.log().sum(dim=-1)


@attention_entropy.mistake("""You return exp of the entropy (the perplexity). Stop one
step earlier.""")
def perplexity(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights).exp()


@attention_entropy.mistake("""You use 1 - Σ w². It measures spread too, but is not the
entropy: -Σ w log w.""")
def one_minus_squares(weights: Tensor) -> Tensor:
    return 1 - weights.square().sum(dim=-1)


@attention_entropy.mistake("""You use the largest weight alone, -log max w. Every
weight counts: -Σ w log w.""")
def minus_log_of_largest(weights: Tensor) -> Tensor:
    return -weights.amax(dim=-1).log()


@attention_entropy.mistake("""You apply softmax to the weights. They are weights
already: their rows sum to 1.""")
def softmax_of_weights(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights.softmax(dim=-1))


@attention_entropy.mistake("""You take log(1 + w). That is never -inf, but it is not
the entropy: the log is of w.""")
def log_of_one_plus(weights: Tensor) -> Tensor:
    return -(weights * weights.log1p()).sum(dim=-1)


@attention_entropy.mistake("""The number you add before the log is so large that
it shows. Better: `torch.where`, `torch.xlogy` or `torch.special.entr`, which are
exact.""")
def number_added(weights: Tensor) -> Tensor:
    return -(weights * (weights + 1e-6).log()).sum(dim=-1)


@attention_entropy.mistake("""You add 1e-8 before the log, and it shows in the result.
Better: `torch.where`, `torch.xlogy` or `torch.special.entr`, which are exact.""")
def smaller_number_added(weights: Tensor) -> Tensor:
    return -(weights * (weights + 1e-8).log()).sum(dim=-1)


@attention_entropy.mistake("""You bound the weights from below, and use the bound in
both places: weights of 0 then add something. Bound them inside the log alone, or use
`torch.where`.""")
def bounded_in_both_places(weights: Tensor) -> Tensor:
    bounded = weights.clamp(min=1e-8)
    return -(bounded * bounded.log()).sum(dim=-1)


@attention_entropy.mistake("""You bound the weights at a number that is too large:
small weights count too. A bound has to be far below 1e-12.""")
def bound_too_large(weights: Tensor) -> Tensor:
    return -(weights * weights.clamp(min=1e-4).log()).sum(dim=-1)


@attention_entropy.mistake("""You replace NaN after the sum: a row with a single
weight of 0 loses all its other terms. Treat each weight by itself, before the sum.""")
def rows_with_zero_dropped(weights: Tensor) -> Tensor:
    entropies = -(weights * weights.log()).sum(dim=-1)
    return torch.nan_to_num(entropies)


@attention_entropy.mistake("""Your result is cut off from the weights (`detach`,
`.data`, `.item()` or `torch.tensor(...)`): no gradient can flow back.""")
def entropy_detached(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights.detach())


@attention_entropy.mistake("""The factor w is cut off from the graph, so that only the
log gets a gradient. Both depend on the weights.""")
def factor_detached(weights: Tensor) -> Tensor:
    return -torch.xlogy(weights.detach(), weights).sum(dim=-1)


@attention_entropy.mistake("""You compute in float32: float64 weights lose half their
digits, and the result has another dtype than the input.""")
def entropy_in_float32(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights.float())


@attention_entropy.mistake("""You compute in float32 and convert back: float64 weights
lose half their digits on the way.""")
def entropy_through_float32(weights: Tensor) -> Tensor:
    return attention_entropy_reference(weights.float()).to(weights.dtype)


@attention_entropy.mistake("""You change the weights in place, to get rid of the
zeros. Whoever called the function still needs them: make a new tensor.""")
def zeros_replaced_in_place(weights: Tensor) -> Tensor:
    weights[weights == 0] = 1.0
    return attention_entropy_reference(weights)

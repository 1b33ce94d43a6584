"""Chapter 11: what is counted is what is there, and the figures say so."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

from attention_course.author.exercise import Exercise, load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn import experiments_11
from attention_course.learn.answer_key import Case, ExerciseKey
from attention_course.learn.observation import observe
from attention_course.learn.probes_11 import PreparedCache
from attention_course.learn.protocols import find_protocol
from attention_course.learn.protocols.chapter_11 import Ledger, taken
from attention_course.learn.verdict import judge

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
EXERCISES = load_exercises(ROOT / "chapters" / "11_cost" / "exercises.py")


# ---------------------------------------------------------------- how it is measured


def test_peak_bytes_are_those_of_the_tensors_alive() -> None:
    def run() -> Tensor:
        first = torch.empty(1000, 1000)  # 4 MB
        second = torch.empty(500, 1000)  # 2 MB more
        del first
        third = torch.empty(250, 1000)  # 1 MB, but 4 fewer
        return second[0, 0] + third[0, 0]

    assert experiments_11.peak_bytes(run, CPU) == 6_000_000


def test_peak_bytes_see_what_an_operation_holds_inside() -> None:
    x = torch.randn(1, 1, 256, 64)
    output = x.nbytes
    peak = experiments_11.peak_bytes(
        lambda: F.scaled_dot_product_attention(x, x, x), CPU
    )
    assert peak > output
    assert peak < 256 * 256 * 4 + output


def test_a_fused_form_holds_less_than_the_scores() -> None:
    def naive(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.softmax(query @ key.mT, dim=-1) @ value

    forms = {"naive": naive, "fused": F.scaled_dot_product_attention}
    found = experiments_11.measure(forms, [256, 512, 1024], device=CPU)
    for tokens, naive_bytes, fused in zip(
        found["naive"].tokens, found["naive"].bytes, found["fused"].bytes, strict=True
    ):
        scores = tokens**2 * 4
        assert scores * 2 <= naive_bytes < scores * 2.2
        assert fused < scores
    assert experiments_11.exponent(
        found["naive"].tokens, found["naive"].bytes
    ) == pytest.approx(2, abs=0.05)
    assert all(s > 0 for growth in found.values() for s in growth.seconds)


def busy(seconds: float) -> None:
    """Keep the processor busy for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_seconds_are_those_of_the_processor() -> None:
    found = experiments_11.seconds(lambda: busy(0.02), device=CPU)
    assert 0.02 <= found < 0.03

    def waits() -> None:
        busy(0.02)
        time.sleep(0.05)

    assert experiments_11.seconds(waits, device=CPU) < 0.03


def test_a_form_that_takes_too_much_gets_no_longer_text() -> None:
    def greedy(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.zeros(1000, query.shape[2])[:1] + query.sum()

    def slow(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        busy(0.02)
        return query

    forms = {"greedy": greedy, "slow": slow, "modest": lambda q, k, v: q + 1}
    found = experiments_11.measure(
        forms, [8, 16, 32], patience=0.01, room=50_000, device=CPU
    )
    assert found["greedy"].tokens == [8, 16]  # 64 kB is more than there is room for
    assert found["slow"].tokens == [8]
    assert found["modest"].tokens == [8, 16, 32]


def test_the_exponent_is_that_of_the_longer_half() -> None:
    tokens = [100, 200, 400, 800, 1600, 3200]
    assert experiments_11.exponent(tokens, [3 * n**1.5 for n in tokens]) == (
        pytest.approx(1.5)
    )
    bent = [1, 1, 1, 1, 2, 4]
    assert experiments_11.exponent(tokens, bent) == pytest.approx(1)
    assert math.isnan(experiments_11.exponent([100], [1]))


def test_only_a_right_answer_is_measured() -> None:
    right = EXERCISES["tiled_attention"].reference_answer
    assert experiments_11.works(right)

    def blank(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
        raise NotImplementedError

    def wrong(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
        return right(query, key, value, block) * 1.01

    for answer in (None, blank, wrong, 3, lambda q, k, v, b: (right(q, k, v, b), None)):
        assert not experiments_11.works(answer)


def test_kernels_are_chosen_one_by_one() -> None:
    assert experiments_11.fused_kernels(CPU) == {}
    x = torch.randn(1, 1, 8, 4)
    by_name = experiments_11._only(SDPBackend.MATH)(x, x, x)
    torch.testing.assert_close(by_name, F.scaled_dot_product_attention(x, x, x))


# -------------------------------------------------------------------- how it is checked


@pytest.fixture(scope="module")
def tiles() -> ExerciseKey:
    """The cases that look at the tensors made, without the known mistakes."""
    plain = dataclasses.replace(EXERCISES["tiled_attention"], mistakes={})
    key = make_exercise_key(plain, 5, seed=3)
    cases = tuple(c for c in key.cases if c.protocol == "tiles")
    assert len(cases) == 2
    return dataclasses.replace(key, cases=cases)


def made(answer: Any, case: Case) -> tuple[float, int, int]:
    """The largest tensor in parts of Nq·Nk; the steps with small and large blocks."""
    seen = find_protocol("tiles")(answer, case, CPU)
    live = case.build("cpu")
    small, large = live["blocks"]
    scores = live["query"].shape[-2] * live["key"].shape[-2]
    kinds = ("largest tensor", "largest tensor taken")
    largest = max(seen[f"{kind} with blocks of {small}"] for kind in kinds) / scores
    steps = (seen[f"operations with blocks of {b}"] for b in (small, large))
    return largest, *steps


def test_every_way_to_work_in_tiles_stays_far_from_the_limit(
    tiles: ExerciseKey,
) -> None:
    exercise = EXERCISES["tiled_attention"]
    for answer in (exercise.reference_answer, *exercise.alternatives.values()):
        for case in tiles.cases:
            largest, many, few = made(answer, case)
            assert largest <= 0.5, answer.__name__
            assert many >= 2 * few, answer.__name__


@pytest.mark.parametrize(
    "name",
    [
        "all_scores_at_once",
        "scores_collected",
        "one_head_after_the_other",
        "computed_out_of_sight",
        "loop_beside_the_work",
    ],
)
def test_a_hidden_buffer_is_seen(tiles: ExerciseKey, name: str) -> None:
    answer = EXERCISES["tiled_attention"].mistakes[name].answer
    for case in tiles.cases:
        assert made(answer, case)[0] >= 1
    assert not judge(tiles, observe(answer, tiles.cases)).complete


def test_a_buffer_is_seen_through_views_and_in_place_writes() -> None:
    def hidden(query: Tensor, key: Tensor) -> Tensor:
        buffer = torch.empty(0)
        buffer.resize_(40 * 50)
        return buffer.view(40, 50)[:2, :2]

    with Ledger() as ledger:
        hidden(torch.zeros(40, 2), torch.zeros(50, 2))
    assert ledger.largest == 2000


def test_what_is_mapped_is_counted_by_the_item() -> None:
    with Ledger() as ledger:
        torch.vmap(lambda x: x * 2)(torch.zeros(30, 7))
    assert ledger.largest >= 7


def test_expanding_costs_no_memory() -> None:
    with Ledger() as ledger, taken() as sizes:
        torch.zeros(40, 1).expand(40, 50).sum()
    assert ledger.largest == max(sizes) == 40


def plain(query: Tensor, key: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2)
    return scores.sum(-1)


@functools.cache
def script() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(plain)


def compiled(query: Tensor, key: Tensor) -> Tensor:
    return script()(query, key)


def in_an_old_thread(query: Tensor, key: Tensor) -> Tensor:
    return POOL.submit(plain, query, key).result()


def past_the_mode(query: Tensor, key: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        return plain(query, key)


POOL = ThreadPoolExecutor(1)
POOL.submit(int).result()  # its thread is there before anything is observed


@pytest.mark.parametrize("hidden", [compiled, in_an_old_thread, past_the_mode])
def test_what_runs_out_of_sight_is_seen(tiles: ExerciseKey, hidden: Any) -> None:
    query, key = torch.zeros(40, 2), torch.zeros(50, 2)
    for _ in range(3):  # compiled code is optimised in its first calls
        with taken() as sizes:
            hidden(query, key)
        assert max(sizes) == 2000

    def answer(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
        right = EXERCISES["tiled_attention"].reference_answer
        return right(query, key, value, block) + 0 * hidden(query, key)[..., None]

    verdict = judge(tiles, observe(answer, tiles.cases))
    assert {a.name: a.earned for a in verdict.aspects}["memory"] == 0
    assert "out of sight" in verdict.message


def test_sizes_of_a_failing_call_are_seen() -> None:
    """Whatever a call raises, the next one is observed as if it had not been."""
    with pytest.raises(ZeroDivisionError), taken():
        raise ZeroDivisionError
    with taken() as sizes:
        torch.zeros(7) + 1
    assert 7 in sizes


def test_a_verdict_needs_no_observation(tiles: ExerciseKey) -> None:
    for seen in ({}, {"largest tensor with blocks of 16": "a lie"}):
        verdict = judge(tiles, {case.name: dict(seen) for case in tiles.cases})
        assert {a.name: a.earned for a in verdict.aspects}["memory"] == 0


def test_keys_and_values_that_differ_in_number_are_an_error() -> None:
    def one_value_too_few(
        cache: Any, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        keys, values = cache.append(key, value)
        return F.scaled_dot_product_attention(query, keys[:, :, 1:], values)

    plain = dataclasses.replace(EXERCISES["cached_step"], mistakes={})
    key = make_exercise_key(plain, 3, seed=0)
    verdict = judge(key, observe(one_value_too_few, key.cases))
    assert verdict.earned == 0
    assert "RuntimeError" in verdict.message


def test_a_check_leaves_nothing_in_the_class() -> None:
    exercise: Exercise = EXERCISES["KVCache"]
    key = make_exercise_key(exercise, 3, seed=0)
    shared = exercise.mistakes["SharedByAll"].answer
    first = judge(key, observe(shared, key.cases))
    assert shared.keys == [] == shared.values
    assert first.mistake == "SharedByAll"
    assert judge(key, observe(shared, key.cases)) == first


def test_a_class_variable_that_is_replaced_is_put_back() -> None:
    class Replaced:
        keys: Tensor | None = None

        def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            Replaced.keys = key
            return key, value

    key = make_exercise_key(
        dataclasses.replace(EXERCISES["KVCache"], mistakes={}), 3, seed=0
    )
    observe(Replaced, key.cases)
    assert Replaced.keys is None


def test_the_prepared_cache_keeps_its_contract() -> None:
    torch.manual_seed(0)
    chunks = [torch.randn(2, 3, t, 4, requires_grad=True) for t in (3, 1, 2)]
    cache = PreparedCache(6)
    for chunk in chunks:
        keys, values = cache.append(chunk, -chunk)
    torch.testing.assert_close(keys, torch.cat(chunks, dim=2))
    torch.testing.assert_close(values, -torch.cat(chunks, dim=2))
    assert cache.length == 6
    keys.sum().backward()
    assert all(torch.equal(c.grad, torch.ones_like(c)) for c in chunks)
    with pytest.raises(
        ValueError, match="7 tokens were appended, where there can be 6"
    ):
        cache.append(chunks[1], chunks[1])


def test_the_prepared_cache_takes_each_token_once() -> None:
    cache, ones = PreparedCache(4), torch.ones(1, 1, 1, 2)
    cache.expected = 1
    cache.append(ones, ones)
    with pytest.raises(ValueError, match="append each token once"):
        cache.append(ones, ones)


def test_the_prepared_cache_gives_out_its_own_memory() -> None:
    cache, ones = PreparedCache(3), torch.ones(1, 1, 1, 2)
    keys, _ = cache.append(ones, ones)
    keys.zero_()
    assert not cache.append(ones, ones)[0][:, :, 0].any()


# ------------------------------------------------------------------ what figures claim

TITLES = {
    "outgrow": "The scores outgrow any memory; what they are made of does not",
    "re-weighs": "Every block re-weighs all that came before",
    "memory": "Four times the memory for twice the tokens: only where the scores are "
    "kept",
    "cache": "Without a cache, the t-th token costs t times as many operations",
    "reach": "Every layer widens what is heard by the radius; the far ends are faint",
}


@pytest.fixture(scope="module", params=["lesson", "solution"])
def figures(request: pytest.FixtureRequest) -> dict[str, dict]:
    """The data of the stored figures, by title."""
    path = {
        "lesson": "notebooks/11_cost.ipynb",
        "solution": "solutions/11_cost/11_cost.ipynb",
    }[request.param]
    notebook = json.loads((ROOT / path).read_text(encoding="utf-8"))
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    records = [o.get("metadata", {}).get("attention_course") for o in outputs]
    return {record["title"]: record["data"] for record in records if record}


def lines(axes: dict) -> dict[str, tuple[list[float], list[float]]]:
    return {line["label"]: (line["x"], line["y"]) for line in axes["lines"]}


def test_every_figure_is_there(figures: dict[str, dict]) -> None:
    assert set(figures) == set(TITLES.values())


def test_the_scores_pass_the_reference(figures: dict[str, dict]) -> None:
    drawn = lines(figures[TITLES["outgrow"]]["axes"][0])
    x, scores = drawn["the scores"]
    inputs = drawn["queries, keys and values"][1]
    assert [n**2 * 2 for n in x] == scores
    assert scores[0] < inputs[0]
    assert scores[-1] > 80e9 > inputs[-1] * 50


def test_earlier_weights_only_fall(figures: dict[str, dict]) -> None:
    (image,) = figures[TITLES["re-weighs"]]["axes"][0]["images"]
    rows = [[float(v) for v in row] for row in image["values"]]
    for number, row in enumerate(rows):
        seen = 3 * (number + 1)
        assert sum(row[:seen]) == pytest.approx(1, abs=1e-4)
        assert all(math.isnan(v) for v in row[seen:])
    for above, below in pairwise(rows):
        past = [v for v in above if not math.isnan(v)]
        ratios = [low / high for high, low in zip(past, below, strict=False)]
        assert max(ratios) < 1
        assert max(ratios) == pytest.approx(min(ratios), rel=1e-3)


def test_only_the_naive_form_pays_four_times(figures: dict[str, dict]) -> None:
    data = figures[TITLES["memory"]]
    left, right = (lines(axes) for axes in data["axes"])
    assert data["where"] in data["axes"][0]["title"]
    memory = dict(data["memory"])
    assert set(memory) == set(data["time"]) >= {"naive", "PyTorch"}
    assert 1.9 < memory.pop("naive") < 2.1
    assert all(0 < p < 1.1 for p in memory.values())
    for panel, kind in ((left, "time"), (right, "memory")):
        for label, (x, y) in panel.items():
            name = label.partition(":")[0]
            assert f"{data[kind][name]:.1f}" in label
            assert x == sorted(x)
            assert y[-1] > y[0] > 0
    for x, y in left.values():  # of one machine, whatever else it did: far above N
        assert y[-1] / y[0] > 2 * x[-1] / x[0]
    naive = next(v for k, v in right.items() if k.startswith("naive"))
    fused = next(v for k, v in right.items() if k.startswith("PyTorch"))
    assert naive[1][-1] > 20 * fused[1][naive[0].index(naive[0][-1])]


def test_your_own_form_is_measured_where_it_is_written() -> None:
    def names(path: str) -> set[str]:
        text = (ROOT / path).read_text(encoding="utf-8")
        outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
        records = [o.get("metadata", {}).get("attention_course", {}) for o in outputs]
        (data,) = (r["data"] for r in records if r.get("title") == TITLES["memory"])
        return set(data["memory"])

    assert names("notebooks/11_cost.ipynb") == {"naive", "PyTorch"}
    assert names("solutions/11_cost/11_cost.ipynb") == {
        "naive",
        "PyTorch",
        "yours, tiled",
    }


def test_a_cache_saves_a_factor_of_t(figures: dict[str, dict]) -> None:
    counted, measured = (lines(a) for a in figures[TITLES["cache"]]["axes"])
    steps, without = counted["without a cache"]
    for t, plain, cached in zip(
        steps, without, counted["with a cache"][1], strict=True
    ):
        assert plain / cached == pytest.approx(t, rel=1e-4)
    clock = [measured[name][1][-1] for name in ("without a cache", "with a cache")]
    assert clock[0] > 10 * clock[1]


def test_the_reach_is_depth_times_radius(figures: dict[str, dict]) -> None:
    panels = figures[TITLES["reach"]]["axes"]
    for depth, axes in zip((1, 2, 4, 8), panels, strict=True):
        (drawn,) = axes["bars"]
        heard = [
            p for p, v in zip(drawn["positions"], drawn["values"], strict=True) if v > 0
        ]
        assert (min(heard), max(heard)) == (
            pytest.approx(-3 * depth),
            pytest.approx(3 * depth),
        )
        middle = drawn["values"][len(drawn["values"]) // 2]
        ends = [v for v in drawn["values"] if v > 0]
        assert middle > 5 * max(ends[0], ends[-1])

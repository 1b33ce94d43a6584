"""The verdict outside: papers, blinded cases, and what a liar gains by each lie."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from attention_course.author.chapter import find_chapters, read_chapter
from attention_course.author.keys import UnsoundReference
from attention_course.grade import keys as keys_module
from attention_course.grade.contract import RunCell
from attention_course.grade.judging import Garbled, checked, judge_exercise
from attention_course.grade.keys import Keys, blinded, make_sound_key, unblinded
from attention_course.grade.papers import PAPERS, Paper, choose_papers
from attention_course.grade.release import Bundle, read_bundle
from attention_course.grade.shortcuts import (
    find_course_code,
    find_shortcuts,
    find_tricks,
)
from attention_course.learn.answer_key import (
    Observation,
    pack_observation,
    unpack_observation,
)
from attention_course.learn.observation import observe

NAME = "scaled_dot_product_attention"
PAPER = Paper(3, 1234567)


def right(query: Any, key: Any, value: Any) -> Any:
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    weights = scores.softmax(-1)
    return weights @ value, weights


def unscaled(query: Any, key: Any, value: Any) -> Any:
    weights = (query @ key.transpose(-2, -1)).softmax(-1)
    return weights @ value, weights


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(ROOT, ROOT / "chapters" / "04_scaling")


@pytest.fixture(scope="module")
def keys(bundle: Bundle) -> Keys:
    return Keys(bundle, "test")


def seen_of(keys: Keys, answer: Any, name: str = NAME) -> dict[str, Observation]:
    """What an honest process reports of an answer on the blinded cases."""
    return observe(answer, blinded(keys.get(name, PAPER), PAPER))


def earned(keys: Keys, seen: Any, end: Any = "observed") -> float:
    return judge_exercise(keys, NAME, PAPER, seen, end).verdict.earned


def test_a_right_answer_earns_all_and_a_wrong_one_is_told(keys: Keys) -> None:
    judged = judge_exercise(keys, NAME, PAPER, seen_of(keys, right), "observed")
    assert judged.verdict.complete
    judged = judge_exercise(keys, NAME, PAPER, seen_of(keys, unscaled), "observed")
    assert judged.verdict.mistake == "no_scale"
    assert judged.verdict.earned == 0


def test_the_cases_are_blinded(keys: Keys) -> None:
    key = keys.get(NAME, PAPER)
    shown = blinded(key, PAPER)
    assert [case.name for case in shown] == [str(n) for n in range(len(key.cases))]
    for case in shown:
        assert (case.aspect, case.note, case.tolerance, case.view) == (
            "",
            "",
            None,
            None,
        )
    named = unblinded(key, PAPER, {case.name: {"is": case} for case in shown})
    for case in key.cases:
        assert named[case.name]["is"].tensors == case.tensors
    orders = {
        tuple(id(case.tensors) for case in blinded(key, Paper(n, n))) for n in range(4)
    }
    assert len(orders) > 1, "each paper has an order of its own"


def test_what_only_a_view_needs_is_not_shown() -> None:
    bundle = read_bundle(ROOT, ROOT / "chapters" / "03_projections")
    key = Keys(bundle, "test").get("design_qk", PAPER)
    assert all("scenes" in case.arguments["dict"] for case in key.cases)
    for case in blinded(key, PAPER):
        assert "scenes" not in case.arguments["dict"]
        assert not case.tensors
        case.build("cpu")


def test_papers_follow_from_submission_exercise_and_secret() -> None:
    names = ["one", "two"]
    first = choose_papers(b"secret", "abc", names)
    assert first == choose_papers(b"secret", "abc", names)
    assert first != choose_papers(b"another", "abc", names)
    assert first["one"].seed != first["two"].seed
    many = {choose_papers(b"secret", str(n), names)["one"] for n in range(200)}
    assert len(many) == PAPERS


def test_keys_are_kept_on_disk_and_mended(bundle: Bundle, tmp_path: Path) -> None:
    first = Keys(bundle, "test", tmp_path).get(NAME, PAPER)
    (path,) = tmp_path.rglob("*.safetensors")
    again = Keys(bundle, "test", tmp_path).get(NAME, PAPER)
    assert [c.name for c in again.cases] == [c.name for c in first.cases]
    path.write_bytes(path.read_bytes()[:500])
    mended = Keys(bundle, "test", tmp_path).get(NAME, PAPER)
    assert [c.name for c in mended.cases] == [c.name for c in first.cases]
    assert path.stat().st_size > 500
    Keys(bundle, "another environment", tmp_path).get(NAME, PAPER)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    named = Keys(bundle, "test", tmp_path).get(NAME, PAPER, mistakes=True)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    kept = Keys(bundle, "test", tmp_path).get(NAME, PAPER, mistakes=True)
    assert [m.differs for m in kept.mistakes] == [m.differs for m in named.mistakes]


def test_a_seed_that_is_unfair_to_a_right_answer_is_replaced(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    exercise = bundle.exercises[NAME]
    plain, unchanged = make_sound_key(exercise, 4, 7)
    asked: list[int] = []

    def failing(_: Any, key: Any) -> str | None:
        asked.append(len(asked))
        return "with_einsum" if len(asked) < 3 else None

    monkeypatch.setattr(keys_module, "_failing_alternative", failing)
    key, used = make_sound_key(exercise, 4, 7)
    assert len(asked) == 3
    first, second = (k.expected[k.cases[0].name]["attn_output"] for k in (plain, key))
    assert not torch.equal(first, second)
    assert unchanged == 7 != used
    monkeypatch.setattr(keys_module, "_failing_alternative", lambda *_: "einsum")
    with pytest.raises(UnsoundReference, match="einsum loses points"):
        make_sound_key(exercise, 4, 7)


def test_both_keys_of_a_paper_have_the_same_inputs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Chance, or a busy machine, may not give the second key another seed's inputs."""
    told = iter(["with_einsum", None])
    monkeypatch.setattr(keys_module, "_failing_alternative", lambda *_: next(told))
    keys = Keys(bundle, "here", tmp_path)
    plain = keys.get(NAME, PAPER)
    named = keys.get(NAME, PAPER, mistakes=True)
    again = Keys(bundle, "here", tmp_path)  # read from the folder
    for key in (named, again.get(NAME, PAPER), again.get(NAME, PAPER, mistakes=True)):
        for case in plain.cases:
            first, second = (k.expected[case.name]["attn_output"] for k in (plain, key))
            assert torch.equal(first, second)
    assert named.mistakes
    assert not plain.mistakes


def test_a_key_that_cannot_be_made_is_not_the_answers_fault(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmade(*_: Any) -> None:
        raise UnsoundReference("no such key")

    monkeypatch.setattr(keys_module, "make_key_with_mistakes", unmade)
    keys = Keys(bundle, "here")
    cases = blinded(keys.get(NAME, PAPER), PAPER)
    seen = observe(lambda q, k, v: (q, k), cases)
    with pytest.raises(UnsoundReference):
        judge_exercise(keys, NAME, PAPER, seen, "observed")


def test_a_right_answer_that_draws_numbers_makes_no_key_a_matter_of_chance(
    bundle: Bundle,
) -> None:
    drawn = []

    def alternative(query: Any, key: Any, value: Any) -> Any:
        drawn.append(torch.randint(10**9, ()).item())
        return bundle.exercises[NAME].reference_answer(query, key, value)

    exercise = copy.copy(bundle.exercises[NAME])
    exercise.alternatives = {"drawing": alternative}
    for seed in (7, 8):
        make_sound_key(exercise, 4, seed)
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]


def everywhere(change: Callable[[Observation], Any]) -> Callable[[Any], Any]:
    """A liar who changes the honest report of every case."""
    return lambda seen: {name: change(dict(o)) for name, o in seen.items()}


def without_tensors(seen: Observation) -> Observation:
    return {k: v for k, v in seen.items() if not isinstance(v, torch.Tensor)}


class AlwaysEqual:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


ZEROS = torch.zeros(2, dtype=torch.float64)

LIES: dict[str, Callable[[dict[str, Observation]], Any]] = {
    "nothing at all": lambda seen: {},
    "not a mapping": lambda seen: [1, 2],
    "tensors left out": everywhere(without_tensors),
    "all flags true": everywhere(
        lambda o: {k: True if k.startswith("unchanged") else v for k, v in o.items()}
    ),
    "NaN": everywhere(
        lambda o: {
            k: v * torch.nan if isinstance(v, torch.Tensor) else v for k, v in o.items()
        }
    ),
    "always equal": everywhere(lambda o: o | {"attn_output": AlwaysEqual()}),
    "a scalar that broadcasts": everywhere(
        lambda o: o | {"attn_output": torch.zeros((), dtype=torch.float64)}
    ),
    "sparse": everywhere(lambda o: o | {"attn_output": ZEROS.to_sparse()}),
    "meta": everywhere(lambda o: o | {"attn_output": ZEROS.to("meta")}),
    "gigantic": everywhere(
        lambda o: o | {"attn_output": torch.zeros(1, dtype=torch.bool).expand(2**40)}
    ),
    "a parameter": everywhere(lambda o: o | {"attn_output": torch.nn.Parameter(ZEROS)}),
    "deep": everywhere(lambda o: o | {"attn_output": nested(500)}),
    "a huge integer": everywhere(lambda o: o | {"attn_output": 10**5000}),
    "a huge text": everywhere(lambda o: o | {"attn_output": "x" * 10**6}),
    "many items": everywhere(lambda o: {str(n): 0 for n in range(10**5)}),
    "names that are no text": everywhere(lambda o: o | {7: 7}),
    "an exception that is no name": everywhere(lambda o: {"raised": ["ValueError"]}),
    "not written yet": everywhere(
        lambda o: {"raised": "NotImplementedError", "raised_message": ""}
    ),
    "another case's result": lambda seen: dict(
        zip(seen, [*list(seen.values())[1:], next(iter(seen.values()))], strict=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_wrong_answer_gains_nothing(lie: str, keys: Keys) -> None:
    judged = judge_exercise(
        keys, NAME, PAPER, LIES[lie](seen_of(keys, unscaled)), "observed"
    )
    assert judged.verdict.earned == 0
    assert judged.verdict.message


def test_kind_and_dtype_are_read_off_the_tensor(keys: Keys) -> None:
    def rough(query: Any, key: Any, value: Any) -> Any:
        return tuple(t.float() for t in right(query, key, value))

    honest = judge_exercise(keys, NAME, PAPER, seen_of(keys, rough), "observed")
    key = keys.get(NAME, PAPER)
    wanted = {
        str(place): {k: v for k, v in key.expected[case.name].items() if "dtype:" in k}
        for place, case in enumerate(
            key.cases[index] for index in keys_module._order(key, PAPER)
        )
    }
    seen = seen_of(keys, rough)
    lying = {name: observed | wanted[name] for name, observed in seen.items()}
    assert lying != seen
    lied = judge_exercise(keys, NAME, PAPER, lying, "observed")
    assert lied.verdict.earned == honest.verdict.earned < 4


@pytest.mark.parametrize("folder", find_chapters(ROOT), ids=lambda f: f.name)
def test_what_the_course_itself_shows_earns_all(folder: Path) -> None:
    """Of every exercise: what its protocol records passes the judge's own checks."""
    bundle = read_bundle(ROOT, folder)
    keys = Keys(bundle, "test")
    for name in bundle.points:
        key = keys.get(name, PAPER)
        order = keys_module._order(key, PAPER)
        seen = {
            str(place): raw_of(bundle, name, key.cases[index])
            for place, index in enumerate(order)
        }
        judged = judge_exercise(keys, name, PAPER, seen, "observed")
        assert judged.verdict.complete, f"{name}: {judged.verdict.message}"


def raw_of(bundle: Bundle, name: str, case: Any) -> Observation:
    """What the reference shows in one case, as it comes out of the sandbox."""
    store: dict[str, torch.Tensor] = {}
    answer = bundle.exercises[name].reference_answer
    seen = observe(answer, [case])[case.name]
    return unpack_observation(pack_observation(seen, store, "t"), store)


def test_a_gigantic_result_is_not_even_compared(keys: Keys) -> None:
    seen = LIES["gigantic"](seen_of(keys, unscaled))
    judged = judge_exercise(keys, NAME, PAPER, seen, "observed")
    assert "far too much: a tensor of shape (1099511627776,)" in judged.verdict.message
    assert judged.end == "observed"


def test_a_strange_report_costs_its_own_case_set_alone(keys: Keys) -> None:
    """A right answer with one case garbled loses; the judge goes on working."""
    seen = seen_of(keys, right)
    seen["0"] = {"output": object()}
    judged = judge_exercise(keys, NAME, PAPER, seen, "observed")
    assert (judged.verdict.earned, judged.end) == (0, "garbled")
    assert earned(keys, seen_of(keys, right)) == 4


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("undefined", "is not defined once the notebook has run"),
        ("died", "ended the process"),
        ("took too long", "did not return within"),
        ("too large", "far too much"),
        ("garbled", "could not be read"),
    ],
)
def test_every_end_is_told(end: Any, said: str, keys: Keys) -> None:
    judged = judge_exercise(keys, NAME, PAPER, {}, end)
    assert judged.verdict.earned == 0
    assert said in judged.verdict.message


def test_a_message_that_quotes_a_student_is_harmless(keys: Keys) -> None:
    def shouting(query: Any, key: Any, value: Any) -> Any:
        raise ValueError("\x1b[2J\u202egnp.\x00<script>" + "x" * 5000)

    judged = judge_exercise(keys, NAME, PAPER, seen_of(keys, shouting), "observed")
    for aspect in judged.verdict.aspects:
        assert not {"\x1b", "\u202e", "\x00"} & set(aspect.message)
        assert len(aspect.message) < 2000


F = "torch.nn.functional.scaled_dot_product_attention"

USES = [
    "import torch\ntorch.nn.functional.scaled_dot_product_attention(q, k, v)",
    "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)",
    "from torch.nn import functional as G\nG.scaled_dot_product_attention(q, k, v)",
    "from torch.nn.functional import scaled_dot_product_attention as s\ns(q, k, v)",
    "import torch\nf = torch.nn.functional\nf.scaled_dot_product_attention(q, k, v)",
    "import torch as t\ngetattr(t.nn.functional, 'scaled_dot_product_attention')",
    "def f(:\n    F.scaled_dot_product_attention",
]


@pytest.mark.parametrize("source", USES)
def test_a_shortcut_is_found(source: str) -> None:
    assert find_shortcuts([RunCell("a", "answer", source, "f")], [F]) == {F}


def test_an_own_function_of_that_name_is_no_shortcut() -> None:
    cells = [
        RunCell("a", "demo", "import torch.nn.functional as F"),
        RunCell("b", "demo", "F.scaled_dot_product_attention(q, k, v)"),
        RunCell("c", "answer", "def scaled_dot_product_attention(q): ...", "f"),
        RunCell("d", "markdown", "F.scaled_dot_product_attention"),
    ]
    assert find_shortcuts(cells, [F]) == set()
    used = replace(cells[2], source="F.scaled_dot_product_attention(q, k, v)")
    assert find_shortcuts([*cells, used], [F]) == {F}


def test_an_own_function_in_broken_code_is_no_shortcut() -> None:
    broken = "def scaled_dot_product_attention(q, k, v:\n    return v"
    assert find_shortcuts([RunCell("a", "answer", broken, "f")], [F]) == set()


LEARN = "attention_course.learn"
INSIDE = {
    f"from {LEARN}.probes_09 import EncoderLayer": f"{LEARN}.probes_09.EncoderLayer",
    f"import {LEARN}.protocols as p\np._PROTOCOLS.clear()": (
        f"{LEARN}.protocols._PROTOCOLS.clear"
    ),
    f"from {LEARN} import observation": f"{LEARN}.observation",
    f"import sys\nm = sys.modules['{LEARN}.verdict']": f"{LEARN}.verdict",
    f"import importlib as i\ni.import_module('{LEARN}.limits')": f"{LEARN}.limits",
    "import torch\nwith torch._C.DisableTorchFunction():\n    pass": (
        "torch._C.DisableTorchFunction"
    ),
    "class KVCache(PreparedCache):\n    pass": f"{LEARN}.probes_11.PreparedCache",
    "KVCache = PreparedCache": f"{LEARN}.probes_11.PreparedCache",
}
DEMO = (
    "import torch\n"
    f"from {LEARN}.probes_11 import PreparedCache\n"
    f"from {LEARN} import figures"
)


@pytest.mark.parametrize("source", INSIDE)
def test_the_courses_own_code_is_found(source: str) -> None:
    cells = [RunCell("a", "answer", source, "KVCache")]
    assert find_course_code(cells, [DEMO], ["KVCache"]) == {INSIDE[source]}


def test_many_names_cost_no_time() -> None:
    """As many strings as a cell may hold."""
    names = [f"'attention_course.a{n}.b'" for n in range(30_000)]
    cells = [RunCell("a", "answer", f"x = [{', '.join(names)}]", "KVCache")]
    began = time.monotonic()
    assert len(find_course_code(cells, [DEMO], ["KVCache"])) == 30_000
    assert time.monotonic() - began < 10


def test_what_the_course_offers_is_not_flagged() -> None:
    source = (
        f'"""As {LEARN}.verdict says."""\n'
        f"from {LEARN} import *\n"
        f"from {LEARN} import check, figures as f\n"
        "cache = PreparedCache(7)\n"
        "f.show(f.curves(cache))"
    )
    cells = [RunCell("a", "student", source), RunCell("b", "demo", "import torch._C")]
    assert find_course_code(cells, [DEMO], ["KVCache"]) == set()


@pytest.mark.parametrize("folder", find_chapters(ROOT), ids=lambda f: f.name)
def test_the_courses_own_answers_are_not_flagged(folder: Path) -> None:
    chapter = read_chapter(folder)
    cells = [
        RunCell(str(n), "answer" if c.role == "answer" else "student", c.source)
        for n, c in enumerate(chapter.cells)
        if c.role in ("answer", "demo")
    ]
    demos = [c.source for c in chapter.cells if c.role == "demo"]
    assert find_course_code(cells, demos, chapter.points) == set()


TRICKS = {
    "import sys\nsys._getframe(1).f_back": {"_getframe", "f_back"},
    "from sys import _getframe as look": {"_getframe"},
    "import inspect\ninspect.currentframe()": {"currentframe"},
    "import gc\ngc.get_objects()": {"get_objects"},
    "f = softmax.__wrapped__": {"__wrapped__"},
    "f = getattr(softmax, '__wrapped__')": {"__wrapped__"},
    "@torch.jit.script\ndef f(x): return x": {"torch.jit"},
    "torch.ops.aten.softmax(x, 0)": {"torch.ops"},
    "from threading import Thread": {"threading"},
    "import concurrent.futures as c": {"concurrent.futures"},
    "importlib.import_module('ctypes')": {"ctypes"},
    "exec('x = 1')": {"exec"},
}


@pytest.mark.parametrize("code", TRICKS)
def test_a_way_around_the_observer_is_found(code: str) -> None:
    cells = [RunCell("a", "demo", "import torch"), RunCell("b", "answer", code, "f")]
    assert find_tricks(cells) == TRICKS[code]


def test_what_answers_are_made_of_is_no_trick() -> None:
    code = """
import inspect, gc, copy, itertools
gc.collect()
model.eval()
inspect.signature(f)
class A(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.__class__.__name__
"""
    assert find_tricks([RunCell("b", "answer", code, "f")]) == set()
    for folder in find_chapters(ROOT):
        chapter = read_chapter(folder)
        cells = [
            RunCell(str(number), c.role, c.source, c.exercise)
            for number, c in enumerate(chapter.cells)
            if c.role in ("demo", "answer")
        ]
        assert find_tricks(cells) == set(), folder.name


@pytest.mark.parametrize(
    "name", ["layer_norm", "native_layer_norm", "ops.aten.layer_norm.default"]
)
def test_a_kernel_is_known_by_its_other_names(name: str) -> None:
    watched = ["torch.nn.functional.layer_norm"]
    code = f"import torch\ny = torch.{name}(x, (3,))"
    assert find_shortcuts([RunCell("b", "answer", code, "f")], watched) == set(watched)
    other = "import torch\ny = torch.norm(x)"
    assert find_shortcuts([RunCell("b", "answer", other, "f")], watched) == set()


def test_a_busy_machine_does_not_change_a_key(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference may outrun a case's time: it is the course's own."""
    exercise = bundle.exercises[NAME]
    quick, _ = make_sound_key(exercise, 4, 7)
    reference = exercise.reference_answer
    slept = []

    def slow(query: Any, key: Any, value: Any) -> Any:
        if not slept:
            slept.append(time.sleep(6))
        return reference(query, key, value)

    monkeypatch.setattr(exercise, "_reference", slow)
    key, _ = make_sound_key(exercise, 4, 7)
    for case in quick.cases:
        first, second = (k.expected[case.name]["attn_output"] for k in (quick, key))
        assert torch.equal(first, second)


def test_a_list_of_numbers_stays_a_list_and_large_integers_pass() -> None:
    """Chapter 10 keeps losses as a tensor; chapter 11 counts more than 64 bits hold."""
    losses = torch.tensor([2.0, 1.0], dtype=torch.float64)
    clean = checked({"kind:losses": "list", "losses": losses, "flops": 2**70}, 2)
    assert clean["kind:losses"] == "list"
    assert clean["flops"] == 2**70
    with pytest.raises(Garbled, match="unknown kind"):
        checked({"flops": 2**5000}, 2)

"""Observation and verdict: what is seen, what it costs, what the student is told."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import EXERCISES
from torch import Tensor, nn

from attention_course.author.exercise import (
    Build,
    Exercise,
    call,
    load_exercises,
    module,
    noncontiguous,
)
from attention_course.author.keys import make_exercise_key, make_key
from attention_course.learn.answer_key import AnswerKey, Case
from attention_course.learn.comparison import (
    agree,
    fingerprint,
    first_difference,
    same_fingerprint,
)
from attention_course.learn.encoding import decode, encode
from attention_course.learn.explanation import explain
from attention_course.learn.observation import observe
from attention_course.learn.report import VerdictDisplay
from attention_course.learn.verdict import Verdict, judge, share_points


@pytest.fixture(scope="module")
def exercises(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exercise]:
    path = tmp_path_factory.mktemp("90_tiny") / "exercises.py"
    path.write_text(EXERCISES)
    return load_exercises(path)


@pytest.fixture(scope="module")
def key(exercises):
    return make_exercise_key(exercises["double"], 4, seed=3)


def verdict_on(answer, key) -> Verdict:
    return judge(key, observe(answer, key.cases))


def test_a_right_answer_is_complete(key) -> None:
    verdict = verdict_on(lambda x: x + x, key)
    assert (verdict.status, verdict.earned, verdict.message) == ("complete", 4, "")


def lost(verdict: Verdict) -> set[str]:
    return {a.name for a in verdict.aspects if a.earned < a.points}


def float32_inside(x: Tensor) -> Tensor:
    return (x.float() * 2).to(x.dtype)


def float32_outside(x: Tensor) -> Tensor:
    return x.float() * 2


def remembers_by_shape(x: Tensor, seen: dict = {}) -> Tensor:  # noqa: B006 - the bug
    return seen.setdefault((x.shape, x.requires_grad, x.dtype), x * 2)


def a_mutates(x: Tensor) -> Tensor:
    y = x * 2
    x += 1
    return y


def a_subclass(x: Tensor) -> Tensor:
    class Always(Tensor):
        def __eq__(self, other):
            return True

    return (x * 2).as_subclass(Always)


WRONG = {
    "float32 inside": (float32_inside, {"values", "gradients", "robustness"}),
    "float32 result": (float32_outside, {"gradients", "robustness"}),
    "in place": (a_mutates, {"robustness"}),
    "detached": (lambda x: (x * 2).detach(), {"gradients"}),
    "flattened": (lambda x: (x * 2).flatten(), None),
    "a list": (lambda x: (x * 2).tolist(), None),
    "a tuple": (lambda x: (x * 2, x), None),
    "numpy": (lambda x: (x * 2).detach().numpy(), None),
    "None": (lambda x: None, None),
    "NaN": (lambda x: x * float("nan"), None),
    "raises": (lambda x: x.nothing, None),
    "exits": (lambda x: sys.exit(0), None),
    "a subclass": (a_subclass, None),
    "another signature": (lambda: 1, None),
    "no function at all": (3, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_loses_what_it_got_wrong(key, name: str) -> None:
    answer, aspects = WRONG[name]
    verdict = verdict_on(answer, key)
    assert lost(verdict) == (aspects or {"values", "gradients", "robustness"})
    assert verdict.message
    assert "Traceback" not in str(VerdictDisplay(verdict))


def test_a_wrong_result_is_told_before_its_gradient() -> None:
    exercise = Exercise("double", fewer="tiny")

    @exercise.cases
    def _(draw):
        yield call("small", draw.uniform(3))
        yield call("large", draw.uniform(3) + 100, aspect="robustness")

    exercise.reference(lambda x: 2 * x)
    key = make_exercise_key(exercise, 4, seed=3)
    verdict = verdict_on(lambda x: 2 * x.clamp(max=50), key)
    assert lost(verdict) == {"gradients", "robustness"}
    assert verdict.message.startswith("`output`[0] is 100, expected 20")


TOLD = {
    "None": "Did you forget `return`?",
    "NaN": "NaN",
    "a list": "should be a tensor, but is a tuple of 3 results",
    "numpy": "should be a tensor, but is a ndarray",
    "flattened": "has shape (6,), expected (2, 3)",
    "raises": "raised AttributeError",
    "detached": "You cut the gradient.",
    "in place": "You changed x.",
    "float32 result": "dtype float32",
    "exits": "raised SystemExit",
}


@pytest.mark.parametrize("name", TOLD)
def test_the_message_says_what_happened(key, name: str) -> None:
    verdict = verdict_on(WRONG[name][0], key)
    assert TOLD[name] in " ".join(a.message for a in verdict.aspects)


def test_a_mistake_is_told_by_name_only_to_who_made_it(key) -> None:
    assert verdict_on(lambda x: x**2, key).mistake == "squared"
    assert verdict_on(lambda x: x**2 + 1e-3, key).mistake is None


halve = Exercise("halve", fewer="a test")


@halve.cases
def _(draw):
    yield call("above zero", draw.uniform(2, 3, low=1.0, high=2.0))
    below = draw.uniform(2, 3, low=-2.0, high=-1.0)
    yield call("below zero", below, aspect="masks", gradients=False)


@halve.reference
def _(x: Tensor) -> Tensor:
    return x / 2


@halve.mistake("You returned x.")
def unchanged(x: Tensor) -> Tensor:
    return x * 1.0


def test_who_has_the_values_right_is_not_told_a_mistake_in_them() -> None:
    key = make_exercise_key(halve, 3, 0)
    verdict = verdict_on(lambda x: x / 2 if x.sum() > 0 else x * 1.0, key)
    assert lost(verdict) == {"masks"}
    assert verdict.mistake is None
    assert "expected" in verdict.message
    assert verdict_on(lambda x: x + 0.0, key).mistake == "unchanged"


def test_a_blank_answer_is_told_kindly(key) -> None:
    def blank(x):
        raise NotImplementedError

    verdict = verdict_on(blank, key)
    assert (verdict.status, verdict.earned) == ("blank", 0)
    assert verdict.message.startswith("Not written yet.")


def test_an_answer_that_never_returns_is_stopped(exercises) -> None:
    exercise = Exercise("double", fewer="one case")
    exercise.reference(lambda x: 2 * x)

    @exercise.cases
    def _(draw):
        yield call("a", draw.normal(2), seconds=0.3)
        yield call("b", draw.normal(2), seconds=0.3)

    def swallows_everything(x: Tensor) -> Tensor:
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    verdict = verdict_on(swallows_everything, make_exercise_key(exercise, 2, 0))
    assert verdict.earned == 0
    assert "did not return within 0.3 s" in verdict.message


def test_prints_and_warnings_of_an_answer_cost_nothing(key, capsys, recwarn) -> None:
    import warnings

    def noisy(x: Tensor) -> Tensor:
        print("debug", x)
        print("more", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return x * 2

    assert verdict_on(noisy, key).complete
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list


def test_points_are_shared_exactly() -> None:
    shares = share_points(2, {"values": 4, "gradients": 2, "robustness": 1})
    assert sum(shares.values()) == pytest.approx(2, abs=1e-12)
    assert list(shares) == ["values", "gradients", "robustness"]


def test_a_key_survives_its_file(exercises, key, tmp_path: Path) -> None:
    path = tmp_path / "checks.safetensors"
    whole = make_key("90_tiny", exercises, {"double": 4, "negate": 1}, seed=3)
    path.write_bytes(whole.to_bytes())
    read = AnswerKey.read(path)
    assert (read.chapter, read.seed) == ("90_tiny", 3)
    for answer in (lambda x: x + x, lambda x: x * x, lambda x: (2 * x).detach()):
        assert verdict_on(answer, read.exercises["double"]) == verdict_on(answer, key)
    assert read.to_bytes() == whole.to_bytes()


def test_a_broken_key_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "checks.safetensors"
    path.write_bytes(b"not a key")
    with pytest.raises(ValueError, match="Take a fresh copy"):
        AnswerKey.read(path)


def test_a_key_may_not_build_just_anything() -> None:
    spec = encode(Build("os.system", ("true",)), {}, "x")
    with pytest.raises(ValueError, match="may not build"):
        decode(spec, {}, "cpu")


def test_arguments_survive_encoding() -> None:
    tensors: dict[str, Tensor] = {}
    linear = Build(
        "torch.nn.Linear",
        (2, 3),
        state={"weight": torch.ones(3, 2).double(), "bias": torch.zeros(3).double()},
        frozen=("bias",),
    )
    value = {
        "a": noncontiguous(torch.arange(6.0).view(2, 3)),
        "b": [1, None, True, "x", 2.5, torch.float16],
        "c": (torch.tensor([True, False]), linear),
    }
    back = decode(encode(value, tensors, ""), tensors, "cpu")
    assert torch.equal(back["a"], value["a"])
    assert not back["a"].is_contiguous()
    assert back["b"] == value["b"]
    assert back["c"][0].dtype == torch.bool
    built = back["c"][1]
    assert isinstance(built, nn.Linear)
    assert built.weight.dtype == torch.float64
    assert [p.requires_grad for p in built.parameters()] == [True, False]
    back["a"].zero_()
    assert tensors[".a"].any(), "decoding hands out copies"


def test_noncontiguous_keeps_the_numbers() -> None:
    for shape in ((5,), (2, 3), (2, 3, 4), (2, 3, 4, 5)):
        tensor = torch.randn(shape)
        assert torch.equal(noncontiguous(tensor), tensor)
        assert not noncontiguous(tensor).is_contiguous()


def test_agreement() -> None:
    a = torch.tensor([1.0, 2.0, float("inf"), float("nan")]).double()
    assert agree(a, a.clone())
    assert not agree(a, a + 1e-7)
    assert not agree(a, -a)
    assert not agree(a, a[:3])
    assert agree(None, torch.zeros(2))
    assert agree(torch.zeros(2), None)
    assert not agree(torch.ones(2), None)
    assert not agree(True, 1)
    assert not agree(1, 1.0)
    assert agree(0.1 + 0.2, 0.3)
    assert not agree(float("nan"), 0.3)
    assert first_difference(a, a + torch.tensor([0, 1, 0, 0.0])) == ((1,), 2.0, 3.0)


def test_without_a_tensor_among_the_inputs_the_device_is_free() -> None:
    exercise = Exercise("eye", fewer="a test")
    exercise.reference(lambda n: torch.eye(n))

    @exercise.cases
    def _(draw):
        yield call("three", 3)

    case_key = make_exercise_key(exercise, 1, 0)
    assert not [i for i in case_key.expected["three"] if i.startswith("device:")]
    assert judge(case_key, observe(lambda n: torch.eye(n), case_key.cases)).complete


def test_fingerprints_tell_tensors_apart() -> None:
    base = torch.randn(3, 4, dtype=torch.float64)
    others = [base + 1e-6, base.T.contiguous(), base.flip(0), base.view(2, 6)]
    changed = base.clone()
    changed[2, 3] = float("nan")
    lowest = torch.full((3, 4), torch.finfo(torch.float64).min, dtype=torch.float64)
    for other in (*others, changed, lowest):
        assert not same_fingerprint(fingerprint(base), fingerprint(other))
        assert same_fingerprint(fingerprint(other), fingerprint(other + 0))
    assert same_fingerprint(fingerprint(base), fingerprint(base + 1e-13))


# ------------------------------------------------------------------------ modules

linear = Exercise("Twice", fewer="a test")


@linear.cases
def _(draw):
    parameters = draw.like({"proj.weight": (3, 2), "proj.bias": (3,)})
    x = draw.normal(4, 2)
    yield module("forward", init=(2, 3), parameters=parameters, args=(x,))
    yield module("train", init=(2, 3), parameters=parameters, args=(x,), training=True)


@linear.reference
class Twice(nn.Module):
    """A module with one linear map."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.proj(x)


class Misnamed(nn.Module):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, d_out)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.linear(x)


class WithDropout(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * nn.functional.dropout(self.proj(x), 0.5)  # also in eval


class CutsWeights(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * nn.functional.linear(x, self.proj.weight.detach(), self.proj.bias)


class TrainsItself(Twice):
    def forward(self, x: Tensor) -> Tensor:
        y = 2 * self.proj(x)
        with torch.no_grad():
            self.proj.bias += 1
        return y


class Remembers(Twice):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = 2 * self.proj(x)
        return self.cache


class RemembersWeights(Twice):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cache"):
            self.cache = self.proj.weight.detach().clone()
        weight = self.proj.weight
        kept = weight - weight.detach() + self.cache  # with the right gradient
        return 2 * nn.functional.linear(x, kept, self.proj.bias)


class SwitchesToEval(Twice):
    def forward(self, x: Tensor) -> Tensor:
        self.eval()
        return super().forward(x)


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (Remembers, "expected"),
        (RemembersWeights, "expected"),
        (SwitchesToEval, "switches between training and eval"),
        (Misnamed, "missing `proj.bias`, `proj.weight`; not expected `linear.bias`"),
        (WithDropout, "expected"),
        (CutsWeights, "No gradient reaches `proj.weight`"),
        (TrainsItself, "changed its input `module.proj.bias`"),
        (nn.Linear, "missing `proj.bias`"),
        (dict, "raised TypeError"),
        (lambda a, b: 3, "should be a module, but is an int"),
    ],
)
def test_wrong_modules_lose_points_and_are_told_why(cls, told: str) -> None:
    verdict = verdict_on(cls, make_exercise_key(linear, 3, 0))
    assert not verdict.complete
    assert told in " ".join(a.message for a in verdict.aspects)


def test_a_right_module_is_complete() -> None:
    assert verdict_on(Twice, make_exercise_key(linear, 3, 0)).complete


masked = Exercise("Masked", fewer="a test")


@masked.cases
def _(draw):
    args = (draw.normal(4, 3), torch.tensor([True, False, False]))
    yield module("forward", args=args)


@masked.reference
class Masked(nn.Module):
    """A module without parameters that clears what its mask hides."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask, 0.0)


class RemembersMask(Masked):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        self.mask = getattr(self, "mask", mask)
        return super().forward(x, self.mask)


def test_a_module_that_remembers_its_mask_is_found() -> None:
    key = make_exercise_key(masked, 3, 0)
    assert verdict_on(Masked, key).complete
    assert not verdict_on(RemembersMask, key).complete


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("TookTooLong", "did not return within 5 s"),
        ("NoTimeLeft", "time for the whole notebook was used up"),
        ("ProcessDied", "ended the process"),
    ],
)
@pytest.mark.parametrize("expected", [{"raised": "ValueError"}, {"output": 1.0}])
def test_what_is_no_exception_is_not_told_as_one(raised, told, expected):
    case = Case("a case", "errors", "function", {}, {})
    observed = {"raised": raised, "raised_classes": [], "raised_message": ""}
    said = explain("raised", expected, observed, case)
    assert told in said
    assert raised not in said

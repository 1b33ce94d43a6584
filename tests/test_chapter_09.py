"""Chapter 09: the course's published classes compute what PyTorch's modules compute."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import ROOT
from drawn import Claims, Data, lines, maps
from torch import Tensor, nn

from attention_course.author.chapter import read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.author.keys import make_exercise_key
from attention_course.learn import probes_09
from attention_course.learn.observation import observe
from attention_course.learn.protocols.chapter_09 import combined
from attention_course.learn.verdict import judge

CLOSE = 1e-10
WIDTH, HEADS, HIDDEN, TOKENS = 12, 3, 20, 5
FOLDER = ROOT / "chapters" / "09_official"


def published(slug: str, name: str) -> Any:
    """A chapter's answer to one exercise, or its reference while it has no prose."""
    folder = ROOT / "chapters" / slug
    if not (folder / "chapter.py").exists():
        return load_exercises(folder / "exercises.py")[name].reference_answer
    namespace: dict[str, Any] = {"__name__": "answers"}
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    for cell in read_chapter(folder).cells:
        if cell.role == "demo":
            body = [n for n in ast.parse(cell.source).body if isinstance(n, kinds)]
            exec(compile(ast.Module(body, []), str(folder), "exec"), namespace)
        if (cell.role, cell.exercise) == ("answer", name):
            exec(cell.source, namespace)
    return namespace[name]


MultiHeadAttention = published("06_multi_head", "MultiHeadAttention")
EncoderLayer = published("08_encoder_layer", "EncoderLayer")
Encoder = published("08_encoder_layer", "Encoder")
copy_attention = published("09_official", "copy_attention")
copy_encoder_layer = published("09_official", "copy_encoder_layer")
parity_report = published("09_official", "parity_report")
pack_in_proj = published("09_official", "pack_in_proj")


ATTENTION = [MultiHeadAttention, probes_09.MultiHeadAttention]


def normal(*shape: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def trained(module: nn.Module, seed: int = 1) -> nn.Module:
    """Weights as after training: no bias is zero, no norm the identity."""
    module.double()
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=100 * seed + place))
            if parameter.dim() > 1:
                parameter /= parameter.shape[-1] ** 0.5
    return module


def masks(masked: bool) -> tuple[Tensor | None, Tensor | None]:
    """The course's masks, for two items: attn_mask and key_padding_mask."""
    if not masked:
        return None, None
    padding = torch.zeros(2, TOKENS, dtype=torch.bool)
    padding[0, -2:] = True
    return torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(), padding


def inverted(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else ~mask


def by_course_name(named: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in named.items():
        if "in_proj_" not in name:
            found[name] = tensor
            continue
        for part, rows in zip(("q", "k", "v"), tensor.chunk(3), strict=True):
            found[name.replace("in_proj_", f"{part}_proj.")] = rows
    return found


def measured(
    module: nn.Module, call: Callable[..., Tensor], *inputs: Tensor
) -> dict[str, Tensor]:
    """Output, and the gradient of every input and parameter, for one upstream."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = call(*leaves)
    named = dict(module.named_parameters())
    gradients = torch.autograd.grad(
        output, [*leaves, *named.values()], normal(*output.shape, seed=77)
    )
    found = {"output": output.detach()}
    found |= {f"input {i}": g for i, g in enumerate(gradients[: len(leaves)])}
    of_parameters = dict(zip(named, gradients[len(leaves) :], strict=True))
    return found | by_course_name(of_parameters)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.shape == theirs[name].shape, name
        assert float((tensor - theirs[name]).abs().max()) < CLOSE, name


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "attention", [MultiHeadAttention, probes_09.MultiHeadAttention]
)
def test_attention_is_pytorchs(attention: type[nn.Module], masked: bool) -> None:
    official = trained(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    mine = copy_attention(trained(attention(WIDTH, HEADS), seed=2), official)
    attn_mask, padding = masks(masked)
    query, memory = normal(2, TOKENS, WIDTH, seed=3), normal(2, TOKENS, WIDTH, seed=4)
    heads: dict[str, Tensor] = {}

    def ours(q: Tensor, kv: Tensor) -> Tensor:
        output, heads["mine"] = mine(
            q, kv, kv, attn_mask=attn_mask, key_padding_mask=padding
        )
        return output

    def theirs(q: Tensor, kv: Tensor) -> Tensor:
        output, heads["official"] = official(
            q,
            kv,
            kv,
            attn_mask=inverted(attn_mask),
            key_padding_mask=padding,
            average_attn_weights=False,
        )
        return output

    assert_same(
        measured(mine, ours, query, memory), measured(official, theirs, query, memory)
    )
    assert float((heads["mine"] - heads["official"]).detach().abs().max()) < CLOSE


OPTIONS = list(itertools.product((False, True), ("relu", "gelu"), (False, True)))


@pytest.mark.parametrize(("norm_first", "activation", "masked"), OPTIONS)
@pytest.mark.parametrize("layer", [EncoderLayer, probes_09.EncoderLayer])
def test_an_encoder_layer_is_pytorchs(
    layer: type[nn.Module], norm_first: bool, activation: str, masked: bool
) -> None:
    options = {"dropout": 0.0, "activation": activation, "norm_first": norm_first}
    sizes = (WIDTH, HEADS, HIDDEN)
    official = trained(nn.TransformerEncoderLayer(*sizes, batch_first=True, **options))
    mine = copy_encoder_layer(trained(layer(*sizes, **options), seed=2), official)
    src_mask, padding = masks(masked)
    x = normal(2, TOKENS, WIDTH, seed=3)
    assert_same(
        measured(mine, lambda x: mine(x, src_mask, padding), x),
        measured(official, lambda x: official(x, inverted(src_mask), padding), x),
    )
    if not masked:
        report = parity_report(mine, official, x)
        assert max(report.values()) < CLOSE


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_is_pytorchs(norm_first: bool, masked: bool) -> None:
    sizes, number = (WIDTH, HEADS, HIDDEN), 3
    options = {"dropout": 0.0, "activation": "gelu", "norm_first": norm_first}
    layer = nn.TransformerEncoderLayer(*sizes, batch_first=True, **options)
    official = trained(
        nn.TransformerEncoder(
            layer, number, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
    )
    mine = Encoder(
        EncoderLayer(*sizes, **options), number, nn.LayerNorm(WIDTH)
    ).double()
    for ours, theirs in zip(mine.layers, official.layers, strict=True):
        copy_encoder_layer(ours, theirs)
    mine.norm.load_state_dict(official.norm.state_dict())
    src_mask, padding = masks(masked)
    x = normal(2, TOKENS, WIDTH, seed=3)
    assert_same(
        measured(mine, lambda x: mine(x, src_mask, padding), x),
        measured(official, lambda x: official(x, inverted(src_mask), padding), x),
    )


def test_packed_weights_drive_pytorchs_module() -> None:
    mine = trained(MultiHeadAttention(WIDTH, HEADS))
    official = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    projections = (mine.q_proj, mine.k_proj, mine.v_proj)
    with torch.no_grad():
        official.in_proj_weight.copy_(pack_in_proj(*(p.weight for p in projections)))
        official.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    official.out_proj.load_state_dict(mine.out_proj.state_dict())
    x = normal(2, TOKENS, WIDTH)
    error = (mine(x, x, x)[0] - official(x, x, x)[0]).detach().abs().max()
    assert float(error) < CLOSE


def test_a_report_sees_a_difference() -> None:
    """The comparison above can fail: a parameter that differs shows."""
    official = trained(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    mine = copy_attention(trained(MultiHeadAttention(WIDTH, HEADS), seed=2), official)
    with torch.no_grad():
        mine.v_proj.weight[3, 2] += 1e-3
    report = parity_report(mine, official, normal(2, TOKENS, WIDTH))
    assert min(report.values()) > CLOSE


@pytest.fixture(scope="module")
def parity_key() -> Any:
    exercise = load_exercises(FOLDER / "exercises.py")["parity_report"]
    return make_exercise_key(exercise, 4, seed=5)


def test_one_kind_of_module_is_enough(parity_key: Any) -> None:
    """A report that takes attention modules alone, or layers alone, is a right one."""

    def for_layers(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        mine(x)
        return parity_report(mine, official, x)

    def for_attention(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        mine(x, x, x)
        return parity_report(mine, official, x)

    for answer in (for_layers, for_attention):
        verdict = judge(parity_key, observe(answer, parity_key.cases))
        assert verdict.complete, verdict.message


def test_wrong_for_one_kind_is_wrong(parity_key: Any) -> None:
    def zero_for_layers(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        report = parity_report(mine, official, x)
        if hasattr(mine, "linear1"):
            report["parameter_gradients"] = 0.0
        return report

    verdict = judge(parity_key, observe(zero_for_layers, parity_key.cases))
    assert not verdict.complete


def test_a_cut_query_shows_in_the_inputs_gradient_alone() -> None:
    official = trained(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    cut = trained(probes_09.MultiHeadAttention(WIDTH, HEADS, cut_query=True))
    report = parity_report(copy_attention(cut, official), official, normal(2, 5, WIDTH))
    assert report["input_gradient"] > 1e-3
    assert max(report["output"], report["parameter_gradients"]) < CLOSE


def weights_apart(mine: nn.Module, official: nn.Module) -> float:
    ours = by_course_name(dict(mine.named_parameters()))
    theirs = by_course_name(dict(official.named_parameters()))
    return max(float((ours[n] - theirs[n]).detach().abs().max()) for n in ours)


WITHOUT_GRADIENTS = {
    "a multiple of the output's error": lambda r, w: (
        r | {"input_gradient": r["output"] / 3}
    ),
    "its square": lambda r, w: r | {"input_gradient": r["output"] ** 2},
    "how far weights are apart": lambda r, w: r | {"input_gradient": w},
    "the weights for the parameters'": lambda r, w: r | {"parameter_gradients": w},
    "the output for the parameters'": lambda r, w: (
        r | {"parameter_gradients": r["output"]}
    ),
    "the input for the parameters'": lambda r, w: (
        r | {"parameter_gradients": r["input_gradient"]}
    ),
    "the parameters for the input's": lambda r, w: (
        r | {"input_gradient": r["parameter_gradients"]}
    ),
}


@pytest.mark.parametrize("kind", WITHOUT_GRADIENTS)
def test_no_error_can_stand_for_another(parity_key: Any, kind: str) -> None:
    """Outputs, weights and gradients come apart somewhere."""

    def answer(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        report = parity_report(mine, official, x)
        return WITHOUT_GRADIENTS[kind](report, weights_apart(mine, official))

    assert not judge(parity_key, observe(answer, parity_key.cases)).complete


SCALARS = {
    "weighted": lambda out: (out * normal(*out.shape, seed=5)).sum(),
    "sum": torch.sum,
    "mean of squares": lambda out: out.square().mean(),
}


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("error", [torch.mean, torch.sum, torch.linalg.vector_norm])
def test_the_input_gradients_error_is_the_largest(
    parity_key: Any, scalar: str, error: Callable[[Tensor], Tensor]
) -> None:
    """A mean, a sum or a norm is seen, whichever scalar is differentiated."""

    def gradient(module: nn.Module, x: Tensor) -> Tensor:
        given = x.detach().clone().requires_grad_()
        layer = hasattr(module, "linear1")
        output = module(given) if layer else module(given, given, given)[0]
        return torch.autograd.grad(SCALARS[scalar](output), given)[0]

    def answer(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        apart = (gradient(mine, x) - gradient(official, x)).abs()
        found = apart.max() if largest else error(apart)
        return parity_report(mine, official, x) | {"input_gradient": float(found)}

    for largest in (True, False):
        verdict = judge(parity_key, observe(answer, parity_key.cases))
        assert verdict.complete is largest
    assert verdict.mistake == "mean_error_of_the_input"


def test_a_report_that_takes_nothing_tells_its_error(parity_key: Any) -> None:
    def broken(mine: nn.Module, official: nn.Module, x: Tensor) -> dict:
        raise KeyError("in_proj_weight")

    verdict = judge(parity_key, observe(broken, parity_key.cases))
    assert verdict.status == "wrong"
    assert "KeyError" in verdict.message


def test_adding_up_is_told_from_the_larger() -> None:
    """Also where one error is so small that a root of squares is the larger."""
    assert combined(1.0, 1e-4, 1.0) == combined(1.0, 0.5, 1.0) == "the larger"
    assert combined(1.0, 1e-4, 1.0001) == combined(3.0, 4.0, 5.0) == "added up"
    assert combined(1.0, 0.5, 0.7) == "the larger"  # another scalar in each report


# --- the figures ----------------------------------------------------------------------

claims = Claims("09_official")


@claims("Head for head, both modules look at the same tokens")
def _(data: Data) -> None:
    shown = {name: torch.tensor(m) for name, m in maps(data).items()}
    for head in (0, 1):
        mine, official = shown[f"mine, head {head}"], shown[f"official, head {head}"]
        assert torch.allclose(mine, official, atol=1e-5)
    assert (shown["mine, head 0"] - shown["mine, head 1"]).abs().max() > 0.5


@claims("All eight layers agree with PyTorch's, far below 1e-10")
def _(data: Data) -> None:
    drawn = lines(data)
    assert set(drawn.pop("asked for")[0]) == {1e-10}
    assert len(drawn) == 3
    for errors, _ in drawn.values():
        assert len(errors) == 8
        assert 0 < max(errors) < 1e-12


@claims("The dtype decides how many digits are right; the path hardly matters")
def _(data: Data) -> None:
    errors = {name: x for name, (x, _) in lines(data).items()}
    order = ["float64", "float32", "float16", "bfloat16"]
    for finer, coarser in itertools.pairwise(order):
        assert max(errors[finer]) < min(errors[coarser])
    for dtype in order[1:]:
        assert max(errors[dtype]) < 4 * min(errors[dtype])


test_the_figures = claims.test()

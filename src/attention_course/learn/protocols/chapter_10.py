"""Chapter 10: modules whose inner parts are free, and functions that change a model.

A vision transformer's parameters have no agreed names, so no two right ones compute
the same numbers. What is looked at is how its outputs answer to changes: of a pixel, of
two patches that change places, of a parameter that is set to zero. The protocols record
raw outputs; the views say what they mean.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.protocols import protocol, view
from attention_course.learn.protocols.function import observe_function
from attention_course.learn.protocols.recording import (
    Inputs,
    dense,
    guarded,
    record,
)

NOTICED = 1e-9
"""The smallest change of a float64 result, relative to it, that is no rounding."""

BUMP = 0.75  # how much a probed pixel is changed

SHARP, NUDGE = 1e9, 1e-3
"""How large a parameter is made for attention to have one winner, and how little a
patch is then changed, for the winner to stay."""

FILLS = 8  # how often the parameters are filled anew where they are made large


# ------------------------------------------------------------------ probing a module


@protocol("probed_module")
def observe_probed_module(cls: Any, case: Case, device: torch.device) -> Observation:
    """Build the module, fill its parameters with random numbers, and call it often.

    The arguments of the case: `init` for the constructor; `images` (B, C, H, W), whose
    dtype becomes the module's; `fill`, the seed of the parameters; `questions`, which
    of the following to ask, see the functions that are called below; `sizes`, by name,
    other arguments for the constructor.
    """
    seen: Observation = {}
    guarded(seen, lambda: _probe(cls, case, device, seen))
    return seen


def _probe(cls: Any, case: Case, device: torch.device, seen: Observation) -> None:
    live = case.build(device)
    images, asked = live["images"], live["questions"]
    module = _build(cls, live["init"], images, device, seen)
    if module is None:
        return
    live["ones"] = start_at_one(module)
    fill(module, live["fill"], live["ones"])
    inputs = Inputs({"image": images})
    with torch.no_grad():
        result = module(images)
    record(seen, "output", result, device)
    inputs.record_unchanged(seen)
    if type(result) is not Tensor:
        return
    for question, ask in QUESTIONS.items():
        if question in asked:
            ask(module, live, seen)
    if "sizes" in live:
        _count(cls, live, images, device, seen)


def _build(
    cls: Any, init: Any, images: Tensor, device: torch.device, seen: Observation
) -> nn.Module | None:
    with torch.random.fork_rng(devices=[]):
        module = cls(*init)
    is_module = isinstance(module, nn.Module)
    seen["kind:module"] = "module" if is_module else type(module).__name__
    if not is_module:
        return None
    module.to(device=device, dtype=images.dtype).eval()
    return module


def start_at_one(module: nn.Module) -> list[bool]:
    """For each parameter, whether it is all ones, as the weights of a norm are."""
    return [bool((p == 1).all()) for p in module.parameters()]


@torch.no_grad()
def fill(module: nn.Module, seed: int, ones: list[bool], gain: float = 1.0) -> None:
    """Give every parameter random numbers from `seed`.

    Whatever a module starts with, zeros too, then shows in its output. Matrices are
    scaled by their width, times `gain`; parameters marked in `ones` stay near one.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter, one in zip(module.parameters(), ones, strict=True):
        numbers = torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        ).to(parameter)
        if parameter.dim() > 1:
            width = math.prod(parameter.shape[1:])
            parameter.copy_(numbers * gain / math.sqrt(width))
        else:
            parameter.copy_(0.3 * numbers + float(one))


def bumped(images: Tensor) -> Tensor:
    """The first image, then it with each pixel changed: (1 + C·H·W, C, H, W)."""
    first = images[:1]
    changes = torch.eye(first.numel(), dtype=images.dtype, device=images.device)
    return torch.cat([first, first + BUMP * changes.view(-1, *first.shape[1:])])


def swapped(images: Tensor, patch: int) -> Tensor:
    """The first image, then it with each pair of its patches exchanged.

    Returns (1 + N(N-1)/2, C, H, W), pairs in the order of `itertools.combinations`.
    """
    first = images[0]
    side = first.shape[-1] // patch
    corners = [divmod(n, side) for n in range(side * side)]
    found = [first]
    for left, right in itertools.combinations(corners, 2):
        changed = first.clone()
        for into, source in ((left, right), (right, left)):
            changed[_tile(into, patch)] = first[_tile(source, patch)]
        found.append(changed)
    return torch.stack(found)


def _tile(corner: tuple[int, int], patch: int) -> tuple[Any, ...]:
    return (..., *(slice(i * patch, (i + 1) * patch) for i in corner))


def patches_bumped(images: Tensor, patch: int) -> Tensor:
    """The first image, then it with all pixels of each patch changed."""
    first = images[0]
    side = first.shape[-1] // patch
    found = [first]
    for number in range(side * side):
        changed = first.clone()
        changed[_tile(divmod(number, side), patch)] *= -1.5
        found.append(changed)
    return torch.stack(found)


def patches_nudged(images: Tensor, patch: int) -> Tensor:
    """Each image, followed by it with each of its N patches changed a little.

    Returns (B·(1 + N), C, H, W).
    """
    side = images.shape[-1] // patch
    found = []
    for image in images:
        found.append(image)
        for number in range(side * side):
            changed = image.clone()
            tile = changed[_tile(divmod(number, side), patch)]
            places = torch.arange(1, tile.numel() + 1, device=tile.device)
            tile += NUDGE * places.to(tile.dtype).cos().view_as(tile)
            found.append(changed)
    return torch.stack(found)


def _record_call(seen: Observation, name: str, module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        result = module(x)
    if type(result) is Tensor:
        seen[name] = dense(result)


def _ask_pixels(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    _record_call(seen, "pixels", module, bumped(live["images"]))


def _ask_swaps(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    _record_call(seen, "swaps", module, swapped(live["images"], live["init"][1]))


def _ask_alone(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    for index, image in enumerate(live["images"]):
        _record_call(seen, f"alone.{index}", module, image[None])


def _ask_contiguous(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    _record_call(seen, "contiguous", module, live["images"].contiguous())


def _ask_training(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    """Twice in training mode, on the same images."""
    module.train()
    for time in range(2):
        _record_call(seen, f"training.{time}", module, live["images"])
    module.eval()


def _ask_range(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    """With eight other sets of parameters, the matrices large."""
    for number in range(8):
        fill(module, live["fill"] + 100 + number, live["ones"], gain=6.0)
        _record_call(seen, f"range.{number}", module, live["images"])
    fill(module, live["fill"], live["ones"])


def _ask_without(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    """With all parameters zero: two different images."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    _record_call(seen, "without", module, live["images"])
    fill(module, live["fill"], live["ones"])


def _ask_each_zero(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    """With each parameter zero in turn: patches exchanged, and patches changed."""
    images, patch = live["images"], live["init"][1]
    exchanged, changed = swapped(images, patch), patches_bumped(images, patch)
    seen["dimensions"] = [p.dim() for p in module.parameters()]
    for number, parameter in enumerate(module.parameters()):
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.zero_()
        _record_call(seen, f"zero.{number}.swaps", module, exchanged)
        _record_call(seen, f"zero.{number}.patches", module, changed)
        with torch.no_grad():
            parameter.copy_(kept)


def _ask_attended(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    """With each parameter very large in turn, for several fills: patches nudged."""
    images = patches_nudged(live["images"], live["init"][1])
    for time in range(FILLS):
        fill(module, live["fill"] + 200 + time, live["ones"])
        for number, parameter in enumerate(module.parameters()):
            kept = parameter.detach().clone()
            with torch.no_grad():
                parameter.mul_(SHARP)
            _record_call(seen, f"sharp.{number}.{time}", module, images)
            with torch.no_grad():
                parameter.copy_(kept)
    seen["number of parameters"] = len(list(module.parameters()))
    fill(module, live["fill"], live["ones"])


def _ask_gradients(module: nn.Module, live: dict[str, Any], seen: Observation) -> None:
    images = live["images"].clone().requires_grad_()
    named = dict(module.named_parameters())
    result = module(images)
    generator = torch.Generator().manual_seed(live["fill"])
    upstream = torch.randn(result.shape, generator=generator, dtype=torch.float64)
    sources = [t for t in (images, *named.values()) if t.requires_grad]
    gradients: Any = [None] * len(sources)
    if result.requires_grad:
        gradients = torch.autograd.grad(
            result, sources, upstream.to(result), allow_unused=True
        )
    reached = {id(t): g for t, g in zip(sources, gradients, strict=True)}
    seen["parameter names"] = list(named)
    for name, tensor in {"image": images, **named}.items():
        gradient = reached.get(id(tensor))
        if gradient is not None:
            seen[f"gradient of {name}"] = dense(gradient)


QUESTIONS = {
    "pixels": _ask_pixels,
    "swaps": _ask_swaps,
    "alone": _ask_alone,
    "contiguous": _ask_contiguous,
    "training": _ask_training,
    "range": _ask_range,
    "without": _ask_without,
    "each_zero": _ask_each_zero,
    "attended": _ask_attended,
    "gradients": _ask_gradients,
}


def _count(
    cls: Any, live: dict[str, Any], images: Tensor, device: torch.device, seen: Any
) -> None:
    """For each of `sizes`: how many parameters, and the output for the same fill."""
    for name, init in live["sizes"].items():
        module = _build(cls, init, images, device, {})
        if module is not None:
            fill(module, live["fill"], start_at_one(module))
            seen[f"number.{name}"] = sum(p.numel() for p in module.parameters())
            _record_call(seen, f"sized.{name}", module, images)


# -------------------------------------------------------------- what the probes mean


def _plain(observation: Observation) -> Observation:
    """The items that say the same for every right answer."""
    kept = ("kind:", "dtype:", "device:", "unchanged:")
    return {k: v for k, v in observation.items() if k.startswith(kept)}


def _changes(outputs: Tensor) -> Tensor:
    """(1 + M, ...) to (M,) bool: does each output differ from the first?"""
    numbers = outputs.double().flatten(1)
    size = max(1e-6, float(numbers.abs().max()))
    return (numbers[1:] - numbers[0]).abs().amax(dim=1) > NOTICED * size


def _same(left: Any, right: Any, tolerance: float = 1e-8) -> bool:
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return False
    if left.shape != right.shape:
        return False
    if not bool(left.isfinite().all() and right.isfinite().all()):
        return False
    size = max(1.0, float(left.double().abs().max()))
    return bool((left.double() - right.double()).abs().max() <= tolerance * size)


def _number_of(part: int, whole: int, what: str) -> str:
    return f"all {what}" if part == whole else f"{part} of {whole} {what}"


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


@view("patch_tokens")
def view_patch_tokens(observation: Observation, case: Case) -> Observation:
    """What a patch embedding's tokens see: which patch, which pixels, where they go."""
    live = case.build("cpu")
    images, init = live["images"], live["init"]
    size, patch, channels, width = init
    side = size // patch
    shown = _plain(observation)
    result = observation.get("output")
    if not isinstance(result, Tensor):
        return shown
    wanted = (len(images), side * side, width)
    shown["shape of the tokens"] = list(result.shape)
    if tuple(result.shape) != wanted:
        return shown
    pixels = observation.get("pixels")
    if isinstance(pixels, Tensor) and pixels.shape[1:] == result.shape[1:]:
        shown |= _seen_by_tokens(pixels.double(), channels, side, patch)
    shown |= _common(observation, live)
    return shown


def _seen_by_tokens(
    pixels: Tensor, channels: int, side: int, patch: int
) -> Observation:
    change = pixels[1:] - pixels[0]  # (pixel, token, d_model)
    grid = change.unflatten(0, (channels, side, patch, side, patch))
    grid = grid.permute(1, 3, 5, 0, 2, 4, 6).flatten(0, 1).flatten(2, 4)
    # (patch, token, pixel of the patch, d_model)
    noticed = grid.abs().amax(dim=-1) > NOTICED * float(pixels.abs().max())
    found: dict[str, Any] = {
        "token n sees patch m": noticed.any(dim=-1).T.contiguous(),
    }
    own = torch.arange(side * side)
    if torch.equal(found["token n sees patch m"], torch.eye(side * side).bool()):
        found["pixels of its patch that a token sees"] = _number_of(
            int(noticed[own, own].sum()), noticed[own, own].numel(), "pixels"
        )
        mine = grid[own, own]  # (token, pixel of the patch, d_model)
        same = _same(mine, mine[:1].expand_as(mine))
        found["the same patch at two places"] = "one answer" if same else "two answers"
        needed = min(mine.shape[1:]) - 1
        rank = int(torch.linalg.matrix_rank(mine[0], rtol=1e-6))
        found["pixels and channels are"] = (
            "told apart" if rank >= needed else "mixed before the projection"
        )
    return found


def _common(observation: Observation, live: dict[str, Any]) -> Observation:
    """What both modules are asked."""
    shown: Observation = {}
    result = observation["output"]
    coarse = result.dtype != torch.float64
    alone = [observation.get(f"alone.{i}") for i in range(len(live["images"]))]
    if "alone" in live["questions"]:
        parts = [a for a in alone if isinstance(a, Tensor) and a.shape[0] == 1]
        whole = torch.cat(parts) if len(parts) == len(alone) else None
        same = _same(result, whole, 1e-4 if coarse else 1e-8)
        shown["an image alone, and in a batch"] = "the same" if same else "not the same"
    if "contiguous" in live["questions"]:
        same = _same(result, observation.get("contiguous"), 1e-4 if coarse else 1e-8)
        shown["the image in another memory layout"] = (
            "the same result" if same else "another result"
        )
    if "training" in live["questions"]:
        first, second = (observation.get(f"training.{time}") for time in range(2))
        shown["two calls in training mode"] = (
            "the same result" if _same(first, second) else "two results"
        )
    if "without" in live["questions"]:
        without = observation.get("without")
        if isinstance(without, Tensor) and without.isfinite().all():
            blind = not bool(_changes(without).any())
            shown["with all parameters zero the image"] = (
                "does not matter" if blind else "still matters"
            )
    if "gradients" in live["questions"]:
        names = observation.get("parameter names", [])
        cut_off = [n for n in names if f"gradient of {n}" not in observation]
        shown["parameters that no gradient reaches"] = (
            "all" if cut_off == names else _listed(cut_off)
        )
        gradient = observation.get("gradient of image")
        reached = isinstance(gradient, Tensor) and bool(gradient.any())
        shown["a gradient reaches the image"] = reached
        shown["the module has parameters"] = bool(names)
    return shown


@view("vision_transformer")
def view_vision_transformer(observation: Observation, case: Case) -> Observation:
    """What a vision transformer's logits depend on, and what it can learn."""
    live = case.build("cpu")
    init, asked = live["init"], live["questions"]
    shown = _plain(observation)
    result = observation.get("output")
    if not isinstance(result, Tensor):
        return shown
    shown["shape of the logits"] = list(result.shape)
    if tuple(result.shape) != (len(live["images"]), init[3]):
        return shown
    shown |= _common(observation, live)
    if "range" in asked:
        shown["the logits are"] = _range_of(
            [observation.get(f"range.{number}") for number in range(8)]
        )
    if "pixels" in asked:
        seen = _changes(observation["pixels"])
        shown["pixels that the logits depend on"] = _number_of(
            int(seen.sum()), len(seen), "pixels"
        )
    if "swaps" in asked:
        seen = _changes(observation["swaps"])
        shown["pairs of patches whose places matter"] = _number_of(
            int(seen.sum()), len(seen), "pairs"
        )
    if "read_out" in asked:
        shown["what is read out"] = _read_out(observation)
    if "attended" in asked:
        shown["which patch is attended to"] = _attended(
            observation, len(live["images"])
        )
    if "positions" in asked:
        shown["the positions are"] = _positions(observation)
    if "own_position" in asked:
        shown["class token and its own position"] = (
            "both learned" if _equal_rows(observation, init[4]) else "not both learned"
        )
    if "sizes" in live:
        shown |= _sizes(observation, live)
    return shown


def _range_of(outputs: list[Any]) -> str:
    known = [o.double() for o in outputs if isinstance(o, Tensor)]
    if len(known) < len(outputs):
        return "not a tensor"
    numbers = torch.cat(known)
    if not bool(numbers.isfinite().all()):
        return "not finite"
    if bool(((numbers.sum(dim=1) - 1).abs() < 1e-6).all() and (numbers >= 0).all()):
        return "probabilities: they sum to one"
    if bool((numbers.logsumexp(dim=1).abs() < 1e-6).all()):
        return "logarithms of probabilities"
    low, high = float(numbers.min()), float(numbers.max())
    if high <= 1 and low >= -1:
        return "between 0 and 1" if low >= 0 else "between -1 and 1"
    if low >= 0:
        return "never negative"
    return "any numbers"


def _read_out(observation: Observation) -> str:
    """With one layer and one head: through which token does the image come?

    A class token hears of the image through attention alone. So the logits forget the
    image when any of four matrices is zero: embedding, values, output, head. A patch's
    own token knows its patch without attention.
    """
    reach = []
    for number, dims in enumerate(observation.get("dimensions", [])):
        changed = observation.get(f"zero.{number}.patches")
        if dims > 1 and isinstance(changed, Tensor) and changed.isfinite().all():
            reach.append(int(_changes(changed).sum()))
    if 1 in reach:
        return "one patch's token"
    return "the class token" if reach.count(0) >= 4 else "all tokens"


def _attended(observation: Observation, images: int) -> str:
    """With one layer and one head: does the image decide which patch is looked at?

    Scores are products of queries and keys. Make either matrix very large, and softmax
    leaves one winner: the class token then hears of one patch, or of itself alone, and
    another image may have another winner. A mean, or weights that are fixed or
    learned for each place, have no such parameter: however large one is made, all
    patches count, or none, or the same one in all images.
    """
    for number in range(observation.get("number of parameters", 0)):
        items = [f"sharp.{number}.{time}" for time in range(FILLS)]
        told = [t for i in items if isinstance(t := observation.get(i), Tensor)]
        if len(told) < FILLS or not all(t.isfinite().all() for t in told):
            continue
        heard = torch.stack(
            [
                torch.stack([_changes(part) for part in outputs.chunk(images)])
                for outputs in told
            ]
        )  # (fill, image, patch)
        alone = heard.sum(dim=-1) <= 1
        winners = heard.any(dim=1).sum(dim=-1)  # how many patches ever win, by fill
        if alone.double().mean() >= MOSTLY and int((winners > 1).sum()) > 1:
            return "the image decides"
    return "the image does not decide"


MOSTLY = 0.9
"""The share of images in which there has to be one winner: a few have a draw."""


def _positions(observation: Observation) -> str:
    noticed = _changes(observation["swaps"])
    if not bool(noticed.any()):
        return "missing"
    for number, _ in enumerate(observation.get("dimensions", [])):
        changed = observation.get(f"zero.{number}.patches")
        exchanged = observation.get(f"zero.{number}.swaps")
        if not (isinstance(changed, Tensor) and isinstance(exchanged, Tensor)):
            continue
        if not (changed.isfinite().all() and exchanged.isfinite().all()):
            continue
        sees_all = bool(_changes(changed).all())
        if sees_all and bool((noticed & ~_changes(exchanged)).any()):
            return "a parameter"
    return "not a parameter"


ROWS_AT_ONCE = 512
MOST_ROWS = 20_000
"""Of gradients that are compared: a right model of these sizes has a few hundred."""


def _equal_rows(observation: Observation, width: int) -> bool:
    """Whether two rows of the parameters get one gradient: they are always added."""
    rows = []
    for item, gradient in observation.items():
        if item.startswith("gradient of ") and item != "gradient of image":
            for axis in range(gradient.dim()):
                if gradient.shape[axis] == width:
                    rows.append(gradient.double().movedim(axis, -1).reshape(-1, width))
                    break
    if not rows:
        return False
    table = torch.cat(rows)
    size = table.abs().amax(dim=1)
    table = table[size > 1e-6 * size.max()][:MOST_ROWS]
    lengths = table.norm(dim=1)
    for start in range(0, len(table), ROWS_AT_ONCE):  # all at once may be gigabytes
        some = table[start : start + ROWS_AT_ONCE]
        apart = torch.cdist(some, table, compute_mode="donot_use_mm_for_euclid_dist")
        apart = apart / lengths
        apart.diagonal(start).fill_(1.0)
        if bool((apart < 1e-9).any()):
            return True
    return False


def _sizes(observation: Observation, live: dict[str, Any]) -> Observation:
    numbers = {
        name: observation.get(f"number.{name}", 0)
        for name in ("1 layer", "2 layers", "3 layers", "wider by 1")
        if name in live["sizes"]
    }
    shown: Observation = {}
    if "3 layers" in numbers:
        steps = (
            numbers["2 layers"] - numbers["1 layer"],
            numbers["3 layers"] - numbers["2 layers"],
        )
        own = steps[0] == steps[1] and steps[0] > 0
        shown["every layer has parameters of its own"] = own
        one, two = (observation.get(f"sized.{n}") for n in ("1 layer", "2 layers"))
        shown["num_layers makes a difference"] = not _same(one, two, 1e-6)
        width = live["init"][4]
        shown["the layers' parameters are the module's"] = (
            numbers["1 layer"] >= 4 * width * width + 2 * width * live["init"][7]
        )
    if "wider by 1" in numbers:
        growth = numbers["wider by 1"] - numbers["2 layers"]
        shown["dim_feedforward is used"] = growth >= 2 * 2 * live["init"][4]
    if "other heads" in live["sizes"]:
        shown["num_heads makes a difference"] = not _same(
            observation["output"], observation.get("sized.other heads"), 1e-6
        )
    return shown


# ----------------------------------------------------------------- maps of attention


@protocol("maps_of_a_model")
def observe_maps(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(model, image)` twice; record the maps and what became of both.

    The arguments of the case: `args`, the model and the image.
    """
    seen: Observation = {}
    guarded(seen, lambda: _maps(function, case, device, seen))
    return seen


def _maps(function: Any, case: Case, device: torch.device, seen: Observation) -> None:
    model, image = case.build(device)["args"]
    inputs = Inputs({"model": model, "image": image})
    flags = [p.requires_grad for p in model.parameters()]
    result = function(model, image)
    seen["gradients are on for what comes after"] = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    inputs.record_unchanged(seen)
    same = flags == [p.requires_grad for p in model.parameters()]
    seen["the model's parameters can be trained as before"] = same
    record(seen, "output", result, device)
    items = result if isinstance(result, list | tuple) else [result]
    seen["the maps carry gradients"] = any(
        isinstance(item, Tensor) and item.requires_grad for item in items
    )
    again = function(*case.build(device)["args"])
    torch.set_grad_enabled(True)
    for index, item in enumerate(again if isinstance(again, list | tuple) else []):
        if type(item) is Tensor:
            seen[f"again[{index}]"] = dense(item)


@view("maps_of_a_model")
def view_maps(observation: Observation, case: Case) -> Observation:
    """The maps, where two calls agree; otherwise only that they do not."""
    shown = {k: v for k, v in observation.items() if not k.startswith("again[")}
    if not str(observation.get("kind:output")).startswith("sequence"):
        return shown
    maps = [k for k in observation if k.startswith("output[")]
    agree = all(
        _same(observation[k], observation.get(k.replace("output", "again")), 1e-4)
        for k in maps
    )
    shown["two calls"] = "the same maps" if agree else "different maps"
    if agree:
        return shown
    return {k: v for k, v in shown.items() if not k.startswith(("output[", "kind:"))}


@protocol("function_of_maps")
def observe_function_of_maps(
    function: Any, case: Case, device: torch.device
) -> Observation:
    """As a function; and whether the list of maps still holds what it held.

    The arguments of the case: as for a function; the first is a list.
    """
    seen = observe_function(function, case, device)
    if "raised" not in seen:
        maps = case.build(device)["args"][0]
        before = list(maps)
        guarded(seen, lambda: function(maps))
        kept = len(maps) == len(before)
        kept = kept and all(a is b for a, b in zip(maps, before, strict=True))
        seen["unchanged:maps"] = kept
    return seen


@view("gradients_along_rows")
def view_gradients_along_rows(observation: Observation, case: Case) -> Observation:
    """Gradients of maps whose rows sum to one, up to a constant in each row.

    Right answers may differ where the rows cannot go: one may divide by their sum.
    """
    return {
        item: value - value.mean(dim=-1, keepdim=True)
        if item.startswith("grad:") and isinstance(value, Tensor)
        else value
        for item, value in observation.items()
    }


# -------------------------------------------------------------------------- training


@protocol("training")
def observe_training(function: Any, case: Case, device: torch.device) -> Observation:
    """Call `function(model, batches, epochs, lr)`; record losses and the model after.

    The arguments of the case: `args`; `held_out`, images; `group`, how many of them in
    a row show the same class. Which class that is, the case does not tell.
    """
    seen: Observation = {}
    guarded(seen, lambda: _train(function, case, device, seen))
    return seen


def _train(function: Any, case: Case, device: torch.device, seen: Observation) -> None:
    live = case.build(device)
    model, batches, epochs, lr = live["args"]
    before = [dense(p) for p in model.parameters()]
    inputs = Inputs({"batches": batches})
    with torch.random.fork_rng(devices=[]):
        losses = function(model, batches, epochs, lr)
    torch.set_grad_enabled(True)
    seen["kind:losses"] = "list" if isinstance(losses, list) else type(losses).__name__
    if isinstance(losses, list):
        seen["length"] = len(losses)
        seen["losses"] = torch.tensor([_number(item) for item in losses]).double()
        seen["graphs"] = any(
            isinstance(item, Tensor) and item.requires_grad for item in losses
        )
    inputs.record_unchanged(seen)
    after = [dense(p) for p in model.parameters()]
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        seen[f"parameter.{index}"] = new
        seen[f"changed.{index}"] = not torch.equal(old, new)
    model.eval()
    with torch.no_grad():
        seen["held out"] = dense(model(live["held_out"]))


def _number(item: Any) -> float:
    try:
        return float(item)
    except (TypeError, ValueError):
        return math.nan


@view("training")
def view_training(observation: Observation, case: Case) -> Observation:
    """The losses, whether the model has changed, and what it says of unseen images.

    The case's argument `compare` says what is compared: "losses", "steps" (parameters
    and logits, which one batch and Adam determine) or "classes" (for each group of
    held-out images, the class that at least 9 in 10 are given).
    """
    live = case.build("cpu")
    epochs, compare = live["args"][2], live["compare"]
    shown = _plain(observation)
    if "length" not in observation:
        return shown
    shown["number of losses"] = observation["length"]
    shown["the losses carry graphs"] = observation["graphs"]
    changed = [v for k, v in observation.items() if k.startswith("changed.")]
    shown["parameters that were trained"] = _number_of(
        sum(changed), len(changed), "parameters"
    )
    losses = observation["losses"]
    if "losses" in compare and len(losses) == epochs:
        shown["the mean loss of each epoch"] = losses
    if "steps" in compare and any(changed):
        shown["logits after training"] = observation["held out"]
    if "classes" in compare and any(changed):
        logits = observation["held out"]
        groups = logits.argmax(dim=1).view(-1, live["group"])
        for number, group in enumerate(groups, start=1):
            values, counts = group.unique(return_counts=True)
            sure = int(counts.max()) >= 0.9 * live["group"]
            shown[f"class of group {number} of the held-out images"] = (
                int(values[counts.argmax()]) if sure else "undecided"
            )
    return shown

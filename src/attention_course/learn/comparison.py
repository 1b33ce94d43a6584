"""Whether an observed item agrees with the expected one, and where it first differs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {
    torch.float64: 1e-8,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 8e-2,
}
"""Largest error that is still agreement, relative to the largest expected number."""

LARGEST = 1e300  # so that the sums of a fingerprint stay finite
IRRATIONAL = (math.sqrt(5) / 2 - 0.5, math.sqrt(2) - 1)


def tolerance_for(expected: Tensor, observed: Tensor) -> float:
    """The tolerance of the coarser of two dtypes: the dtype itself is judged apart."""
    return max(TOLERANCE.get(t.dtype, 0.0) for t in (expected, observed))


def agree(expected: Any, observed: Any, tolerance: float | None = None) -> bool:
    """Whether two observed values are the same up to rounding.

    Tensors agree if shapes are equal and no error exceeds the tolerance times the
    larger of 1 and the largest finite expected magnitude. NaN agrees with NaN alone,
    an infinity with itself. None (no gradient) agrees with zeros.
    """
    if isinstance(expected, Tensor) and isinstance(observed, Tensor):
        return expected.shape == observed.shape and not bool(
            differing(expected, observed, tolerance).any()
        )
    if isinstance(expected, Tensor) and observed is None:
        return not bool(expected.any())
    if isinstance(observed, Tensor) and expected is None:
        return not bool(observed.any())
    if isinstance(expected, float) and isinstance(observed, float):
        allowed = tolerance if tolerance is not None else TOLERANCE[torch.float64]
        if math.isnan(expected) or math.isnan(observed):
            return math.isnan(expected) and math.isnan(observed)
        return expected == observed or abs(expected - observed) <= allowed * max(
            1.0, abs(expected)
        )
    return type(expected) is type(observed) and bool(expected == observed)


def differing(
    expected: Tensor, observed: Tensor, tolerance: float | None = None
) -> Tensor:
    """A boolean tensor, True where two tensors of one shape disagree."""
    if tolerance is None:
        tolerance = tolerance_for(expected, observed)
    if expected.is_complex() or observed.is_complex():
        left, right = (
            torch.view_as_real(_complex(expected)),
            torch.view_as_real(_complex(observed)),
        )
        return differing(left, right, tolerance).any(dim=-1)
    left, right = expected.double(), observed.double()
    finite = left[torch.isfinite(left)]
    scale = max(1.0, float(finite.abs().max())) if finite.numel() else 1.0
    same = (left == right) | (left.isnan() & right.isnan())
    close = (left - right).abs() <= tolerance * scale
    return ~(same | close)


def fingerprint(value: Any) -> Any:
    """A value small enough to keep for every known mistake; tensors shrink to this.

    A tensor gives its tolerance, its largest magnitude and two weighted sums, each to
    12 digits, then its shape. The weights are fractional parts of multiples of two
    irrational numbers: whatever differs anywhere moves the sums. NaN and infinities
    count as numbers of their own.
    """
    if not isinstance(value, Tensor):
        return value
    numbers = (torch.view_as_real(value) if value.is_complex() else value).double()
    numbers = numbers.flatten().nan_to_num(nan=3.7, posinf=5.3, neginf=-5.3)
    numbers = numbers.clamp(-LARGEST, LARGEST)
    places = torch.arange(1, numbers.numel() + 1, dtype=torch.float64)
    sums = [float(numbers @ (places * r % 1 - 0.5)) for r in IRRATIONAL]
    largest = float(numbers.abs().max()) if numbers.numel() else 0.0
    short = [float(f"{number:.12g}") for number in (largest, *sums)]
    return {"tensor": [TOLERANCE.get(value.dtype, 1e-9), *short, *value.shape]}


def same_fingerprint(known: Any, observed: Any, tolerance: float | None = None) -> bool:
    """Whether two fingerprints are of values that agree up to rounding."""
    if not (_is_fingerprint(known) and _is_fingerprint(observed)):
        return agree(known, observed, tolerance)
    (coarse, largest, *left), (fine, _, *right) = known["tensor"], observed["tensor"]
    shape = left[2:]
    if shape != right[2:]:
        return False
    allowed = tolerance or max(coarse, fine)
    allowed *= max(1.0, largest) * math.sqrt(1 + math.prod(shape))
    return all(abs(a - b) <= allowed for a, b in zip(left[:2], right[:2], strict=True))


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, dict) and "tensor" in value


def _complex(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128)


def first_difference(
    expected: Tensor, observed: Tensor, tolerance: float | None = None
) -> tuple[tuple[int, ...], float, float]:
    """Index, expected and observed value where two tensors first disagree."""
    where = differing(expected, observed, tolerance).nonzero()[0].tolist()
    index = tuple(where)
    return index, float(expected[index].double()), float(observed[index].double())

"""Two summaries for masks: results without an input, and the lowest of all numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.protocols import view

LARGEST = 1e300
"""Finite numbers are cut off here, so that a fingerprint's sums stay finite."""


@view("device_is_free")
def device_is_free(observation: Observation, case: Case) -> Observation:
    """Everything that was observed, except on which device a result lies.

    For cases without a tensor among their arguments: there is no input whose device
    the result could share.
    """
    return {k: v for k, v in observation.items() if not k.startswith("device:")}


@view("sums_stay_finite")
def sums_stay_finite(observation: Observation, case: Case) -> Observation:
    """What was observed, with float64's lowest number cut off at -1e300.

    That number is a known mistake, to be recognised by weighted sums; infinities stay
    what they are.
    """
    return {k: _cut_off(v) for k, v in observation.items()}


def _cut_off(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.element_size() < 8:
        return value
    if not value.is_floating_point():
        return value
    return value.clamp(-LARGEST, LARGEST).where(value.isfinite(), value)

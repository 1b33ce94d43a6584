"""A view for functions of attention weights: chapters 02 and 04."""

from __future__ import annotations

from torch import Tensor

from attention_course.learn.answer_key import Case, Observation
from attention_course.learn.protocols import view


@view("gradient_along_simplex")
def gradient_along_simplex(seen: Observation, case: Case) -> Observation:
    """The gradient of weights that sum to one, up to a common constant.

    Right answers may differ off the simplex, where the weights cannot go: only the
    gradient's differences between entries are the same for all of them.
    """
    gradient = seen.get("grad:weights")
    if not isinstance(gradient, Tensor):
        return seen
    centred = gradient - gradient.mean(dim=-1, keepdim=True)
    return {**seen, "grad:weights": centred}

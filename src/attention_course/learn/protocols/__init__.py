"""Ways of observing what a student wrote: each returns what was seen, judging nothing.

A protocol runs the student's object on one case's inputs and returns raw tensors and
plain facts. A view turns such an observation into the summary that is compared, for
exercises whose result may differ from one right answer to the next; it runs where the
verdict is formed. Each module of this package registers its own.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import torch

from attention_course.learn.answer_key import Case, Observation

Protocol = Callable[[Any, Case, torch.device], Observation]
View = Callable[[Observation, Case], Observation]

_PROTOCOLS: dict[str, Protocol] = {}
_VIEWS: dict[str, View] = {}
_ARGUMENTS_OF_VIEWS: dict[str, tuple[str, ...]] = {}


def protocol(name: str) -> Callable[[Protocol], Protocol]:
    """Register a way of observing under `name`."""

    def register(function: Protocol) -> Protocol:
        _PROTOCOLS[name] = function
        return function

    return register


def view(name: str, *, alone: tuple[str, ...] = ()) -> Callable[[View], View]:
    """Register a summary of an observation under `name`.

    `alone` names arguments of a case that only the view needs: a grader does not show
    them to the code that is observed.
    """

    def register(function: View) -> View:
        _VIEWS[name] = function
        _ARGUMENTS_OF_VIEWS[name] = alone
        return function

    return register


@functools.cache
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def find_protocol(name: str) -> Protocol:
    """The protocol `name`. Raises ValueError for one that this package lacks."""
    _load()
    if name not in _PROTOCOLS:
        raise ValueError(
            f"no way of observing is called {name!r}; there are: {sorted(_PROTOCOLS)}"
        )
    return _PROTOCOLS[name]


def apply_view(observation: Observation, case: Case) -> Observation:
    """The observation as it is compared: through the case's view, if it has one."""
    if case.view is None or "raised" in observation:
        return observation
    _load()
    return _VIEWS[case.view](observation, case)


def arguments_of_views(name: str | None) -> tuple[str, ...]:
    """The arguments of a case that only its view needs."""
    if name is None:
        return ()
    _load()
    return _ARGUMENTS_OF_VIEWS[name]

"""A progress bar for whoever waits at a notebook, and nothing for anybody else.

Stored outputs are compared from run to run, so a bar must not leave a trace in them.
It is drawn only where a notebook's frontend asked for the cell, and taken away at the
end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from .widgets import somebody_is_there

Item = TypeVar("Item")

EVERY = 0.2  # seconds between two drawings


def progress(items: Iterable[Item], text: str) -> Iterator[Item]:
    """Yield `items`, showing how far it has come, with `text` in front.

    The bar is an HTML element, drawn again a few times a second and removed at the end.
    Without a person at a notebook, or a length of `items`, there is none.
    """
    if not (isinstance(items, Sized) and len(items) and somebody_is_there()):
        yield from items
        return
    from IPython.display import HTML, clear_output, display

    total = len(items)
    handle: Any = display(HTML(bar(text, 0, total)), display_id=True)
    drawn = time.monotonic()
    try:
        for done, item in enumerate(items):
            yield item
            if time.monotonic() - drawn >= EVERY:
                drawn = time.monotonic()
                handle.update(HTML(bar(text, done + 1, total)))
    finally:
        clear_output()


def bar(text: str, done: int, total: int) -> str:
    """The bar as HTML; a screen reader says the text and the number."""
    return (
        f'<label>{text} <progress max="{total}" value="{done}"></progress> '
        f"{done} of {total}</label>"
    )

"""How a verdict looks: plain text, and HTML that follows JupyterLab's theme."""

from __future__ import annotations

import dataclasses
import html
import re
import textwrap
from typing import Any

from attention_course.learn.verdict import AspectVerdict, Verdict

WORDS = {
    "complete": ("✓", "complete"),
    "partial": ("◐", "partly right"),
    "wrong": ("✗", "not yet"),
    "blank": ("…", "not written yet"),
}
COLOURS = {
    "complete": "--jp-success-color1, #1b7f3b",
    "partial": "--jp-warn-color1, #b35900",
    "wrong": "--jp-error-color1, #b3261e",
    "blank": "--jp-border-color1, #757575",
}


VERDICT_TYPE = "application/vnd.attention-course.verdict+json"
"""The media type under which a notebook keeps a verdict as data."""


def as_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON: name, points, earned, and the aspects with their messages."""
    return {
        "name": verdict.exercise,
        "points": verdict.points,
        "earned": verdict.earned,
        "aspects": [dataclasses.asdict(aspect) for aspect in verdict.aspects],
    }


def number(points: float) -> str:
    """Points as short text: 3, 1.5, 0.75."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


class Points(float):
    """Earned points: nbgrader reads the text form, a reader sees "1.5 of 3 points"."""

    def __new__(cls, earned: float, points: float) -> Points:
        """Of `points` that could be had, `earned` were."""
        made = super().__new__(cls, earned)
        made._points = points
        return made

    _points: float

    def _repr_html_(self) -> str:
        return f"<span>{number(self)} of {number(self._points)} points</span>"


class VerdictDisplay:
    """A verdict for a notebook (HTML) or a terminal (text)."""

    def __init__(self, verdict: Verdict) -> None:
        """Show `verdict`."""
        self.verdict = verdict

    def __str__(self) -> str:
        """One line if complete; otherwise the headline, the hint, and what is left."""
        lines = [self._headline()]
        if self.verdict.message:
            lines += textwrap.wrap(
                self.verdict.message, 76, initial_indent="  ", subsequent_indent="  "
            )
        if rest := self._rest():
            lines.append(f"  {rest}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/html": self.html(),
            VERDICT_TYPE: as_data(self.verdict),
        }

    def html(self) -> str:
        """The verdict in JupyterLab's own colours, light or dark."""
        verdict = self.verdict
        colour = COLOURS[verdict.status]
        parts = [
            '<div role="status" style="border-left: 4px solid var('
            f"{colour}); padding: 0.4em 0.8em; margin: 0.2em 0; "
            "color: var(--jp-content-font-color1, inherit); max-width: 46em; "
            'overflow-wrap: anywhere">',
            f"<strong>{html.escape(self._headline())}</strong>",
        ]
        if verdict.message:
            parts.append(f"<p style='margin: 0.4em 0'>{_inline(verdict.message)}</p>")
        if rest := self._rest():
            parts.append(f"<p style='margin: 0.4em 0'>{html.escape(rest)}</p>")
        return "".join([*parts, "</div>"])

    def _headline(self) -> str:
        verdict = self.verdict
        sign, words = WORDS[verdict.status]
        score = f"{number(verdict.earned)} of {number(verdict.points)} points"
        return f"{sign} {verdict.exercise}: {words}, {score}"

    def _rest(self) -> str:
        """The aspects that are right, and those that are not, when some are each."""
        verdict = self.verdict
        if verdict.status in ("complete", "blank"):
            return ""
        right = [a.name for a in verdict.aspects if a.earned >= a.points]
        wrong = [a.name for a in verdict.aspects if _itself_wrong(a)]
        parts = [f"Right: {', '.join(right)}."] if right else []
        if wrong:
            parts.append(f"Not yet: {', '.join(wrong)}.")
        return " ".join(parts)


def _itself_wrong(aspect: AspectVerdict) -> bool:
    return aspect.earned < aspect.points


def _inline(text: str) -> str:
    """Escaped text with `code` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))

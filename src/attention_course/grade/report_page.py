"""The report as one page of HTML: figures inside, no script, light and dark."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from attention_course.grade.harmless import text
from attention_course.grade.insight import (
    STATUSES,
    ClassInsight,
    ExerciseInsight,
    MistakeCount,
)
from attention_course.learn import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "complete": "complete",
    "partial": "partly right",
    "wrong": "not yet",
    "blank": "not written",
}
COLOURS = {
    "complete": "#0561a4",
    "partial": "#83c1c6",
    "wrong": "#fb9e2e",
    "blank": "#d4d4d4",
}
MOST_SHOWN = 12

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #5c5c5c;
  --line: #d4d4d4; --accent: #0561a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #16181d;
  --soft: #b4b4b4; --line: #444; --accent: #7cc0f4; } }
body { font: 17px/1.55 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.35rem; margin-top: 2.4rem; }
h3 { font-size: 1.1rem; margin: 1.6rem 0 0.2rem; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, .soft { color: var(--soft); font-size: 0.92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem; }
th, td { text-align: left; padding: 0.35rem 0.6rem; vertical-align: top;
  border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
dl.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.2rem; margin: 1.2rem 0; }
dl.facts dt { color: var(--soft); font-size: 0.9rem; }
dl.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
.warning { border-left: 4px solid #c2410c; padding: 0.3rem 0.8rem; }
code { font-size: 0.92em; }
"""


def html(value: str) -> str:
    """Text as it stands in a page, in content and in attributes."""
    return escape(text(value), quote=True)


def page(made: ClassInsight) -> str:
    """The whole page."""
    body = "\n".join(_body(made))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(made.title)}: the class</title>\n<style>{STYLE}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _body(made: ClassInsight) -> Iterator[str]:
    yield f"<h1>{html(made.title)}: the class</h1>"
    if made.unsafe:
        yield (
            f'<p class="warning"><strong>{made.unsafe} graded without a sandbox.'
            "</strong> What they earned may be forged.</p>"
        )
    if not made.graded:
        yield "<p>Nobody's submission is graded yet.</p>"
    else:
        yield _facts(made)
        yield from _teach_again(made)
        yield _figure(scores_figure(made), _scores_in_words(made))
        yield _figure(exercises_figure(made), _exercises_in_words(made))
        yield "<h2>Exercise by exercise</h2>"
        for exercise in made.exercises.values():
            yield from _exercise(made, exercise)
    yield from _attention(made)


def _facts(made: ClassInsight) -> str:
    summary = made.summary()
    facts = {
        "graded": str(made.graded),
        "held": str(len(made.held)),
        "flagged": str(len(made.flagged)),
        "mean": f"{summary['mean']:.1f} of {made.max_score:g}",
        "median": f"{summary['median']:g}",
        "middle half": f"{summary['lower_quartile']:g} to "
        f"{summary['upper_quartile']:g}",
    }
    rows = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _teach_again(made: ClassInsight) -> Iterator[str]:
    found = made.teach_again()
    yield "<h2>What to teach again</h2>"
    if not found:
        yield "<p>No known mistake was made.</p>"
        return
    yield _figure(mistakes_figure(made), _mistakes_in_words(made))
    yield '<div class="wide"><table><thead><tr><th class="number">students</th>'
    yield "<th>what they were told</th><th>section</th></tr></thead><tbody>"
    for name, mistake in found[:MOST_SHOWN]:
        where = made.exercises[name].section
        yield (
            f'<tr><td class="number">{mistake.count}</td><td>{_hint(mistake.hint)}<br>'
            f'<span class="soft"><code>{html(name)}</code>: '
            f"{html(_words(mistake.name))}</span></td><td>{html(where)}</td></tr>"
        )
    yield "</tbody></table></div>"


def _exercise(made: ClassInsight, exercise: ExerciseInsight) -> Iterator[str]:
    solved = exercise.statuses["complete"]
    yield f"<h3><code>{html(exercise.name)}</code></h3>"
    yield (
        f"<p>{solved} of {made.graded} complete; {exercise.earned:.2f} of "
        f'{exercise.points:g} points on average. <span class="soft">Section: '
        f"{html(exercise.section)}.</span></p>"
    )
    yield '<div class="wide"><table><thead><tr><th>aspect</th>'
    yield '<th class="number">points</th><th class="number">on average</th>'
    yield '<th class="number">lost by</th></tr></thead><tbody>'
    for aspect in exercise.aspects.values():
        yield (
            f'<tr><td>{html(aspect.name)}</td><td class="number">{aspect.points:g}</td>'
            f'<td class="number">{aspect.earned:.2f}</td>'
            f'<td class="number">{aspect.lost_by}</td></tr>'
        )
    yield "</tbody></table></div>"
    if exercise.mistakes:
        yield "<ul>"
        for mistake in exercise.mistakes:
            yield f"<li>{_mistake(mistake)}</li>"
        yield "</ul>"
    if exercise.unknown:
        told = "; ".join(html(text) for text in exercise.examples)
        yield (
            f"<p>{exercise.unknown} lost points in a way that no known mistake "
            f'explains. <span class="soft">They were told, for example: {told}</span>'
            "</p>"
        )


def _mistake(mistake: MistakeCount) -> str:
    names = ", ".join(html(name) for name in mistake.students)
    more = mistake.count - len(mistake.students)
    names += f" and {more} more" if more else ""
    return (
        f"<strong>{mistake.count}</strong> × {html(_words(mistake.name))}: "
        f'{_hint(mistake.hint)} <span class="soft">({names})</span>'
    )


def _words(name: str) -> str:
    """A mistake's name as words: `no_scale` and `NoScale` are "no scale"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


def _hint(text: str) -> str:
    """A hint with its `code` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html(text))


def _attention(made: ClassInsight) -> Iterator[str]:
    if made.held:
        yield "<h2>Held: not graded, and not scored 0</h2>"
        yield "<table><thead><tr><th>student</th><th>why, and what to do</th></tr>"
        yield "</thead><tbody>"
        for entry in made.held:
            why = f"{entry['reason']}: {entry['detail']}"
            yield f"<tr><td>{html(entry['student'])}</td><td>{html(why)}</td></tr>"
        yield "</tbody></table>"
    if made.flagged:
        yield "<h2>Flagged: have a look yourself</h2>"
        yield "<table><thead><tr><th>student</th><th>flags</th></tr></thead><tbody>"
        for entry in made.flagged:
            flags = "; ".join(html(flag) for flag in entry["flags"])
            yield f"<tr><td>{html(entry['student'])}</td><td>{flags}</td></tr>"
        yield "</tbody></table>"


def scores_figure(made: ClassInsight) -> Figure:
    """How many students have each score, in at most 15 bins."""
    steps = min(15, max(1, round(made.max_score)))
    figure, axes = figures.new_figure(7.2, 2.8, _scores_title(made))
    axes.hist(
        made.scores,
        bins=steps,
        range=(0, made.max_score or 1),
        color=figures.PALETTE[0],
        edgecolor="white",
    )
    axes.axvline(made.summary()["median"], color=figures.INK, linestyle="--")
    axes.set(xlabel=f"score (of {made.max_score:g})", ylabel="students")
    _whole_numbers(axes.yaxis)
    return figure


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _scores_title(made: ClassInsight) -> str:
    return f"Half of the class has {made.summary()['median']:g} points or more"


def _scores_in_words(made: ClassInsight) -> str:
    summary = made.summary()
    return (
        f"Histogram of {made.graded} scores from 0 to {made.max_score:g}. Half of them "
        f"lie between {summary['lower_quartile']:g} and "
        f"{summary['upper_quartile']:g}, the median is {summary['median']:g}."
    )


def exercises_figure(made: ClassInsight) -> Figure:
    """For each exercise, the shares that are complete, partly right, wrong, blank."""
    names = list(made.exercises)
    hardest = min(made.exercises.values(), key=lambda e: e.statuses["complete"])
    share = hardest.statuses["complete"] / made.graded
    title = f"{hardest.name} was hardest: {share:.0%} complete"
    figure, axes = figures.new_figure(7.2, 1.1 + 0.42 * len(names), title)
    left = [0.0] * len(names)
    for status in STATUSES:
        shares = [
            100 * made.exercises[name].statuses[status] / made.graded for name in names
        ]
        axes.barh(
            names,
            shares,
            left=left,
            color=COLOURS[status],
            edgecolor="white",
            label=WORDS[status],
        )
        for row, (start, width) in enumerate(zip(left, shares, strict=True)):
            if width >= 8:
                dark = status == "complete"
                axes.text(
                    start + width / 2,
                    row,
                    f"{width:.0f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if dark else figures.INK,
                )
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="share of the class (%)", ylabel="exercise", xlim=(0, 100))
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=4)
    return figure


def _exercises_in_words(made: ClassInsight) -> str:
    parts = []
    for exercise in made.exercises.values():
        counts = ", ".join(f"{exercise.statuses[s]} {WORDS[s]}" for s in STATUSES)
        parts.append(f"{exercise.name}: {counts}")
    return "Stacked bars, one for each exercise. " + "; ".join(parts) + "."


def mistakes_figure(made: ClassInsight) -> Figure:
    """The most common mistakes, and how many made each."""
    found = made.teach_again()[:MOST_SHOWN]
    labels = [f"{_words(m.name)}  ({name})" for name, m in found]
    first = found[0][1]
    title = f"Most common: {_words(first.name)} ({first.count} of {made.graded})"
    figure, axes = figures.new_figure(7.2, 1.0 + 0.36 * len(found), title)
    bars = axes.barh(labels, [m.count for _, m in found], color=figures.PALETTE[1])
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    _whole_numbers(axes.xaxis)
    axes.set(xlabel="students", ylabel="mistake (exercise)")
    return figure


def _mistakes_in_words(made: ClassInsight) -> str:
    found = made.teach_again()[:MOST_SHOWN]
    parts = [f"{_words(m.name)} in {name}: {m.count}" for name, m in found]
    return "Bars: how many students made each mistake. " + "; ".join(parts) + "."


def _figure(figure: Figure, words: str) -> str:
    """A figure as part of the page, with its description."""
    sink = io.BytesIO()
    with figures.style():
        figure.savefig(sink, format="svg", bbox_inches="tight", metadata={"Date": None})
    data = base64.b64encode(sink.getvalue()).decode()
    return (
        f'<figure><img alt="{html(words)}" src="data:image/svg+xml;base64,{data}">'
        "</figure>"
    )

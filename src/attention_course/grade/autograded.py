"""The autograded notebook: a student's cells, and verdicts that only the grader writes.

nbgrader reads it: Formgrader shows it, feedback is made from it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from attention_course.grade import harmless
from attention_course.grade.contract import Intake, Ran, RunCell
from attention_course.grade.release import Bundle, ReleaseCell
from attention_course.learn.report import Points, VerdictDisplay
from attention_course.learn.verdict import Verdict

LARGEST_OUTPUTS = 4 * 2**20
NOTES_ID = "grader-notes"


def make_notebook(
    bundle: Bundle,
    intake: Intake,
    ran: Ran,
    verdicts: Mapping[str, Verdict],
    flags: Sequence[str] = (),
) -> bytes:
    """The notebook as the bytes of an nbformat 4.5 file."""
    released = _released(bundle)
    cells = []
    left = LARGEST_OUTPUTS
    count = 0
    if intake.repairs or flags:
        cells.append(_notes(intake.repairs, flags))
    for cell in intake.cells:
        origin = released.get(cell.id)
        if cell.kind == "markdown":
            cells.append(_markdown(cell, origin))
            continue
        if cell.kind == "check" and cell.exercise is not None:
            outputs = verdict_outputs(verdicts[cell.exercise])
        else:
            outputs = student_outputs(cell, ran, left)
            left -= sum(map(_size, outputs))
        number = None
        if cell.id not in ran.skipped:
            count += 1
            number = count
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
        cells.append(_code(cell, origin, outputs, number))
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": bundle.kernelspec,
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode(
        "utf-8", "replace"
    )


def _released(bundle: Bundle) -> dict[str, ReleaseCell]:
    return {cell.id: cell for cell in bundle.cells}


def _notes(repairs: Sequence[str], flags: Sequence[str]) -> dict[str, Any]:
    rows = ["**Notes of the grader**", ""]
    rows += [f"- {harmless.markdown(harmless.line(n))}" for n in (*repairs, *flags)]
    return {
        "cell_type": "markdown",
        "id": NOTES_ID,
        "metadata": {},
        "source": "\n".join(rows),
    }


def _markdown(cell: RunCell, origin: ReleaseCell | None) -> dict[str, Any]:
    as_released = origin is not None and origin.source == cell.source
    source = cell.source if as_released else harmless.markdown(cell.source)
    return {"cell_type": "markdown", "id": cell.id, "metadata": {}, "source": source}


def _code(
    cell: RunCell,
    origin: ReleaseCell | None,
    outputs: list[dict[str, Any]],
    number: int | None,
) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": number,
        "id": cell.id,
        "metadata": copy.deepcopy(dict(origin.metadata)) if origin else {},
        "outputs": outputs,
        "source": harmless.text(cell.source, 2_000_000),
    }


def verdict_outputs(verdict: Verdict) -> list[dict[str, Any]]:
    """What a check's cell shows: the verdict, and unless complete the points."""
    bundle = VerdictDisplay(verdict)._repr_mimebundle_()
    outputs: list[dict[str, Any]] = [
        {"output_type": "display_data", "data": bundle, "metadata": {}}
    ]
    if not verdict.complete:
        points = Points(verdict.earned, verdict.points)
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": None,
                "data": {"text/plain": repr(points), "text/html": points._repr_html_()},
                "metadata": {},
            }
        )
    return outputs


def student_outputs(cell: RunCell, ran: Ran, left: int) -> list[dict[str, Any]]:
    """What a student's cell showed, made harmless, within `left` bytes."""
    given = ran.outputs.get(cell.id, [])
    outputs = [made for made in map(harmless.output, given) if made]
    if sum(map(_size, outputs)) > left:
        outputs = [_said("The outputs of this notebook are too large to keep.")]
    if cell.id in ran.killed:
        outputs.append(_said(harmless.line(ran.killed[cell.id])))
    return outputs


def _said(words: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stderr", "text": f"{words}\n"}


def _size(output: Mapping[str, Any]) -> int:
    return len(json.dumps(output))

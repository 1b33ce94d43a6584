"""`check(answer)`: run an answer on its exercise's cases and say what is wrong."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

from attention_course.learn.answer_key import FILE_NAME, AnswerKey
from attention_course.learn.devices import device
from attention_course.learn.observation import observe
from attention_course.learn.report import Points, VerdictDisplay
from attention_course.learn.verdict import Verdict, judge

KEY_VARIABLE = "ATTENTION_COURSE_KEY"


class CheckFailed(Exception):
    """An answer that is not complete, where a check has to raise to be seen.

    nbgrader's Validate button shows nothing but errors: there the hint is one.
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def check(answer: Any) -> Points | None:
    """Check an answer and show the verdict.

    `answer` is the function or class itself: its name is the exercise's. Needs the
    chapter's answer key `checks.safetensors` in the notebook's folder (or where
    ATTENTION_COURSE_KEY points). Returns None if the answer is complete, otherwise
    the points it earned, as nbgrader reads partial credit.
    """
    verdict = verdict_on(answer)
    display = VerdictDisplay(verdict)
    if os.environ.get("NBGRADER_VALIDATING") and not verdict.complete:
        raise CheckFailed(str(display))
    _show(display)
    return None if verdict.complete else Points(verdict.earned, verdict.points)


def verdict_on(answer: Any) -> Verdict:
    """The verdict on an answer under the chapter's public answer key."""
    key = read_key()
    name = getattr(answer, "__name__", None)
    if not isinstance(name, str) or name not in key.exercises:
        raise ValueError(
            f"check(...) takes the function or class of an exercise of {key.chapter}: "
            f"{', '.join(key.exercises)}. Got {name or type(answer).__name__!r}."
        )
    exercise = key.exercises[name]
    return judge(exercise, observe(answer, exercise.cases, device))


def read_key() -> AnswerKey:
    """The answer key beside the notebook. Raises FileNotFoundError with the cure."""
    path = Path(os.environ.get(KEY_VARIABLE) or FILE_NAME).resolve()
    if not path.exists():
        raise FileNotFoundError(
            f"{FILE_NAME} is not in {path.parent}. It comes with the chapter: keep it "
            "in the same folder as the notebook."
        )
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> AnswerKey:
    return AnswerKey.read(path)


def _show(display: VerdictDisplay) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display as show
    except ImportError:
        get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
        show(display)
    else:
        print(display)


def explain_undefined(shell: Any) -> None:
    """In IPython: tell who checks an answer that is not defined yet what to do.

    The cell still fails, with one sentence in place of a traceback.
    """

    def handle(
        shell: Any, kind: type, error: NameError, trace: Any, tb_offset: Any = None
    ) -> None:
        source = shell.user_ns.get("In", [""])[-1].strip()
        if error.name and source == f"check({error.name})":
            text = (
                f"`{error.name}` is not defined yet: run the cell above that defines "
                "it, without an error, then this one again."
            )
            shell._showtraceback(kind, error, [text])
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((NameError,), handle)


def _install() -> None:
    if "IPython" in sys.modules:
        from IPython import get_ipython

        if (shell := get_ipython()) is not None:
            explain_undefined(shell)


_install()

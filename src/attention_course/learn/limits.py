"""A time limit for code that may never return."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TookTooLong(BaseException):
    """Raised inside code that outran its limit; no `except Exception` swallows it."""


_patience = 1.0


@contextmanager
def patient(factor: float) -> Iterator[None]:
    """Multiply every time limit in the body by `factor`.

    For the course's own answers, on a machine that may be busy with other work.
    """
    global _patience
    before, _patience = _patience, factor
    try:
        yield
    finally:
        _patience = before


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the body once `seconds` have passed.

    POSIX main threads use the interval timer; elsewhere the main thread is
    interrupted. A call that never returns to Python cannot be stopped this way: the
    command line and the grader end its process instead.
    """
    seconds *= _patience
    on_main_thread = threading.current_thread() is threading.main_thread()
    if hasattr(signal, "setitimer") and on_main_thread:
        yield from _with_alarm(seconds)
    elif on_main_thread:
        yield from _with_interrupt(seconds)
    else:
        yield


def _with_alarm(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise TookTooLong(f"no answer within {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    # Again each second: a bare `except:` in a loop swallows the first one.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _with_interrupt(seconds: float) -> Iterator[None]:
    fired = threading.Event()

    def stop() -> None:
        fired.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if fired.is_set():
            raise TookTooLong(f"no answer within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()

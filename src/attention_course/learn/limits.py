"""A time limit for code that may never return."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TookTooLong(BaseException):
    """Raised inside code that outran its limit; no `except Exception` swallows it."""


PATIENCE = 4.0
"""How many seconds may pass on the clock for each second of computing: a machine that
is busy with other work makes nobody's answer slow."""

_factor = 1.0


@contextmanager
def patient(factor: float) -> Iterator[None]:
    """Multiply every time limit in the body by `factor`.

    For the course's own answers, on a machine that may be busy with other work.
    """
    global _factor
    before, _factor = _factor, factor
    try:
        yield
    finally:
        _factor = before


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the body once it has computed for `seconds`.

    POSIX main threads count the processor's time, and `PATIENCE` times as much on the
    clock, for code that waits. Elsewhere the main thread is interrupted when the
    latter has passed. A call that never returns to Python cannot be stopped this way:
    the command line and the grader end its process instead.
    """
    seconds *= _factor
    on_main_thread = threading.current_thread() is threading.main_thread()
    if hasattr(signal, "setitimer") and on_main_thread:
        yield from _with_alarm(seconds)
    elif on_main_thread:
        yield from _with_interrupt(seconds * PATIENCE)
    else:
        yield


def _with_alarm(seconds: float) -> Iterator[None]:
    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, seconds * PATIENCE),
    }

    def stop(signum: int, frame: object) -> None:
        raise TookTooLong(f"no answer within {seconds:g} s")

    previous = {number: signal.signal(number, stop) for number in timers}
    # Again each second: a bare `except:` in a loop swallows the first one.
    for timer, limit in timers.values():
        signal.setitimer(timer, limit, 1.0)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, previous[number])


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

"""Time limits count computing: a busy machine makes nobody's answer slow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from attention_course.learn import limits
from attention_course.learn.limits import TookTooLong, time_limit

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="interval timers need POSIX"
)


def compute(seconds: float) -> None:
    """Use this much of the processor's time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_code_that_computes_too_long_is_stopped() -> None:
    began = time.process_time()
    with pytest.raises(TookTooLong), time_limit(0.2):
        compute(60)
    assert time.process_time() - began < 30


def test_code_that_waits_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 2.0)
    with pytest.raises(TookTooLong), time_limit(0.1):
        time.sleep(60)


def test_a_loop_that_swallows_the_first_interrupt_is_stopped() -> None:
    def stubborn() -> None:
        try:
            compute(60)
        except BaseException:
            compute(60)

    with pytest.raises(TookTooLong), time_limit(0.1):
        stubborn()


def test_waiting_for_the_processor_costs_nothing() -> None:
    """Stopped for longer than its limit, as on a busy machine, it still succeeds."""
    code = (
        "import time\n"
        "from attention_course.learn.limits import time_limit\n"
        "with time_limit(1.0):\n"
        "    print('go', flush=True)\n"
        "    until = time.process_time() + 0.5\n"
        "    while time.process_time() < until:\n"
        "        pass\n"
        "print('done')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(child.pid, signal.SIGCONT)
    assert child.communicate()[0] == "done\n"


def test_afterwards_nothing_is_left() -> None:
    before = signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGALRM)
    with time_limit(5):
        pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert before == (
        signal.getsignal(signal.SIGPROF),
        signal.getsignal(signal.SIGALRM),
    )

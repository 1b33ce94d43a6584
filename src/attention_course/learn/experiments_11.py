"""What attention costs: seconds and bytes against the number of tokens.

Seconds are those of one call, the fastest of many, on one thread; on a CPU they are the
processor's time, so that it matters little what else the machine is doing. Bytes are
the peak of what a call asks the allocator for, beyond what was there before: on a CPU
as torch's profiler writes down every allocation and release, those inside an operation
too; on a GPU as its allocator counts them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer

from attention_course.learn.devices import device as default_device

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

KERNELS = {
    "flash kernel": SDPBackend.FLASH_ATTENTION,
    "memory-efficient kernel": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN kernel": SDPBackend.CUDNN_ATTENTION,
}


@dataclass
class Growth:
    """What one form of attention took, by number of tokens, as far as it was run."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside the `with` block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def peak_bytes(run: Callable[[], Any], device: torch.device = default_device) -> int:
    """The most bytes that `run` held at one time, beyond what was there before."""
    run()  # what is set up once only does not count
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    held = most = 0
    for change in _allocations(run):
        held += change
        most = max(most, held)
    return most


def _allocations(run: Callable[[], Any]) -> list[int]:
    """Bytes of each allocation (positive) and release (negative), in order."""
    # The profiler's native part announces itself on stderr unless told otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        one_thread(),
        torch.profiler.profile(activities=activities, profile_memory=True) as profile,
    ):
        result = run()
    del result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = [event for event in events if event.get("name") == "[memory]"]
    memory.sort(key=lambda event: event["args"].get("Ev Idx", 0))
    memory.sort(key=lambda event: event["ts"])
    return [event["args"]["Bytes"] for event in memory]


def seconds(
    run: Callable[[], Any],
    at_least: float = 0.1,
    device: torch.device = default_device,
) -> float:
    """The time of the fastest call of `run`, in `at_least` seconds of calls."""
    options: dict[str, Any] = {"globals": {"run": run}, "num_threads": 1}
    if device.type == "cpu":
        options["timer"] = time.thread_time
    timer = Timer("run()", **options)
    return min(timer.blocked_autorange(min_run_time=at_least).times)


def measure(
    forms: Mapping[str, Attention],
    lengths: Sequence[int],
    *,
    num_heads: int = 1,
    head_dim: int = 64,
    patience: float = 1.0,
    room: float = 1e8,
    device: torch.device = default_device,
) -> dict[str, Growth]:
    """Run each form of attention on (1, num_heads, N, head_dim), N from `lengths`.

    Without gradients; in float32 on a CPU, in float16 on a GPU, where the fused kernels
    ask for it. A form that took more than `patience` seconds, or held more than `room`
    bytes, gets no larger N.
    """
    measured = {name: Growth() for name in forms}
    for tokens in sorted(lengths):
        generator = torch.Generator().manual_seed(tokens)
        shape = (3, 1, num_heads, tokens, head_dim)
        inputs = torch.randn(shape, generator=generator).to(device, dtype(device))
        for name, form in forms.items():
            growth = measured[name]
            if growth.tokens and (
                growth.seconds[-1] > patience or growth.bytes[-1] > room
            ):
                continue

            def run(form: Attention = form, inputs: Tensor = inputs) -> Tensor:
                with torch.no_grad():
                    return form(*inputs)

            growth.tokens.append(tokens)
            growth.bytes.append(peak_bytes(run, device))
            growth.seconds.append(seconds(run, device=device))
    return measured


def dtype(device: torch.device = default_device) -> torch.dtype:
    """In what is measured: float32 on a CPU, float16 on a GPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


def where(device: torch.device = default_device) -> str:
    """What was measured where, for a figure: it differs from machine to machine."""
    kind = str(dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {kind}"
    return f"one CPU thread, {kind}"


def fused_kernels(device: torch.device = default_device) -> dict[str, Attention]:
    """On a GPU, each fused kernel of F.scaled_dot_product_attention that runs there.

    On a CPU there is one, which the function takes by itself: the result is empty.
    """
    if device.type != "cuda":
        return {}
    found: dict[str, Attention] = {}
    for name, backend in KERNELS.items():
        kernel = _only(backend)
        probe = torch.zeros(1, 1, 128, 64, device=device, dtype=dtype(device))
        try:
            kernel(probe, probe, probe)
        except RuntimeError:  # not built for this machine, or not for its numbers
            continue
        found[name] = kernel
    return found


def _only(backend: SDPBackend) -> Attention:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(query, key, value)

    return attend


def works(attention: Any) -> bool:
    """Whether `attention(query, key, value, block)` is right on a small text."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, 2, 40, 8)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    query, key, value = inputs.to(default_device)
    try:
        found = attention(query, key, value, 16)
    except Exception:  # whatever an unfinished answer does: it is not measured
        return False
    expected = F.scaled_dot_product_attention(query, key, value)
    return (
        isinstance(found, Tensor)
        and found.shape == expected.shape
        and torch.allclose(found, expected)
    )


def exponent(tokens: Sequence[float], amounts: Sequence[float]) -> float:
    """The p of amount = c * tokens^p, fitted to the larger half of the lengths.

    Least squares on logarithms. NaN where fewer than two lengths were measured.
    """
    half = len(tokens) // 2 if len(tokens) > 2 else 0
    x, y = np.log(tokens[half:]), np.log(amounts[half:])
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")

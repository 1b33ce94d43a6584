"""Ports on loopback that stay free until the server that they are for has started."""

from __future__ import annotations

import random
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000
USUAL_START = 32_768
"""Where Linux begins to number outgoing connections, if it is not told otherwise."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and that the kernel gives to nobody by itself.

    A port that the kernel chose (`bind` to 0) it may give to the next connection that
    some program opens, before the server starts. So this one lies below that range.

    Raises:
        OSError: no such port was found.
    """
    chance = random.SystemRandom()
    for _ in range(200):
        port = chance.randrange(LOWEST, _start_of_the_kernels_own())
        if is_free(port):
            return port
    raise OSError("no free port on 127.0.0.1")


def _start_of_the_kernels_own() -> int:
    try:
        start = int(RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        start = USUAL_START
    return start if start > LOWEST + 1000 else USUAL_START

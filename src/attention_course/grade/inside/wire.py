"""Frames on a stream between processes: one byte of kind, four of length, content."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct(">cI")


class Garbled(ValueError):
    """Bytes that are no frame, or a frame larger than what may be sent."""


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """One frame; `kind` is a single byte."""
    return HEAD.pack(kind, len(content)) + content


def as_json(value: Any) -> bytes:
    """`value` as the content of a frame."""
    return json.dumps(value, separators=(",", ":")).encode()


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; blocks. Raises OSError if nobody reads."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Frames:
    """Reads frames from a descriptor, each at most `largest` bytes, never blocking."""

    def __init__(self, fd: int, largest: int) -> None:
        """Read from `fd`, which stays the caller's to close."""
        self.fd = fd
        self.largest = largest
        self.received = 0
        self.ended = False
        self._buffer = bytearray()

    def read(self) -> None:
        """Take in what is there (call when `fd` is readable); notes the end."""
        try:
            data = os.read(self.fd, 2**18)
        except (ConnectionError, BlockingIOError):
            data = b""
        if not data:
            self.ended = True
        self.received += len(data)
        self._buffer += data

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """The complete frames so far. Raises `Garbled` for one that is too large."""
        while len(self._buffer) >= HEAD.size:
            kind, size = HEAD.unpack_from(self._buffer)
            if size > self.largest:
                raise Garbled(f"a frame of {size} bytes")
            if len(self._buffer) < HEAD.size + size:
                return
            content = bytes(self._buffer[HEAD.size : HEAD.size + size])
            del self._buffer[: HEAD.size + size]
            yield kind, content


def all_frames(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The frames that a trusted peer put one after the other."""
    start = 0
    while start < len(data):
        kind, size = HEAD.unpack_from(data, start)
        start += HEAD.size + size
        yield kind, data[start - size : start]


def receive(sock: socket.socket, deadline: float | None = None) -> tuple[bytes, bytes]:
    """The next frame from a trusted peer, byte for byte and none beyond it.

    Raises EOFError if the peer is gone, TimeoutError after `deadline` (monotonic).
    """
    kind, size = HEAD.unpack(_exactly(sock, HEAD.size, deadline))
    return kind, _exactly(sock, size, deadline)


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([sock], [], [], left)[0]:
                raise TimeoutError("no answer in time")
        try:
            part = sock.recv(min(size - len(data), 2**20))
        except ConnectionError as error:
            raise EOFError("the other side is gone") from error
        if not part:
            raise EOFError("the other side is gone")
        data += part
    return bytes(data)

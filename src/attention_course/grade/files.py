"""Write files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE, READABLE = 0o600, 0o644


def write_beside(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file complete or not at all: beside its place first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise

"""File names that hold on Windows, macOS and Linux alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

LONGEST_PATH = 150
"""Windows allows 260 characters in all: this leaves 110 for where it is unpacked."""

FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")


def unportable(paths: Iterable[str]) -> Iterator[str]:
    """What would fail elsewhere, in words. `paths` are relative, with slashes."""
    seen: dict[str, str] = {}
    for path in paths:
        if len(path) > LONGEST_PATH:
            yield f"{path} has {len(path)} characters; {LONGEST_PATH} are safe"
        parts = path.split("/")
        for end, part in enumerate(parts, 1):
            if FORBIDDEN.search(part) or part in ("", ".", ".."):
                yield f"{path}: Windows forbids {part!r} as a name"
            if RESERVED.fullmatch(part):
                yield f"{path}: {part!r} is a device's name on Windows"
            if part.endswith((".", " ")) or part.startswith(" "):
                yield f"{path}: Windows drops dots and spaces around {part!r}"
            if part != unicodedata.normalize("NFC", part) or not part.isascii():
                yield f"{path}: macOS may spell {part!r} another way: use ASCII"
            whole = "/".join(parts[:end])
            other = seen.setdefault(whole.casefold(), whole)
            if other != whole:
                yield f"{path}: {whole} and {other} are one name on Windows and macOS"

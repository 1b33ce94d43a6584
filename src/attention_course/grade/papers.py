"""Papers: the few sets of fresh inputs of an exercise, and who sits which.

Which paper a submission sits is derived from its content and the course's secret, so a
regrade gives the same; that there are only a few makes their answer keys worth keeping.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

PAPERS = 8


@dataclass(frozen=True)
class Paper:
    """Which paper of an exercise a submission sits; `seed` is secret."""

    number: int
    seed: int


def choose_papers(
    secret: bytes, submission_hash: str, exercises: Iterable[str]
) -> dict[str, Paper]:
    """The papers of one submission, by exercise."""
    papers = {}
    for name in exercises:
        number = draw(secret, "paper", name, submission_hash) % PAPERS
        papers[name] = Paper(number, draw(secret, "seed", name, str(number)))
    return papers


def draw(secret: bytes, *words: str) -> int:
    """A number below 2**63 that only who has the secret can know."""
    digest = hmac.new(secret, "\0".join(words).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") >> 1

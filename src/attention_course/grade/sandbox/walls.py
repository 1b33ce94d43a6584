"""Which walls are put up. All of them are, outside of tests and `unsafe`."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Walls:
    """Each wall of the sandbox; a test takes one away and sees the self-test refuse.

    `files` and `environment` are bubblewrap's, `network` is its and each submission's
    own; `namespaces` are each submission's own; `rights` are capabilities and the
    `filter` of system calls; `limits` are resource limits and the control group; `user`
    is a user of its own (root only).
    """

    network: bool = True
    files: bool = True
    environment: bool = True
    namespaces: bool = True
    rights: bool = True
    filter: bool = True
    limits: bool = True
    user: bool = True

    @classmethod
    def none(cls) -> Walls:
        """No wall at all: `unsafe`."""
        return cls(**{f.name: False for f in fields(cls)})

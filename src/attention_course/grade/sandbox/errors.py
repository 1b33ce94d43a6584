"""What can go wrong with the sandbox itself."""

from __future__ import annotations


class SandboxUnavailable(RuntimeError):
    """This system cannot run the sandbox: which layer is missing, and the cure."""

    def __init__(self, layer: str, problem: str, cure: str) -> None:
        """Name the `layer`, the `problem` and what mends it."""
        self.layer = layer
        self._parts = (layer, problem, cure)
        super().__init__(f"The sandbox has no {layer}: {problem} {cure}")

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return type(self), self._parts  # it comes back from worker processes


class SandboxDied(RuntimeError):
    """The sandbox's own process ended again and again under one submission."""

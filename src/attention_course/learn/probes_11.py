"""A cache to hand to a `cached_step`: room for a known number of tokens, set aside."""

from __future__ import annotations

import torch
from torch import Tensor


class PreparedCache:
    """Keys and values of one text whose largest length is known beforehand.

    It has the `append` of a KVCache and counts the tokens that it holds. `append`
    gives out its own memory, as caches do: who changes that, changes the cache.
    `expected`, at first the capacity, says how many tokens there may be for now.
    """

    def __init__(self, capacity: int) -> None:
        """A cache for at most `capacity` tokens."""
        self.capacity = self.expected = capacity
        self.length = 0
        self._store: list[Tensor] = []

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add t tokens, (B, H, t, d) each; all keys and all values so far.

        Raises ValueError if that makes more than are expected.
        """
        start, self.length = self.length, self.length + key.shape[2]
        if self.length > self.expected:
            raise ValueError(
                f"{self.length} tokens were appended, where there can be "
                f"{self.expected} by now: append each token once"
            )
        if not self._store:
            room = (*key.shape[:2], self.capacity, key.shape[3])
            self._store = [key.new_zeros(room), value.new_zeros(room)]
        places = torch.arange(start, self.length, device=key.device)
        pairs = zip(self._store, (key, value), strict=True)
        self._store = [room.index_copy(2, places, new) for room, new in pairs]
        keys, values = (room[:, :, : self.length] for room in self._store)
        return keys, values

"""The replay buffer: reservoir sampling with counter-based draws, the same in every learner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..numerics import Stream, hash32, pick


class ReplayBuffer:
    """Holds samples as training passes take them (the input or a latent; int8, the float twin's are float), labels
    and, for DER, logits in units of 1/32 (int16; the float twin's are float). Every sample offered so far is kept with
    equal probability (Vitter's algorithm R)."""

    def __init__(self, capacity: int, values: int, classes: int, dtype: type[np.generic] = np.int8) -> None:
        self.capacity = capacity
        self.x: NDArray[Any] = np.zeros((capacity, values), dtype=dtype)
        self.y: NDArray[np.uint8] = np.zeros(capacity, dtype=np.uint8)
        self.logits: NDArray[np.float64] = np.zeros((capacity, classes))
        self.seen = 0

    @property
    def filled(self) -> int:
        return min(self.seen, self.capacity)

    def draw(self, stream: Stream, seed: int, step: int) -> int:
        """Slot for this use in this step; the buffer is not empty."""
        return pick(hash32(seed, stream, step), self.filled)

    def insert(self, x: NDArray[Any], y: int, logits: NDArray[np.float64], seed: int) -> None:
        """Offer one sample."""
        slot = self.seen
        if self.seen >= self.capacity:
            slot = pick(hash32(seed, Stream.RESERVOIR, self.seen), self.seen + 1)
        self.seen += 1
        if slot < self.capacity:
            self.x[slot], self.y[slot], self.logits[slot] = x, y, logits

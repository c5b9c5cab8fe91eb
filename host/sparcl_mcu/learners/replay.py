"""The replay buffer: reservoir sampling with counter-based draws, the same in every learner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..numerics import Stream, hash32, pick


class ReplayBuffer:
    """Holds int8 samples and labels. Every sample seen so far is kept with equal probability (Vitter's algorithm R)."""

    def __init__(self, capacity: int, inputs: int) -> None:
        self.capacity = capacity
        self.x: NDArray[np.int8] = np.zeros((capacity, inputs), dtype=np.int8)
        self.y: NDArray[np.uint8] = np.zeros(capacity, dtype=np.uint8)
        self.seen = 0

    def draw(self, seed: int, step: int) -> int | None:
        """Slot to replay in this step; None while the buffer is empty."""
        filled = min(self.seen, self.capacity)
        return pick(hash32(seed, Stream.FIRST_DRAW, step), filled) if filled else None

    def insert(self, x: NDArray[np.int8], y: int, seed: int, step: int) -> None:
        """Offer one sample."""
        self.seen += 1
        slot = self.seen - 1
        if self.seen > self.capacity:
            slot = pick(hash32(seed, Stream.RESERVOIR, step), self.seen)
        if slot < self.capacity:
            self.x[slot], self.y[slot] = x, y

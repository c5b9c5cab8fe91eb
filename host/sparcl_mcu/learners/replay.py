"""The replay buffer: reservoir sampling with counter-based draws, the same in every learner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..numerics import Stream, hash32, pick


class ReplayBuffer:
    """Holds samples as training passes take them (the input or a latent; int8, the float twin's are float), labels
    and, for DER, logits in units of 1/32 (int16; the float twin's are float). Every sample offered so far is kept with
    equal probability (Vitter's algorithm R). With `anchors` it is no reservoir: it holds the anchors of LightCL."""

    def __init__(
        self, capacity: int, values: int, classes: int, dtype: type[np.generic] = np.int8, anchors: bool = False
    ) -> None:
        self.capacity = capacity
        self.x: NDArray[Any] = np.zeros((capacity, values), dtype=dtype)
        self.y: NDArray[np.uint8] = np.zeros(capacity, dtype=np.uint8)
        self.logits: NDArray[np.float64] = np.zeros((capacity, classes))
        self.seen = 0
        self.anchors = anchors
        self.anchored = 0  # of the open task

    @property
    def filled(self) -> int:
        return min(self.seen, self.capacity)

    @property
    def free_anchor(self) -> int | None:
        """The slot of the next anchor; None when all are there."""
        return self.anchored if self.anchors and self.anchored < self.capacity else None

    def draw(self, stream: Stream, seed: int, step: int) -> int:
        """Slot for this use in this step; the buffer is not empty."""
        return pick(hash32(seed, stream, step), self.anchored if self.anchors else self.filled)

    def insert(self, x: NDArray[Any], y: int, logits: NDArray[np.float64], seed: int) -> None:
        """Offer one sample."""
        slot = self.seen
        if self.seen >= self.capacity:
            slot = pick(hash32(seed, Stream.RESERVOIR, self.seen), self.seen + 1)
        self.seen += 1
        if slot < self.capacity and not self.anchors:
            self._put(slot, x, y, logits)

    def anchor(self, x: NDArray[Any], y: int, logits: NDArray[np.float64]) -> None:
        """One more anchor."""
        self._put(self.anchored, x, y, logits)
        self.anchored += 1

    def _put(self, slot: int, x: NDArray[Any], y: int, logits: NDArray[np.float64]) -> None:
        self.x[slot], self.y[slot], self.logits[slot] = x, y, logits

"""Dynamic data removal: which samples of a task have become too easy to send again; the twin of src/removal.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..numerics import Stream, hash32
from . import masking
from .base import LearnerError

COUNT_MAX = 15  # four bits: 0 not seen since the last event, else 1 + times wrong
TIES = 2  # what hash32's `index` is for here


class Removal:
    """Alive bits and counts of one task's samples. capacity: samples the board has room for."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.alive = np.zeros(capacity, dtype=np.bool_)
        self.counts: NDArray[np.uint8] = np.zeros(capacity, dtype=np.uint8)
        self.samples = self.removed = 0

    def begin(self, samples: int, epochs: int, fraction: int) -> None:
        """A task opens: all its samples are alive. Raises LearnerError when DDR cannot follow it."""
        self.check(samples, epochs, self.capacity)
        self.samples, self.removed, self.fraction = samples, 0, fraction
        self.cutoff = 2 * epochs // 5
        self.alive[:] = np.arange(self.capacity) < samples
        self.counts[:] = 0

    @staticmethod
    def check(samples: int, epochs: int, capacity: int) -> None:
        """Raises LearnerError for a task that DDR cannot follow."""
        if samples > capacity:
            raise LearnerError(f"the task has {samples} samples, but DDR has counters for {capacity}; raise [ddr]")
        if epochs < 3:
            raise LearnerError(f"DDR needs samples that come back at least twice, but epochs is {epochs}; 3 are needed")

    def note(self, number: int, wrong: bool) -> None:
        """A sample was presented."""
        self.counts[number] = min(max(int(self.counts[number]), 1) + wrong, COUNT_MAX)

    def end_epoch(self, epoch: int, seed: int, step: int) -> None:
        """Remove what this epoch (1, 2, ..) is to remove, the most often right first."""
        if epoch <= self.cutoff:
            wanted = self.samples * self.fraction * epoch // (65536 * self.cutoff)
            seen = np.flatnonzero(self.alive & (self.counts > 0))
            draw = hash32(seed, Stream.TIES, step, 0, TIES)
            easiest = seen[masking.lowest(self.counts[seen].astype(np.int64), wanted - self.removed, draw)]
            self.alive[easiest] = False
            self.removed += len(easiest)
        self.counts[:] = 0

    def bytes(self) -> bytes:
        """Canonical state: alive bits, then counts, two a byte."""
        counts = np.pad(self.counts, (0, self.capacity % 2))
        halves = counts[::2] | counts[1::2] << 4
        return np.packbits(self.alive, bitorder="little").tobytes() + halves.astype(np.uint8).tobytes()

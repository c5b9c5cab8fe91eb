"""The replay buffer: reservoir sampling over every presentation, with labels and logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import torch_backend as backend


class Replayed(NamedTuple):
    """Samples drawn from the buffer. x: raw, as stored (n, *sample); y: int64 (n,); z: float32 (n, classes), the
    logits the network gave when they were inserted."""

    x: Any
    y: Any
    z: Any


class Reservoir:
    """Keeps every presentation seen so far with equal probability (Vitter's algorithm R)."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self.capacity = capacity
        self.seen = 0  # presentations, not samples: an epoch more counts again
        self._rng = rng
        self._kept: Replayed | None = None

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, x: Any, y: Any, z: Any) -> None:
        """Offer a mini-batch: x (n, *sample) of any dtype, y int64 (n,), z float32 (n, classes)."""
        if self._kept is None:
            self._kept = Replayed(*(part.new_zeros((self.capacity, *part.shape[1:])) for part in (x, y, z)))
        places = {}  # slot -> the last sample of the batch that went there
        for i in range(len(x)):
            self.seen += 1
            slot = self.seen - 1 if self.seen <= self.capacity else int(self._rng.integers(self.seen))
            if slot < self.capacity:
                places[slot] = i
        if places:
            torch = backend.torch()
            slots, chosen = (torch.tensor(list(each), device=x.device) for each in (places.keys(), places.values()))
            for kept, offered in zip(self._kept, (x, y, z), strict=True):
                kept[slots] = offered[chosen].detach()

    def draw(self, count: int) -> Replayed:
        """`count` samples without replacement, or all there are; the buffer must not be empty."""
        assert self._kept is not None
        chosen = self._rng.choice(len(self), min(count, len(self)), replace=False)
        at = backend.torch().from_numpy(chosen).to(self._kept.y.device)
        return Replayed(*(part[at] for part in self._kept))

"""What a run of the float reference holds, and what its method may look at and change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import torch_backend as backend
from ..config import ReferenceConfig
from .buffer import Replayed, Reservoir
from .inputs import Inputs
from .masks import Masks
from .network import Layer, Network
from .work import Work


@dataclass(frozen=True)
class Batch:
    """A mini-batch of the current task. index: positions in the task; raw: samples as stored; x: what the network
    reads; y: int64 (n,)."""

    index: NDArray[np.intp]
    raw: Any
    x: Any
    y: Any


@dataclass
class State:
    """rng draws masks and augmentation, order the samples' order. kept: positions of the current task's samples that
    are still trained on."""

    settings: ReferenceConfig
    network: Network
    inputs: Inputs
    buffer: Reservoir
    masks: Masks
    work: Work
    density: float  # of the sparse layers when a task ends
    rng: np.random.Generator
    order: np.random.Generator
    task: int = 0
    epoch: int = 0
    step: int = 0  # mini-batch of the epoch
    classes: Any = None  # int64, ascending: the current task's
    raw: Any = None  # the current task's training samples
    y: Any = None
    kept: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    replayed: int = 0  # samples drawn for training in this step

    @property
    def replaying(self) -> bool:
        """Replay begins with the second task."""
        return self.task > 0 and len(self.buffer) > 0

    def batch(self, index: NDArray[np.intp]) -> Batch:
        """A mini-batch of the current task's samples at `index`."""
        at = backend.torch().from_numpy(index).to(self.y.device)
        raw = self.raw[at]
        return Batch(index, raw, self.inputs.augmented(raw, self.rng), self.y[at])

    def replay(self) -> Replayed:
        """A draw to train on, as large as a mini-batch; its x is what the network reads."""
        drawn = self.draw()
        self.replayed += len(drawn.y)
        return drawn

    def draw(self) -> Replayed:
        """A draw that is not counted as training."""
        drawn = self.buffer.draw(self.settings.batch)
        return drawn._replace(x=self.inputs.augmented(drawn.x, self.rng))

    def restrict(self, parts: Sequence[Any], mask: Callable[[Layer], Any]) -> None:
        """Zero what a mask leaves out, masks.weights or masks.updates. parts: as the network's parameters, changed in
        place."""
        masks = {id(layer.weight): mask(layer) for layer in self.network.sparse}
        for w, part in zip(self.network.parameters(), parts, strict=True):
            part.mul_(masks.get(id(w), 1))

    def current_loss(self, logits: Any, y: Any) -> Any:
        """Cross entropy of current-task samples: over all classes, or the task's own if the experiment says so."""
        if self.settings.single_head_loss:
            return self.single_head_loss(logits, y)
        return backend.functional().cross_entropy(logits, y)

    def single_head_loss(self, logits: Any, y: Any) -> Any:
        """Cross entropy over the current task's classes only."""
        labels = backend.torch().searchsorted(self.classes, y)
        return backend.functional().cross_entropy(logits[:, self.classes], labels)

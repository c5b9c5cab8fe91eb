"""RigL (Evci et al. 2020): from a random mask, at every event drop the smallest weights and grow as many where the
gradient of one mini-batch is largest.

Events are SparCL's, so that mask rules are compared at the same moments; the share that moves decays as a cosine
within each task.
"""

from __future__ import annotations

import math

from ... import torch_backend as backend
from .. import schedule
from ..masks import top
from ..state import State
from .static import Static

FRACTION = 0.3  # of the weights that exist, at a task's start


class Rigl(Static):
    def begin_epoch(self, state: State) -> None:
        super().begin_epoch(state)
        epochs, sparse = state.settings.epochs, state.network.sparse
        if state.epoch == 0 or state.epoch not in schedule.events(epochs):
            return
        some = state.rng.choice(state.kept, min(state.settings.batch, len(state.kept)), replace=False)
        batch = state.batch(some)
        state.replayed = 0
        with state.network.statistics_kept():
            loss = self.base.loss(state, batch).total
            gradients = backend.torch().autograd.grad(loss, [layer.weight for layer in sparse])
        state.work.growing_pass("importance", len(batch.y) + state.replayed)
        share = FRACTION / 2 * (1 + math.cos(math.pi * state.epoch / epochs))
        for layer, gradient in zip(sparse, gradients, strict=True):
            live, mask = state.masks.live(layer), state.masks.weights(layer)
            moved = min(round(share * live), layer.size - live)
            stays = top(layer.weight.detach().abs(), live - moved, among=mask)
            state.masks.set_weights(layer, stays)  # what is dropped and grown again starts at 0 too
            state.masks.set_weights(layer, stays | top(gradient.abs(), moved, among=~stays))

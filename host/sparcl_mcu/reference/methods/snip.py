"""SNIP (Lee et al. 2019): once, before the first task, keep the weights with the largest |w dL/dw| of one mini-batch.

They are compared within their layer, so that every mask rule here has the same density in each layer.
"""

from ... import torch_backend as backend
from ..masks import keep, top
from ..state import State
from .base import Masked


class Snip(Masked):
    def begin_task(self, state: State) -> None:
        super().begin_task(state)
        if state.task:
            return
        sparse = state.network.sparse
        some = state.rng.choice(state.kept, min(state.settings.batch, len(state.kept)), replace=False)
        batch = state.batch(some)
        with state.network.statistics_kept():
            loss = self.base.loss(state, batch).total
            gradients = backend.torch().autograd.grad(loss, [layer.weight for layer in sparse])
        state.work.growing_pass("importance", len(batch.y))
        for layer, gradient in zip(sparse, gradients, strict=True):
            score = (layer.weight.detach() * gradient).abs()
            state.masks.set_weights(layer, top(score, keep(state.density, layer)))

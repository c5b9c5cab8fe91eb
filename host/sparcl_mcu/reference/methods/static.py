"""A random mask that never changes: the control every mask rule has to beat."""

from ... import torch_backend as backend
from ..masks import grown, keep
from ..state import State
from .base import Masked


class Static(Masked):
    def begin_task(self, state: State) -> None:
        super().begin_task(state)
        if state.task == 0:
            for layer in state.network.sparse:
                empty = backend.torch().zeros_like(layer.weight, dtype=bool)
                state.masks.set_weights(layer, grown(empty, keep(state.density, layer), state.rng))

"""ER, experience replay: CE(current) + w CE(buffer)."""

from ... import torch_backend as backend
from ..state import Batch, State
from .base import Loss
from .naive import Naive


class ER(Naive):
    replays = 1

    def loss(self, state: State, batch: Batch) -> Loss:
        total, logits = super().loss(state, batch)
        if state.replaying:
            drawn = state.replay()
            buffered = backend.functional().cross_entropy(state.network(drawn.x), drawn.y)
            total = total + state.settings.er_weight * buffered
        return Loss(total, logits)

"""DER++: DER's loss + beta CE(h(x), y) of a second, independent draw."""

from ... import torch_backend as backend
from ..state import Batch, State
from .base import Loss
from .der import DER


class DERPP(DER):
    replays = 2

    def loss(self, state: State, batch: Batch) -> Loss:
        total, logits = super().loss(state, batch)
        if state.replaying:
            drawn = state.replay()
            buffered = backend.functional().cross_entropy(state.network(drawn.x), drawn.y)
            total = total + state.settings.der_beta * buffered
        return Loss(total, logits)

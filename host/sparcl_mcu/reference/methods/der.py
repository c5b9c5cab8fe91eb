"""DER, dark experience replay: CE(current) + alpha MSE(h(x), z), z the logits at insertion, the mean over classes."""

from ... import torch_backend as backend
from ..state import Batch, State
from .base import Loss
from .naive import Naive


class DER(Naive):
    replays = 1

    def loss(self, state: State, batch: Batch) -> Loss:
        total, logits = super().loss(state, batch)
        if state.replaying:
            drawn = state.replay()
            distance = backend.functional().mse_loss(state.network(drawn.x), drawn.z)
            total = total + state.settings.der_alpha * distance
        return Loss(total, logits)

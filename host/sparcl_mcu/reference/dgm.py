"""DGM, dynamic gradient masking: only the most important weights are updated until the next refresh."""

from __future__ import annotations

from . import importance
from .masks import keep, top
from .state import Batch, State

REFRESH = 30  # mini-batches; the first of an epoch is one, so a changed weight mask never meets an old gradient mask


def refresh(state: State, batch: Batch, gradient_sparsity: float) -> None:
    """Choose again, if this mini-batch is one to choose in: the top (1 - q) of a layer's *total* weights, among those
    that exist. Call it between the backward pass and the update."""
    if state.step % REFRESH:
        return
    scores = importance.of_gradients(state, batch)
    for layer in state.network.sparse:
        count = min(keep(1 - gradient_sparsity, layer), state.masks.live(layer))
        state.masks.set_updates(layer, top(scores[layer.name], count, among=state.masks.weights(layer)))
    if state.settings.importance == "released":  # that mini-batch's own gradient, before it is masked
        state.work.widen("refresh", len(batch.y) + state.replayed)

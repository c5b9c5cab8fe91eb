"""TDM, task-aware dynamic masking: which weights exist changes within a task and between tasks."""

from __future__ import annotations

from . import importance, schedule
from .masks import grown, keep, top
from .state import State


def start(state: State) -> None:
    """Before the first task: each layer keeps its largest weights of the random start."""
    for layer in state.network.sparse:
        state.masks.set_weights(layer, top(layer.weight.detach().abs(), keep(state.density, layer)))


def event(state: State) -> None:
    """Change the masks before the state's epoch, if the schedule has an event there.

    A task's start: expand by p_inter. Then: shrink to p_intra below the density and expand to it. Last: shrink to the
    density. New weights are drawn from all unused ones and start at 0; fractions are of a layer's total.
    """
    epochs, settings, density = state.settings.epochs, state.settings, state.density
    last = schedule.last_event(epochs)
    if not last or state.epoch not in schedule.events(epochs):
        return
    if state.epoch == 0:
        _expand(state, density + settings.p_inter)
    else:
        _shrink(state, density if state.epoch == last else density - settings.p_intra)
        _expand(state, density)


def _shrink(state: State, density: float) -> None:
    if all(state.masks.live(layer) <= keep(density, layer) for layer in state.network.sparse):
        return  # nothing to remove: scores would be work for nothing
    scores = importance.of_weights(state)
    for layer in state.network.sparse:
        mask = state.masks.weights(layer)
        count = min(keep(density, layer), state.masks.live(layer))
        state.masks.set_weights(layer, top(scores[layer.name], count, among=mask))


def _expand(state: State, density: float) -> None:
    for layer in state.network.sparse:
        mask = state.masks.weights(layer)
        count = max(keep(density, layer), state.masks.live(layer))
        state.masks.set_weights(layer, grown(mask, count, state.rng))

"""How much a weight matters (SparCL, equations 1 and 3), compared within its layer only.

    CWI(w) = |w| + alpha |d Ls(D) / dw| + beta |d L(M) / dw|        CGI(w): the same without |w|

Ls is the single-head loss of a mini-batch of the current task, L the loss over all classes of a draw from the buffer;
each gradient is of the mean over its samples, and its absolute value is taken after the sum.
"""

from __future__ import annotations

from typing import Any

from .. import torch_backend as backend
from .state import Batch, State

RELEASED_ALPHA = 0.5  # of the merged gradient, in the authors' code


def gradients(state: State, batch: Batch, phase: str) -> dict[str, Any]:
    """alpha |d Ls(D)| + beta |d L(M)| by sparse layer, from passes of their own, counted as work of `phase`."""
    torch, settings = backend.torch(), state.settings
    weights = [layer.weight for layer in state.network.sparse]
    with state.network.statistics_kept():
        loss = state.single_head_loss(state.network(batch.x), batch.y)
        found = [settings.cwi_alpha * g.abs() for g in torch.autograd.grad(loss, weights)]
        state.work.scoring_pass(phase, len(batch.y))
        if state.replaying:
            drawn = state.draw()
            loss = backend.functional().cross_entropy(state.network(drawn.x), drawn.y)
            buffered = torch.autograd.grad(loss, weights)
            found = [f + settings.cwi_beta * g.abs() for f, g in zip(found, buffered, strict=True)]
            state.work.scoring_pass(phase, len(drawn.y))
    return {layer.name: g for layer, g in zip(state.network.sparse, found, strict=True)}


def of_weights(state: State) -> dict[str, Any]:
    """CWI of every weight of the sparse layers, by the rule the experiment names.

    released: |w| + 0.5 |g|, with g the last mini-batch's gradient as it was applied. magnitude: |w|.
    """
    rule, sparse = state.settings.importance, state.network.sparse
    scores = {layer.name: layer.weight.detach().abs() for layer in sparse}
    if rule == "paper":
        some = state.rng.choice(state.kept, min(state.settings.batch, len(state.kept)), replace=False)
        terms = gradients(state, state.batch(some), "importance")
        return {name: score + terms[name] for name, score in scores.items()}
    if rule == "released":
        return {
            la.name: scores[la.name] + (0 if la.weight.grad is None else RELEASED_ALPHA * la.weight.grad.abs())
            for la in sparse
        }
    return scores


def of_gradients(state: State, batch: Batch) -> dict[str, Any]:
    """CGI by the rule the experiment names, after the backward pass of `batch`.

    released: |g| of the whole loss. magnitude: |w|, the control that looks at no gradient.
    """
    rule, sparse = state.settings.importance, state.network.sparse
    if rule == "paper":
        return gradients(state, batch, "refresh")
    if rule == "released":
        return {layer.name: layer.weight.grad.abs() for layer in sparse}
    return {layer.name: layer.weight.detach().abs() for layer in sparse}

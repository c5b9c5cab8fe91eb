"""Online EWC: CE(current) + lambda / 2 * sum F (w - w*)^2, with a running Fisher information F (Schwarz et al. 2018).

After each task F = gamma F + the mean over some of its samples of the squared gradient of the log likelihood of the
label, weights that do not exist left out; w* are the weights as they are then.
"""

from __future__ import annotations

from typing import Any

from ... import torch_backend as backend
from ..state import Batch, State
from .base import Loss
from .naive import Naive

FISHER_SAMPLES = 200  # of each task


class EWC(Naive):
    def __init__(self) -> None:
        self._fisher: list[Any] = []
        self._anchor: list[Any] = []

    def loss(self, state: State, batch: Batch) -> Loss:
        total, logits = super().loss(state, batch)
        if self._fisher:
            known = zip(state.network.parameters(), self._fisher, self._anchor, strict=True)
            penalty = sum((f * (w - anchor) ** 2).sum() for w, f, anchor in known)
            total = total + state.settings.ewc_lambda / 2 * penalty
        return Loss(total, logits)

    def end_task(self, state: State) -> None:
        torch, network = backend.torch(), state.network
        parameters = network.parameters()
        fisher = [torch.zeros_like(w) for w in parameters]
        some = state.rng.choice(state.kept, min(FISHER_SAMPLES, len(state.kept)), replace=False)
        network.module.eval()
        for i in range(len(some)):
            batch = state.batch(some[i : i + 1])
            loss = state.current_loss(network(batch.x), batch.y)
            for f, g in zip(fisher, torch.autograd.grad(loss, parameters), strict=True):
                f.add_(g**2 / len(some))
        network.module.train()
        state.restrict(fisher, state.masks.weights)
        state.work.scoring_pass("importance", len(some))
        for new, old in zip(fisher, self._fisher, strict=bool(self._fisher)):
            new.add_(old, alpha=state.settings.ewc_gamma)
        self._fisher = fisher
        self._anchor = [w.detach().clone() for w in parameters]

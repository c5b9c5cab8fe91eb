"""SparCL (Wang, Zhan et al. 2022): TDM, DDR and DGM around another method's loss, each of which can be left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import dgm, schedule, tdm
from ..ddr import DDR
from ..state import Batch, State
from .base import Loss, Masked, Method


class Sparcl(Masked):
    """Without TDM the mask of the start stays, which is as good as random; without DDR all samples are trained on;
    without DGM every weight that exists is updated."""

    def __init__(self, base: Method, gradient_sparsity: float | None) -> None:
        """gradient_sparsity: q; None: no DGM."""
        super().__init__(base)
        self._q = gradient_sparsity
        self._ddr: DDR | None = None

    def gradient_sparsity(self, state: State) -> float:
        return super().gradient_sparsity(state) if self._q is None else self._q

    def begin_task(self, state: State) -> None:
        super().begin_task(state)
        settings = state.settings
        if state.task == 0:
            tdm.start(state)
        if settings.ddr:
            removals = schedule.removals(settings.epochs)
            self._ddr = DDR(len(state.y), settings.ddr_fraction, len(removals), settings.ddr_score)

    def begin_epoch(self, state: State) -> None:
        super().begin_epoch(state)
        if state.settings.tdm:
            tdm.event(state)
        if self._ddr and state.epoch in schedule.removals(state.settings.epochs):
            self._ddr.remove(state.rng)
            state.kept = self._ddr.kept

    def after_backward(self, state: State, batch: Batch, loss: Loss) -> None:
        if self._q is not None:
            dgm.refresh(state, batch, self._q)
        super().after_backward(state, batch, loss)  # a base that changes the step knows what will be updated
        if self._ddr:
            self._ddr.record(batch.index, self._correct(state, batch, loss))

    @staticmethod
    def _correct(state: State, batch: Batch, loss: Loss) -> NDArray[np.bool_]:
        if state.settings.ddr_correct == "all":
            right = loss.logits.argmax(dim=1) == batch.y
        else:
            right = state.classes[loss.logits[:, state.classes].argmax(dim=1)] == batch.y
        return np.asarray(right.cpu().numpy(), dtype=np.bool_)

"""LwF, learning without forgetting (Li & Hoiem 2016): CE(current) + lambda H(old(x), h(x)) over the classes of earlier
tasks, both softened by a temperature. No buffer.

old(x) are the responses to the task's samples before it is learnt, taken once, as in the paper: not augmented. Here all
earlier classes share one softmax, as they share one head; in the paper each task has its own, and its new head is
trained alone before.
"""

from __future__ import annotations

from typing import Any

from ... import torch_backend as backend
from ..evaluate import responses
from ..state import Batch, State
from .base import Loss
from .naive import Naive

TEMPERATURE = 2.0  # the paper's


class LwF(Naive):
    def __init__(self) -> None:
        self._known: list[int] = []  # classes of earlier tasks
        self._old: Any = None  # (n, known), shares of 1

    def begin_task(self, state: State) -> None:
        if self._known:
            logits = responses(state.network, state.inputs, state.raw)[:, self._known]
            self._old = backend.functional().softmax(logits / TEMPERATURE, dim=1)
            state.work.forward_pass("importance", len(state.y))

    def loss(self, state: State, batch: Batch) -> Loss:
        total, logits = super().loss(state, batch)
        if self._known:
            softened = logits[:, self._known] / TEMPERATURE
            distance = backend.functional().cross_entropy(softened, self._old[batch.index])
            total = total + state.settings.lwf_lambda * distance
        return Loss(total, logits)

    def end_task(self, state: State) -> None:
        self._known = sorted({*self._known, *state.classes.tolist()})

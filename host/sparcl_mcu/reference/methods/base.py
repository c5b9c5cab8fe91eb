"""What a method of the float reference is: a loss, and hooks around what the trainer does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from ..state import Batch, State


class Loss(NamedTuple):
    """total: scalar to go down. logits: float32 (n, classes) of the mini-batch of the current task."""

    total: Any
    logits: Any


class Method(ABC):
    """One instance a run. The trainer calls, in this order: begin_task, then for each epoch begin_epoch and for each
    mini-batch loss and after_backward (before the update), then end_task."""

    replays: ClassVar[int] = 0  # mini-batches from the buffer a step, from the second task on
    all_at_once: ClassVar[bool] = False  # learn all tasks as one

    @abstractmethod
    def loss(self, state: State, batch: Batch) -> Loss: ...

    def begin_task(self, state: State) -> None:  # noqa: B027
        """The state holds the task's samples; state.task counts from 0."""

    def begin_epoch(self, state: State) -> None:  # noqa: B027
        """May change masks and state.kept."""

    def after_backward(self, state: State, batch: Batch, loss: Loss) -> None:  # noqa: B027
        """Gradients are those of `loss`, not masked yet; the update comes next."""

    def end_task(self, state: State) -> None:  # noqa: B027
        """Before the network is tested."""


class Masked(Method):
    """A mask rule around the loss of another method."""

    def __init__(self, base: Method) -> None:
        self.base = base
        self.replays, self.all_at_once = base.replays, base.all_at_once  # type: ignore[misc]

    def gradient_sparsity(self, state: State) -> float:
        """q of the `paper` column: as the weights, unless fewer are updated than exist."""
        return 1 - state.density

    def loss(self, state: State, batch: Batch) -> Loss:
        return self.base.loss(state, batch)

    def begin_task(self, state: State) -> None:
        self.base.begin_task(state)

    def begin_epoch(self, state: State) -> None:
        self.base.begin_epoch(state)

    def after_backward(self, state: State, batch: Batch, loss: Loss) -> None:
        self.base.after_backward(state, batch, loss)

    def end_task(self, state: State) -> None:
        self.base.end_task(state)

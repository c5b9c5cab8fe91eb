"""One streamed sample, as docs/numerics.md ("One step") orders it; shared by the learners that run on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from ..network import Network
from .base import Inputs, Labels, LearnerError, LearnSettings, SecondPass
from .replay import ReplayBuffer


class StepLearner(ABC):
    """Tasks, replay and counters around a training pass that a subclass provides."""

    def __init__(self, network: Network, replay_capacity: int, batch: int = 1) -> None:
        self.network = network
        self.replay_capacity = replay_capacity
        self.batch = batch  # steps whose gradients are gathered before they are applied; 1: at once
        self.reset(LearnSettings())

    def reset(self, settings: LearnSettings) -> None:
        self.settings = settings
        self.step = 0
        self.tasks_begun = 0
        self.task_open = False
        self.replay = ReplayBuffer(self.replay_capacity, self.network.inputs)
        self.training_passes = 0
        self.backward_passes = 0
        self.gathered = 0
        self._load()

    def begin_task(self) -> None:
        if self.task_open:
            raise LearnerError("a task is open already; end it first")
        self.tasks_begun += 1
        self.task_open = True

    def end_task(self) -> None:
        if not self.task_open:
            raise LearnerError("no task is open; begin one first")
        self._apply_batch()
        self.task_open = False

    def observe(self, x: Inputs, y: Labels) -> None:
        if not self.task_open:
            raise LearnerError("no task is open; begin one first")
        if len(y) and int(y.max()) >= self.network.classes:
            raise LearnerError(f"label {int(y.max())} in a network of {self.network.classes} classes")
        for sample, label in zip(x, y, strict=True):
            self._observe(sample, int(label))

    def _observe(self, x: NDArray[np.int8], label: int) -> None:
        self._pass(x, label)
        if self.tasks_begun >= 2:
            if self.settings.second_pass is SecondPass.REPEAT:
                self._pass(x, label)
            else:
                slot = self.replay.draw(self.settings.seed, self.step)
                if slot is not None:
                    self._pass(self.replay.x[slot], int(self.replay.y[slot]))
        self.replay.insert(x, label, self.settings.seed, self.step)
        self.step += 1
        if self.batch > 1:
            self.gathered += 1
            if self.gathered == self.batch:
                self._apply_batch()

    def _apply_batch(self) -> None:
        if self.gathered:
            self._apply()
            self.gathered = 0

    def _pass(self, x: NDArray[np.int8], label: int) -> None:
        self.training_passes += 1
        self.backward_passes += self._train(x, label)

    def stats(self) -> dict[str, int]:
        return {
            "steps": self.step,
            "training_passes": self.training_passes,
            "backward_passes": self.backward_passes,
            "macs_forward": self.training_passes * self.network.macs_forward,
            "macs_input_grad": self.backward_passes * self.network.macs_input_grad,
            "macs_weight_grad": self.backward_passes * self.network.macs_weight_grad,
        }

    @abstractmethod
    def _load(self) -> None:
        """Start again from the network as it was quantised."""

    @abstractmethod
    def _train(self, x: NDArray[np.int8], label: int) -> bool:
        """Forward, loss, backward, update (or gather) for one sample; False when the loss gradient was all zero."""

    @abstractmethod
    def _apply(self) -> None:
        """Learn what the open mini-batch gathered, and start gathering again."""

"""What a learner is, and how it is told to learn.

An experiment holds a `Learner` and does not know which one: the float twin in torch, the integer reference in
NumPy, or a board at the other end of a serial link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import SparclError

Inputs = NDArray[np.int8]  # (n, inputs) quantised samples, exponent network.input_exponent
Labels = NDArray[np.uint8]  # (n,)


class LearnerError(SparclError):
    """A learner was asked for something it cannot do."""


class SecondPass(IntEnum):
    """What the second training pass of a step does, from the second task on (scl_second_pass in C)."""

    REPLAY = 0  # a sample drawn from the replay buffer
    REPEAT = 1  # the new sample again: the control without replay, with as many updates a step


@dataclass(frozen=True)
class LearnSettings:
    """How to learn; constant during a run. Learning rate = lr_mantissa * 2**lr_exponent a sample."""

    seed: int = 0  # drives replay insertion and draws
    lr_mantissa: int = 1  # 1 or 3
    lr_exponent: int = -7  # -15 .. 0
    second_pass: SecondPass = SecondPass.REPLAY

    def __post_init__(self) -> None:
        if self.lr_mantissa not in (1, 3):
            raise LearnerError(f"lr_mantissa is {self.lr_mantissa}; it must be 1 or 3")
        if not -15 <= self.lr_exponent <= 0:
            raise LearnerError(f"lr_exponent is {self.lr_exponent}; it must lie in -15 .. 0")
        if not 0 <= self.seed < 1 << 32:
            raise LearnerError(f"seed is {self.seed}; it must fit 32 bits and not be negative")


class Learner(Protocol):
    """Learns tasks one after another.

    `observe` streams samples in the order given; each is learnt (batch 1, plus one second pass) before the next.
    """

    def reset(self, settings: LearnSettings) -> None:
        """Forget everything learnt: back to the network as it was quantised."""

    def begin_task(self) -> None:
        """Open the next task."""

    def observe(self, x: Inputs, y: Labels) -> None:
        """Learn the samples in order."""

    def end_task(self) -> None:
        """Close the open task."""

    def predict(self, x: Inputs) -> Labels:
        """Class of each sample by arg-max over all logits; changes no learning state."""

    def stats(self) -> dict[str, int]:
        """Work done since reset; keys as in scl_counters, plus what only this learner knows (`instructions`, ...)."""

    def state_hash(self) -> int | None:
        """CRC-32 of the learnt state (docs/numerics.md); None for a learner that is not in integers."""

"""A board at the other end of a link, as a learner."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ..link.client import Client
from ..link.messages import LINK_COUNTERS
from ..network import Network
from .base import Inputs, Labels, LearnerError, LearnSettings, Numbers, Position, TaskInfo


class BoardLearner:
    """Learns on a board: the `Learner` whose arithmetic is done elsewhere.

    commit_every: samples after which the board commits to its flash, as it then does after `reset` and at the end of
    each task; 0: it is not told to. Raises LearnerError when the board was built for another network than `network`
    with the room that `expected_model_hash` stands for, and LinkError when it does not answer.
    """

    def __init__(self, client: Client, network: Network, *, expected_model_hash: int, commit_every: int = 0) -> None:
        self._client = client
        self._commit_every = commit_every
        self._samples = 0  # of the open task
        self.hello = hello = client.hello()
        remedy = "generate, build and upload the firmware for this network (sparcl generate, sparcl build)"
        if (hello.inputs, hello.classes) != (network.inputs, network.classes):
            raise LearnerError(
                f"{client.name} has a network of {hello.inputs} inputs and {hello.classes} classes, but "
                f"{network.name!r} has {network.inputs} and {network.classes}; {remedy}"
            )
        if hello.model_hash != expected_model_hash:
            raise LearnerError(
                f"{client.name} was built for model {hello.model_hash:08x}, but network {network.name!r} "
                f"is {expected_model_hash:08x}; {remedy}"
            )

    def reset(self, settings: LearnSettings) -> None:
        """Forget everything learnt: back to the network as it was built into the firmware."""
        self._client.reset(settings)
        if self._commit_every:
            self._client.commit(self._commit_every)

    def position(self, settings: LearnSettings) -> Position | None:
        """How far the board has come in a run with these settings; None when it learns by others."""
        hello = self._client.hello()
        if hello.settings != self._client.settings_crc(settings):
            return None
        return Position(
            hello.seen - hello.step, hello.tasks_begun, bool(hello.task_open), hello.epochs_done, hello.position
        )

    def rejoin(self, task: TaskInfo) -> None:
        """Go on in a task that is open on the board already."""
        self._samples = task.samples

    def remember(self, x: Inputs, y: Labels) -> None:
        """Offer int8 (n, inputs) samples with labels uint8 (n,) to the replay buffer without learning them."""
        self._client.remember(x, y)

    def begin_task(self, task: TaskInfo) -> None:
        """Open the next task."""
        self._client.begin_task(task)
        self._samples = task.samples

    def observe(self, x: Inputs, y: Labels, numbers: Numbers | None = None) -> None:
        """Learn int8 (n, inputs) samples with labels uint8 (n,) in order; numbers (n,) say which of the task's, for
        DDR."""
        self._client.observe(x, y, np.zeros(len(x), np.int64) if numbers is None else numbers)

    def end_epoch(self) -> None:
        """The task's samples were all offered once more."""
        self._client.end_epoch()

    def wanted(self) -> NDArray[np.bool_]:
        """(samples of the task,) False for those that DDR removed."""
        if self._samples > 65535:  # more than DDR can follow
            return np.ones(self._samples, np.bool_)
        return self._client.wanted(self._samples)

    def end_task(self) -> None:
        """Close the open task."""
        self._client.end_task()

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        """Class of each sample, uint8 (n,), classified on the board."""
        return self._client.predict(x, among)

    def stats(self) -> dict[str, int]:
        """scl_counters and `instructions` since reset; the link since it was opened.

        `board_*` are the board's own link counters, since power-on. `link_*` are the host's: bytes on the wire,
        frames, payload bytes, frames sent again, NAKs received, time in requests (microseconds). `stack_bytes` is
        the most the board ever used. `store_*` are its store's since power-on, if it commits. A board that cannot count
        instructions has no `instructions`, one that does not know its stack no `stack_bytes`.
        """
        board = asdict(self._client.stats())
        merged = {f"board_{name}" if name in LINK_COUNTERS else name: int(value) for name, value in board.items()}
        if merged["steps"] and not merged["instructions"]:
            del merged["instructions"]
        if not merged["stack_bytes"]:
            del merged["stack_bytes"]
        if self._commit_every:
            for name, value in asdict(self._client.store()).items():
                merged[f"store_{name}"] = value
        counters = self._client.counters
        merged["link_bytes"] = counters.link_bytes
        for name, value in asdict(counters).items():
            if name != "seconds":
                merged[f"link_{name}"] = value
        merged["link_microseconds"] = round(counters.seconds * 1e6)
        return merged

    def state_hash(self) -> int:
        """CRC-32 of the learnt state, computed on the board."""
        return self._client.state_hash()

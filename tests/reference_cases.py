"""What the tests of the float reference share: tasks of learnable noise, and jobs and states that take no time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sparcl_mcu.config import NetworkConfig, ReferenceConfig
from sparcl_mcu.data import Task
from sparcl_mcu.reference import trainer
from sparcl_mcu.reference.state import State
from sparcl_mcu.reference.trainer import Job, Outcome

MLP = NetworkConfig(kind="mlp", hidden=(24, 16), density=0.25)
CNN = NetworkConfig(kind="cnn_s", density=0.25)
QUICK = ReferenceConfig(epochs=10, batch=16, learning_rate=0.1)


def tasks(count: int = 2, samples: int = 100, shape: tuple[int, ...] = (12,), seed: int = 0) -> tuple[Task, ...]:
    """`count` tasks of two classes, `samples` training samples each; a class is a prototype and a spread."""
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(0, 1, (2 * count, *shape))

    def part(task: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = (2 * task + np.arange(n) % 2).astype(np.uint8)
        return (prototypes[y] + rng.normal(0, 0.5, (n, *shape))).astype(np.float32), y

    return tuple(
        Task((2 * t, 2 * t + 1), *part(t, samples), *part(t, 20), *part(t, 40))  # type: ignore[arg-type]
        for t in range(count)
    )


def job(method: str, *, made: tuple[Task, ...] | None = None, network: NetworkConfig = MLP, **changes: Any) -> Job:
    """A job on `tasks()`; `changes` are of the settings, or of the job."""
    made = tasks() if made is None else made
    own = {key: changes.pop(key) for key in ("buffer", "seed", "steps", "normalise", "device") if key in changes}
    settings = replace(QUICK, method=method, **changes)
    defaults = {"normalise": "standard", "buffer": 40, "seed": 3, "device": "cpu"}
    return Job(settings, network, made, 2 * len(made), **(defaults | own))  # type: ignore[arg-type]


def run(method: str, **changes: Any) -> Outcome:
    return trainer.run(job(method, **changes), lambda done, total: None)


def opened(of: Job, task: int = 0) -> State:
    """The state of a job as its method meets it when a task begins."""
    state = trainer._state(of, "cpu")
    trainer._open(state, task, of.tasks[task])
    return state

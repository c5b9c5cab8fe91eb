"""Tasks through a learner, one after another, and what it knew after each.

Nothing here knows which learner it holds. The order of samples depends on (seed, stage, epoch) alone, so every
learner of one experiment sees the same stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data import Task
from .learners.base import Inputs, Labels, Learner, LearnSettings
from .metrics import Matrix
from .network import Network

CHUNK = 256  # samples between two reports of progress

Progress = Callable[[int, int], None]  # (samples done, samples in all), learnt and classified


@dataclass(frozen=True)
class Part:
    """Quantised samples of one task. x: int8 (n, inputs); y: uint8 (n,)."""

    x: Inputs
    y: Labels

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Stream:
    """The tasks of one experiment as a learner meets them; one entry a task in each tuple."""

    train: tuple[Part, ...]
    val: tuple[Part, ...]
    test: tuple[Part, ...]


@dataclass(frozen=True)
class StageResult:
    """What a learner knew after one stage. One entry a task: accuracies, and the classes it gave the test samples."""

    stage: int
    test_accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    predictions: tuple[Labels, ...]
    state_hash: int | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A learner's whole run: its stages and its work (`Learner.stats`)."""

    stages: tuple[StageResult, ...]
    stats: dict[str, int]

    @property
    def accuracy(self) -> Matrix:
        """Test accuracy (stages, tasks): R[i, j] on task j after stage i."""
        return np.array([stage.test_accuracy for stage in self.stages])

    @property
    def val_accuracy(self) -> Matrix:
        """Validation accuracy (stages, tasks)."""
        return np.array([stage.val_accuracy for stage in self.stages])


def quantised(network: Network, tasks: Sequence[Task]) -> Stream:
    """Samples as the network takes them."""

    def part(x: NDArray[np.float32], y: Labels) -> Part:
        return Part(network.quantise_inputs(x), y)

    return Stream(
        train=tuple(part(task.x_train, task.y_train) for task in tasks),
        val=tuple(part(task.x_val, task.y_val) for task in tasks),
        test=tuple(part(task.x_test, task.y_test) for task in tasks),
    )


def run(
    learner: Learner,
    stream: Stream,
    settings: LearnSettings,
    *,
    epochs: int,
    on_progress: Progress,
    on_stage: Callable[[StageResult], None] = lambda _: None,
) -> Outcome:
    """Reset the learner, teach it every task in turn, and test it on every task after each."""
    return _run(learner, stream.train, stream, settings, epochs, on_progress, on_stage)


def run_joint(
    learner: Learner, stream: Stream, settings: LearnSettings, *, epochs: int, on_progress: Progress
) -> Outcome:
    """The upper bound: all tasks' samples shuffled together as one task; a single stage is tested.

    An empty first task comes before it, because the second training pass of a step starts with the second task: so
    a sample costs as many updates as in `run`.
    """
    merged = Part(np.concatenate([part.x for part in stream.train]), np.concatenate([part.y for part in stream.train]))
    empty = Part(merged.x[:0], merged.y[:0])
    return _run(learner, (empty, merged), stream, settings, epochs, on_progress, lambda _: None)


def _run(
    learner: Learner,
    train: Sequence[Part],
    stream: Stream,
    settings: LearnSettings,
    epochs: int,
    on_progress: Progress,
    on_stage: Callable[[StageResult], None],
) -> Outcome:
    exam = sum(len(part) for part in (*stream.test, *stream.val))
    total = sum(len(part) * epochs + exam for part in train if len(part))
    done = 0
    results = []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, total)

    def predict(part: Part) -> Labels:
        answers = []
        for chunk in _chunks(len(part)):
            answers.append(learner.predict(part.x[chunk]))
            advance(len(answers[-1]))
        return np.concatenate(answers) if answers else part.y

    learner.reset(settings)
    for stage, part in enumerate(train):
        started = time.monotonic()
        learner.begin_task()
        for epoch in range(epochs):
            order = np.random.default_rng([settings.seed, stage, epoch]).permutation(len(part))
            for chunk in _chunks(len(part)):
                learner.observe(part.x[order[chunk]], part.y[order[chunk]])
                advance(len(order[chunk]))
        learner.end_task()
        if not len(part):
            continue
        seconds = time.monotonic() - started
        state_hash = learner.state_hash()
        predictions = tuple(predict(test) for test in stream.test)
        result = StageResult(
            stage=stage,
            test_accuracy=tuple(_accuracy(p, test) for p, test in zip(predictions, stream.test, strict=True)),
            val_accuracy=tuple(_accuracy(predict(val), val) for val in stream.val),
            predictions=predictions,
            state_hash=state_hash,
            seconds=seconds,
        )
        results.append(result)
        on_stage(result)
    return Outcome(tuple(results), learner.stats())


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK):
        yield slice(start, start + CHUNK)


def _accuracy(predicted: Labels, part: Part) -> float:
    return float((predicted == part.y).mean())

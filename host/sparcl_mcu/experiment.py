"""Tasks through a learner, one after another, and what it knew after each.

Nothing here knows which learner it holds. The order of samples depends on (seed, stage, epoch) alone, so every
learner of one experiment sees the same stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .data import Task
from .learners.base import Inputs, Labels, Learner, LearnSettings, TaskInfo
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
    """The tasks of one experiment as a learner meets them; one entry a task in each tuple.

    shipped: the first so many tasks are known already; their samples are remembered, not learnt.
    """

    train: tuple[Part, ...]
    val: tuple[Part, ...]
    test: tuple[Part, ...]
    classes: tuple[tuple[int, ...], ...]
    shipped: int = 0


@dataclass(frozen=True)
class StageResult:
    """What a learner knew after one stage. One entry a task: accuracies, and the classes it gave the test samples."""

    stage: int
    test_accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    predictions: tuple[Labels, ...]
    state_hash: int | None
    seconds: float
    task_il: tuple[float, ...] = ()  # test accuracy among the classes of each task; after the last stage only


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


def quantised(network: Network, tasks: Sequence[Task], shipped: int = 0) -> Stream:
    """Samples as the network takes them."""

    def part(x: NDArray[np.float32], y: Labels) -> Part:
        return Part(network.quantise_inputs(x), y)

    return Stream(
        train=tuple(part(task.x_train, task.y_train) for task in tasks),
        val=tuple(part(task.x_val, task.y_val) for task in tasks),
        test=tuple(part(task.x_test, task.y_test) for task in tasks),
        classes=tuple(task.classes for task in tasks),
        shipped=shipped,
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
    return _run(learner, stream, settings, epochs, on_progress, on_stage)


def run_joint(
    learner: Learner, stream: Stream, settings: LearnSettings, *, epochs: int, on_progress: Progress
) -> Outcome:
    """The upper bound: all tasks' samples shuffled together as one task; a single stage is tested.

    An empty first task comes before it, because the second training pass of a step starts with the second task: so
    a sample costs as many updates as with ER in `run`.
    """
    merged = Part(np.concatenate([part.x for part in stream.train]), np.concatenate([part.y for part in stream.train]))
    classes = tuple(sorted({c for task in stream.classes for c in task}))
    empty = Part(merged.x[:0], merged.y[:0])
    joint = replace(stream, train=(empty, merged), classes=(classes, classes), shipped=0)
    return _run(learner, joint, settings, epochs, on_progress, lambda _: None)


def _run(
    learner: Learner,
    stream: Stream,
    settings: LearnSettings,
    epochs: int,
    on_progress: Progress,
    on_stage: Callable[[StageResult], None],
) -> Outcome:
    exam = sum(len(part) for part in (*stream.test, *stream.val))
    among = len(stream.train) == len(stream.test) and len(set(stream.classes)) > 1
    presented = [len(part) * (1 if stage < stream.shipped else epochs) for stage, part in enumerate(stream.train)]
    total = sum(count + exam for count in presented if count) + among * sum(map(len, stream.test))
    done = 0
    results = []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, total)

    def predict(part: Part, classes: tuple[int, ...] | None = None) -> Labels:
        answers = []
        for chunk in _chunks(len(part)):
            answers.append(learner.predict(part.x[chunk], classes))
            advance(len(answers[-1]))
        return np.concatenate(answers) if answers else part.y

    learner.reset(settings)
    for stage, part in enumerate(stream.train):
        started = time.monotonic()
        if stage < stream.shipped:
            _remember(learner, part, settings.seed, stage, advance)
        else:
            _teach(learner, part, TaskInfo(stream.classes[stage], len(part), epochs), settings.seed, stage, advance)
        if not len(part):
            continue
        seconds = time.monotonic() - started
        state_hash = learner.state_hash()
        predictions = tuple(predict(test) for test in stream.test)
        last = among and stage == len(stream.train) - 1
        result = StageResult(
            stage=stage,
            test_accuracy=tuple(_accuracy(p, test) for p, test in zip(predictions, stream.test, strict=True)),
            val_accuracy=tuple(_accuracy(predict(val), val) for val in stream.val),
            predictions=predictions,
            state_hash=state_hash,
            seconds=seconds,
            task_il=tuple(
                _accuracy(predict(test, classes), test)
                for test, classes in zip(stream.test if last else (), stream.classes if last else (), strict=True)
            ),
        )
        results.append(result)
        on_stage(result)
    return Outcome(tuple(results), learner.stats())


def _teach(learner: Learner, part: Part, task: TaskInfo, seed: int, stage: int, advance: Callable[[int], None]) -> None:
    """One task: its samples in a new order in each epoch, but for those the learner wants no more."""
    learner.begin_task(task)
    for epoch in range(task.epochs):
        order = np.random.default_rng([seed, stage, epoch]).permutation(len(part))
        if epoch:
            order = order[learner.wanted()[order]]
            advance(len(part) - len(order))
        for chunk in _chunks(len(order)):
            learner.observe(part.x[order[chunk]], part.y[order[chunk]], order[chunk])
            advance(len(order[chunk]))
        learner.end_epoch()
    learner.end_task()


def _remember(learner: Learner, part: Part, seed: int, stage: int, advance: Callable[[int], None]) -> None:
    order = np.random.default_rng([seed, stage, 0]).permutation(len(part))
    for chunk in _chunks(len(order)):
        learner.remember(part.x[order[chunk]], part.y[order[chunk]])
        advance(len(order[chunk]))


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK):
        yield slice(start, start + CHUNK)


def _accuracy(predicted: Labels, part: Part) -> float:
    return float((predicted == part.y).mean())

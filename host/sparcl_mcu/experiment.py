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
from .errors import SparclError
from .learners.base import Inputs, Labels, Learner, LearnSettings, Position, Rejoins, TaskInfo
from .metrics import Matrix
from .network import Network


class ExperimentError(SparclError):
    """A run cannot go on where it stopped."""


CHUNK = 256  # samples between two reports of progress

OnStage = Callable[["StageResult"], None]
Progress = Callable[[int, int], None]  # (samples done, samples in all), learnt and classified


@dataclass(frozen=True)
class Part:
    """Quantised samples of one task. x: int8 (n, inputs); y: uint8 (n,)."""

    x: Inputs
    y: Labels

    def __len__(self) -> int:
        return len(self.x)

    def some(self, most: int | None) -> Part:
        """At most so many of them, drawn at random, the same ones every time; None: all."""
        chosen = np.random.default_rng(0).permutation(len(self))[:most]
        return Part(self.x[chosen], self.y[chosen])


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
    """A learner's whole run: its stages and its work (`Learner.stats`).

    resumed: it was stopped on its way and gone on with; then `seconds` of the stage it was stopped in, and what `stats`
    counts since power-on, lack what was before.
    """

    stages: tuple[StageResult, ...]
    stats: dict[str, int]
    resumed: bool = False

    @property
    def accuracy(self) -> Matrix:
        """Test accuracy (stages, tasks): R[i, j] on task j after stage i."""
        return np.array([stage.test_accuracy for stage in self.stages])

    @property
    def val_accuracy(self) -> Matrix:
        """Validation accuracy (stages, tasks)."""
        return np.array([stage.val_accuracy for stage in self.stages])


@dataclass(frozen=True)
class Begun:
    """A run that was stopped: where its learner stands, and the stages whose results are known already."""

    position: Position
    stages: tuple[StageResult, ...] = ()


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
    on_stage: OnStage = lambda _: None,
    on_reset: Callable[[], None] = lambda: None,
    begun: Begun | None = None,
) -> Outcome:
    """Reset the learner, teach it every task in turn, and test it on every task after each.

    begun: go on instead with a learner that was stopped on its way through the same stream. on_reset: called when the
    learner has begun, and from then on can be gone on with; not if it had begun already.
    """
    return _run(learner, stream, settings, epochs, on_progress, on_stage, on_reset, begun)


def run_joint(
    learner: Learner,
    stream: Stream,
    settings: LearnSettings,
    *,
    epochs: int,
    on_progress: Progress,
    on_stage: OnStage = lambda _: None,
    on_reset: Callable[[], None] = lambda: None,
    begun: Begun | None = None,
) -> Outcome:
    """The upper bound: all tasks' samples shuffled together as one task; a single stage is tested.

    An empty first task comes before it, because the second training pass of a step starts with the second task: so
    a sample costs as many updates as with ER in `run`.
    """
    merged = Part(np.concatenate([part.x for part in stream.train]), np.concatenate([part.y for part in stream.train]))
    classes = tuple(sorted({c for task in stream.classes for c in task}))
    empty = Part(merged.x[:0], merged.y[:0])
    joint = replace(stream, train=(empty, merged), classes=(classes, classes), shipped=0)
    return _run(learner, joint, settings, epochs, on_progress, on_stage, on_reset, begun)


def _run(
    learner: Learner,
    stream: Stream,
    settings: LearnSettings,
    epochs: int,
    on_progress: Progress,
    on_stage: OnStage,
    on_reset: Callable[[], None],
    begun: Begun | None,
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

    if begun is None:
        learner.reset(settings)
        on_reset()
    at = begun.position if begun else Position(0, 0, False, 0, 0)
    known = {result.stage: result for result in begun.stages} if begun else {}
    remembered = 0
    for stage, part in enumerate(stream.train):
        started = time.monotonic()
        order = _Order(part, settings.seed, stage)
        if stage < stream.shipped:
            _remember(learner, order, max(0, min(at.remembered - remembered, len(part))), advance)
            remembered += len(part)
        else:
            task = TaskInfo(stream.classes[stage], len(part), epochs)
            _teach(learner, order, task, _Place.of(at, stage - stream.shipped, task), advance)
        if not len(part):
            continue
        if stage in known:
            results.append(known[stage])
            advance(exam)
            continue
        if begun and at.tasks_begun > stage - stream.shipped + 1:
            raise ExperimentError(
                f"the board is past task {stage}, but what it knew then was not recorded; start the run again"
            )
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
    return Outcome(tuple(results), learner.stats(), begun is not None)


@dataclass(frozen=True)
class _Order:
    """The samples of one stage; in each epoch they come in another order."""

    part: Part
    seed: int
    stage: int

    def epoch(self, number: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, self.stage, number]).permutation(len(self.part))


@dataclass(frozen=True)
class _Place:
    """Where in a task a learner is. epochs, samples: done; of the epoch that is open."""

    begun: bool
    ended: bool
    epochs: int
    samples: int

    @classmethod
    def of(cls, at: Position, index: int, task: TaskInfo) -> _Place:
        """In the taught task `index`, 0, 1, .. , for a learner that has come so far."""
        if index + 1 != at.tasks_begun:
            return cls(index < at.tasks_begun, index < at.tasks_begun, 0, 0)
        return cls(True, not at.task_open, at.epochs_done, at.position - at.epochs_done * task.samples)


def _teach(learner: Learner, order: _Order, task: TaskInfo, place: _Place, advance: Callable[[int], None]) -> None:
    """One task, from `place` on: its samples in a new order in each epoch, but for those the learner wants no more."""
    if place.ended:
        advance(task.samples * task.epochs)
        return
    if not place.begun:
        learner.begin_task(task)
    elif isinstance(learner, Rejoins):
        learner.rejoin(task)
    advance(place.epochs * task.samples)
    part = order.part
    for epoch in range(place.epochs, task.epochs):
        samples = order.epoch(epoch)
        if epoch:
            samples = samples[learner.wanted()[samples]]
            advance(len(part) - len(samples))
        seen = place.samples if epoch == place.epochs else 0
        advance(seen)
        for chunk in _chunks(len(samples), seen):
            learner.observe(part.x[samples[chunk]], part.y[samples[chunk]], samples[chunk])
            advance(len(samples[chunk]))
        learner.end_epoch()
    learner.end_task()


def _remember(learner: Learner, order: _Order, done: int, advance: Callable[[int], None]) -> None:
    samples, part = order.epoch(0), order.part
    advance(done)
    for chunk in _chunks(len(samples), done):
        learner.remember(part.x[samples[chunk]], part.y[samples[chunk]])
        advance(len(samples[chunk]))


def _chunks(count: int, start: int = 0) -> Iterator[slice]:
    for at in range(start, count, CHUNK):
        yield slice(at, at + CHUNK)


def _accuracy(predicted: Labels, part: Part) -> float:
    return float((predicted == part.y).mean())

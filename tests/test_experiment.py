"""Experiments with a learner that writes down what it was told."""

import dataclasses

import numpy as np
import pytest

from sparcl_mcu import experiment, quantize
from sparcl_mcu.design import mlp
from sparcl_mcu.experiment import Part, Stream
from sparcl_mcu.learners.base import Inputs, Labels, LearnSettings, Numbers, Replay, Room, TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.pretrain import FloatNetwork, FloatWeights
from sparcl_mcu.references import Job, References, ReferencesError, first_disagreement

CLASSES = 6


class Memory:
    """Predicts the classes it saw in its last task, so that accuracies are known beforehand."""

    def __init__(self, keep: int = 1) -> None:
        self.calls: list[str] = []
        self.keep = keep  # every so many samples are wanted again

    def reset(self, settings: LearnSettings) -> None:
        self.settings = settings
        self.calls = ["reset"]
        self.seen: list[tuple[int, ...]] = []
        self.order: list[list[int]] = []

    def begin_task(self, task: TaskInfo) -> None:
        self.calls.append("begin")
        self.last: set[int] = set()
        self.order.append([])
        self.task = task

    def remember(self, x: Inputs, y: Labels) -> None:
        self.calls.append("remember")
        self.last = set(y.tolist())

    def end_epoch(self) -> None:
        self.calls.append("epoch")

    def wanted(self) -> np.ndarray:
        return np.arange(self.task.samples) % self.keep == 0

    def observe(self, x: Inputs, y: Labels, numbers: Numbers | None = None) -> None:
        assert numbers is not None
        assert (x[:, 1] == numbers % 50).all()
        assert set(y.tolist()) <= set(self.task.classes)
        assert len(x) == len(y) <= experiment.CHUNK
        assert (x[:, 0] == y).all()
        self.last |= set(y.tolist())
        self.order[-1] += x[:, 1].tolist()

    def end_task(self) -> None:
        self.calls.append("end")

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        if among is not None:
            return np.array([v if v in among else 255 for v in x[:, 0].tolist()], dtype=np.uint8)
        return np.array([v if v in self.last else 255 for v in x[:, 0].tolist()], dtype=np.uint8)

    def stats(self) -> dict[str, int]:
        return {"steps": sum(map(len, self.order))}

    def state_hash(self) -> int:
        return len(self.calls)


def part(task: int, count: int) -> Part:
    y = np.array([2 * task + i % 2 for i in range(count)], dtype=np.uint8)
    return Part(np.stack([y.astype(np.int8), np.arange(count, dtype=np.int8)], axis=1), y)


STREAM = Stream(
    train=tuple(part(task, 50) for task in range(3)),
    val=tuple(part(task, 4) for task in range(3)),
    test=tuple(part(task, 10) for task in range(3)),
    classes=tuple((2 * task, 2 * task + 1) for task in range(3)),
)


def run(seed: int = 0, epochs: int = 2) -> tuple[Memory, experiment.Outcome]:
    learner = Memory()
    progress: list[tuple[int, int]] = []
    stages: list[int] = []
    outcome = experiment.run(
        learner,
        STREAM,
        LearnSettings(seed=seed),
        epochs=epochs,
        on_progress=lambda done, total: progress.append((done, total)),
        on_stage=lambda result: stages.append(result.stage),
    )
    assert stages == [0, 1, 2]
    assert progress[-1] == (3 * (50 * epochs + 42) + 30, 3 * (50 * epochs + 42) + 30)
    return learner, outcome


def test_tasks_come_in_turn_and_are_tested_on_all_tasks() -> None:
    learner, outcome = run()
    assert learner.calls == ["reset", *["begin", "epoch", "epoch", "end"] * 3]
    assert np.array_equal(outcome.accuracy, np.eye(3))
    assert np.array_equal(outcome.val_accuracy, np.eye(3))
    assert [stage.state_hash for stage in outcome.stages] == [5, 9, 13]
    assert outcome.stages[1].predictions[1].tolist() == [2, 3] * 5
    assert outcome.stats == {"steps": 300}


def test_each_epoch_is_its_own_shuffle_that_depends_on_the_seed_alone() -> None:
    first, again, other = run()[0].order, run()[0].order, run(seed=1)[0].order
    assert first == again
    assert first != other
    epochs = [order[half : half + 50] for order in first for half in (0, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_joint_run_is_one_shuffled_task_after_an_empty_one() -> None:
    learner = Memory()
    settings = LearnSettings(replay=Replay.REPEAT)
    outcome = experiment.run_joint(learner, STREAM, settings, epochs=2, on_progress=lambda *_: None)
    assert learner.settings.replay is Replay.REPEAT
    assert learner.calls == ["reset", *["begin", "epoch", "epoch", "end"] * 2]
    assert learner.order[0] == []
    assert len(learner.order[1]) == 300
    assert outcome.accuracy.tolist() == [[1.0, 1.0, 1.0]]


def test_samples_that_are_not_wanted_are_not_sent_again() -> None:
    learner = Memory(keep=5)
    experiment.run(learner, STREAM, LearnSettings(), epochs=3, on_progress=lambda *_: None)
    assert [len(order) for order in learner.order] == [50 + 10 + 10] * 3
    assert all(number % 5 == 0 for order in learner.order for number in order[50:])


def test_shipped_tasks_are_remembered_and_tested_but_not_taught() -> None:
    learner = Memory()
    shipped = dataclasses.replace(STREAM, shipped=1)
    outcome = experiment.run(learner, shipped, LearnSettings(), epochs=2, on_progress=lambda *_: None)
    assert learner.calls == ["reset", "remember", *["begin", "epoch", "epoch", "end"] * 2]
    assert np.array_equal(outcome.accuracy, np.eye(3))


def test_task_il_is_told_after_the_last_task() -> None:
    _, outcome = run()
    assert [stage.task_il for stage in outcome.stages] == [(), (), (1.0, 1.0, 1.0)]


@pytest.fixture
def tiny() -> Network:
    """Two inputs, eight hidden values, random weights."""
    rng = np.random.default_rng(0)
    graph = mlp((2,), CLASSES, [8])
    weights = {}
    for node in graph.nodes:
        shape = (graph.weight_rows(node), graph.fan_in(node))
        weights[node.name] = FloatWeights(
            rng.normal(size=shape).astype(np.float32), np.zeros(shape[0], np.float32), np.ones(shape, np.bool_)
        )
    x = np.concatenate([p.x for p in STREAM.train]).astype(np.float32)
    return quantize.quantise(FloatNetwork(graph, weights), quantize.input_scaling(x, "range"), x, "tiny")


def test_without_replay_costs_as_many_training_passes_as_with_it(tiny: Network) -> None:
    """The control is fair only if a streamed sample gets as many updates."""
    learner = SimulatedLearner(tiny, Room(replay=20))
    passes = [
        experiment.run(learner, STREAM, LearnSettings(replay=kind), epochs=1, on_progress=lambda *_: None).stats[
            "training_passes"
        ]
        for kind in (Replay.ER, Replay.REPEAT)
    ]
    assert passes == [250, 250]
    joint = experiment.run_joint(
        learner, STREAM, LearnSettings(replay=Replay.REPEAT), epochs=1, on_progress=lambda *_: None
    )
    assert joint.stats["training_passes"] == 300


def test_reference_learners_run_in_the_background_and_equal_a_run_in_the_foreground(tiny: Network) -> None:
    settings = LearnSettings(seed=3)
    progress: list[tuple[int, int]] = []
    with References(Job(tiny, STREAM, settings, epochs=1, room=Room(replay=20))) as references:
        outcomes = references.outcomes(lambda done, total: progress.append((done, total)))
    here = experiment.run(
        SimulatedLearner(tiny, Room(replay=20)), STREAM, settings, epochs=1, on_progress=lambda *_: None
    )
    assert [stage.state_hash for stage in outcomes["simulated"].stages] == [stage.state_hash for stage in here.stages]
    assert all(stage.state_hash is None for stage in outcomes["float"].stages)
    assert progress[-1][0] == progress[-1][1]
    assert first_disagreement(here, outcomes["simulated"]) is None
    other = experiment.run(
        SimulatedLearner(tiny, Room(replay=19)), STREAM, settings, epochs=1, on_progress=lambda *_: None
    )
    assert first_disagreement(other, outcomes["simulated"]) == 0


def test_a_reference_process_that_dies_is_named(tiny: Network) -> None:
    with References(Job(tiny, STREAM, LearnSettings(), epochs=10_000, room=Room(replay=20))) as references:
        references._process.kill()
        with pytest.raises(ReferencesError, match="ended early"):
            references.outcomes(lambda *_: None)

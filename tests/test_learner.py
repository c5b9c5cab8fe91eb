"""The integer learner: C against NumPy through whole runs, and the pinning tests of docs/numerics.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import every_operator, random_graph_network, random_network, random_samples, whole_task
from native import Program
from sparcl_mcu import numerics as nx
from sparcl_mcu.design import lenet, mlp
from sparcl_mcu.learners.base import LearnerError, LearnSettings, Replay, Room
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner, apply_update
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block

CASES = [
    pytest.param(Block(1, 1), 0.25, LearnSettings(seed=1, lr_exponent=-6), id="1x1"),
    pytest.param(Block(1, 4), 0.5, LearnSettings(seed=2, lr_mantissa=3, lr_exponent=-8), id="1x4"),
    pytest.param(Block(4, 1), 0.5, LearnSettings(seed=3, lr_exponent=-5), id="4x1"),
    pytest.param(Block(1, 1), 1.0, LearnSettings(seed=4, lr_exponent=-7), id="dense"),
    pytest.param(Block(1, 1), 0.5, LearnSettings(5, 1, -4, Replay.REPEAT), id="repeat, high rate"),
]


@pytest.mark.parametrize(("block", "density", "settings"), CASES)
def test_c_equals_numpy_after_every_task(tmp_path: Path, block: Block, density: float, settings: LearnSettings) -> None:
    network = random_network(7, block=block, density=density)
    learner, program = SimulatedLearner(network, Room(replay=20)), Program(network, tmp_path, room=Room(replay=20))
    learner.reset(settings)
    program.reset(settings)
    want = []
    for task in range(3):
        x, y = random_samples(network, 80, seed=task)
        for device in (learner, program):
            device.begin_task(whole_task(network))
            device.observe(x, y)
            device.end_task()
            device.predict(x[:5])
        program.hash()
        want += [str(label) for label in learner.predict(x[:5])] + [f"{learner.state_hash():08x}"]
    assert program.run() == want
    assert learner.moved() > 0.2


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_layers_larger_than_the_one_below_equal_numpy(name: str, tmp_path: Path) -> None:
    """Their errors are the largest buffers of the arena: where the planner once let live buffers overlap."""
    graphs = {"mlp": mlp((10,), 20, (8, 16), 0.5), "lenet": lenet((12, 10), 5, 0.5)}
    equal_in_c(random_graph_network(graphs[name], 0), tmp_path)


@pytest.mark.parametrize("frozen", [("fc1",), ("fc2",), ("fc1", "fc2")], ids=str)
def test_frozen_dense_layers_equal_numpy(frozen: tuple[str, ...], tmp_path: Path) -> None:
    """Below all that learns they lie in pairs of rows; an error goes through the others."""
    graph = mlp((10,), 5, (15, 9))
    nodes = tuple(replace(node, frozen=node.name in frozen) for node in graph.nodes)
    equal_in_c(random_graph_network(replace(graph, nodes=nodes), 0), tmp_path)
    assert ("forward_paired(&m_fc1" in (tmp_path / "model.c").read_text()) == ("fc1" in frozen)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("frozen", [(), ("stem", "conv1", "conv2", "conv3"), ("conv4", "pointwise")], ids=str)
def test_every_operator_equals_numpy(tmp_path: Path, frozen: tuple[str, ...], batch: int) -> None:
    """Residuals, pools, depthwise, frozen layers and mini-batches in one generated program, under sanitizers."""
    equal_in_c(random_graph_network(every_operator(frozen), 3), tmp_path, batch)


def equal_in_c(network: Network, folder: Path, batch: int = 1) -> None:
    """Two tasks of noise in NumPy and in the generated program: the same state after each."""
    learner, program = (
        SimulatedLearner(network, Room(replay=6, batch=batch)),
        Program(network, folder, room=Room(replay=6, batch=batch)),
    )
    want = []
    for task in range(2):
        x, y = random_samples(network, 18, seed=task)
        learner.begin_task(whole_task(network))
        learner.observe(x, y)
        learner.end_task()
        want.append(f"{learner.state_hash():08x}")
        program.begin_task()
        program.observe(x, y)
        program.end_task()
        program.hash()
    assert program.run() == want
    assert learner.moved() > 0.2


def test_a_batch_sees_the_old_weights_until_it_is_applied() -> None:
    network = random_network(2)
    x, y = random_samples(network, 7, seed=2)
    learner = SimulatedLearner(network, Room(replay=4, batch=4))
    learner.reset(LearnSettings(lr_exponent=-5))
    learner.begin_task(whole_task(network))
    learner.observe(x[:3], y[:3])
    assert learner.moved() == 0
    learner.observe(x[3:4], y[3:4])
    after_batch = learner.moved()
    assert after_batch > 0
    learner.observe(x[4:], y[4:])
    assert learner.moved() == after_batch
    learner.end_task()  # what an unfinished batch gathered is learnt, too
    assert learner.moved() > after_batch


def test_killed_and_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    """The state block alone, copied out and back in another process, carries on where it stopped."""
    network = random_network(3)
    x, y = random_samples(network, 100, seed=9)
    program = Program(network, tmp_path, room=Room(replay=10))
    program.begin_task()
    program.end_task()
    program.begin_task()
    program.observe(x, y)
    program.hash()
    whole = program.run()[-1]

    program.begin_task()
    program.end_task()
    program.begin_task()
    program.observe(x[:37], y[:37])
    program.save()
    state = bytes.fromhex(program.run()[-1])
    program.load(state)
    program.observe(x[37:], y[37:])
    program.hash()
    assert program.run()[-1] == whole


def test_zero_mean_noise_leaves_the_weights_where_they_are() -> None:
    """Rounding must not drift: random labels for 10,000 updates leave mean |w| within 1 %."""
    rng = np.random.default_rng(0)
    masters = rng.integers(-20000, 20001, (32, 64)).astype(np.int16)
    mask = np.ones(masters.shape, np.bool_)
    before = np.abs(masters.astype(np.int64) - 128).mean()
    for _ in range(10_000):
        d = rng.integers(-127, 128, 32)
        x = rng.integers(-127, 128, 64)
        apply_update(masters, mask, np.outer(d, x), np.array([14]))
    after = np.abs(masters.astype(np.int64) - 128).mean()
    assert abs(after - before) / before < 0.01


@pytest.mark.parametrize(
    ("start", "d", "end"), [(nx.MASTER_MAX, -127, nx.MASTER_MAX), (nx.MASTER_MIN, 127, nx.MASTER_MIN)]
)
def test_a_saturated_weight_stays_and_never_wraps(start: int, d: int, end: int) -> None:
    masters = np.array([[start]], np.int16)
    apply_update(masters, np.array([[True]]), np.array([[3 * d * 127]]), np.array([0]))
    assert masters[0, 0] == end


def test_sticky_exponent_rises_once_a_window_saturates() -> None:
    network = random_network(1)
    learner = SimulatedLearner(network, Room(replay=4))
    learner.reset(LearnSettings(lr_exponent=-15))
    learner.scales["fc1"].exponent = -12  # nearly every live output saturates
    x, y = random_samples(network, nx.WINDOW, seed=1)
    learner.begin_task(whole_task(network))
    learner.observe(x[:-1], y[:-1])
    assert learner.scales["fc1"].exponent == -12
    learner.observe(x[-1:], y[-1:])
    assert learner.scales["fc1"].exponent == -11
    assert (learner.scales["fc1"].saturated, learner.scales["fc1"].window) == (0, 0)


def test_predicting_changes_no_learning_state() -> None:
    network = random_network(2)
    learner = SimulatedLearner(network, Room(replay=4))
    x, y = random_samples(network, 40, seed=2)
    learner.begin_task(whole_task(network))
    learner.observe(x, y)
    before = learner.state_hash()
    learner.predict(x)
    assert learner.state_hash() == before


def test_replay_starts_with_the_second_task_and_reservoir_keeps_everyone_equally() -> None:
    network = random_network(2)
    x, y = random_samples(network, 60, seed=2)
    learner = SimulatedLearner(network, Room(replay=16))
    learner.begin_task(whole_task(network))
    learner.observe(x[:30], y[:30])
    learner.end_task()
    assert learner.stats()["training_passes"] == 30
    learner.begin_task(whole_task(network))
    learner.observe(x[30:], y[30:])
    assert learner.stats()["training_passes"] == 30 + 2 * 30

    from sparcl_mcu.learners.replay import ReplayBuffer

    kept = np.zeros(50)
    for seed in range(400):
        buffer = ReplayBuffer(10, 1, 2)
        for i in range(50):
            buffer.insert(np.array([i], np.int8), 0, np.zeros(2), seed)
        kept[buffer.x[:, 0]] += 1
    assert kept.mean() == 400 * 10 / 50
    assert kept.min() > 45
    assert kept.max() < 120


def test_learning_beats_chance_and_float_twin_agrees() -> None:
    """Integer learner and float twin reach the same accuracy on learnable data; logits start equal within rounding."""
    network = random_network(5, sizes=(24, 32, 16, 5), density=0.5)
    x, y = random_samples(network, 400, seed=5)
    simulated, twin = SimulatedLearner(network, Room(replay=20)), FloatTwin(network, Room(replay=20))
    assert np.abs(simulated._logits(x[0]) - twin._logits(x[0])).max() / 32 < 0.35
    for learner in (simulated, twin):
        learner.reset(LearnSettings(lr_exponent=-5))
        learner.begin_task(whole_task(network))
        learner.observe(x[:300], y[:300])
        accuracy = (learner.predict(x[300:]) == y[300:]).mean()
        assert accuracy > 0.9, type(learner).__name__


def test_refused_calls_leave_the_state_alone() -> None:
    network = random_network(2)
    learner = SimulatedLearner(network, Room(replay=4))
    x, y = random_samples(network, 3, seed=2)
    before = learner.state_hash()
    with pytest.raises(LearnerError, match="begin one first"):
        learner.observe(x, y)
    learner.begin_task(whole_task(network))
    with pytest.raises(LearnerError, match="end it first"):
        learner.begin_task(whole_task(network))
    with pytest.raises(LearnerError, match="label 5 in a network of 5 classes"):
        learner.observe(x, np.array([0, 1, 5], np.uint8))
    assert learner.state_hash() == before

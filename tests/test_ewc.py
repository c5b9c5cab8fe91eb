"""Online EWC in integers: what is held, that it holds, and that C, NumPy and the float twin agree."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors import BOARDS, firmware, taught
from helpers import every_operator, random_graph_network, random_network, random_samples
from native import Program, assert_learnt_the_same
from sparcl_mcu import config, design, prepare
from sparcl_mcu.learners import ewc
from sparcl_mcu.learners.base import Learner, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools.generate import model_hash
from sparcl_tools.plan import plan

SAMPLES, EPOCHS = 20, 2
ROOM = Room(ewc=True)
SETTINGS = LearnSettings(seed=3, lr_exponent=-6, replay=Replay.EWC, alpha_shift=0)
CASES = {
    "mlp": lambda: random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=Block(1, 4)),
    "dense": lambda: random_network(3, sizes=(24, 16, 6), density=1.0),
    "every operator": lambda: random_graph_network(every_operator(), 3),
    "frozen below": lambda: random_graph_network(every_operator(("stem", "conv1", "conv2")), 3),
    "ds_cnn": lambda: random_graph_network(design.ds_cnn((9, 7), 4, density=0.25, block=Block(4, 1)), 3),
}


@cache
def network(name: str) -> Network:
    return CASES[name]()


def tasks(name: str) -> list[tuple[TaskInfo, NDArray[np.int8], NDArray[np.uint8]]]:
    found = []
    for task in range(2):
        x, y = random_samples(network(name), SAMPLES, seed=task)
        classes = (2 * task, 2 * task + 1)
        found.append((TaskInfo(classes, SAMPLES, EPOCHS), x, np.array(classes, np.uint8)[y % 2]))
    return found


def teach(learner: Learner, name: str, settings: LearnSettings = SETTINGS) -> list[int | None]:
    """Two tasks; the state hash after every epoch and task."""
    hashes = []
    learner.reset(settings)
    for task, x, y in tasks(name):
        learner.begin_task(task)
        for _ in range(EPOCHS):
            learner.observe(x, y)
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
        hashes.append(learner.state_hash())
    return hashes


@cache
def expected(name: str) -> tuple[SimulatedLearner, list[int | None]]:
    learner = SimulatedLearner(network(name), ROOM)
    return learner, teach(learner, name)


# ---- what is computed


def test_rounding_is_right_in_the_mean_over_draws() -> None:
    values = np.array([-1000, -3, -1, 0, 1, 5, 77, 1 << 40])
    draws = [int(d) for d in np.arange(0, 1 << 32, 1 << 24)]
    for shift in (0, 1, 5, 8):
        mean = np.mean([ewc.dither(values, shift, draw) for draw in draws], axis=0)
        assert np.allclose(mean, values / 2**shift, rtol=0, atol=0.01)
    assert ewc.dither(np.array([(1 << 62) - 1]), 62, 0xFFFFFFFF) == 1
    assert ewc.dither(np.array([(1 << 62) - 1]), 62, 0) == 0
    assert not ewc.dither(values, 63, 0xFFFFFFFF).any()


def test_holds_are_of_the_last_epoch_and_add_up_over_tasks() -> None:
    name = "mlp"
    learner = SimulatedLearner(network(name), ROOM)
    learner.reset(SETTINGS)
    held = []
    for task, x, y in tasks(name):
        learner.begin_task(task)
        layers = [layer.ewc for layer in learner.layers.values() if layer.ewc]
        before = [layer.anchor.copy() for layer in layers]
        learner.observe(x, y)
        assert not any(layer.fresh.any() for layer in layers), "not yet the last epoch"
        learner.end_epoch()
        learner.observe(x, y)
        fresh = [layer.fresh.copy() for layer in layers]
        assert all(f.max() > 20 for f in fresh)
        assert all(np.array_equal(b, layer.anchor) for b, layer in zip(before, layers, strict=True))
        learner.end_epoch()
        learner.end_task()
        assert not any(layer.fresh.any() for layer in layers)
        held.append([layer.held.copy() for layer in layers])
        for layer, masters in zip(layers, (layer.masters for layer in learner.layers.values()), strict=True):
            assert np.array_equal(layer.anchor, masters)
    for first, second, new in zip(held[0], held[1], fresh, strict=True):
        assert np.array_equal(second, np.minimum(first + new, ewc.MOST))


def test_weights_that_were_needed_move_less_and_the_others_learn() -> None:
    """Against the same learner without a penalty."""
    moved = {}
    for replay in (Replay.EWC, Replay.ER):  # there is no buffer to draw from
        learner = SimulatedLearner(network("mlp"), ROOM)
        learner.reset(dataclasses.replace(SETTINGS, replay=replay))
        (task, x, y), (task2, x2, y2) = tasks("mlp")
        learner.begin_task(task)
        for _ in range(EPOCHS):
            learner.observe(x, y)
            learner.end_epoch()
        learner.end_task()
        layer = learner.layers["fc1"]
        assert layer.ewc is not None
        if replay is Replay.EWC:
            needed = layer.ewc.held > np.quantile(layer.ewc.held[layer.learns], 0.8)
        start = layer.masters.astype(np.int64)
        learner.begin_task(task2)
        learner.observe(x2, y2)
        far = np.abs(layer.masters - start)
        moved[replay] = far[needed].mean(), far[layer.learns & ~needed].mean()
    assert moved[Replay.EWC][0] < 0.5 * moved[Replay.ER][0]
    assert moved[Replay.EWC][1] > 0.5 * moved[Replay.ER][1]


def test_without_ewc_nothing_is_held_though_there_is_room() -> None:
    learner = SimulatedLearner(network("mlp"), ROOM)
    teach(learner, "mlp", LearnSettings(seed=3, lr_exponent=-6))
    assert not any(layer.ewc.held.any() or layer.ewc.fresh.any() for layer in learner.layers.values() if layer.ewc)
    assert learner.moved() > 0.2


def test_a_hold_is_the_square_of_updates_in_real_numbers() -> None:
    """Integer and twin note the same sums, whatever the exponent of a layer's weights."""
    simulated, twin = SimulatedLearner(network("dense"), ROOM), FloatTwin(network("dense"), ROOM)
    for learner in (simulated, twin):
        learner.reset(dataclasses.replace(SETTINGS, alpha_shift=0, lr_exponent=-9))
        task, x, y = tasks("dense")[0]
        learner.begin_task(dataclasses.replace(task, epochs=1))
        learner.observe(x, y)
        learner.end_task()
    for node, hold in zip(network("dense").trainable(), twin._holds, strict=True):
        layer = simulated.layers[node.name].ewc
        assert layer is not None
        ours, theirs = (layer.held / 2.0**ewc.BITS).ravel(), hold.held.numpy().ravel()
        assert np.corrcoef(ours, theirs)[0, 1] > 0.95
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.1)
        assert theirs.max() > 20 / 2.0**ewc.BITS


# ---- C


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    program = Program(network(name), tmp_path, room=ROOM)
    program.reset(SETTINGS)
    for task, x, y in tasks(name):
        program.begin_task(task)
        for _ in range(EPOCHS):
            program.observe(x, y)
            program.end_epoch()
            program.hash()
        program.end_task()
        program.hash()
    program.counters()
    program.save()
    learner, want = expected(name)
    assert_learnt_the_same(program.run(), learner, want, network(name), ROOM)


@pytest.mark.parametrize("board", BOARDS)
def test_training_is_equal_on_every_core(board: str, tmp_path: Path) -> None:
    program, memory = firmware(board, network("every operator"), tmp_path, room=ROOM, whole_memory=True)
    assert not any(field.name.startswith("replay_") for field in memory.state)
    with taught(board, program, network("every operator"), room=ROOM) as learner:
        assert teach(learner, "every operator") == expected("every operator")[1]


def test_a_state_with_impossible_holds_is_not_admitted(tmp_path: Path) -> None:
    program = Program(network("dense"), tmp_path, room=ROOM)
    program.save()
    block = bytearray.fromhex(program.run()[0])
    field = next(f for f in plan(network("dense"), ROOM).state if f.name == "fc1_held")
    program.load(bytes(block))
    program.admit()
    block[field.offset + 1] = 0x80
    program.load(bytes(block))
    program.refused(Status.STATE)
    program.admit()
    program.run()


# ---- what it needs


def test_room_is_anchors_and_holds_and_no_buffer() -> None:
    net = network("mlp")
    plain, roomy = plan(net, Room()), plan(net, ROOM)
    slots = sum(net.weights[node.name].slots for node in net.trainable())
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == 6 * slots
    largest = max(net.weights[node.name].slots for node in net.trainable())
    assert roomy.arena_bytes <= plain.arena_bytes + 4 * (largest + 48)
    assert model_hash(net, ROOM) != model_hash(net, Room())


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    for more in ({"batch": 4}, {"tdm": True}, {"dgm": True, "slice": 64}):
        with pytest.raises(LearnerError, match="needs batch = 1, and masks that stay"):
            Room(ewc=True, **more)  # type: ignore[arg-type]
    with pytest.raises(LearnerError, match="generated without room for EWC"):
        SimulatedLearner(network("mlp"), Room()).reset(SETTINGS)
    program = Program(network("mlp"), tmp_path, replay=4)
    program.refused(Status.ROOM)
    program.reset(SETTINGS)
    program.run()


def test_an_experiment_asks_for_it_by_name() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n[learn]\nmethod = "ewc"\n'
    assert prepare.room(config.parse(text, Path("x.toml")), network("mlp")) == ROOM
    with pytest.raises(config.ConfigError, match='"ewc" replays nothing'):
        prepare.room(config.parse(text + 'replay_at = "border"\n', Path("x.toml")), network("mlp"))

"""Online EWC in integers: what is held, that it holds, and that C, NumPy and the float twin agree."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors import BOARDS, firmware, taught
from helpers import SPARCL, SPARCL_ROOM, every_operator, random_graph_network, random_network, random_samples
from native import Program, assert_equal_at_every_event, assert_learnt_the_same
from sparcl_mcu import config, design, prepare
from sparcl_mcu.learners import ewc
from sparcl_mcu.learners.base import Importance, Learner, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.masks import SparseLayer
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import BLOCKS, Block
from sparcl_tools import state_block
from sparcl_tools.generate import model_hash
from sparcl_tools.layout import room_for
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


def tasks(name: str, epochs: int = EPOCHS) -> list[tuple[TaskInfo, NDArray[np.int8], NDArray[np.uint8]]]:
    found = []
    for task in range(2):
        x, y = random_samples(network(name), SAMPLES, seed=task)
        classes = (2 * task, 2 * task + 1)
        found.append((TaskInfo(classes, SAMPLES, epochs), x, np.array(classes, np.uint8)[y % 2]))
    return found


def shipped(name: str) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Samples that are remembered before the first task."""
    x, y = random_samples(network(name), 7, seed=9)
    return x, (4 + y % 2).astype(np.uint8) % network(name).classes


def teach(learner: Learner, name: str, settings: LearnSettings = SETTINGS) -> list[int | None]:
    """What is shipped, and two tasks; the state hash after that and every epoch and task."""
    learner.reset(settings)
    learner.remember(*shipped(name))
    hashes = [learner.state_hash()]
    for task, x, y in tasks(name, 3 if settings.ddr_fraction else EPOCHS):
        learner.begin_task(task)
        for _ in range(task.epochs):
            wanted = np.flatnonzero(learner.wanted())
            learner.observe(x[wanted], y[wanted], wanted)
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


def assert_held_alike(simulated: SimulatedLearner, twin: FloatTwin) -> None:
    for node, hold in zip(network("dense").trainable(), twin._holds, strict=True):
        layer = simulated.layers[node.name].ewc
        assert layer is not None
        ours, theirs = (layer.held / 2.0**ewc.BITS).ravel(), hold.held.numpy().ravel()
        assert np.corrcoef(ours, theirs)[0, 1] > 0.95
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.1)
        assert theirs.max() > 20 / 2.0**ewc.BITS


def test_a_hold_is_the_square_of_updates_in_real_numbers() -> None:
    """Integer and twin note the same sums, whatever the exponent of a layer's weights."""
    simulated, twin = SimulatedLearner(network("dense"), ROOM), FloatTwin(network("dense"), ROOM)
    for learner in (simulated, twin):
        learner.reset(dataclasses.replace(SETTINGS, alpha_shift=0, lr_exponent=-9))
        task, x, y = tasks("dense")[0]
        learner.begin_task(dataclasses.replace(task, epochs=1))
        learner.observe(x, y)
        learner.end_task()
    assert_held_alike(simulated, twin)


@pytest.mark.parametrize("kind", [SimulatedLearner, FloatTwin])
def test_what_remembered_samples_need_is_held_and_nothing_else_changes(
    kind: type[SimulatedLearner] | type[FloatTwin],
) -> None:
    learner, plain = kind(network("dense"), ROOM), kind(network("dense"), ROOM)
    x, y = shipped("dense")
    for each in (learner, plain):
        each.reset(SETTINGS)
    learner.remember(x, y)
    holds = learner._holds if isinstance(learner, FloatTwin) else [each.ewc for each in learner.layers.values()]
    assert all(np.asarray(hold.held).max() > 0 for hold in holds)
    assert not any(np.asarray(hold.fresh).any() for hold in holds)
    assert np.array_equal(learner.predict(x), plain.predict(x))
    assert learner.stats() == plain.stats()
    if isinstance(learner, SimulatedLearner) and isinstance(plain, SimulatedLearner):
        for name, layer in learner.layers.items():
            assert np.array_equal(layer.masters, plain.layers[name].masters)
            assert np.array_equal(layer.bias, plain.layers[name].bias)
        assert learner.scales == plain.scales


def test_remembered_samples_hold_what_the_twin_s_do() -> None:
    simulated, twin = SimulatedLearner(network("dense"), ROOM), FloatTwin(network("dense"), ROOM)
    x, y = random_samples(network("dense"), 40, seed=5)
    for learner in (simulated, twin):
        learner.reset(SETTINGS)
        learner.remember(x, y)
    assert_held_alike(simulated, twin)


# ---- C


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    program = Program(network(name), tmp_path, room=ROOM)
    program.reset(SETTINGS)
    program.remember(*shipped(name))
    program.hash()
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
    with pytest.raises(state_block.StateError, match="fc1 is held by more than 32767"):
        state_block.load(network("dense"), ROOM, bytes(block))
    program.load(bytes(block))
    program.refused(Status.STATE)
    program.admit()
    program.run()


# ---- SparCL-EWC: masks that move

MOVING = dataclasses.replace(SPARCL_ROOM, replay=0, logits=False, ewc=True)
SPARCL_EWC = dataclasses.replace(SPARCL, replay=Replay.EWC, alpha_shift=0, beta_shift=0, ddr_fraction=15000)
MASKS = {
    "all of it": (SPARCL_EWC, MOVING),
    "single head, margin": (dataclasses.replace(SPARCL_EWC, single_head_loss=True, margin=40), MOVING),
    "tdm alone": (
        dataclasses.replace(SPARCL_EWC, importance=Importance.MAGNITUDE, dgm_share=0, ddr_fraction=0),
        Room(ewc=True, tdm=True, inter=MOVING.inter),
    ),
    "dgm alone": (
        dataclasses.replace(SPARCL_EWC, importance=Importance.OFF, tdm_intra=0, tdm_inter=0, ddr_fraction=0),
        Room(ewc=True, dgm=True, slice=64),
    ),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_c_equals_numpy_at_every_event(block: Block, name: str, tmp_path: Path) -> None:
    settings, room = MASKS[name]
    net = random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=block)
    assert_equal_at_every_event(net, tmp_path, settings, room, tasks=3)


@pytest.mark.parametrize("name", ["every operator", "frozen below", "ds_cnn"])
def test_c_equals_numpy_in_convolutions(name: str, tmp_path: Path) -> None:
    room = dataclasses.replace(MOVING, slice=2048)
    assert_equal_at_every_event(network(name), tmp_path, SPARCL_EWC, room, samples=20)


def test_a_layer_that_is_full_on_trial_is_stored_in_blocks(tmp_path: Path) -> None:
    """Once it has every block, it still is not a dense layer, whose weights lie row by row."""
    net = random_network(3, sizes=(48, 32, 16, 6), density=0.95, block=Block(4, 1))
    room = dataclasses.replace(MOVING, slice=512)
    learner = SimulatedLearner(net, room)
    learner.reset(SPARCL_EWC)
    assert all(layer.most == layer.stored.size for layer in learner.masks.layers)
    assert_equal_at_every_event(net, tmp_path, SPARCL_EWC, room)


@pytest.mark.parametrize("board", [pytest.param("qemu_m4", marks=pytest.mark.emulator)])
def test_moving_masks_are_equal_on_a_core_with_its_own_kernels(board: str, tmp_path: Path) -> None:
    room, net = dataclasses.replace(MOVING, slice=2048), network("every operator")
    program, _ = firmware(board, net, tmp_path, room=room, whole_memory=True)
    simulated = SimulatedLearner(net, room)
    with taught(board, program, net, room=room) as learner:
        assert teach(learner, "every operator", SPARCL_EWC) == teach(simulated, "every operator", SPARCL_EWC)


@dataclasses.dataclass(frozen=True)
class Moment:
    """A sparse layer after a call, each (rows, fan_in). values: weight, anchor, held, fresh."""

    call: str
    events: int
    mask: NDArray[np.bool_]
    learns: NDArray[np.bool_]
    values: dict[str, NDArray[np.float64]]


def moment(call: str, learner: SimulatedLearner | FloatTwin, layer: SparseLayer) -> Moment:
    if isinstance(learner, FloatTwin):
        hold, weight = learner._holds[layer.number], learner._layers[layer.node.name].weight.detach()
        tensors = {"weight": weight, "anchor": hold.anchor, "held": hold.held, "fresh": hold.fresh}
        values = {name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()}
    else:
        state = learner.layers[layer.node.name]
        assert state.ewc
        values = {"weight": state.masters - 128.0, "anchor": state.ewc.anchor - 128.0}
        values |= {"held": state.ewc.held.astype(np.float64), "fresh": state.ewc.fresh.astype(np.float64)}
    return Moment(call, learner.work["events"], layer.mask, layer.learns, values)


@cache
def histories(kind: type[SimulatedLearner] | type[FloatTwin]) -> list[list[Moment]]:
    """Of each sparse layer, after every call of three tasks."""
    net = random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=Block(1, 4))
    learner = kind(net, dataclasses.replace(MOVING, slice=256))
    learner.reset(dataclasses.replace(SPARCL_EWC, ddr_fraction=0))
    found: list[list[Moment]] = [[moment("reset", learner, layer)] for layer in learner.masks.layers]

    def do(call: str, *arguments: object) -> None:
        getattr(learner, call)(*arguments)
        for history, layer in zip(found, learner.masks.layers, strict=True):
            history.append(moment(call, learner, layer))

    for task in range(3):
        x, y = random_samples(net, 40, seed=task)
        y = np.array((2 * task, 2 * task + 1), np.uint8)[y % 2]
        do("begin_task", TaskInfo((2 * task, 2 * task + 1), 40, 3))
        for _ in range(3):
            for i in range(40):
                do("observe", x[i : i + 1], y[i : i + 1])
            do("end_epoch")
        do("end_task")
    return found


KINDS = pytest.mark.parametrize("kind", [SimulatedLearner, FloatTwin])


@KINDS
def test_what_dgm_leaves_out_stays_as_it_is(kind: type[SimulatedLearner] | type[FloatTwin]) -> None:
    """Weight, anchor and holds between two events, though many of these weights are away from what holds them."""
    pulled = 0
    for history in histories(kind):
        for before, after in itertools.pairwise(history):
            out = before.mask & ~before.learns
            if after.call == "observe" and after.events == before.events:
                for name, values in after.values.items():
                    assert np.array_equal(values[out], before.values[name][out]), name
                way = np.abs(after.values["weight"] - after.values["anchor"]) * after.values["held"]
                pulled += int(np.count_nonzero(way[out]))
    assert pulled > 1000


@KINDS
def test_what_is_removed_is_forgotten_and_what_grows_is_held_by_nothing(
    kind: type[SimulatedLearner] | type[FloatTwin],
) -> None:
    """Until its first task is over: then it is held like any other."""
    lost = grown = held = 0
    for history in histories(kind):
        young = np.zeros_like(history[0].mask)
        for before, after in itertools.pairwise(history):
            gone, new = before.mask & ~after.mask, after.mask & ~before.mask
            assert not any(values[~after.mask | new].any() for values in after.values.values())
            lost, grown = lost + int(np.count_nonzero(before.values["held"][gone])), grown + int(new.sum())
            young = (young | new) & after.mask
            if after.call == "end_task":
                held += int(np.count_nonzero(after.values["held"][young]))
                young[:] = False
            assert not after.values["held"][young].any()
            assert not after.values["anchor"][young].any()
    assert min(lost, grown, held) > 100


# ---- what it needs


def test_room_is_anchors_and_holds_and_no_buffer() -> None:
    net = network("mlp")
    plain, roomy = plan(net, Room()), plan(net, ROOM)
    slots = sum(net.weights[node.name].slots for node in net.trainable())
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == 6 * slots
    largest = max(net.weights[node.name].slots for node in net.trainable())
    assert roomy.arena_bytes <= plain.arena_bytes + 4 * (largest + 48)
    assert model_hash(net, ROOM) != model_hash(net, Room())


def test_a_plan_has_room_for_anchors_and_holds_of_every_block_there_may_be() -> None:
    net = network("mlp")
    plain, roomy = plan(net, dataclasses.replace(MOVING, ewc=False)), plan(net, MOVING)
    slots = [room_for(net, node, MOVING) for node in net.trainable()]
    assert sum(slots) > sum(net.weights[node.name].slots for node in net.trainable())
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == 6 * sum(slots)
    assert max(b.bytes for b in roomy.arena if b.name.endswith("_sums")) == 4 * max(slots)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LearnerError, match=r"not by mini-batches of 4 steps; set batch = 1"):
        Room(ewc=True, batch=4)
    for moving in (Room(ewc=True, tdm=True), Room(ewc=True, dgm=True, slice=64)):
        with pytest.raises(LearnerError, match=r"gRDA .* masks that stay"):
            dataclasses.replace(moving, prune=1, prune_mu=1)
        with pytest.raises(LearnerError, match=r"LightCL needs masks that stay"):
            dataclasses.replace(moving, replay=4, logits=True, light_keep=1, light_most=1)
    with pytest.raises(LearnerError, match="generated without room for EWC"):
        SimulatedLearner(network("mlp"), Room()).reset(SETTINGS)
    program = Program(network("mlp"), tmp_path, replay=4)
    program.refused(Status.ROOM)
    program.reset(SETTINGS)
    program.run()


def test_an_experiment_asks_for_it_by_name() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n[learn]\nmethod = "ewc"\n'
    assert prepare.room(config.parse(text, Path("x.toml")), network("mlp")) == ROOM
    masks = '[tdm]\nimportance = "paper"\n[dgm]\nsparsity = 0.9\n[ddr]\nfraction = 0.2\nsamples = 80\n'
    room = prepare.room(config.parse(text + "[network]\ndensity = 0.25\n" + masks, Path("x.toml")), network("mlp"))
    assert (room.ewc, room.replay, room.tdm, room.dgm, room.ddr) == (True, 0, True, True, 80)
    with pytest.raises(config.ConfigError, match='"ewc" replays nothing'):
        prepare.room(config.parse(text + 'replay_at = "border"\n', Path("x.toml")), network("mlp"))

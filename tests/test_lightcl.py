"""LightCL in integers: what is anchored and kept, that it holds, and that C, NumPy and the float twin agree."""

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
from sparcl_mcu.learners import lightcl
from sparcl_mcu.learners.base import Learner, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.learners.step import Lesson
from sparcl_mcu.link.messages import Status
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools import state_block
from sparcl_tools.generate import GenerateError, generate, model_hash
from sparcl_tools.plan import plan

ANCHORS, SAMPLES, EPOCHS = 5, 20, 2
ROOM = Room(replay=ANCHORS, logits=True, light_keep=16384, light_most=26214)
LATENT = dataclasses.replace(ROOM, latent=True)
SETTINGS = LearnSettings(seed=3, lr_exponent=-6, replay=Replay.LIGHTCL, alpha_shift=3)
CASES = {
    "mlp": (lambda: random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=Block(1, 4)), ROOM),
    "mini-batch": (
        lambda: random_network(3, sizes=(24, 16, 6), density=1.0),
        dataclasses.replace(ROOM, batch=4, ddr=SAMPLES),
    ),
    "every operator": (lambda: random_graph_network(every_operator(), 3), ROOM),
    "frozen below": (lambda: random_graph_network(every_operator(("stem", "conv1", "conv2")), 3), ROOM),
    "frozen between": (lambda: random_graph_network(every_operator(("conv1", "depthwise")), 3), ROOM),
    "latents": (lambda: random_graph_network(every_operator(("stem", "conv1", "conv2")), 3), LATENT),
    "ds_cnn": (lambda: random_graph_network(design.ds_cnn((9, 7), 4, density=0.25, block=Block(4, 1)), 3), ROOM),
}


@cache
def network(name: str) -> Network:
    return CASES[name][0]()


def room(name: str) -> Room:
    return CASES[name][1]


def settings(name: str) -> LearnSettings:
    return dataclasses.replace(SETTINGS, **{"ddr_fraction": 20000, "anneal": 1} if room(name).ddr else {})


def tasks(name: str, count: int = 3) -> list[tuple[TaskInfo, NDArray[np.int8], NDArray[np.uint8]]]:
    found = []
    for task in range(count):
        x, y = random_samples(network(name), SAMPLES, seed=task)
        classes = (2 * (task % 2), 2 * (task % 2) + 1)
        found.append((TaskInfo(classes, SAMPLES, 3), x, np.array(classes, np.uint8)[y % 2]))
    return found


def teach(learner: Learner, name: str) -> list[int | None]:
    """Samples remembered, three tasks; the state hash after every epoch and task."""
    hashes = []
    learner.reset(settings(name))
    x, y = random_samples(network(name), 4, seed=9)
    learner.remember(x, y)
    for task, x, y in tasks(name):
        learner.begin_task(task)
        for _ in range(3):
            wanted = np.flatnonzero(learner.wanted())
            learner.observe(x[wanted], y[wanted], wanted)
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
        hashes.append(learner.state_hash())
    return hashes


@cache
def expected(name: str) -> tuple[SimulatedLearner, list[int | None]]:
    learner = SimulatedLearner(network(name), room(name))
    return learner, teach(learner, name)


# ---- what is computed


def test_the_most_active_channels_are_kept_while_there_is_room() -> None:
    kept = np.zeros(6, np.bool_)
    lightcl.keep(kept, np.array([3, 9, 0, 9, 4, 0]), take=2, most=4)
    assert kept.tolist() == [False, True, False, True, False, False]
    lightcl.keep(kept, np.array([3, 9, 0, 1, 4, 0]), take=4, most=3)  # 1 and 3 are kept; room for one: the 4th
    assert kept.tolist() == [False, True, False, True, True, False]
    nothing = np.zeros(6, np.bool_)
    lightcl.keep(nothing, np.zeros(6), take=2, most=4)
    assert not nothing.any(), "a channel without activity"


def test_nothing_is_held_in_the_first_task_and_the_first_samples_of_others_are_anchored_not_learnt() -> None:
    learner = SimulatedLearner(network("mlp"), ROOM)
    learner.reset(SETTINGS)
    (task, x, y), (task2, x2, y2) = tasks("mlp", 2)
    learner.begin_task(task)
    learner.observe(x, y)
    assert learner.replay.anchored == 0
    assert not learner.replay.x.any()
    assert not any(a.activity.any() for a in learner.anchors.values()), "not yet the last epoch"
    learner.end_epoch()
    learner.end_epoch()
    learner.observe(x, y)
    activity = {name: a.activity.copy() for name, a in learner.anchors.items()}
    assert all(a.any() for a in activity.values())
    learner.end_task()
    learner.begin_task(task2)
    before = {name: layer.masters.copy() for name, layer in learner.layers.items()}
    skipped = learner.stats()["skipped"]
    learner.observe(x2[:ANCHORS], y2[:ANCHORS])
    assert learner.stats()["skipped"] - skipped == ANCHORS
    for name, anchors in learner.anchors.items():
        assert set(np.flatnonzero(anchors.kept)) == set(np.argsort(-activity[name], kind="stable")[: anchors.take])
        assert not anchors.activity.any()
    assert np.array_equal(learner.replay.x, x2[:ANCHORS])
    assert all(np.array_equal(before[name], layer.masters) for name, layer in learner.layers.items())
    learner.observe(x2[ANCHORS:], y2[ANCHORS:])
    assert learner.moved() > 0.2
    assert np.array_equal(learner.replay.x, x2[:ANCHORS])


def test_maps_and_logits_stay_nearer_to_their_anchors_the_heavier_the_term() -> None:
    """The distance of maps after a task, without a hold and with two."""
    far = []
    for alpha_shift in (15, 4, 2):
        learner = SimulatedLearner(network("mlp"), ROOM)
        learner.reset(dataclasses.replace(SETTINGS, alpha_shift=alpha_shift))
        for task, x, y in tasks("mlp", 2):
            learner.begin_task(dataclasses.replace(task, epochs=1))
            learner.observe(x, y)
            learner.observe(x, y)
            if learner.tasks_begun == 1:
                learner.end_task()
        distance = 0.0
        for slot in range(ANCHORS):
            z, trace = learner._forward(learner.replay.x[slot])
            distance += float(np.square(z - learner.replay.logits[slot]).sum())
            for name, anchors in learner.anchors.items():
                distance += float(np.square(anchors.error(slot, trace.maps[name], learner._exponent(name))).sum())
        far.append(distance)
    assert far[2] < 0.7 * far[1] < 0.6 * far[0]


@pytest.mark.parametrize("name", ["mlp", "every operator"])
def test_the_error_is_the_gradient_of_the_squared_distance(name: str) -> None:
    """One pass of an anchor whose maps are taken away, against the twin's autograd."""
    net = network(name)
    simulated, twin = SimulatedLearner(net, ROOM), FloatTwin(net, ROOM)
    x, y = random_samples(net, 10 + ANCHORS, seed=1)
    for learner in (simulated, twin):
        learner.reset(dataclasses.replace(SETTINGS, lr_exponent=-7, alpha_shift=2))
        learner.remember(x[:10], y[:10])
        learner.begin_task(TaskInfo(tuple(range(net.classes)), 40, 1))
        learner.observe(x[10:], y[10:])
    for name, anchors in simulated.anchors.items():
        held = twin._anchors[name]
        held.kept[:] = anchors.kept  # each decides on its own: what is close may part
        held.maps = {slot: 0 * values for slot, values in held.maps.items()}
        anchors.maps[:] = 0
    for learner in (simulated, twin):
        before = learner.stats()["backward_passes"]
        learner.replay.logits[:, 0] += 1  # or there would be no pass
        learner._pass(learner._second_lessons(Lesson(x[0], 0))[0])
        assert learner.stats()["backward_passes"] == before + 1
    for node in lightcl.anchored(net):
        layer, tensors = simulated.layers[node.name], twin._layers[node.name]
        start, unit = layer.start.masters.astype(np.int64), 2.0 ** (layer.start.exponents.astype(np.float64) - 8)
        ours = (layer.masters - start) * unit[:, None]
        theirs = tensors.weight.detach().numpy() - (start - 128) * unit[:, None]
        theirs[~layer.start.mask] = 0
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97, node.name
        assert np.abs(ours).sum() == pytest.approx(np.abs(theirs).sum(), rel=0.1), node.name


def test_without_lightcl_it_is_a_reservoir_though_there_is_room() -> None:
    roomy, plain = SimulatedLearner(network("mlp"), ROOM), SimulatedLearner(network("mlp"), Room(ANCHORS, logits=True))
    for learner in (roomy, plain):
        learner.reset(dataclasses.replace(SETTINGS, replay=Replay.DERPP))
        for task, x, y in tasks("mlp"):
            learner.begin_task(task)
            learner.observe(x, y)
            learner.end_task()
    assert not any(a.kept.any() or a.activity.any() for a in roomy.anchors.values())
    for name, layer in plain.layers.items():
        assert np.array_equal(layer.masters, roomy.layers[name].masters)
    assert np.array_equal(plain.replay.x, roomy.replay.x)


# ---- C


def run_c(program: Program, name: str, wanted: list[list[int]]) -> None:
    program.reset(settings(name))
    x, y = random_samples(network(name), 4, seed=9)
    program.remember(x, y)
    epochs = iter(wanted)
    for task, x, y in tasks(name):
        program.begin_task(task)
        for _ in range(3):
            numbers = next(epochs)
            program.observe(x[numbers], y[numbers], numbers)
            program.end_epoch()
            program.hash()
        program.end_task()
        program.hash()
    program.counters()
    program.save()


def offered(name: str) -> list[list[int]]:
    """The numbers of the samples that are offered in every epoch: DDR removes some."""
    learner, found = SimulatedLearner(network(name), room(name)), []
    learner.reset(settings(name))
    learner.remember(*random_samples(network(name), 4, seed=9))
    for task, x, y in tasks(name):
        learner.begin_task(task)
        for _ in range(3):
            wanted = np.flatnonzero(learner.wanted())
            found.append([int(n) for n in wanted])
            learner.observe(x[wanted], y[wanted], wanted)
            learner.end_epoch()
        learner.end_task()
    return found


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    program = Program(network(name), tmp_path, room=room(name))
    run_c(program, name, offered(name))
    learner, want = expected(name)
    again = assert_learnt_the_same(program.run(), learner, want, network(name), room(name))
    task, x, y = tasks(name)[0]
    for other in (again, learner):  # goes on alike
        other.begin_task(task)
        other.observe(x[:9], y[:9], np.arange(9))
    assert again.state_hash() == learner.state_hash()
    expected.cache_clear()


def test_equally_active_channels_are_kept_from_the_first_on(tmp_path: Path) -> None:
    name = "mlp"
    program = Program(network(name), tmp_path, room=ROOM)
    program.reset(SETTINGS)
    program.save()
    block = bytearray.fromhex(program.run()[0])
    field = next(f for f in plan(network(name), ROOM).state if f.name == "fc1_activity")
    block[field.offset : field.offset + field.bytes] = b"\x07\0\0\0" * (field.bytes // 4)
    learner = state_block.load(network(name), ROOM, bytes(block))
    task, x, y = tasks(name)[0]
    learner.begin_task(task)
    learner.observe(x[:1], y[:1])
    program.load(bytes(block))
    program.begin_task(task)
    program.observe(x[:1], y[:1])
    program.hash()
    assert program.run() == [f"{learner.state_hash():08x}"]
    assert np.flatnonzero(learner.anchors["fc1"].kept).tolist() == list(range(learner.anchors["fc1"].take))


@pytest.mark.parametrize("board", BOARDS)
def test_training_is_equal_on_every_core(board: str, tmp_path: Path) -> None:
    name = "latents"
    program, _ = firmware(board, network(name), tmp_path, room=room(name), whole_memory=True)
    with taught(board, program, network(name), room=room(name)) as learner:
        assert teach(learner, name) == expected(name)[1]


def test_a_state_with_impossible_anchors_is_not_admitted(tmp_path: Path) -> None:
    name = "mlp"
    program = Program(network(name), tmp_path, room=ROOM)
    program.reset(SETTINGS)
    for task, x, y in tasks(name, 2):
        program.begin_task(task)
        program.observe(x, y)
        program.end_task()
    program.save()
    program.held(2)
    program.held(3)
    saved, *held = program.run()
    assert sum(map(int, held)) == ANCHORS
    sound = bytes.fromhex(saved)
    fields = {field.name: field.offset for field in plan(network(name), ROOM).state}
    anchored = state_block.HEAD.size - 3  # scl_state.anchored
    assert sound[anchored] == ANCHORS
    program.load(sound)
    program.admit()
    for place, value in (
        (fields["fc1_kept"], b"\xff\xff"),  # more channels than there is room for
        (fields["fc1_map_e"], b"\x10\x00"),  # an exponent above the layer's
        (anchored, bytes([ANCHORS + 1])),
    ):
        block = bytearray(sound)
        block[place : place + len(value)] = value
        with pytest.raises(state_block.StateError, match=r"fc1 keeps more than|6 anchors where 5 fit"):
            state_block.load(network(name), ROOM, bytes(block))
        program.load(bytes(block))
        program.refused(Status.STATE)
        program.admit()
    program.run()


# ---- what it needs


def test_room_is_anchors_of_the_channels_kept() -> None:
    net = network("every operator")
    plain, roomy = plan(net, Room(ANCHORS, logits=True)), plan(net, ROOM)
    more = 0
    for node in lightcl.anchored(net):
        height, width, channels = net.graph.shapes[node.name]
        most = max(1, round(channels * ROOM.light_most / 65536))
        more += ANCHORS * (most * height * width + 2) + 4 * channels + -(-channels // 8)
    assert sum(f.bytes for f in roomy.state) - sum(f.bytes for f in plain.state) == more
    assert roomy.replay_bytes == plain.replay_bytes
    assert model_hash(net, ROOM) != model_hash(net, dataclasses.replace(ROOM, light_keep=0, light_most=0))
    assert model_hash(net, ROOM) != model_hash(net, dataclasses.replace(ROOM, light_keep=9000))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    for more, why in (
        ({"tdm": True}, "needs masks that stay"),
        ({"dgm": True, "slice": 64}, "needs masks that stay"),
        ({"ewc": True}, "room for it alone"),
        ({"replay": 256}, "1 .. 255 anchors with their logits, not 256"),
        ({"logits": False}, "1 .. 255 anchors with their logits"),
        ({"light_most": 9000}, "set .lightcl. keep and most"),
    ):
        with pytest.raises(LearnerError, match=why):
            dataclasses.replace(ROOM, **more)
    with pytest.raises(LearnerError, match="generated without room for LightCL"):
        SimulatedLearner(network("mlp"), Room(4, logits=True)).reset(SETTINGS)
    head = random_graph_network(design.freeze_until(design.mlp((8,), 4, (8,), 1.0, Block(1, 1)), "fc2"), 0)
    with pytest.raises(GenerateError, match="below the last one"):
        generate(head, tmp_path, room=ROOM, settings=LearnSettings())
    program = Program(network("mlp"), tmp_path, room=Room(4, logits=True))
    program.refused(Status.ROOM)
    program.reset(SETTINGS)
    program.run()


def test_a_task_of_which_every_sample_would_be_an_anchor_is_refused(tmp_path: Path) -> None:
    name = "mlp"
    learner, program = SimulatedLearner(network(name), ROOM), Program(network(name), tmp_path, room=ROOM)
    learner.reset(SETTINGS)
    program.reset(SETTINGS)
    for samples, epochs in ((ANCHORS, 1), (1, ANCHORS), (2, 2)):
        task = TaskInfo((0, 1), samples, epochs)
        with pytest.raises(LearnerError, match="LightCL would make all of them anchors, of which it has 5"):
            learner.begin_task(task)
        program.refused(Status.SCHEDULE)
        program.begin_task(task)
    for samples, epochs in ((ANCHORS + 1, 1), (0, 0)):
        learner.begin_task(TaskInfo((0, 1), samples, epochs))
        learner.end_task()
        program.begin_task(TaskInfo((0, 1), samples, epochs))
        program.end_task()
    program.run()


def test_an_experiment_asks_for_it_by_name() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n[learn]\nmethod = "lightcl"\nreplay = 15\n'
    wanted = config.parse(text, Path("x.toml"))
    room = prepare.room(wanted, network("mlp"))
    assert room == Room(15, logits=True, light_keep=9830, light_most=19661)
    assert prepare.learn_settings(wanted).replay is Replay.LIGHTCL
    head = random_graph_network(design.freeze_until(design.mlp((8,), 4, (8,), 1.0, Block(1, 1)), "fc2"), 0)
    with pytest.raises(config.ConfigError, match="freeze until an earlier layer"):
        prepare.room(wanted, head)
    plain = text.replace("lightcl", "er")
    more = config.parse(plain + "[lightcl]\nkeep = 0.2\n", Path("x.toml"))
    assert config.parse(plain, Path("x.toml")).hash != more.hash

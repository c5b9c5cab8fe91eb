"""Latent replay: the buffer holds activations of the frozen border, and what is learnt is the same as from inputs."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors import BOARDS, firmware, taught
from helpers import PERCENT, SPARCL, every_operator, random_graph_network, random_samples
from native import Program
from sparcl_mcu import config, design, prepare
from sparcl_mcu.graph import INPUT, Graph, GraphError, Node, Window, size
from sparcl_mcu.learners.base import Importance, Learner, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.float_twin import FloatTwin
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools import state_block
from sparcl_tools.generate import GenerateError, generate, model_hash
from sparcl_tools.plan import plan

SAMPLES, EPOCHS = 20, 3
ROOM = Room(replay=12, logits=True, tdm=True, inter=8 * PERCENT, dgm=True, slice=2048, ddr=SAMPLES, latent=True)
PLAIN = Room(replay=12, logits=True, latent=True)


@dataclasses.dataclass(frozen=True)
class Case:
    graph: Graph
    border: str
    settings: LearnSettings
    room: Room = PLAIN


DERPP = LearnSettings(seed=3, lr_exponent=-6, replay=Replay.DERPP)
LENET = design.lenet((8, 8), 4, density=0.5, block=Block(1, 4))
CASES = {
    "er, pool below a dense layer": Case(design.freeze_until(LENET, "fc1"), "pool2", LearnSettings(3, 1, -6)),
    "der++, pooled features": Case(design.freeze_until(design.ds_cnn((9, 7), 4), "head"), "pool", DERPP),
    "repeat, margin": Case(
        design.freeze_until(LENET, "conv2"), "pool1", LearnSettings(3, 1, -6, Replay.REPEAT, margin=40)
    ),
    "mini-batches": Case(
        design.freeze_until(LENET, "head"), "fc1", LearnSettings(3, 1, -6), Room(replay=12, batch=4, latent=True)
    ),
    "sparcl, two layers read a sum": Case(
        every_operator(("stem", "conv1", "conv2")), "add1", dataclasses.replace(SPARCL, ddr_fraction=15000), ROOM
    ),
    "released": Case(
        every_operator(("stem", "conv1", "conv2")),
        "add1",
        dataclasses.replace(SPARCL, importance=Importance.RELEASED, replay=Replay.ER, margin=30),
        ROOM,
    ),
}


@cache
def network(name: str) -> Network:
    return random_graph_network(CASES[name].graph, 3)


def at_input(room: Room) -> Room:
    return dataclasses.replace(room, latent=False)


def tasks(name: str) -> list[tuple[TaskInfo, NDArray[np.int8], NDArray[np.uint8]]]:
    found = []
    for task in range(2):
        x, y = random_samples(network(name), SAMPLES, seed=task)
        classes = (2 * task, 2 * task + 1)
        found.append((TaskInfo(classes, SAMPLES, EPOCHS), x, np.array(classes, np.uint8)[y % 2]))
    return found


def teach(learner: Learner, name: str) -> list[int | None]:
    """Samples remembered, then two tasks; the state hash after every epoch, then the classes of some samples."""
    hashes: list[int | None] = []
    learner.reset(CASES[name].settings)
    learner.remember(*random_samples(network(name), 5, seed=99))
    for task, x, y in tasks(name):
        learner.begin_task(task)
        for _ in range(EPOCHS):
            wanted = np.flatnonzero(learner.wanted())
            learner.observe(x[wanted], y[wanted], wanted)
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
    return [*hashes, *learner.predict(tasks(name)[0][1][:5]).tolist()]


@cache
def expected(name: str) -> tuple[SimulatedLearner, list[int | None]]:
    learner = SimulatedLearner(network(name), CASES[name].room)
    return learner, teach(learner, name)


@pytest.mark.parametrize("name", CASES)
def test_what_is_learnt_is_that_of_input_replay(name: str) -> None:
    """The hash of layers and exponents (parts 1 and 2 of the state hash) and all counters but that of frozen work."""
    learner, hashes = expected(name)
    other = SimulatedLearner(network(name), at_input(CASES[name].room))
    others = teach(other, name)
    assert learner.moved() > 0.2
    assert learner.learnt_hash() == other.learnt_hash()
    assert hashes[-5:] == others[-5:]
    assert hashes[0] != others[0], "the buffers hold something else"
    ours, theirs = learner.stats(), other.stats()
    passes = theirs["training_passes"] - theirs["steps"]
    assert passes > 0
    assert theirs["macs_forward"] - ours["macs_forward"] == passes * learner.macs_below
    saved = ours.pop("macs_importance"), theirs.pop("macs_importance")
    assert saved[0] < saved[1] if learner.settings.sweeps else saved == (0, 0)
    assert {**ours, "macs_forward": 0} == {**theirs, "macs_forward": 0}


@pytest.mark.parametrize("name", CASES)
def test_latents_are_the_border_of_what_was_offered(name: str) -> None:
    learner, _ = expected(name)
    assert learner.entry == CASES[name].border
    x = np.concatenate([random_samples(network(name), 5, seed=99)[0], *(x for _, x, _ in tasks(name))])
    offered = {learner._enter(sample).tobytes() for sample in x}
    assert len(offered) > 30
    assert {row.tobytes() for row in learner.replay.x} <= offered


@pytest.mark.parametrize("name", CASES)
def test_c_equals_numpy(name: str, tmp_path: Path) -> None:
    """Under sanitizers, with all counters."""
    case = CASES[name]
    program = Program(network(name), tmp_path, room=case.room)
    learner = SimulatedLearner(network(name), case.room)
    want = []
    program.reset(case.settings)
    learner.reset(case.settings)
    for device in (learner, program):
        device.remember(*random_samples(network(name), 5, seed=99))
    for task, x, y in tasks(name):
        for device in (learner, program):
            device.begin_task(task)
        for _ in range(EPOCHS):
            wanted = np.flatnonzero(learner.wanted())
            for device in (learner, program):
                device.observe(x[wanted], y[wanted], wanted)
                device.end_epoch()
            program.hash()
            want.append(f"{learner.state_hash():08x}")
        for device in (learner, program):
            device.end_task()
        program.predict(x[:5])
        want += [str(c) for c in learner.predict(x[:5])]
    program.counters()
    *got, counters = program.run()
    assert got == want
    told = dict(pair.split("=") for pair in counters.split())
    for counter, value in learner.stats().items():
        assert int(told[counter]) == value, counter


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", ["der++, pooled features", "sparcl, two layers read a sum"])
def test_training_is_equal_on_every_core(name: str, board: str, tmp_path: Path) -> None:
    room = CASES[name].room
    program, memory = firmware(board, network(name), tmp_path, room=room, whole_memory=True)
    with taught(board, program, network(name), room=room) as learner:
        assert teach(learner, name) == expected(name)[1]
    held = size(network(name).graph.shapes[CASES[name].border])
    assert next(f.bytes for f in memory.state if f.name == "replay_x") == room.replay * held


@pytest.mark.parametrize("name", CASES)
def test_the_float_twin_learns_the_same_from_latents(name: str) -> None:
    """It keeps float32 activations, which are not rounded."""
    latent, plain = (FloatTwin(network(name), room) for room in (CASES[name].room, at_input(CASES[name].room)))
    assert teach(latent, name)[-5:] == teach(plain, name)[-5:]
    for layer in network(name).trainable():
        ours, theirs = (twin._layers[layer.name].weight.detach().numpy() for twin in (latent, plain))
        assert np.allclose(ours, theirs, atol=1e-4)


def test_a_latent_is_kept_alive_to_the_end_of_the_step() -> None:
    """The passes of replayed samples run over the same arena before the new sample's latent is kept."""
    for name, case in CASES.items():
        memory = plan(network(name), case.room)
        held = next(b for b in memory.arena if b.name == f"{case.border}_q")
        assert held.last == len(memory.steps) - 1


# ---- what is refused

RESNET = design.resnet8((8, 8, 3), 4)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (RESNET, "no layer is frozen below those that learn"),
        (
            design.freeze_until(RESNET, "stage3_conv2"),
            "reach the others through stage2 and stage3_conv1; activations can be replayed at one tensor only",
        ),
    ],
)
def test_a_network_without_one_border_is_refused(graph: Graph, message: str, tmp_path: Path) -> None:
    network = random_graph_network(graph, 0)
    for make in (SimulatedLearner, lambda net, room: generate(net, tmp_path, room=room, settings=LearnSettings())):
        with pytest.raises(GraphError, match=message):
            make(network, Room(replay=4, latent=True))


def test_latents_need_a_buffer_and_no_more_values_than_the_board_can_count(tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="it holds 0 samples"):
        generate(network("mini-batches"), tmp_path, room=Room(latent=True), settings=LearnSettings())
    stem = Node("stem", "conv2d", (INPUT,), 17, Window((1, 1)), frozen=True)
    conv = Node("conv", "conv2d", ("stem",), 2, Window((1, 1), (4, 4)))
    wide = random_graph_network(Graph((64, 64, 1), (stem, conv, Node("head", "dense", ("conv",), 2))), 0)
    generate(wide, tmp_path, room=Room(replay=1), settings=LearnSettings())
    with pytest.raises(GenerateError, match="a latent has 69632 values, 65535 are possible"):
        generate(wide, tmp_path, room=Room(replay=1, latent=True), settings=LearnSettings())


def test_an_experiment_asks_for_them_by_name() -> None:
    text = 'name = "x"\n[data]\nsource = "digits"\n[learn]\nreplay = 7\nreplay_at = "border"\n'
    wanted = config.parse(text, Path("x.toml"))
    assert prepare.room(wanted, network("mini-batches")) == Room(replay=7, latent=True)
    with pytest.raises(config.ConfigError, match=r'\[learn\] replay_at = "border": no layer is frozen below'):
        prepare.room(wanted, random_graph_network(LENET, 0))


def test_model_hash_is_as_it_was_where_inputs_are_replayed() -> None:
    net = network("mini-batches")
    before = zlib.crc32(struct.pack("<9I", net.fingerprint, 4, 1, 0, 0, 0, 0, 0, 0))
    assert model_hash(net, Room(replay=4)) == before
    assert model_hash(net, Room(replay=4, latent=True)) != before


def test_a_state_block_with_latents_is_read_back(tmp_path: Path) -> None:
    name = "der++, pooled features"
    program = Program(network(name), tmp_path, room=CASES[name].room)
    program.reset(CASES[name].settings)
    program.remember(*random_samples(network(name), 30, seed=99))
    program.hash()
    program.save()
    told, block = program.run()
    learner = state_block.load(network(name), CASES[name].room, bytes.fromhex(block))
    assert f"{learner.state_hash():08x}" == told
    assert learner.replay.x.any()

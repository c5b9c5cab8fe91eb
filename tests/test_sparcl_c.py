"""SparCL on the device, in C under sanitizers, against NumPy: the same state after every event."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from helpers import SPARCL, SPARCL_ROOM, every_operator, random_graph_network, random_network, random_samples
from native import Program
from sparcl_mcu.design import cnn_s, ds_cnn
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import BLOCKS, Block

WHOLE = dataclasses.replace(SPARCL, ddr_fraction=15000)
SAMPLES, EPOCHS = 40, 3

CASES = {
    "all of it": WHOLE,
    "released": dataclasses.replace(WHOLE, importance=Importance.RELEASED, single_head_loss=True),
    "magnitude": dataclasses.replace(WHOLE, importance=Importance.MAGNITUDE, dgm_share=0, replay=Replay.ER),
    "dgm alone": dataclasses.replace(WHOLE, importance=Importance.OFF, tdm_intra=0, tdm_inter=0, replay=Replay.DER),
    "repeat, within task": dataclasses.replace(WHOLE, replay=Replay.REPEAT, ddr_within_task=True, margin=20),
    "margin": dataclasses.replace(WHOLE, margin=40, ddr_fraction=0, seed=9),
}


def equal(
    network: Network, folder: Path, settings: LearnSettings, room: Room = SPARCL_ROOM, *, samples: int = SAMPLES
) -> None:
    """Two tasks; states are compared after every ten samples, which is finer than events, and after every epoch."""
    learner, program = SimulatedLearner(network, room), Program(network, folder, room=room)
    want: list[str] = []
    for device in (learner, program):
        device.reset(settings)
    x, y = random_samples(network, 12, seed=99)
    for device in (learner, program):
        device.remember(x, y)

    def compare() -> None:
        program.hash()
        want.append(f"{learner.state_hash():08x}")

    compare()
    for task in range(2):
        classes = (2 * task, 2 * task + 1)
        x, y = random_samples(network, samples, seed=task)
        y = np.array(classes, np.uint8)[y % 2]
        for device in (learner, program):
            device.begin_task(TaskInfo(classes, samples, EPOCHS))
        compare()
        for _ in range(EPOCHS):
            wanted = np.flatnonzero(learner.wanted())
            program.wanted(range(samples))
            want += [str(int(bit)) for bit in learner.wanted()]
            for part in range(0, len(wanted), 10):
                numbers = wanted[part : part + 10]
                for device in (learner, program):
                    device.observe(x[numbers], y[numbers], numbers)
                compare()
            for device in (learner, program):
                device.end_epoch()
            compare()
        for device in (learner, program):
            device.end_task()
            device.predict(x[:3], classes)
            device.predict(x[:3])
        want += [str(c) for c in (*learner.predict(x[:3], classes), *learner.predict(x[:3]))]
    for number, node in enumerate(network.weighted()):
        program.layer(number)
        sparse = learner.layers[node.name].sparse
        slots = network.weights[node.name].slots
        live = int(sparse.mask.sum()) if sparse else slots
        learns = 0 if node.frozen else int(sparse.learns.sum()) if sparse else slots
        terms = int(np.count_nonzero(sparse.terms[sparse.stored])) if sparse else 0
        want.append(f"{live} {learns} {terms} {network.weights[node.name].mask.size}")
    for label in range(network.classes):
        program.held(label)
        want.append(str(int((learner.replay.y[: learner.replay.filled] == label).sum())))
    assert learner.work["events"] == (20 if settings.masks_learn else 0)
    program.counters()
    *got, counters = program.run()
    assert got == want
    told = dict(pair.split("=") for pair in counters.split())
    for name, value in learner.stats().items():
        assert int(told[name]) == value, name
    assert int(told["updates_watched"]) > 0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_c_equals_numpy(name: str, block: Block, tmp_path: Path) -> None:
    equal(random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=block), tmp_path, CASES[name])


@pytest.mark.parametrize("name", ["all of it", "released"])
def test_wide_layers_with_two_bytes_an_index_entry(name: str, tmp_path: Path) -> None:
    equal(random_network(3, sizes=(300, 8, 6), density=0.1), tmp_path, CASES[name], SPARCL_ROOM)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: cnn_s((9, 8), 4, density=0.25, block=Block(1, 4)), id="cnn_s"),
        pytest.param(lambda: ds_cnn((9, 7), 4, density=0.25, block=Block(4, 1)), id="ds_cnn"),
        pytest.param(lambda: every_operator(), id="every operator"),
        pytest.param(lambda: every_operator(("stem", "conv1", "conv2")), id="frozen below"),
    ],
)
def test_convolutions(network: object, tmp_path: Path) -> None:
    room = dataclasses.replace(SPARCL_ROOM, slice=2048)
    equal(random_graph_network(network(), 3), tmp_path, WHOLE, room, samples=20)  # type: ignore[operator]

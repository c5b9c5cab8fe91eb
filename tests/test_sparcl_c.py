"""SparCL on the device, in C under sanitizers, against NumPy: the same state after every event."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import SPARCL, SPARCL_ROOM, every_operator, random_graph_network, random_network
from native import assert_equal_at_every_event
from sparcl_mcu.design import cnn_s, ds_cnn
from sparcl_mcu.graph import Graph
from sparcl_mcu.learners.base import Importance, Replay
from sparcl_mcu.sparsity import BLOCKS, Block

WHOLE = dataclasses.replace(SPARCL, ddr_fraction=15000)
CASES = {
    "all of it": WHOLE,
    "released": dataclasses.replace(WHOLE, importance=Importance.RELEASED, single_head_loss=True),
    "magnitude": dataclasses.replace(WHOLE, importance=Importance.MAGNITUDE, dgm_share=0, replay=Replay.ER),
    "dgm alone": dataclasses.replace(WHOLE, importance=Importance.OFF, tdm_intra=0, tdm_inter=0, replay=Replay.DER),
    "repeat, within task": dataclasses.replace(WHOLE, replay=Replay.REPEAT, ddr_within_task=True, margin=20),
    "annealed": dataclasses.replace(WHOLE, anneal=2, beta_shift=1),
    "margin": dataclasses.replace(WHOLE, margin=40, ddr_fraction=0, seed=9),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_c_equals_numpy(name: str, block: Block, tmp_path: Path) -> None:
    network = random_network(3, sizes=(48, 32, 16, 6), density=0.25, block=block)
    assert_equal_at_every_event(network, tmp_path, CASES[name], SPARCL_ROOM)


@pytest.mark.parametrize("name", ["all of it", "released"])
def test_wide_layers_with_two_bytes_an_index_entry(name: str, tmp_path: Path) -> None:
    assert_equal_at_every_event(random_network(3, sizes=(300, 8, 6), density=0.1), tmp_path, CASES[name], SPARCL_ROOM)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: cnn_s((9, 8), 4, density=0.25, block=Block(1, 4)), id="cnn_s"),
        pytest.param(lambda: ds_cnn((9, 7), 4, density=0.25, block=Block(4, 1)), id="ds_cnn"),
        pytest.param(lambda: every_operator(), id="every operator"),
        pytest.param(lambda: every_operator(("stem", "conv1", "conv2")), id="frozen below"),
    ],
)
def test_convolutions(network: Callable[[], Graph], tmp_path: Path) -> None:
    room = dataclasses.replace(SPARCL_ROOM, slice=2048)
    assert_equal_at_every_event(random_graph_network(network(), 3), tmp_path, WHOLE, room, samples=20)

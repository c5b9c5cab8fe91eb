"""The firmware itself over a bad line: same state as the simulated learner, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers import random_network, random_samples
from link_harness import Board, bad_line, native_firmware
from sparcl_mcu.learners.base import Importance, LearnerError, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_tools.generate import model_hash

ROOM = Room(replay=20, logits=True, tdm=True, inter=6554, dgm=True, slice=32, ddr=60)
NETWORK = random_network(1)


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    return native_firmware(NETWORK, tmp_path_factory.mktemp("firmware"), ROOM, "-DSCL_BUILD_ID=0xC0FFEEu")


def test_the_board_and_the_simulation_agree_whatever_the_line_does(firmware):
    board = Board(program=firmware)
    line = bad_line(board, seed=4, share=0.1)
    learner = BoardLearner(Client(line, timeout=0.8), NETWORK, expected_model_hash=model_hash(NETWORK, ROOM))
    assert learner.hello.build_id == 0xC0FFEE
    simulated = SimulatedLearner(NETWORK, ROOM)
    settings = LearnSettings(
        seed=9,
        lr_mantissa=3,
        lr_exponent=-8,
        replay=Replay.DERPP,
        importance=Importance.PAPER,
        tdm_intra=3000,
        tdm_inter=6000,
        dgm_share=40000,
        ddr_fraction=20000,
    )
    learner.reset(settings)
    simulated.reset(settings)
    for task in range(3):
        x, y = random_samples(NETWORK, 60, task)
        for either in (learner, simulated):
            either.begin_task(TaskInfo(tuple(range(NETWORK.classes)), 60, 3))
        for _ in range(3):
            numbers = np.flatnonzero(simulated.wanted())
            assert np.array_equal(learner.wanted(), simulated.wanted())
            for either in (learner, simulated):
                either.observe(x[numbers], y[numbers], numbers)
                either.end_epoch()
        for either in (learner, simulated):
            either.end_task()
        assert learner.state_hash() == simulated.state_hash()
        assert np.array_equal(learner.predict(x), simulated.predict(x))
        assert np.array_equal(learner.predict(x, (1, 3)), simulated.predict(x, (1, 3)))
    on_board, here = learner.stats(), simulated.stats()
    assert on_board["steps"] == simulated.step < 3 * 180, "some samples were removed"
    assert {name: on_board[name] for name in on_board.keys() & here.keys()} == here
    assert "instructions" not in on_board
    assert line.happened.total() > 10
    line.close()


def test_another_replay_capacity_is_another_model(firmware):
    board = Board(program=firmware)
    with pytest.raises(LearnerError, match="was built for model"):
        BoardLearner(
            Client(board, timeout=5),
            NETWORK,
            expected_model_hash=model_hash(NETWORK, dataclasses.replace(ROOM, replay=21)),
        )
    board.close()

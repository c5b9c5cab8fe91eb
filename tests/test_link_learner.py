"""BoardLearner: a board built for another network is refused; everything else goes through."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from helpers import random_network
from link_harness import ALL, CLASSES, Board, Record, classes_of, samples
from sparcl_mcu.learners.base import Learner, LearnerError, LearnSettings
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.messages import LINK_COUNTERS, Stats
from sparcl_mcu.network import Network

MODEL = 0x12345678


def network(inputs: int, classes: int) -> Network:
    return random_network(0, sizes=(inputs, classes), density=1.0)


@pytest.fixture
def board():
    board = Board(8, 8)
    yield board
    board.close()


def test_it_learns(board):
    learner: Learner = BoardLearner(Client(board, timeout=5), network(8, CLASSES), expected_model_hash=MODEL)
    x, y = samples(50, 8)
    learner.reset(LearnSettings(seed=3))
    learner.begin_task(ALL)
    learner.observe(x, y, np.arange(50))
    learner.end_task()
    assert np.array_equal(learner.predict(x[:20]), classes_of(x[:20]))
    record = Record()
    record.reset(LearnSettings(seed=3))
    record.begin_task()
    record.observe(x, y)
    record.end_task()
    assert learner.state_hash() == record.hash
    stats = learner.stats()
    assert (stats["steps"], stats["predictions"], stats["instructions"], stats["stack_bytes"]) == (50, 20, 7 * 52, 1234)
    assert {f"board_{name}" for name in LINK_COUNTERS} <= set(stats)
    assert stats["link_bytes"] == stats["link_bytes_sent"] + stats["link_bytes_received"] > 50 * 9
    assert all(isinstance(value, int) for value in stats.values())


def test_a_board_built_for_another_network_is_refused_with_both_hashes(board):
    with pytest.raises(LearnerError, match="for model 12345678, but network 'random0' is 0000beef; generate, build"):
        BoardLearner(Client(board, timeout=5), network(8, CLASSES), expected_model_hash=0xBEEF)


@pytest.mark.parametrize(("inputs", "classes"), [(9, CLASSES), (8, CLASSES - 1)])
def test_a_board_of_another_shape_is_refused(board, inputs, classes):
    with pytest.raises(LearnerError, match=rf"8 inputs and 10 classes, but 'random0' has {inputs} and {classes}"):
        BoardLearner(Client(board, timeout=5), network(inputs, classes), expected_model_hash=MODEL)


def test_what_a_board_cannot_measure_it_does_not_claim(board):
    learner = BoardLearner(Client(board, timeout=5), network(8, CLASSES), expected_model_hash=MODEL)
    values = asdict(learner._client.stats()) | {"steps": 5, "instructions": 0, "stack_bytes": 0}
    learner._client.stats = lambda: Stats(**values)
    assert not {"instructions", "stack_bytes"} & set(learner.stats())

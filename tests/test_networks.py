"""Whole networks, trained on every core: the state hash is NumPy's after every task.

Multilayer perceptron and LeNet learn 200 samples; the depthwise separable and the residual network 10, and 200 with
`-m slow`. Blocks, frozen layers and mini-batches are spread over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from executors import BOARDS, firmware, taught
from helpers import random_graph_network, random_samples, whole_task
from sparcl_mcu import design
from sparcl_mcu.graph import Graph
from sparcl_mcu.learners.base import Learner, LearnSettings, Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block

REPLAY = 8
SETTINGS = LearnSettings(seed=5, lr_exponent=-6)


@dataclass(frozen=True)
class Case:
    graph: Graph
    samples: int
    batch: int = 1
    digits: bool = False  # real data; otherwise learnable noise


CASES = {
    "mlp": Case(design.mlp((8, 8), 10, (64, 32), 0.25, Block(4, 1)), 200, digits=True),
    "mlp last layer": Case(  # neither 37 rows nor 37 inputs are whole groups of four
        design.freeze_until(design.mlp((8, 8), 10, (37, 18)), "fc3"), 200, digits=True
    ),
    "lenet": Case(design.lenet((8, 8), 10, density=0.5, block=Block(1, 4)), 200, batch=4, digits=True),
    "ds_cnn": Case(design.ds_cnn((49, 10), 12, density=0.25, block=Block(4, 1)), 10),
    "resnet8": Case(design.resnet8((32, 32, 3), 10, density=0.25, block=Block(1, 4)), 10),
    "resnet8 last stage": Case(
        design.freeze_until(design.resnet8((32, 32, 3), 10, density=0.25, block=Block(4, 1)), "stage3_conv1"), 10
    ),
}


@cache
def network(name: str) -> Network:
    return random_graph_network(CASES[name].graph, 0)


def samples(name: str, n: int) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    if not CASES[name].digits:
        return random_samples(network(name), n, seed=1)
    x, y = load_digits(return_X_y=True)
    return np.clip(x * 8 - 1, 0, 127).astype(np.int8)[:n], y.astype(np.uint8)[:n]


def teach(learner: Learner, name: str, n: int) -> list[int | None]:
    """Two tasks, the second with replay; the state hash after each, then the classes of some samples."""
    x, y = samples(name, n)
    hashes: list[int | None] = []
    learner.reset(SETTINGS)
    for part in np.split(np.arange(n), [3 * n // 5]):
        learner.begin_task(whole_task(network(name)))
        learner.observe(x[part], y[part])
        learner.end_task()
        hashes.append(learner.state_hash())
    return [*hashes, *learner.predict(x[:3]).tolist()]


@cache
def expected(name: str, n: int) -> list[int | None]:
    learner = SimulatedLearner(network(name), Room(replay=REPLAY, batch=CASES[name].batch))
    hashes = teach(learner, name, n)
    assert learner.moved() > 0.2
    return hashes


def equal_on(board: str, name: str, n: int, folder: Path) -> None:
    batch = CASES[name].batch
    program, _ = firmware(board, network(name), folder, room=Room(replay=REPLAY, batch=batch), whole_memory=True)
    with taught(board, program, network(name), room=Room(replay=REPLAY, batch=batch)) as learner:
        assert teach(learner, name, n) == expected(name, n)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", CASES)
def test_training_is_equal(name: str, board: str, tmp_path: Path) -> None:
    equal_on(board, name, CASES[name].samples, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", ["ds_cnn", "resnet8"])
def test_training_is_equal_for_200_samples(name: str, board: str, tmp_path: Path) -> None:
    equal_on(board, name, 200, tmp_path)

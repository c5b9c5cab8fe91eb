"""One learner everywhere: the state hash after every task is the same on every board as in NumPy.

Every board that runs here is found in firmware/boards: the native process and each emulated core. The firmware is
built by PlatformIO and taught over its serial byte stream, five tasks of real digits.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from helpers import random_network
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import Learner, LearnSettings, SecondPass
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools.build import build
from sparcl_tools.elf import sizes
from sparcl_tools.generate import generate, model_hash
from sparcl_tools.plan import MemoryPlan

REPLAY = 50
SETTINGS = LearnSettings(seed=11, lr_exponent=-5)
HERE = [facts for facts in catalogue.boards().values() if facts.reached != "serial"]
BOARDS = [pytest.param(f.name, marks=[pytest.mark.emulator] if f.reached == "qemu" else []) for f in HERE]


@cache
def network() -> Network:
    return random_network(0, sizes=(64, 64, 32, 10), density=0.25, block=Block(1, 1))


def teach(learner: Learner) -> list[int | None]:
    """Five tasks of two digits, one pass; the state hash after each, then one more for the control without replay."""
    x, y = load_digits(return_X_y=True)
    x = np.clip(x * 8 - 1, 0, 127).astype(np.int8)
    y = y.astype(np.uint8)
    hashes = []
    learner.reset(SETTINGS)
    for task in range(5):
        mine = np.flatnonzero(y // 2 == task)[:60]
        learner.begin_task()
        learner.observe(x[mine], y[mine])
        learner.end_task()
        hashes.append(learner.state_hash())
    hashes.append(int(np.bincount(learner.predict(x[:200]), minlength=10) @ 10 ** np.arange(10)))
    learner.reset(LearnSettings(2, 3, -8, SecondPass.REPEAT))
    for _ in range(2):
        learner.begin_task()
        learner.observe(x[:40], y[:40])
        learner.end_task()
    return [*hashes, learner.state_hash()]


@cache
def expected() -> list[int | None]:
    return teach(SimulatedLearner(network(), REPLAY))


def firmware(board: str, folder: Path) -> tuple[Path, MemoryPlan]:
    facts = catalogue.find(board)
    tools = [facts.emulator[0]] if facts.reached == "qemu" else []
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{missing[0]} is not installed (sparcl doctor says how to get it)")
    plan = generate(network(), folder / "model", replay_capacity=REPLAY, settings=SETTINGS)
    return build(board, folder / "model", build_dir=folder / "build"), plan


@pytest.mark.parametrize("board", BOARDS)
def test_state_hash_after_every_task(board: str, tmp_path: Path) -> None:
    program, plan = firmware(board, tmp_path)
    facts = catalogue.find(board)
    client = Client(open_board(facts, program), timeout=10.0)
    try:
        learner = BoardLearner(client, network(), expected_model_hash=model_hash(network(), REPLAY))
        assert teach(learner) == expected()
        stats = learner.stats()
    finally:
        client.close()
    assert stats["steps"] == 80
    if facts.counts_instructions:
        assert 10_000 < stats["instructions"] / stats["steps"] < 1_000_000
    if facts.reached == "qemu":
        assert 300 < stats["stack_bytes"] < facts.stack_bytes
        symbols = sizes(program).symbols
        assert symbols["scl_arena_memory"] == plan.arena_bytes
        assert symbols["scl_state_memory"] == plan.state_bytes


def test_every_listed_core_is_here() -> None:
    """The promise of the README: taking a board away must be noticed."""
    cores = {facts.core for facts in HERE}
    assert {"host", "Cortex-M0+", "Cortex-M3", "Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M55", "RV32IMC"} <= cores

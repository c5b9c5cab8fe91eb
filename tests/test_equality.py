"""One learner everywhere: the state hash after every task is the same on every board as in NumPy.

Every board that runs here is found in firmware/boards: the native process and each emulated core. The firmware is
built by PlatformIO and taught over its serial byte stream, five tasks of real digits.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from executors import BOARDS, HERE, firmware, taught
from helpers import random_network, whole_task
from programs import need
from sparcl_mcu.boards import catalogue
from sparcl_mcu.learners.base import Importance, Learner, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block
from sparcl_tools.elf import sizes

ROOM = Room(replay=50, logits=True, tdm=True, inter=6554, dgm=True, slice=512, ddr=40)
SETTINGS = LearnSettings(seed=11, lr_exponent=-5)
SPARCL = LearnSettings(
    seed=5,
    replay=Replay.DERPP,
    importance=Importance.PAPER,
    tdm_intra=3277,
    tdm_inter=6554,
    dgm_share=45000,
    ddr_fraction=20000,
    single_head_loss=True,
    margin=60,
)


@cache
def network() -> Network:
    return random_network(0, sizes=(64, 64, 32, 10), density=0.25, block=Block(4, 1))


def teach(learner: Learner) -> list[int | None]:
    """Five tasks of two digits, one pass; the state hash after each, then one for the control without replay, then for
    five tasks with all of SparCL-DER++, so often that one stands behind every event."""
    x, y = load_digits(return_X_y=True)
    x = np.clip(x * 8 - 1, 0, 127).astype(np.int8)
    y = y.astype(np.uint8)
    hashes = []
    learner.reset(SETTINGS)
    for task in range(5):
        mine = np.flatnonzero(y // 2 == task)[:60]
        learner.begin_task(whole_task(network()))
        learner.observe(x[mine], y[mine])
        learner.end_task()
        hashes.append(learner.state_hash())
    hashes.append(int(np.bincount(learner.predict(x[:200]), minlength=10) @ 10 ** np.arange(10)))
    learner.reset(LearnSettings(2, 3, -8, Replay.REPEAT))
    for _ in range(2):
        learner.begin_task(whole_task(network()))
        learner.observe(x[:40], y[:40])
        learner.end_task()
    hashes.append(learner.state_hash())
    learner.reset(SPARCL)
    for task in range(5):
        mine = np.flatnonzero(y // 2 == task)[:40]
        learner.begin_task(TaskInfo((2 * task, 2 * task + 1), 40, 3))
        hashes.append(learner.state_hash())
        for _ in range(3):
            for numbers in np.array_split(np.flatnonzero(learner.wanted()), 10):  # events: 10 a task, 3 epochs
                learner.observe(x[mine[numbers]], y[mine[numbers]], numbers)
                hashes.append(learner.state_hash())
            learner.end_epoch()
            hashes.append(learner.state_hash())
        learner.end_task()
    return hashes


@cache
def expected() -> list[int | None]:
    return teach(SimulatedLearner(network(), ROOM))


def learnt(board: str, program: Path) -> dict[str, int]:
    """Teach a board; its state is NumPy's throughout. Returns its counters."""
    with taught(board, program, network(), room=ROOM) as learner:
        assert teach(learner) == expected()
        return learner.stats()


@pytest.mark.parametrize("board", BOARDS)
def test_state_hash_after_every_task(board: str, tmp_path: Path) -> None:
    program, plan = firmware(board, network(), tmp_path, room=ROOM)
    facts = catalogue.find(board)
    stats = learnt(board, program)
    assert stats["steps"] == 5 * (3 * 40 - 2 * 12), "after the first epoch 12 of 40 samples are removed"
    if facts.counts_instructions:
        assert 10_000 < stats["instructions"] / stats["steps"] < 1_000_000
    if facts.reached == "qemu":
        assert 300 < stats["stack_bytes"] < facts.stack_bytes
        symbols = sizes(program).symbols
        assert symbols["scl_arena_memory"] == plan.arena_bytes
        assert symbols["scl_state_memory"] == plan.state_bytes


@pytest.mark.emulator
def test_code_with_vector_instructions_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler uses the vectors of the Cortex-M55 from -O3 on, on a core that has to have turned them on."""
    need("arm-none-eabi-objdump")
    monkeypatch.setenv("PLATFORMIO_BUILD_FLAGS", "-O3")
    program, _ = firmware("qemu_m55", network(), tmp_path, room=ROOM)
    code = subprocess.run(["arm-none-eabi-objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\tv\w+\.[isu](8|16|32)\s", code)
    learnt("qemu_m55", program)


def test_every_listed_core_is_here() -> None:
    """The promise of the README: taking a board away must be noticed."""
    cores = {facts.core for facts in HERE}
    assert {"host", "Cortex-M0+", "Cortex-M3", "Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M55", "RV32IMC"} <= cores

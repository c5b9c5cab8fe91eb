"""What is masked costs nothing: bytes in the ELF and instructions a step fall with density, for every block shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors import firmware, taught
from helpers import random_graph_network, random_samples, whole_task
from sparcl_mcu.design import mlp
from sparcl_mcu.learners.base import Room
from sparcl_mcu.sparsity import BLOCKS, Block
from sparcl_tools.elf import sizes

BOARD = "qemu_m4"
INPUTS, HIDDEN = 96, 64


def measured(density: float, block: Block, folder: Path) -> tuple[int, int, float]:
    """RAM and flash of the firmware, and instructions a learnt sample."""
    network = random_graph_network(mlp((INPUTS,), 4, (HIDDEN,), density, block), 0)
    program, _ = firmware(BOARD, network, folder, room=Room(replay=4))
    with taught(BOARD, program, network, room=Room(replay=4)) as learner:
        learner.begin_task(whole_task(network))
        learner.observe(*random_samples(network, 20, seed=0))
        stats = learner.stats()
    found = sizes(program)
    return found.ram_bytes, found.flash_bytes, stats["instructions"] / stats["steps"]


@pytest.mark.emulator
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_bytes_and_instructions_shrink_with_density(block: Block, tmp_path: Path) -> None:
    half = measured(0.5, block, tmp_path / "half")
    quarter = measured(0.25, block, tmp_path / "quarter")
    fewer = INPUTS * HIDDEN // 4
    assert half[0] - quarter[0] == 2 * fewer  # masters in RAM, two bytes each
    index = fewer // (block.rows * block.cols)  # a byte a block
    assert abs(half[1] - quarter[1] - (2 * fewer + index)) <= 64  # initial masters and index in flash
    assert quarter[2] < 0.7 * half[2]

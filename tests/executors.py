"""Every place the integer learner runs besides NumPy: the native process and each emulated core, found in
firmware/boards. The firmware is built by PlatformIO and taught over its serial byte stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from programs import need
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.network import Network
from sparcl_tools.build import build
from sparcl_tools.generate import generate, model_hash
from sparcl_tools.plan import MemoryPlan

HERE = [facts for facts in catalogue.boards().values() if facts.reached != "serial"]
BOARDS = [pytest.param(f.name, marks=[pytest.mark.emulator] if f.reached == "qemu" else []) for f in HERE]


def firmware(
    board: str, network: Network, folder: Path, *, room: Room, whole_memory: bool = False
) -> tuple[Path, MemoryPlan]:
    """Program and memory plan of a network on a board. whole_memory: as much as QEMU's machine has."""
    facts = catalogue.find(board)
    if facts.reached == "qemu":
        need(facts.emulator[0])
    plan = generate(network, folder / "model", room=room, settings=LearnSettings())
    return build(board, folder / "model", build_dir=folder / "build", whole_memory=whole_memory), plan


@contextmanager
def taught(board: str, program: Path, network: Network, *, room: Room) -> Iterator[BoardLearner]:
    """The board's learner, started and reached as the experiment reaches it."""
    client = Client(open_board(catalogue.find(board), program), timeout=120.0)
    try:
        yield BoardLearner(client, network, expected_model_hash=model_hash(network, room))
    finally:
        client.close()

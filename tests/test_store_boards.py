"""A board that is killed comes back with its last commit: every emulated core, and the native one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from executors import BOARDS
from helpers import random_network, random_samples, whole_task
from programs import need
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_tools.build import build
from sparcl_tools.generate import generate

NETWORK, ROOM = random_network(1), Room(replay=20)


@pytest.mark.parametrize("board", BOARDS)
def test_what_was_committed_outlives_the_board(board: str, tmp_path: Path):
    facts = catalogue.find(board)
    need(*facts.emulator[:1])
    generate(NETWORK, tmp_path / "model", room=ROOM, settings=LearnSettings())
    program = build(board, tmp_path / "model", build_dir=tmp_path / "build", store=True)
    x, y = random_samples(NETWORK, 50, 0)
    simulated = SimulatedLearner(NETWORK, ROOM)
    simulated.reset(LearnSettings(seed=3))
    simulated.begin_task(whole_task(NETWORK))
    simulated.observe(x[:40], y[:40])
    for life in range(3):
        stream = open_board(facts, program, flash=tmp_path / "the, flash")  # a comma is special to QEMU
        client = Client(stream, timeout=30.0)
        if life == 0:
            client.reset(LearnSettings(seed=3))
            client.commit(every=20)
            client.begin_task(whole_task(NETWORK))
            client.observe(x[:40], y[:40], np.arange(40))
        hello = client.hello()
        assert (hello.step, hello.task_open, hello.commits, hello.uncommitted) == (40, 1, 3, 0)
        assert client.state_hash() == simulated.state_hash()
        client.observe(x[40:], y[40:], np.arange(40, 50))
        assert client.store().uncommitted == 10
        stream._process.kill()
        stream.close()


def test_without_a_flash_file_nothing_outlives_the_board(tmp_path: Path):
    generate(NETWORK, tmp_path / "model", room=ROOM, settings=LearnSettings())
    program = build("native", tmp_path / "model", build_dir=tmp_path / "build", store=True)
    client = Client(open_board(catalogue.find("native"), program), timeout=30.0)
    assert client.hello().commits == 0
    client.close()

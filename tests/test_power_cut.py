"""The firmware on the native board, its power cut in every single operation of its flash."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from helpers import random_network, random_samples, whole_task
from link_harness import bitmap, native_firmware, packed
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.frames import Frame, Splitter, decode, encode
from sparcl_mcu.link.messages import COMMIT, OBSERVE, STATE_HASH, Hello, Kind

NETWORK = random_network(1)
ROOM = Room(replay=10)
SETTINGS = LearnSettings(seed=3, lr_exponent=-6)
EVERY, SAMPLES = 15, 40  # a task's last commit is that of its end
POWER_CUT = 75  # the native board's exit status

Message = tuple[Kind, bytes]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native_firmware(NETWORK, tmp_path_factory.mktemp("cut"), ROOM, "-DSCL_WITH_STORE")


class Run:
    """Three tasks as messages; and by NumPy, after which of them the board commits, and what it then knows."""

    def __init__(self) -> None:
        simulated = SimulatedLearner(NETWORK, ROOM)
        simulated.reset(SETTINGS)
        self.messages: list[Message] = [(Kind.RESET, packed(SETTINGS)), (Kind.COMMIT, COMMIT.pack(EVERY))]
        self.commits = [(0, 0), (2, simulated.state_hash())]  # messages acted on, hash
        for task in range(3):
            x, y = random_samples(NETWORK, SAMPLES, task)
            simulated.begin_task(whole_task(NETWORK))
            self.messages.append((Kind.BEGIN_TASK, bytes(6) + bitmap(tuple(range(NETWORK.classes)))[:1]))
            for i in range(SAMPLES):
                simulated.observe(x[i : i + 1], y[i : i + 1])
                self.messages.append((Kind.OBSERVE, OBSERVE.pack(y[i], 0) + x[i].tobytes()))
                if (i + 1) % EVERY == 0:
                    self._commit(simulated)
            simulated.end_task()
            self.messages.append((Kind.END_TASK, b""))
            self._commit(simulated)

    def _commit(self, simulated: SimulatedLearner) -> None:
        self.commits.append((len(self.messages), simulated.state_hash()))


RUN = Run()


def talk(program: Path, flash: Path, messages: list[Message], cut: int = 0) -> tuple[int, list[Frame]]:
    """Send everything to a board just switched on; its exit status and its answers."""
    wire = b"".join(encode(kind, seq & 0xFF, payload) for seq, (kind, payload) in enumerate(messages))
    environment = os.environ | {"SPARCL_POWER_CUT": str(cut)}
    done = subprocess.run([program, flash], input=wire, capture_output=True, check=False, env=environment)
    assert done.stderr == b""
    frames = [decode(piece) for piece in Splitter().feed(done.stdout)]
    return done.returncode, [frame for frame in frames if frame]


HELLO = (Kind.HELLO, bytes(4))
HASH = (Kind.STATE_HASH, b"")


def state_of(answers: list[Frame]) -> tuple[Hello, int]:
    """Of a board that was asked HELLO and STATE_HASH first."""
    return Hello.unpack(answers[0].payload[1:]), STATE_HASH.unpack(answers[1].payload[1:])[0]


def new_flash(path: Path) -> Path:
    """Two slots, as another program left them."""
    path.write_bytes(random.Random(1).randbytes(2 * 2048))
    return path


def operations(program: Path, flash: Path) -> int:
    """Of a run whose power stays on."""
    low, high = 1, 1 << 20
    while low < high:
        middle = (low + high) // 2
        status, _ = talk(program, new_flash(flash), [HELLO, *RUN.messages], middle)
        low, high = (middle + 1, high) if status == POWER_CUT else (low, middle)
    return low - 1


def test_every_restart_has_the_last_commit_and_the_run_ends_the_same(program: Path, tmp_path: Path):
    total = operations(program, tmp_path / "flash")
    each = total // (len(RUN.commits) - 1)
    assert total == each * (len(RUN.commits) - 1) > 100, "every commit takes as many operations"
    for cut in range(1, total + 1):
        flash = new_flash(tmp_path / "flash")
        status, answers = talk(program, flash, [HELLO, *RUN.messages], cut)
        assert status == POWER_CUT
        _, answers = talk(program, flash, [HELLO, HASH])
        hello, state_hash = state_of(answers)
        # the torn end of a commit may happen to be whole
        assert hello.commits == (cut - 1) // each or (cut % each == 0 and hello.commits == cut // each)
        done, expected = RUN.commits[hello.commits]
        assert hello.uncommitted == 0
        if hello.commits:
            assert state_hash == expected
            assert hello.step == sum(kind is Kind.OBSERVE for kind, _ in RUN.messages[:done])
        status, answers = talk(program, flash, [HELLO, *RUN.messages[done:], HASH])
        assert STATE_HASH.unpack(answers[-1].payload[1:])[0] == RUN.commits[-1][1]


def test_a_board_switched_on_again_takes_nothing_but_hello(program: Path, tmp_path: Path):
    """What was on its way when the power failed is not for the state the board has now."""
    flash = new_flash(tmp_path / "flash")
    talk(program, flash, [HELLO, *RUN.messages[:30]])
    late = [(Kind.OBSERVE, RUN.messages[5][1])]  # with the number a new board expects
    _, answers = talk(program, flash, late)
    assert [(frame.kind, frame.payload) for frame in answers] == [(Kind.NAK, b"\5\0")]


def test_no_flash_no_store(program: Path):
    done = subprocess.run(
        [program],
        input=encode(*HELLO[:1], 0, HELLO[1]) + encode(Kind.COMMIT, 1, bytes(4)) + encode(Kind.STORE, 2),
        capture_output=True,
        check=True,
    )
    answers = [decode(piece) for piece in Splitter().feed(done.stdout)]
    assert [frame.payload[:1] for frame in answers[1:]] == [np.int8(-10).tobytes()] * 2

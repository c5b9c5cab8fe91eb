"""SPEED: what a board does frame by frame, and how a host and a board come to run at the same speed."""

from __future__ import annotations

import io
import os
import random
import struct
import termios
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import random_network
from link_harness import ALL, Board, Record, classes_of, samples
from programs import need
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.boards.serial import open_serial
from sparcl_mcu.boards.stream import SerialLine
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.frames import decode, encode
from sparcl_mcu.link.log import LinkLog
from sparcl_mcu.link.messages import Kind, LinkError, RefusedError, SilentError, Status
from sparcl_tools.build import build
from sparcl_tools.generate import generate

FIRST, FAST = 115200, 460800
SMALL = random_network(3)
HELLO = encode(Kind.HELLO, 0, b"1234")
TO_FAST = encode(Kind.SPEED, 1, struct.pack("<I", FAST))


def said(board: Board, seconds: float = 0.3) -> list[bytes]:
    """Everything the board sends until it is silent for so long, in pieces: frames, and speeds as @BAUD."""
    data = b""
    while more := board.read(seconds):
        data += more
    return data.split(b"\0")[:-1]


# ---- the board ----


@pytest.fixture
def board():
    board = Board(speed=FAST)
    board.ask(HELLO)
    yield board
    board.close()


def test_the_reply_leaves_before_the_speed_changes(board):
    board.write(TO_FAST)
    reply, speed = said(board)
    assert decode(reply).payload == b"\0"
    assert speed == b"@%d" % FAST


def test_a_repeated_speed_is_answered_and_not_set_again(board):
    board.write(TO_FAST + TO_FAST)
    first, speed, again = said(board)
    assert (first, speed) == (again, b"@%d" % FAST)


def test_a_speed_the_line_cannot_do_is_refused(board):
    board.write(encode(Kind.SPEED, 1, struct.pack("<I", FAST + 1)))
    (reply,) = said(board)
    assert decode(reply).payload == struct.pack("b", Status.ARG)


def test_a_new_speed_that_brings_no_frame_is_given_up_after_32_bytes(board):
    board.write(TO_FAST)
    said(board)
    board.write(b"\0" * 31)
    assert said(board) == []
    board.write(b"\0")
    assert said(board) == [b"@0"]
    board.write(b"\x55" * 40 + b"\0")
    assert len(said(board)) == 1, "a NAK, and no other change"


def test_a_new_speed_that_brought_a_frame_is_kept(board):
    board.write(TO_FAST)
    said(board)
    board.write(b"\x55" * 10 + b"\0" + HELLO + b"\x55" * 60 + b"\0")
    assert [piece[:1] for piece in said(board)].count(b"@") == 0


# ---- the host ----


class Line:
    """A board behind a serial line: what is sent at another speed than the other end's arrives as noise.

    works: speeds that the line carries at all. board_baud: what the board runs at, as its own words say.
    """

    name, first, fast = "the line", FIRST, FAST

    def __init__(self, board: Board, works: tuple[int, ...] = (FIRST, FAST)) -> None:
        self.board, self.works = board, works
        self.baud = self.board_baud = FIRST
        self.lose_speed_replies = False
        self._random = random.Random(1)

    def _carried(self, data: bytes) -> bytes:
        if self.baud != self.board_baud:
            return self._random.randbytes(len(data))
        return data if self.baud in self.works else b""

    def write(self, data: bytes) -> None:
        self.board.write(self._carried(data))

    def read(self, timeout: float) -> bytes:
        data = self.board.read(timeout)
        while data and (more := self.board.read(0.02)):  # its speed follows its reply
            data += more
        arrived = b""
        for piece in data.split(b"\0")[:-1]:
            if piece.startswith(b"@"):
                self.board_baud = int(piece[1:]) or FIRST
                continue
            frame = decode(piece)
            if not (self.lose_speed_replies and frame and frame.kind == Kind.SPEED | 0x80):
                arrived += self._carried(piece + b"\0")
        return arrived

    def close(self) -> None:
        self.board.close()


def learns_all(client: Client) -> None:
    """Everything sent is learnt, once and in order."""
    x, y = samples(30, 8)
    record, settings = Record(), LearnSettings(seed=1)
    client.reset(settings)
    record.reset(settings)
    client.begin_task(ALL)
    record.begin_task(ALL)
    assert np.array_equal(client.observe(x, y, np.arange(30)), classes_of(x))
    record.observe(x, y)
    assert client.state_hash() == record.hash
    client.end_task()


def opened(line: Line) -> tuple[Client, io.StringIO]:
    log = io.StringIO()
    return Client(line, log=LinkLog(log), timeout=0.8), log


def test_both_ends_go_over_to_the_faster_speed():
    line = Line(Board(speed=FAST))
    client, log = opened(line)
    learns_all(client)
    assert line.baud == line.board_baud == FAST
    assert f"# heard at {FAST} baud" in log.getvalue()
    assert log.getvalue().count("> SPEED") == 1
    assert client.counters.damaged == 0
    client.close()


def test_a_board_that_an_earlier_host_left_at_the_faster_speed_is_found():
    line = Line(Board(speed=FAST))
    opened(line)[0].hello()
    line.baud = FIRST
    client, log = opened(line)
    learns_all(client)
    assert line.baud == line.board_baud == FAST
    assert "> SPEED" not in log.getvalue(), "it runs at it already"
    client.close()


def test_a_line_that_cannot_do_it_goes_back_and_loses_nothing():
    line = Line(Board(speed=FAST), works=(FIRST,))
    client, log = opened(line)
    learns_all(client)
    client.hello()
    assert line.baud == line.board_baud == FIRST
    assert log.getvalue().count("> SPEED") == 1, "not tried twice"
    assert f"nothing is heard at {FAST} baud" in log.getvalue()
    client.close()


def test_a_board_that_refuses_stays_as_it_is():
    line = Line(Board())
    client, log = opened(line)
    learns_all(client)
    client.hello()
    assert line.baud == FIRST
    assert log.getvalue().count("> SPEED") == 1
    client.close()


def test_the_reply_to_speed_may_be_lost():
    line = Line(Board(speed=FAST))
    line.lose_speed_replies = True
    client, _ = opened(line)
    learns_all(client)
    assert line.baud == line.board_baud
    client.close()


def test_a_board_switched_off_and_on_is_found_and_made_fast_again():
    line = Line(Board(speed=FAST))
    client, _ = opened(line)
    client.hello()
    line.board.close()
    line.board, line.board_baud = Board(speed=FAST), FIRST
    with pytest.raises(LinkError, match="did not answer"):
        client.state_hash()
    learns_all(client)
    assert line.baud == line.board_baud == FAST
    client.close()


def test_a_board_silent_at_both_speeds_is_reported_with_both():
    line = Line(Board(speed=FAST), works=())
    start = time.monotonic()
    with pytest.raises(SilentError, match=f"did not answer .*tried {FIRST} and {FAST} baud"):
        opened(line)[0].hello()
    assert time.monotonic() - start < 4 * 0.8
    assert line.baud == FIRST
    line.close()


# ---- ports and boards ----


def test_a_device_changes_its_speed_and_a_url_has_one():
    ours, theirs = os.openpty()
    stream = open_serial(os.ttyname(theirs), FIRST, FAST)
    try:
        assert isinstance(stream, SerialLine), "what the client looks for"
        assert (stream.baud, stream.first, stream.fast) == (FIRST, FIRST, FAST)
        stream.baud = FAST
        assert termios.tcgetattr(theirs)[4:6] == [termios.B460800, termios.B460800]
    finally:
        stream.close()
        os.close(ours)
        os.close(theirs)
    assert open_serial("loop://", FIRST, FAST).fast == 0


def test_which_boards_are_fast():
    known = catalogue.boards()
    fast = {name for name, facts in known.items() if facts.fast_baud}
    assert fast == {"nucleo_f446re", "nucleo_h743zi", "esp32dev", "esp32-c3-devkitm-1"}
    assert all(known[name].fast_baud > known[name].baud for name in fast)


@pytest.mark.emulator
def test_an_emulated_uart_goes_on_with_another_divider(tmp_path: Path):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    generate(SMALL, tmp_path, room=Room(replay=10), settings=LearnSettings())
    program = build("qemu_m4", tmp_path, build_dir=tmp_path / "build")
    client = Client(open_board(catalogue.find("qemu_m4"), program), timeout=30)
    client.hello()
    for baud in (FIRST, 0):
        client._exchange(Kind.SPEED, struct.pack("<I", baud))
        assert client.hello().board == "qemu_m4"
    for baud in (25_000_000 // 16 + 1, 1):
        with pytest.raises(RefusedError, match="out of its range"):
            client._exchange(Kind.SPEED, struct.pack("<I", baud))
    client.close()

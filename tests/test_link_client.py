"""The host's client before the real C session, and before boards that misbehave."""

from __future__ import annotations

import io
import re
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest

from link_harness import ALL, Board, Record, classes_of, samples
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay, TaskInfo
from sparcl_mcu.link import client as client_module
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.frames import Frame, Splitter, decode, encode
from sparcl_mcu.link.log import LinkLog
from sparcl_mcu.link.messages import (
    PROTOCOL_VERSION,
    RUNTIME_VERSION,
    STATE_LIMIT,
    Hello,
    Kind,
    LayerInfo,
    LinkError,
    Status,
)

TIMEOUT = 0.4
# every member another value, so that no two can be swapped unnoticed
EVERY_SETTING = LearnSettings(
    *(0xFFFFFFFE, 3, -15, Replay.DERPP, 7, 5, True, 1000, Importance.RELEASED, 2000, 3000, 4000, 5000, False)
)


class Scripted:
    """A board in Python: `answer` gives the bytes to send for a frame received, after `delay` seconds."""

    name = "the scripted board"

    def __init__(self, answer: Callable[[Frame], bytes], delay: float = 0.0) -> None:
        self.answer, self.delay = answer, delay
        self.received: list[Frame] = []
        self.writes = 0
        self._splitter = Splitter()
        self._queue: list[bytes] = []
        self._ready = 0.0  # when the first answer of the queue may go

    def write(self, data: bytes) -> None:
        frames = [decode(piece) for piece in self._splitter.feed(data)]
        self.received += frames
        self.writes += 1
        if not self._queue:
            self._ready = time.monotonic() + self.delay
        self._queue += [answer for frame in frames if (answer := self.answer(frame))]

    def read(self, timeout: float) -> bytes:
        wait = self._ready - time.monotonic() if self._queue else timeout
        time.sleep(max(0.0, min(wait, timeout)))
        if not self._queue or wait > timeout:
            return b""
        self._ready = time.monotonic() + self.delay
        return self._queue.pop(0)

    def close(self) -> None:
        pass


def hello_reply(
    frame: Frame, *, protocol: int = PROTOCOL_VERSION, runtime: int = RUNTIME_VERSION, window: int = 4
) -> bytes:
    head = frame.payload + struct.pack("<HB", protocol, 1)
    body = struct.pack("<HIIHHHBHIIIIHHBIIBII", runtime, 0, 0xABCD, 2, 3, 10, window, 7, *[0] * 12) + b"scripted"
    return encode(frame.kind | 0x80, frame.seq, b"\0" + head + body)


def polite(frame: Frame) -> bytes:
    if frame.kind == Kind.HELLO:
        return hello_reply(frame)
    return encode(frame.kind | 0x80, frame.seq, b"\0\1")


@pytest.fixture(params=[(8, 8), (1, 1), (6, 2), (7, 2), (64, 32), (784, 3)], ids=str)
def board(request):
    board = Board(*request.param)
    board.inputs, board.window = request.param
    yield board
    board.close()


def test_a_whole_run(board):
    client = Client(board, timeout=5)
    hello = client.hello()
    assert (hello.inputs, hello.classes, hello.model_hash) == (board.inputs, 10, 0x12345678)
    assert (hello.board, hello.window, hello.replay_capacity) == ("test board", board.window, 100)
    assert hello.max_payload == max(66, 3 + board.inputs)
    record = Record()
    client.reset(EVERY_SETTING)
    record.reset(EVERY_SETTING)
    total = 0
    for task in range(3):
        x, y = samples(150 + task, board.inputs, task)
        info = TaskInfo((2 * task, 9), len(x), 70_000 % 65_536 + task)
        numbers = np.random.default_rng(task).permutation(65_536)[: len(x)]
        client.remember(x[:3], y[:3])
        client.begin_task(info)
        assert np.array_equal(client.observe(x, y, numbers), classes_of(x))
        assert client.hello().task_open == 1
        client.end_epoch()
        assert client.wanted(len(x)).tolist() == [i % 3 != 0 for i in range(len(x))]
        client.end_task()
        assert np.array_equal(client.predict(x), classes_of(x))
        assert set(client.predict(x[:4], (0, 7))) == {0b1000_0001}
        record.remember(x[:3], y[:3])
        record.begin_task(info)
        record.observe(x, y, numbers)
        record.end_epoch()
        record.end_task()
        assert client.state_hash() == record.hash
        total += len(x)
    stats = client.stats()
    calls = total + 3 * 3  # that learn: samples; begin and end of a task, end of an epoch
    assert (stats.steps, stats.predictions, stats.instructions) == (total, total + 3 * 4, 7 * calls)
    assert client.layer(1) == LayerInfo(2, 3, 4, 0x12345678)
    assert client.buffer().tolist() == list(range(1000, 1010))
    assert client.hello().step == total
    assert client.predict(x[:0]).shape == (0,)
    assert client.counters.retries == client.counters.naks == client.counters.damaged == 0
    assert stats.repeated == stats.out_of_order == stats.bad_crc == 0


def test_never_more_unanswered_frames_than_the_window_and_more_than_one_a_write():
    outstanding = worst = 0

    def count(frame: Frame) -> bytes:
        nonlocal outstanding, worst
        outstanding += 1
        worst = max(worst, outstanding)
        return polite(frame)

    board = Scripted(count)
    read = board.read

    def read_one(timeout: float) -> bytes:
        nonlocal outstanding
        data = read(timeout)
        outstanding -= data.count(0)
        return data

    board.read = read_one
    assert list(Client(board).predict(np.zeros((50, 2), np.int8))) == [1] * 50
    assert worst == 4
    assert board.writes <= 1 + 50 / 2 + 1


def test_counters_and_log():
    board, text = Board(8, 4), io.StringIO()
    client = Client(board, log=LinkLog(text), timeout=5)
    client.reset(LearnSettings())
    client.predict(samples(5, 8)[0])
    counters = client.counters
    assert counters.frames_sent == counters.frames_received == 7
    assert counters.payload_sent == 4 + 23 + 5 * 8
    assert counters.payload_received == (1 + 64 + len("test board")) + 1 + 5 * 2
    assert counters.link_bytes == counters.bytes_sent + counters.bytes_received
    assert counters.bytes_sent == counters.payload_sent + 7 * 8 + 1  # overhead 6, stuffing 1, delimiter 1; a zero first
    lines = text.getvalue().splitlines()
    assert len(lines) == 14
    assert all(re.fullmatch(r"\d+\.\d{6} [<>] [A-Z_]+ \d+ \d+", line) for line in lines)
    assert lines[0].endswith("> HELLO 0 4")
    assert lines[2].endswith("> RESET 1 23")
    assert lines[3].endswith("< RESET_REPLY 1 1")
    board.close()


def test_a_silent_board_is_reported_soon_with_what_to_check():
    start = time.monotonic()
    with pytest.raises(LinkError, match=r"the scripted board did not answer within 0\.4 s: check that the cable"):
        Client(Scripted(lambda frame: b""), timeout=TIMEOUT).hello()
    assert time.monotonic() - start < 2 * TIMEOUT


def test_noise_is_told_from_silence():
    with pytest.raises(LinkError, match="bytes came that are no frames: check the baud rate"):
        Client(Scripted(lambda frame: b"\x55\xaa" * 20 + b"\0"), timeout=TIMEOUT).hello()


def test_a_board_that_falls_silent_then_comes_back():
    alive = True
    board = Scripted(lambda frame: polite(frame) if alive else b"")
    client = Client(board, timeout=TIMEOUT)
    x = np.zeros((3, 2), np.int8)
    client.predict(x)
    alive = False
    with pytest.raises(LinkError, match="it did before"):
        client.predict(x)
    alive = True
    assert len(client.predict(x)) == 3
    assert [frame.kind for frame in board.received].count(Kind.HELLO) == 2


def test_a_slow_board_is_waited_for_as_long_as_it_goes_on():
    acted = set()

    def answer(frame: Frame) -> bytes:
        if frame.seq in acted:
            return b""  # a repetition, while the first is still being worked on
        acted.add(frame.seq)
        return polite(frame)

    board = Scripted(answer, delay=TIMEOUT * 0.6)
    client = Client(board, timeout=TIMEOUT)
    client.hello()
    start = time.monotonic()
    assert len(client.predict(np.zeros((6, 2), np.int8))) == 6
    assert time.monotonic() - start > 2 * TIMEOUT


def test_a_line_that_never_lets_a_frame_through_is_given_up():
    board = Scripted(lambda frame: polite(frame) if frame.kind == Kind.HELLO else encode(Kind.NAK, 1, b"\1\1"))
    with pytest.raises(LinkError, match="the line is too bad"):
        Client(board, timeout=0.05).state_hash()


@pytest.mark.parametrize("deaf_to", [Kind.HELLO, Kind.STATE_HASH])
@pytest.mark.parametrize("chatter", [encode(Kind.NAK, 0, b"\4\x80"), encode(Kind.PREDICT | 0x80, 99, b"\0\1")], ids=len)
def test_frames_that_answer_nothing_are_not_listened_to_for_ever(deaf_to: Kind, chatter: bytes):
    class Chatty(Scripted):
        def read(self, timeout: float) -> bytes:
            time.sleep(timeout / 10)
            return super().read(0) or chatter

    board = Chatty(lambda frame: b"" if frame.kind == deaf_to else polite(frame))
    start = time.monotonic()
    with pytest.raises(
        LinkError, match=rf"for 0\.25 s none has answered {deaf_to.name}: .*switch the board off and on"
    ):
        Client(board, timeout=0.02).state_hash()
    assert 0.25 < time.monotonic() - start < 2


def test_samples_of_an_earlier_host_are_waited_for():
    """A board works for nearly a time-out on each of ten samples before it comes to this host's HELLO."""
    stale = [encode(Kind.OBSERVE | 0x80, seq, b"\0\1") for seq in range(10)]
    board = Scripted(polite, delay=0.9 * 0.05)
    board._queue = stale
    assert Client(board, timeout=0.05).hello().board == "scripted"


@pytest.mark.parametrize("length", [0, 2, 3, 19, 21, 22])
def test_counts_of_another_length_are_not_taken(length: int):
    def answer(frame: Frame) -> bytes:
        return polite(frame) if frame.kind == Kind.HELLO else encode(frame.kind | 0x80, frame.seq, bytes(1 + length))

    with pytest.raises(LinkError, match=f"answered BUFFER with {length} bytes"):
        Client(Scripted(answer)).buffer()


def keeper(pieces: int, slot_bytes: int | None) -> Callable[[Frame], bytes]:
    """A board with a state of so many whole pieces, or endless, and a store of such slots, or none."""

    def answer(frame: Frame) -> bytes:
        if frame.kind == Kind.HELLO:
            return hello_reply(frame)
        if frame.kind == Kind.STORE:
            body = bytes([Status.STORE & 0xFF]) if slot_bytes is None else b"\0" + struct.pack("<9I", *[slot_bytes] * 9)
        else:
            (piece,) = struct.unpack("<H", frame.payload)
            body = b"\0" + (bytes([piece & 0xFF]) * 64 if piece < pieces else b"")
        return encode(frame.kind | 0x80, frame.seq, body)

    return answer


@pytest.mark.parametrize("slot_bytes", [None, 4096])
def test_a_state_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch, slot_bytes: int | None):
    if slot_bytes is None:
        monkeypatch.setattr(client_module, "STATE_LIMIT", 8192)
    limit = slot_bytes or 8192
    assert len(Client(Scripted(keeper(limit // 64 - 1, slot_bytes))).read_state()) == limit - 64
    board = Scripted(keeper(1 << 16, slot_bytes))
    with pytest.raises(LinkError, match=f"goes on sending its state behind {limit} bytes.*upload the firmware again"):
        Client(board).read_state()
    assert len(board.received) == 2 + limit // 64


def test_no_state_is_longer_than_its_pieces_have_names():
    assert STATE_LIMIT == 64 * 65536


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda f: hello_reply(f, protocol=7), f"speaks link protocol 7, this host {PROTOCOL_VERSION}"),
        (
            lambda f: encode(f.kind | 0x80, f.seq, b"\0" + f.payload + b"\1\0"),
            f"speaks link protocol 1, this host {PROTOCOL_VERSION}",
        ),
        (
            lambda f: hello_reply(f, runtime=9),
            f"runs version 9 of the C runtime, this host knows {RUNTIME_VERSION}",
        ),
        (lambda f: hello_reply(f, window=0), "a window of 0"),
        (lambda f: encode(f.kind | 0x80, f.seq, b"\0" + f.payload), "is this sparcl-mcu firmware"),
        (lambda f: encode(f.kind | 0x80, f.seq, b"\xfb"), "refused HELLO: the payload has the wrong length"),
        (lambda f: encode(f.kind | 0x80, f.seq, b"\x81"), "refused HELLO: error -127, unknown to this host"),
    ],
)
def test_a_board_that_is_not_ours(reply, message):
    with pytest.raises(LinkError, match=message):
        Client(Scripted(reply), timeout=TIMEOUT).hello()


def test_an_answer_to_another_host_is_not_taken():
    def reply(frame: Frame) -> bytes:
        stale = frame._replace(payload=b"\0\0\0\0")
        return hello_reply(stale, protocol=99) + hello_reply(frame)

    assert Client(Scripted(reply), timeout=TIMEOUT).hello().protocol_version == PROTOCOL_VERSION


def test_the_board_refuses_and_the_conversation_goes_on():
    board = Board(8, 4)
    client = Client(board, timeout=5)
    x, y = samples(20, 8)
    client.reset(LearnSettings())
    with pytest.raises(LinkError, match="the test board refused OBSERVE of sample 0: no task is open"):
        client.observe(x, y, np.arange(20))
    with pytest.raises(LinkError, match="refused END_TASK"):
        client.end_task()
    assert client.stats().steps == 0
    assert client.stats().refused <= 4 + 1, "no more than a window was sent after the refusal"
    client.begin_task(ALL)
    client.observe(x, y, np.arange(20))
    assert client.stats().steps == 20
    board.close()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 9), np.int8), [0, 0], r"samples are int8 \(2, 9\), but .* takes int8 \(n, 8\)"),
        (np.zeros((2, 8), np.uint8), [0, 0], "samples are uint8"),
        (np.zeros(8, np.int8), [0], "takes int8"),
        (np.zeros((2, 8), np.int8), [0, 10], "10 classes"),
        (np.zeros((2, 8), np.int8), [0, -1], "labels lie in -1"),
        (np.zeros((2, 8), np.int8), [0], "one label a sample"),
    ],
)
def test_wrong_samples_are_refused_before_anything_is_sent(x, y, message):
    board = Board(8, 4)
    client = Client(board, timeout=5)
    client.reset(LearnSettings())
    client.begin_task(ALL)
    sent = client.counters.frames_sent
    with pytest.raises(LinkError, match=message):
        client.observe(x, np.array(y), np.arange(len(x)))
    assert client.counters.frames_sent == sent
    board.close()


def test_a_host_that_dies_mid_task_finds_the_board_where_it_was():
    board = Board(8, 4)
    x, y = samples(30, 8)
    first = Client(board, timeout=5)
    first.reset(LearnSettings())
    first.begin_task(ALL)
    first.observe(x[:10], y[:10], np.arange(10))
    # it dies with two frames on their way and half of a third
    lost = [encode(Kind.OBSERVE, 13 + i, struct.pack("<BH", y[10 + i], 10 + i) + x[10 + i].tobytes()) for i in range(3)]
    board.write(lost[0] + lost[1] + lost[2][:5])
    second = Client(board, timeout=5)
    hello = second.hello()
    assert (hello.step, hello.task_open, hello.tasks_begun) == (12, 1, 1)
    second.observe(x[hello.step :], y[hello.step :], np.arange(hello.step, 30))
    record = Record()
    record.reset(LearnSettings())
    record.begin_task()
    record.observe(x, y)
    assert second.state_hash() == record.hash
    board.close()


def test_an_interruption_leaves_the_client_usable():
    board = Board(8, 4)
    client = Client(board, timeout=5)
    client.reset(LearnSettings())
    client.begin_task(ALL)
    x, y = samples(30, 8)
    read = board.read
    reads = 0

    def interrupted(timeout: float) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise KeyboardInterrupt
        return read(timeout)

    board.read = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.observe(x, y, np.arange(30))
    step = client.hello().step
    assert step <= 30
    client.observe(x[step:], y[step:], np.arange(step, 30))
    assert client.stats().steps == 30
    board.close()


def test_hello_of_another_length_is_not_read():
    with pytest.raises(LinkError, match="at least 64"):
        Hello.unpack(struct.pack("<IH", 1, PROTOCOL_VERSION))

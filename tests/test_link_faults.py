"""Exactly once: frames dropped, repeated, damaged and cut at random in both directions, before the real C session."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np
import pytest

from link_harness import ALL, Board, Record, bad_line, classes_of, samples
from sparcl_mcu.boards import BoardError
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.faults import Faults, FaultyLine, SlowLine

INPUTS = 8


@pytest.mark.parametrize("share", [0.04, 0.2])
@pytest.mark.parametrize("window", [1, 7, 32])
@pytest.mark.parametrize("seed", range(2))
def test_every_sample_is_learnt_once_and_in_order(seed, window, share):
    line = bad_line(Board(INPUTS, window), seed, share)
    client = Client(line, timeout=0.8)
    half = 20 if window == 1 else 80  # a window of 1 waits out every loss
    x, y = samples(2 * half, INPUTS, seed)
    record = Record()
    client.reset(LearnSettings(seed=seed))
    record.reset(LearnSettings(seed=seed))
    for task in (slice(0, half), slice(half, 2 * half)):
        client.begin_task(ALL)
        assert np.array_equal(client.observe(x[task], y[task], np.arange(len(y[task]))), classes_of(x[task]))
        client.end_task()
        record.begin_task()
        record.observe(x[task], y[task])
        record.end_task()
    assert np.array_equal(client.predict(x[:half]), classes_of(x[:half]))
    assert client.state_hash() == record.hash
    stats = client.stats()
    assert (stats.steps, stats.predictions) == (2 * half, half)
    assert client.counters.payload_received == 75 + 1 + 2 * 2 + 2 * half * 2 + half * 2 + 5 + 129, "replies, each once"
    assert line.happened.total() > 0
    if share > 0.1:
        assert client.counters.retries > 0
        assert stats.bad_crc + stats.too_short + stats.too_long > 0
    client.close()


def test_a_lost_reply_is_asked_for_at_once_not_after_a_silence():
    board = Board(INPUTS, 8)
    line = bad_line(board, 0, 0.0)
    client = Client(line, timeout=80)  # a silence would take 10 s
    client.hello()
    passed = 0
    keep = line._pass

    def lose_one_reply(frame: bytes) -> bytes:
        nonlocal passed
        passed += 1
        return b"" if passed == 12 else keep(frame)

    line._pass = lose_one_reply
    x, _ = samples(40, INPUTS)
    start = time.monotonic()
    assert np.array_equal(client.predict(x), classes_of(x))
    assert time.monotonic() - start < 5
    assert client.counters.retries == 1
    assert client.stats().repeated == 1
    client.close()


def test_a_damaged_frame_costs_one_window_not_one_a_nak():
    board = Board(INPUTS, 16)
    client = Client(board, timeout=80)
    client.hello()
    write, x = board.write, samples(64, INPUTS)[0]

    def damage_once(data: bytes) -> None:
        board.write = write
        write(bytes([data[0], data[1] ^ 0x40]) + data[2:])

    board.write = damage_once
    assert np.array_equal(client.predict(x), classes_of(x))
    assert client.counters.retries == 16
    assert client.counters.naks == 16
    assert client.stats().predictions == 64
    client.close()


class Echo:
    name = "echo"
    data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def read(self, timeout: float) -> bytes:
        data, self.data = self.data, b""
        return data

    def close(self) -> None:
        pass


def test_every_fault_happens_as_often_as_asked_for():
    frames = [bytes([1 + i % 255]) * 20 + b"\0" for i in range(4000)]
    clean = FaultyLine(Echo(), Faults(), 0)
    clean.write(b"".join(frames))
    assert clean.read(0) == b"".join(frames)
    assert clean.happened.total() == 0
    for fault in ("dropped", "duplicated", "echoed", "mixed", "cut", "noise", "swapped"):
        line = FaultyLine(Echo(), Faults(**{fault: 0.02}), 1)
        line.write(b"".join(frames))
        assert 50 < line.happened[fault] < 120, fault
        assert line._line.data != b"".join(frames)
    line = FaultyLine(Echo(), Faults(unplugged=0.02), 1)
    with pytest.raises(BoardError, match="echo went away"):
        line.write(b"".join(frames))
    line._line.data = frames[0]
    with pytest.raises(BoardError, match="echo went away"):
        line.read(0)
    line = FaultyLine(Echo(), Faults(flipped=0.001), 1)
    line.write(b"".join(frames))
    different = sum(a != b for a, b in zip(line._line.data, b"".join(frames), strict=True))
    assert 50 < different == line.happened["flipped"] < 120


def test_a_frame_is_overtaken_by_one_of_a_later_write():
    line = FaultyLine(Echo(), Faults(swapped=1), 1)
    line.write(b"one\0tw")
    assert line._line.data == b""
    line.write(b"o\0three\0")
    assert line._line.data == b"two\0one\0", "every other one: only one waits at a time"
    assert line.read(0) == b"one\0two\0", "the other way, too"
    assert line.read(0) == b""
    assert line._line.data == b"three\0", "when nothing moves, nothing waits"
    assert (line.read(0), line.read(0)) == (b"", b"three\0")


def test_a_frame_comes_again_behind_the_next_and_bytes_change_places():
    line = FaultyLine(Echo(), Faults(echoed=1), 1)
    line.write(b"one\0two\0three\0")
    assert line._line.data == b"one\0two\0one\0three\0two\0"
    line = FaultyLine(Echo(), Faults(mixed=1), 1)
    line.write(b"12345678\0" * 20)
    assert sorted(line._line.data) == sorted(b"12345678\0" * 20)
    assert b"12345678\0" * 2 not in line._line.data


def test_another_host_goes_on_where_the_line_was_cut():
    """In the middle of windows of samples, again and again: the board has each of them once."""
    board, record = Board(INPUTS, 8), Record()
    x, y = samples(300, INPUTS)
    settings = LearnSettings(seed=1)
    Client(board, timeout=5).reset(settings)
    record.reset(settings)
    Client(board, timeout=5).begin_task(ALL)
    record.begin_task()
    cuts = 0
    for seed in range(200):
        line = FaultyLine(board, Faults(unplugged=0.02, swapped=0.02), seed)
        with suppress(BoardError):
            client = Client(line, timeout=0.8)
            step = client.hello().step
            client.observe(x[step:], y[step:], np.arange(step, len(x)))
            break
        cuts += 1
    record.observe(x, y)
    last = Client(board, timeout=5)
    assert last.hello().step == len(x)
    assert last.state_hash() == record.hash
    assert cuts > 3
    last.close()


def test_a_window_hides_latency():
    """What a USB adapter adds to every byte costs one round trip, not one a sample."""
    seconds = {}
    for window in (1, 16):
        client = Client(SlowLine(Board(100, window), bytes_per_second=50_000, latency=0.016), timeout=5)
        x, _ = samples(60, 100)
        client.hello()
        start = time.monotonic()
        assert np.array_equal(client.predict(x), classes_of(x))
        seconds[window] = time.monotonic() - start
        client.close()
    wire = 60 * 110 / 50_000
    assert seconds[1] > 60 * 0.032
    assert seconds[16] < seconds[1] / 3
    assert seconds[16] > wire

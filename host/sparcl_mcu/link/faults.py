"""A line that fails on purpose, between a host and a board: what tests and `sparcl results faults` run whole
experiments over."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

from ..boards.stream import BoardError, ByteStream


@dataclass(frozen=True)
class Faults:
    """Probabilities, each way. flipped: of a byte, to get another value; the others: of a frame."""

    flipped: float = 0.0
    dropped: float = 0.0
    duplicated: float = 0.0
    echoed: float = 0.0  # comes once more behind the next frame that way
    mixed: float = 0.0  # two bytes of it, side by side, change places
    cut: float = 0.0  # its end is missing, delimiter included
    noise: float = 0.0  # random bytes come before it
    swapped: float = 0.0  # with the next frame that way, whenever that comes; with none if nothing comes any more
    unplugged: float = 0.0  # the line is gone before it, for good: BoardError from now on
    stalled: float = 0.0  # the line stands still for up to stall_seconds before it
    stall_seconds: float = 0.05


class _Way:
    """One direction: what has come of an unfinished frame, and a frame that the next one overtakes."""

    def __init__(self) -> None:
        self._rest = self.held = b""

    def frames(self, data: bytes) -> list[bytes]:
        """Those that data end, with their delimiters."""
        *whole, self._rest = (self._rest + data).split(b"\0")
        return [frame + b"\0" for frame in whole]

    def let_go(self) -> bytes:
        held, self.held = self.held, b""
        return held


class FaultyLine:
    """ByteStream to `line`'s board over a line with `faults`; the same seed makes the same choices.

    happened: how often each fault has. What was on its way when the line is unplugged is lost; the board stays as it
    is, and another FaultyLine may be put before it.
    """

    def __init__(self, line: ByteStream, faults: Faults, seed: int) -> None:
        self._line, self._faults, self._random = line, faults, random.Random(seed)
        self._up, self._down = _Way(), _Way()
        self._gone = False
        self.happened: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._line.name

    def write(self, data: bytes) -> None:
        self._line.write(self._spoilt(self._up, data))

    def read(self, timeout: float) -> bytes:
        if data := self._line.read(timeout):
            return self._spoilt(self._down, data)
        self._plugged()
        self._line.write(self._up.let_go())
        return self._down.let_go()

    def close(self) -> None:
        self._line.close()

    def _spoilt(self, way: _Way, data: bytes) -> bytes:
        """What arrives of data."""
        arrives = b""
        for frame in way.frames(data):
            self._plugged()
            if not way.held and self._happens("swapped"):
                way.held = self._pass(frame)
            else:
                passed = self._pass(frame)
                arrives += passed + way.let_go()
                if self._happens("echoed"):
                    way.held = passed
        self._plugged()
        return arrives

    def _plugged(self) -> None:
        if self._gone:
            raise BoardError(f"{self.name} went away (it was unplugged on purpose)")

    def _pass(self, frame: bytes) -> bytes:
        """What arrives of one frame."""
        self._gone = self._gone or self._happens("unplugged")
        if self._happens("stalled"):
            time.sleep(self._random.uniform(0, self._faults.stall_seconds))
        if self._happens("dropped"):
            return b""
        if self._happens("duplicated"):
            frame *= 2
        if self._happens("mixed"):
            at = self._random.randrange(len(frame))
            frame = frame[:at] + frame[at : at + 2][::-1] + frame[at + 2 :]
        if self._happens("cut"):
            frame = frame[: self._random.randrange(len(frame))]
        if self._happens("noise"):
            frame = self._random.randbytes(self._random.randrange(1, 40)) + frame
        if self._faults.flipped:
            frame = bytes(byte ^ self._random.randrange(1, 256) if self._happens("flipped") else byte for byte in frame)
        return frame

    def _happens(self, fault: str) -> bool:
        happens: bool = self._random.random() < getattr(self._faults, fault)
        self.happened[fault] += happens
        return happens


class SlowLine:
    """ByteStream to `line`'s board over a line of so many bytes a second, whose every byte comes late by `latency`
    seconds in either direction, as USB adapters make them."""

    def __init__(self, line: ByteStream, *, bytes_per_second: float, latency: float) -> None:
        self._line, self._rate, self._latency = line, bytes_per_second, latency
        self._up: list[tuple[float, bytes]] = []  # when it arrives, what
        self._down: list[tuple[float, bytes]] = []
        self._up_free = self._down_free = 0.0  # when the wire has passed on everything so far

    @property
    def name(self) -> str:
        return self._line.name

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), 64):
            piece = data[at : at + 64]
            self._up_free = max(self._up_free, time.monotonic()) + len(piece) / self._rate
            self._up.append((self._up_free + self._latency, piece))

    def read(self, timeout: float) -> bytes:
        end = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            while self._up and self._up[0][0] <= now:
                self._line.write(self._up.pop(0)[1])
            if self._down and self._down[0][0] <= now:
                return self._down.pop(0)[1]
            if now >= end:
                return b""
            due = [queue[0][0] for queue in (self._up, self._down) if queue]
            data = self._line.read(max(0.0, min([end, *due]) - now))
            if data:
                self._down_free = max(self._down_free, time.monotonic()) + len(data) / self._rate
                self._down.append((self._down_free + self._latency, data))

    def close(self) -> None:
        self._line.close()

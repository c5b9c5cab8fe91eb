"""A line that fails on purpose, between a host and a board: what tests and `sparcl results faults` run whole
experiments over."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

from ..boards.stream import ByteStream


@dataclass(frozen=True)
class Faults:
    """Probabilities, each way. flipped: of a byte, to get another value; the others: of a frame."""

    flipped: float = 0.0
    dropped: float = 0.0
    duplicated: float = 0.0
    cut: float = 0.0  # its end is missing, delimiter included
    noise: float = 0.0  # random bytes come before it
    swapped: float = 0.0  # with the next frame of the same write or read
    stalled: float = 0.0  # the line stands still for up to stall_seconds before it
    stall_seconds: float = 0.05


class FaultyLine:
    """ByteStream to `line`'s board over a line with `faults`; the same seed makes the same choices.

    happened: how often each fault has.
    """

    def __init__(self, line: ByteStream, faults: Faults, seed: int) -> None:
        self._line, self._faults, self._random = line, faults, random.Random(seed)
        self._up = self._down = b""
        self.happened: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._line.name

    def write(self, data: bytes) -> None:
        *frames, self._up = (self._up + data).split(b"\0")
        self._line.write(self._spoilt(frames))

    def read(self, timeout: float) -> bytes:
        *frames, self._down = (self._down + self._line.read(timeout)).split(b"\0")
        return self._spoilt(frames)

    def close(self) -> None:
        self._line.close()

    def _spoilt(self, frames: list[bytes]) -> bytes:
        """What arrives of frames, given without their delimiters."""
        for at in range(len(frames) - 1):
            if self._happens("swapped"):
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
        return b"".join(self._pass(frame + b"\0") for frame in frames)

    def _pass(self, frame: bytes) -> bytes:
        """What arrives of one frame."""
        if self._happens("stalled"):
            time.sleep(self._random.uniform(0, self._faults.stall_seconds))
        if self._happens("dropped"):
            return b""
        if self._happens("duplicated"):
            frame *= 2
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

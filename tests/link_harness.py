"""The real C session as a process, for the tests of the link; and what its recording learner must have recorded."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from helpers import REPO, RUNTIME, compile_c, runtime_sources
from sparcl_mcu.learners.base import LearnSettings, Room, TaskInfo
from sparcl_mcu.link.faults import Faults, FaultyLine
from sparcl_mcu.link.frames import Frame, Splitter, decode
from sparcl_mcu.network import Network
from sparcl_tools.generate import generate

CLASSES = 10
ALL = TaskInfo(tuple(range(CLASSES)))
SANITIZERS = "-fsanitize=address,undefined"


@cache
def recording_board() -> Path:
    """tests/c/session_board.c with the link's sources."""
    sources = [str(RUNTIME / f"src/{part}.c") for part in ("frame", "crc32", "session", "reply", "help")]
    target = Path(tempfile.mkdtemp(prefix="sparcl-link-")) / "session_board"
    return compile_c(target, [str(REPO / "tests/c/session_board.c"), *sources], "-D_POSIX_C_SOURCE=200809L", SANITIZERS)


def native_firmware(network: Network, folder: Path, room: Room, *flags: str) -> Path:
    """The streaming firmware on the native port, sanitized, compiled without PlatformIO."""
    generate(network, folder, room=room, settings=LearnSettings())
    port = REPO / "firmware/lib/port_native"
    sources = [str(REPO / "firmware/app/main.c"), str(folder / "model.c"), *map(str, port.rglob("*.c"))]
    includes = [f"-I{path}" for path in (folder, REPO / "firmware/lib/port_api/include")]
    return compile_c(folder / "firmware", [*sources, *runtime_sources()], *includes, SANITIZERS, *flags)


class Board:
    """A running board program as a ByteStream; session_board unless told otherwise, built with sanitizers."""

    name = "the test board"

    def __init__(
        self,
        inputs: int = 8,
        window: int = 8,
        *,
        speed: int | None = None,
        program: Path | None = None,
        arguments: Sequence[Path] = (),
    ) -> None:
        recording = [recording_board(), str(inputs), str(window), *([str(speed)] if speed else [])]
        command = [program, *arguments] if program else recording
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._pending: list[bytes] = []
        self._splitter = Splitter()

    def read(self, timeout: float) -> bytes:
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        return os.read(self.process.stdout.fileno(), 65536) if ready else b""

    def write(self, data: bytes) -> None:
        os.write(self.process.stdin.fileno(), data)

    def close(self) -> None:
        """End the process; a sanitizer's finding fails the test."""
        if self.process.poll() is None or (self.process.stdin and not self.process.stdin.closed):
            _, errors = self.process.communicate(timeout=10)
            assert self.process.returncode == 0, errors.decode()

    def answers(self, count: int, timeout: float = 5.0) -> list[Frame]:
        """The next `count` frames from the board, each of which must be whole."""
        while len(self._pending) < count:
            data = self.read(timeout)
            assert data, f"{len(self._pending)} answers came, {count} were expected"
            self._pending += self._splitter.feed(data)
        pieces, self._pending = self._pending[:count], self._pending[count:]
        frames = [decode(piece) for piece in pieces]
        assert None not in frames
        return frames

    def ask(self, wire: bytes) -> Frame:
        """Send bytes that are one frame, return its answer."""
        self.write(wire)
        (frame,) = self.answers(1)
        return frame


def bad_line(board: Board, seed: int, share: float) -> FaultyLine:
    """A line that hurts about such a share of the frames, each way, in every way it can."""
    part = share / 7
    names = ("dropped", "duplicated", "echoed", "mixed", "cut", "noise", "swapped")
    faults = Faults(flipped=part / 30, **dict.fromkeys(names, part))
    return FaultyLine(board, faults, seed)


class Record:
    """What session_board's checksum must be after these calls."""

    def __init__(self) -> None:
        self.hash = 0

    def _note(self, call: bytes, data: bytes = b"") -> None:
        self.hash = zlib.crc32(call + data, self.hash)

    def reset(self, settings: LearnSettings) -> None:
        self.hash = 0
        self._note(b"R", packed(settings) + bytes(1))  # as the struct lies in memory, with its padding

    def begin_task(self, task: TaskInfo = ALL) -> None:
        self._note(b"B", struct.pack("<I", task.samples))
        self._note(b"e", struct.pack("<H", task.epochs))
        self._note(b"c", bitmap(task.classes))

    def end_task(self) -> None:
        self._note(b"E")

    def end_epoch(self) -> None:
        self._note(b"N")

    def observe(self, x: np.ndarray, y: np.ndarray, numbers: np.ndarray | None = None) -> None:
        for i, (sample, label) in enumerate(zip(x, y, strict=True)):
            self._note(b"O", bytes([label]))
            self._note(b"n", struct.pack("<I", i if numbers is None else numbers[i]))
            self._note(b"x", sample.tobytes())

    def remember(self, x: np.ndarray, y: np.ndarray) -> None:
        for sample, label in zip(x, y, strict=True):
            self._note(b"M", bytes([label]))
            self._note(b"x", sample.tobytes())


def packed(s: LearnSettings) -> bytes:
    """RESET's payload."""
    kinds = (s.replay, s.alpha_shift, s.beta_shift, s.single_head_loss, s.importance, s.ddr_within_task)
    shares = (s.margin, s.tdm_intra, s.tdm_inter, s.dgm_share, s.ddr_fraction)
    return struct.pack("<IBb6B5HB", s.seed, s.lr_mantissa, s.lr_exponent, *kinds, *shares, s.anneal)


def bitmap(classes: tuple[int, ...]) -> bytes:
    """A set of classes as the wire has it."""
    return sum(1 << label for label in classes).to_bytes(2, "little")


def classes_of(x: np.ndarray) -> np.ndarray:
    """What session_board says of samples int8 (n, inputs)."""
    return (x[:, 0] ^ x[:, -1]).astype(np.uint8) % CLASSES


def samples(count: int, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random int8 samples, many of them zeros (which stuffing works on), and labels."""
    random = np.random.default_rng(seed)
    x = random.integers(-127, 128, (count, inputs)).astype(np.int8)
    x[random.random(x.shape) < 0.3] = 0
    return x, random.integers(0, CLASSES, count).astype(np.uint8)

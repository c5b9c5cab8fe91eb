"""The real C session as a process, for the tests of the link; and what its recording learner must have recorded."""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from sparcl_mcu.link.frames import Frame, Splitter, decode

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "firmware/lib/sparcl"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Wundef", "-Werror"]
CLASSES = 10


@cache
def compiled(name: str, *flags: str) -> Path:
    """Build a C file of tests/c, or a shared library of the frame code, with the link's sources."""
    compiler = shutil.which("cc") or "gcc"
    target = Path(tempfile.mkdtemp(prefix="sparcl-link-")) / name
    sources = [LIBRARY / "src" / f"{part}.c" for part in ("frame", "crc32")]
    if (ROOT / "tests/c" / f"{name}.c").exists():
        sources += [LIBRARY / "src/session.c", ROOT / "tests/c" / f"{name}.c"]
    command = [compiler, *WARNINGS, "-D_POSIX_C_SOURCE=200809L", "-g", *flags, f"-I{LIBRARY}/include"]
    subprocess.run([*command, *map(str, sources), "-o", str(target)], check=True)
    return target


class Board:
    """A running session_board, as a ByteStream; built with the address and undefined behaviour sanitizers."""

    name = "the test board"

    def __init__(self, inputs: int = 8, window: int = 8) -> None:
        program = compiled("session_board", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
        self.process = subprocess.Popen(
            [program, str(inputs), str(window)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
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


class Record:
    """What session_board's checksum must be after these calls."""

    def __init__(self) -> None:
        self.hash = 0

    def _note(self, call: bytes, data: bytes = b"") -> None:
        self.hash = zlib.crc32(call + data, self.hash)

    def reset(self, seed: int = 0, lr_exponent: int = -7, second_pass: int = 0) -> None:
        self.hash = 0
        self._note(b"R", struct.pack("<I", seed))
        self._note(b"l", struct.pack("<b", lr_exponent))
        self._note(b"s", bytes([second_pass]))

    def begin_task(self) -> None:
        self._note(b"B")

    def end_task(self) -> None:
        self._note(b"E")

    def observe(self, x: np.ndarray, y: np.ndarray) -> None:
        for sample, label in zip(x, y, strict=True):
            self._note(b"O", bytes([label]))
            self._note(b"x", sample.tobytes())


def classes_of(x: np.ndarray) -> np.ndarray:
    """What session_board says of samples int8 (n, inputs)."""
    return (x[:, 0] ^ x[:, -1]).astype(np.uint8) % CLASSES


def samples(count: int, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random int8 samples, many of them zeros (which stuffing works on), and labels."""
    random = np.random.default_rng(seed)
    x = random.integers(-127, 128, (count, inputs)).astype(np.int8)
    x[random.random(x.shape) < 0.3] = 0
    return x, random.integers(0, CLASSES, count).astype(np.uint8)

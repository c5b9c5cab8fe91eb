"""A generated model and the runtime as one sanitized host program, driven without a link (tests/c/drive.c)."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers import REPO, compile_c, runtime_sources
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.network import Network
from sparcl_tools.generate import generate


class Program:
    """Collects commands, then runs them in one go under AddressSanitizer and UBSan."""

    def __init__(self, network: Network, folder: Path, *, replay: int, batch: int = 1) -> None:
        generate(network, folder, replay_capacity=replay, settings=LearnSettings(), batch=batch)
        sources = [str(REPO / "tests/c/drive.c"), str(folder / "model.c"), *runtime_sources(session=False)]
        self.path = compile_c(folder / "drive", sources, "-I", str(folder), "-fsanitize=address,undefined")
        self.script = bytearray()

    def reset(self, s: LearnSettings) -> None:
        self.script += b"C" + struct.pack("<BbBI", s.lr_mantissa, s.lr_exponent, s.second_pass, s.seed)

    def command(self, letter: str) -> None:
        self.script += letter.encode()

    def observe(self, x: NDArray[np.int8], y: NDArray[np.uint8]) -> None:
        for sample, label in zip(x, y, strict=True):
            self.script += b"S" + bytes([label]) + sample.tobytes()

    def predict(self, x: NDArray[np.int8]) -> None:
        for sample in x:
            self.script += b"P" + sample.tobytes()

    def load(self, state: bytes) -> None:
        self.script += b"R" + state

    def run(self) -> list[str]:
        """Run what was collected; the lines printed. Fails on any sanitizer report or refused call."""
        script, self.script = bytes(self.script), bytearray()
        done = subprocess.run([self.path], input=script, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split()

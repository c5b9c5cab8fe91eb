"""What a training step of the MLP 784-128-10 costs in plain float32 C: the control beside our own step.

firmware/bench/float_step.c is built with the core's FPU where its board names one, and run by the bench's program.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import elf
from .bench_kernels import APP, BenchError, Row, run
from .build import build
from .generate import templates, write

WHAT = "float32 step mlp-784-128-10"
INPUTS, HIDDEN, CLASSES, LABEL, RATE = 784, 128, 10, 3, 2.0**-11
SCALES, BIAS = (0.0625, 0.0625), 2.0  # of the weights of either layer; of the hidden biases
WEIGHTS, HEAD = INPUTS * HIDDEN, HIDDEN * CLASSES
MACS = 2 * WEIGHTS + 3 * HEAD  # no error of the inputs


def measure(board: str, folder: Path, log: Callable[[str], None] = print) -> Row:
    """Build and run the control on a board; its second step must be NumPy's. Raises BenchError."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"rate": RATE, "label": LABEL, "scales": SCALES, "bias": BIAS}
    for suffix in ("h", "c"):
        write(folder / f"model.{suffix}", templates().get_template(f"bench_float.{suffix}.j2").render(facts))
    program = build(board, folder, build_dir=folder.parent / "float_objects", app=APP, whole_memory=True, floating=True)
    (instructions, _), (_, crc) = run(board, program, 2)
    if crc != zlib.crc32(_second_errors().tobytes()):
        raise BenchError(f"{WHAT}: {board} computed something else than NumPy")
    sizes, core = elf.sizes(program), board.removeprefix("qemu_")
    log(f"{board}: {WHAT}: {instructions}")
    per_mac = round(instructions / MACS, 3)
    return Row(core, WHAT, "dense", 1.0, instructions, per_mac, per_mac, sizes.flash["float_step"], sizes.ram["net"])


def _drawn(n: int, seed: int, scale: float) -> NDArray[np.float64]:
    """As in the template bench_float.c.j2."""
    hashes = ((np.arange(seed, seed + n, dtype=np.uint32) * np.uint32(2654435761)) >> np.uint32(16)) & np.uint32(1023)
    return (hashes + 0.5 - 512) / 512 * scale


def _second_errors() -> NDArray[np.int8]:
    """Errors of the logits in the second of two steps on one sample, in 1/64, rounded towards zero."""
    w1 = _drawn(WEIGHTS, 1, SCALES[0]).reshape(HIDDEN, INPUTS)
    w2 = _drawn(HEAD, 2, SCALES[1]).reshape(CLASSES, HIDDEN)
    b1, b2, x = np.full(HIDDEN, BIAS), np.zeros(CLASSES), _drawn(INPUTS, 3, 1.0)
    for _ in range(2):
        hidden = np.maximum(w1 @ x + b1, 0)
        z = w2 @ hidden + b2
        e = (1 + (z - z.max()) / 1024) ** 1024
        p = e / e.sum()
        p[LABEL] -= 1
        error = (p @ w2) * (hidden > 0)
        w2 -= RATE * np.outer(p, hidden)
        b2 -= RATE * p
        w1 -= RATE * np.outer(error, x)
        b1 -= RATE * error
    return np.trunc(p * 64).astype(np.int8)

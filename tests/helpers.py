"""What several tests share: small networks without torch, and the C runtime compiled for the host."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.design import mlp_specs
from sparcl_mcu.network import Network
from sparcl_mcu.pretrain import FloatLayer
from sparcl_mcu.quantize import InputScaling, quantise
from sparcl_mcu.sparsity import Block, top_blocks

REPO = Path(__file__).resolve().parent.parent
RUNTIME = REPO / "firmware/lib/sparcl"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Wundef", "-Werror"]


def runtime_sources(*, session: bool = True) -> list[str]:
    """Every C file of the runtime; without the link when `session` is False."""
    files = sorted((RUNTIME / "src").rglob("*.c"))
    return [str(f) for f in files if session or f.stem not in ("frame", "session")]


def compile_c(out: Path, sources: list[str], *flags: str) -> Path:
    """Compile with the project's warnings as errors; raises with the compiler's text."""
    command = [
        "gcc",
        *WARNINGS,
        "-fno-sanitize-recover=all",
        "-g",
        "-O1",
        "-I",
        str(RUNTIME / "include"),
        *flags,
        *sources,
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@functools.cache
def runtime_library() -> ctypes.CDLL:
    """The runtime as a shared library with UBSan, plus tests/c/exports.c for what is inline."""
    out = Path(tempfile.mkdtemp()) / "runtime.so"
    exports = str(REPO / "tests/c/exports.c")
    compile_c(
        out, [exports, *runtime_sources(session=False)], "-shared", "-fPIC", "-fsanitize=undefined", "-static-libubsan"
    )
    return ctypes.CDLL(os.fspath(out))


def random_network(
    seed: int,
    *,
    sizes: tuple[int, ...] = (24, 16, 8, 5),
    density: float = 0.5,
    block: Block = Block(1, 1),  # noqa: B008 - a named tuple is immutable
) -> Network:
    """A network with He weights; no torch, no data."""
    rng = np.random.default_rng(seed)
    layers = []
    for spec in mlp_specs(sizes[0], sizes[-1], sizes[1:-1], density, block):
        weight = rng.normal(0, (2 / (spec.inputs * spec.density)) ** 0.5, (spec.outputs, spec.inputs))
        mask = top_blocks(rng.random(weight.shape), spec.density, spec.block)
        bias = rng.normal(0, 0.1, spec.outputs).astype(np.float32)
        layers.append(FloatLayer(spec, (weight * mask).astype(np.float32), bias, mask))
    scaling = InputScaling(np.zeros(sizes[0], np.float32), np.ones(sizes[0], np.float32), -7)
    calibration = rng.uniform(-1, 1, (64, sizes[0])).astype(np.float32)
    return quantise(tuple(layers), scaling, calibration, f"random{seed}")


def random_samples(network: Network, n: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Learnable noise: a prototype a class plus spread; int8 (n, inputs) and labels (n,)."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(-90, 91, (network.classes, network.inputs))
    y = rng.integers(0, network.classes, n).astype(np.uint8)
    x = np.clip(prototypes[y] + rng.integers(-40, 41, (n, network.inputs)), -127, 127)
    return x.astype(np.int8), y

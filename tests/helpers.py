"""What several tests share: small networks without torch, and the C runtime compiled for the host."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.design import mlp
from sparcl_mcu.graph import INPUT, Graph, Node, Window, size
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.network import Network
from sparcl_mcu.ops import OPERATORS, Weighted
from sparcl_mcu.ops.pool import AveragePool
from sparcl_mcu.ops.window import patches, window_of
from sparcl_mcu.pretrain import FloatNetwork, FloatWeights
from sparcl_mcu.quantize import InputScaling, to_integers
from sparcl_mcu.sparsity import SINGLE, Block, top_blocks

REPO = Path(__file__).resolve().parent.parent
RUNTIME = REPO / "firmware/lib/sparcl"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Wundef", "-Werror"]


def runtime_sources(*, session: bool = True) -> list[str]:
    """Every C file of the runtime; without the link when `session` is False."""
    files = sorted((RUNTIME / "src").rglob("*.c"))
    return [str(f) for f in files if session or f.stem not in ("frame", "session", "reply", "help", "lock")]


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
def sanitized_runtime() -> list[str]:
    """Object files of the runtime without the link, under AddressSanitizer and UBSan; compiled once a test process."""
    folder = Path(tempfile.mkdtemp())
    for source in runtime_sources(session=False):
        compile_c(folder / f"{Path(source).stem}.o", [source], "-c", "-fsanitize=address,undefined")
    return [str(file) for file in sorted(folder.glob("*.o"))]


VARIANTS = {"plain": [], "dsp": ["-DSCL_DSP=1", "-I", str(REPO / "tests/c/dsp")]}  # of kernels: the compiler's flags
variant = "plain"  # of runtime_library; kernel_cases.every_variant sets it


def runtime_library() -> ctypes.CDLL:
    """The runtime as a shared library with UBSan, plus tests/c/exports.c for what is inline."""
    return _runtime_library(variant)


@functools.cache
def _runtime_library(kernels: str) -> ctypes.CDLL:
    out = Path(tempfile.mkdtemp()) / "runtime.so"
    exports = str(REPO / "tests/c/exports.c")
    flags = ["-shared", "-fPIC", "-fsanitize=undefined", "-static-libubsan", *VARIANTS[kernels]]
    compile_c(out, [exports, *runtime_sources(session=False)], *flags)
    return ctypes.CDLL(os.fspath(out))


PERCENT = 65536 // 100
SPARCL = LearnSettings(  # masks that move often and far: a small network shows every event
    seed=7,
    lr_exponent=-6,
    replay=Replay.DERPP,
    beta_shift=1,
    importance=Importance.PAPER,
    tdm_intra=5 * PERCENT,
    tdm_inter=8 * PERCENT,
    dgm_share=32768,
)
SPARCL_ROOM = Room(replay=20, logits=True, tdm=True, inter=8 * PERCENT, dgm=True, slice=64, ddr=80)


def whole_task(network: Network, samples: int = 0, epochs: int = 0) -> TaskInfo:
    """A task of every class."""
    return TaskInfo(tuple(range(network.classes)), samples, epochs)


def random_network(
    seed: int,
    *,
    sizes: tuple[int, ...] = (24, 16, 8, 5),
    density: float = 0.5,
    block: Block = SINGLE,
) -> Network:
    """A multilayer perceptron with He weights; no torch, no data."""
    return random_graph_network(mlp((sizes[0],), sizes[-1], sizes[1:-1], density, block), seed)


def random_graph_network(graph: Graph, seed: int) -> Network:
    """Any graph with He weights, random masks of its densities, and exponents that fit noise; no torch, no data."""
    rng = np.random.default_rng(seed)
    weights = {}
    for node in graph.nodes:
        if node.weighted:
            shape = (graph.weight_rows(node), graph.fan_in(node))
            weight = rng.normal(0, (2 / (shape[1] * node.density)) ** 0.5, shape)
            mask = top_blocks(rng.random(shape), node.density, node.block)
            bias = rng.normal(0, 0.1, shape[0]).astype(np.float32)
            weights[node.name] = FloatWeights((weight * mask).astype(np.float32), bias, mask)
    network = FloatNetwork(graph, weights)
    inputs = size(graph.input_shape)
    scaling = InputScaling(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), -7)
    return to_integers(network, scaling, _largest(network, rng.uniform(-1, 1, (16, inputs))), f"random{seed}")


def _largest(network: FloatNetwork, x: NDArray[np.float64]) -> dict[str, float]:
    """Largest output of every layer, by the operators' own NumPy forward on real numbers."""
    largest = dict.fromkeys(network.graph.shapes, 0.0)
    for sample in x:
        maps: dict[str, Any] = {INPUT: sample.reshape(network.graph.input_shape)}
        for node in network.graph.nodes:
            operator, sources = OPERATORS[node.op], [maps[source] for source in node.sources]
            if isinstance(operator, AveragePool):  # its integer mean would round real numbers
                y = patches(sources[0], window_of(node)).mean(axis=(2, 3))
            elif isinstance(operator, Weighted):
                w = network.weights[node.name]
                y = operator.forward(node, w.weight, sources[0]) + w.bias
            else:
                y = operator.forward(node, sources)[0]
            maps[node.name] = np.maximum(y, 0) if node.relu else y
        largest = {name: max(largest[name], float(np.abs(m).max())) for name, m in maps.items()}
    return largest


def random_samples(network: Network, n: int, seed: int) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Learnable noise: a prototype a class plus spread; int8 (n, inputs) and labels (n,)."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(-90, 91, (network.classes, network.inputs))
    y = rng.integers(0, network.classes, n).astype(np.uint8)
    x = np.clip(prototypes[y] + rng.integers(-40, 41, (n, network.inputs)), -127, 127)
    return x.astype(np.int8), y


def every_operator(frozen: tuple[str, ...] = ()) -> Graph:
    """A small network with every operator, both kinds of shortcut, every block shape; `frozen` layers do not learn."""
    nodes = (
        Node("stem", "conv2d", (INPUT,), 8, Window((3, 3)), True),
        Node("conv1", "conv2d", ("stem",), 8, Window((3, 3)), True, 0.5, Block(1, 4)),
        Node("conv2", "conv2d", ("conv1",), 8, Window((3, 3)), False, 0.5, Block(4, 1)),
        Node("add1", "add", ("conv2", "stem"), relu=True),
        Node("conv3", "conv2d", ("add1",), 16, Window((5, 5), (2, 2)), True, 0.5),
        Node("conv4", "conv2d", ("conv3",), 16, Window((3, 3))),
        Node("short", "conv2d", ("add1",), 16, Window((1, 1), (2, 2))),
        Node("add2", "add", ("conv4", "short"), relu=True),
        Node("max", "max_pool", ("add2",), window=Window((3, 3), (2, 2))),
        Node("depthwise", "depthwise", ("max",), window=Window((3, 3)), relu=True),
        Node("pointwise", "conv2d", ("depthwise",), 16, Window((1, 1)), True, 0.5, Block(4, 1)),
        Node("mean", "avg_pool", ("pointwise",), window=Window((2, 2), (1, 1), "valid")),
        Node("head", "dense", ("mean",), 5),
    )
    return Graph((8, 8, 3), tuple(replace(node, frozen=node.name in frozen) for node in nodes))

"""What a whole training step costs: forward, loss, backward and update of one sample in the ordinary firmware.

The networks have random weights and biases that let every output through its ReLU, so that no error is 0 but by
rounding; the state afterwards must be NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu import design
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.graph import INPUT, Graph, size
from sparcl_mcu.learners.base import LearnSettings, Room, TaskInfo
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.network import Network
from sparcl_mcu.ops import OPERATORS, Weighted
from sparcl_mcu.pretrain import FloatNetwork, FloatWeights
from sparcl_mcu.quantize import InputScaling, to_integers
from sparcl_mcu.sparsity import SINGLE, Block, top_blocks

from . import elf
from .bench_kernels import BenchError, Row
from .build import build
from .generate import generate, model_hash

ROOM = Room(replay=4)
SETTINGS = LearnSettings(lr_exponent=-13)  # the loss must not come to an end
WATCHED_EVERY = 64  # WATCH_STEPS of learner.c: what updates do is counted in one step of so many


@dataclass(frozen=True)
class Step:
    """A network whose training step is measured. build: density and block to its graph. elsewhere: densities that
    are measured on every core, not only on the Cortex-M4."""

    name: str
    build: Callable[[float, Block], Graph]
    densities: tuple[float, ...]
    block: Block
    samples: int = 4
    elsewhere: tuple[float, ...] = ()


def _mlp(inputs: int, hidden: tuple[int, ...], classes: int) -> Callable[[float, Block], Graph]:
    return lambda density, block: design.mlp((inputs,), classes, hidden, density, block)


def _ds_cnn(density: float, block: Block) -> Graph:
    return design.ds_cnn((49, 10), 12, density, block)


def _resnet8(density: float, block: Block) -> Graph:
    return design.resnet8((32, 32, 3), 10, density, block)


def _last_stage(density: float, block: Block) -> Graph:
    return design.freeze_until(_resnet8(density, block), "stage3_conv1")


ALL = (1.0, 0.5, 0.25, 0.1, 0.05)
STEPS = (
    Step("mlp-784-128-10", _mlp(784, (128,), 10), ALL, Block(4, 1), elsewhere=(1.0, 0.1)),
    Step("mlp-784-128-10", _mlp(784, (128,), 10), (0.25, 0.1), Block(1, 4)),
    Step("mlp-784-128-10", _mlp(784, (128,), 10), (0.25, 0.1), SINGLE),
    Step("mlp-561-128-64-6", _mlp(561, (128, 64), 6), ALL, Block(4, 1)),
    Step("ds-cnn", _ds_cnn, (1.0, 0.25), Block(4, 1), 1),
    Step("ds-cnn", _ds_cnn, (0.25,), Block(1, 4), 1),
    Step("resnet-8 last stage", _last_stage, (0.25,), Block(4, 1), 1),
    Step("resnet-8", _resnet8, (0.25,), Block(4, 1), 1),
)


def live_network(graph: Graph, seed: int) -> tuple[Network, NDArray[np.int8]]:
    """A network that lets one sample x int8 (1, inputs) through every ReLU and knows no class from another."""
    rng = np.random.default_rng(seed)
    inputs = size(graph.input_shape)
    x = rng.integers(1, 127, inputs) * rng.choice([-1, 1], inputs)
    weights: dict[str, FloatWeights] = {}
    maps = {INPUT: (x / 128).reshape(graph.input_shape)}
    for node in graph.nodes:
        operator, sources = OPERATORS[node.op], [maps[source] for source in node.sources]
        if isinstance(operator, Weighted):
            shape = (graph.weight_rows(node), graph.fan_in(node))
            mask = top_blocks(rng.random(shape), node.density, node.block)
            spread = (2 / (shape[1] * node.density)) ** 0.5
            weight = rng.normal(0, spread, shape) * mask
            y = operator.forward(node, weight, sources[0])  # type: ignore[arg-type]  # of real numbers
            scale = max(1.0, float(y.std()))  # or the outputs of a deep network grow out of every exponent
            weight, real = weight / scale, y / scale
            rows = real.reshape(-1, len(weight))
            head = node is graph.nodes[-1]
            bias = -rows.mean(0) if head else -rows.min(0) + 0.5 * rows.std() + 0.1
            weights[node.name] = FloatWeights(weight.astype(np.float32), bias.astype(np.float32), mask)
            maps[node.name] = real + bias
        elif node.op == "add":
            maps[node.name] = sources[0] + sources[1]
        else:  # a global average pool
            maps[node.name] = sources[0].mean(axis=(0, 1), keepdims=True)
    largest = {name: float(np.abs(m).max()) for name, m in maps.items()}
    scaling = InputScaling(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), -7)
    network = to_integers(FloatNetwork(graph, weights), scaling, largest, "bench")
    return network, x.astype(np.int8)[None]


def usual(counted: list[int]) -> int:
    """Instructions of a step, from the board's count after the first step, the second, ..

    The first counts what updates do, as one of WATCHED_EVERY does."""
    watched, rest = counted[0], (counted[-1] - counted[0]) / (len(counted) - 1)
    return round((watched + (WATCHED_EVERY - 1) * rest) / WATCHED_EVERY)


def measure(board: str, step: Step, density: float, folder: Path, log: Callable[[str], None] = print) -> Row:
    """Build the firmware, teach it, hold its state against NumPy's. Raises BenchError."""
    graph = step.build(density, step.block)
    network, x = live_network(graph, 0)
    generate(network, folder, room=ROOM, settings=SETTINGS)
    program = build(board, folder, build_dir=folder.parent / "objects", whole_memory=True)
    expected, task = SimulatedLearner(network, ROOM), TaskInfo(tuple(range(network.classes)))
    client = Client(open_board(catalogue.find(board), program), timeout=300.0)
    try:
        learner = BoardLearner(client, network, expected_model_hash=model_hash(network, ROOM))
        counted = []
        for each in (learner, expected):
            each.reset(SETTINGS)
            each.begin_task(task)
        for label in range(1 + step.samples):
            for each in (learner, expected):
                each.observe(x, np.array([label], np.uint8))
            stats = learner.stats()
            counted.append(stats["instructions"])
        if learner.state_hash() != expected.state_hash():
            raise BenchError(f"{step.name} at {density}: {board} learnt something else than NumPy")
    finally:
        client.close()
    if stats["backward_passes"] != stats["steps"]:
        raise BenchError(f"{step.name} at {density}: a step had no error, so that it cost less than others")
    instructions = usual(counted)
    macs = sum(stats[f"macs_{phase}"] for phase in ("forward", "input_grad", "weight_grad")) // stats["steps"]
    sizes = elf.sizes(program)
    log(f"{board}: step {step.name}, {step.block} at {density}: {instructions}")
    return Row(
        board.removeprefix("qemu_"),
        f"step {step.name}",
        "dense" if density == 1 else str(step.block),
        density,
        instructions,
        round(instructions / macs, 3),
        round(instructions / dense_macs(network), 3),
        sizes.flash_bytes,
        sizes.ram_bytes,
        stack_bytes=stats.get("stack_bytes"),
    )


def dense_macs(network: Network) -> int:
    """Multiply-accumulates of a step in which every weight exists: forward, input gradient, weight gradient."""
    total = 0
    for node in network.weighted():
        weights = network.weights[node.name].mask.size * network.positions(node)
        passes_error = bool(set(node.sources) & network.graph.learns)
        total += weights * (1 + passes_error + (not node.frozen))
    return total

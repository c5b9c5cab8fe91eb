"""What a step with replay costs on an emulated core, from inputs and from latents.

The networks are those of bench_steps, whose errors are not 0; the state afterwards must be NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparcl_mcu import design
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.graph import Graph, size
from sparcl_mcu.learners.base import LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.sparsity import Block

from . import elf
from .bench_kernels import BenchError
from .bench_steps import live_network
from .build import build
from .generate import generate, model_hash

STEPS = 4  # counted, after as many that fill the buffer


@dataclass(frozen=True)
class Case:
    """A network with frozen layers. freeze_until: the first layer that learns."""

    name: str
    graph: Graph
    freeze_until: str

    @property
    def frozen(self) -> Graph:
        return design.freeze_until(self.graph, self.freeze_until)


_RESNET8 = design.resnet8((32, 32, 3), 10, 0.25, Block(4, 1))
CASES = (
    Case("DS-CNN", design.ds_cnn((49, 10), 12, 0.25, Block(4, 1)), "head"),
    Case("ResNet-8", _RESNET8, "head"),
    Case("ResNet-8", _RESNET8, "stage3_conv1"),
)
METHODS = {"er": Replay.ER, "der++": Replay.DERPP}


@dataclass(frozen=True)
class Cost:
    """Of one case and method. bytes: of a sample in the buffer, label and logits apart. step, first: instructions of a
    step with replay, and of one without. ram: of the firmware with a buffer of STEPS samples. learnt: the hash of
    layers and exponents at the end."""

    network: str
    freeze_until: str
    border: str
    method: str
    latent: bool
    bytes: int
    step: int
    first: int
    ram: int
    learnt: int


def measure(
    board: str, case: Case, method: str, latent: bool, folder: Path, log: Callable[[str], None] = print
) -> Cost:
    """Build the firmware, teach it two tasks, hold its state against NumPy's. Raises BenchError."""
    network, x = live_network(case.frozen, 0)
    replay = METHODS[method]
    settings = LearnSettings(lr_exponent=-8, replay=replay)  # logits move from those that are stored
    room = Room(replay=STEPS, logits=replay is Replay.DERPP, latent=latent)
    generate(network, folder, room=room, settings=settings)
    program = build(board, folder, build_dir=folder.parent / "objects", whole_memory=True)
    expected, task = SimulatedLearner(network, room), TaskInfo(tuple(range(network.classes)))
    client = Client(open_board(catalogue.find(board), program), timeout=300.0)
    try:
        learner = BoardLearner(client, network, expected_model_hash=model_hash(network, room))
        counted = [0]
        learner.reset(settings)
        expected.reset(settings)
        for _ in range(2):
            for each in (learner, expected):
                each.begin_task(task)
            for label in range(STEPS):
                for each in (learner, expected):
                    each.observe(x, np.array([label], np.uint8))
                counted.append(learner.stats()["instructions"])
            for each in (learner, expected):
                each.end_task()
        if learner.state_hash() != expected.state_hash():
            raise BenchError(f"{case.name} with {method}: {board} learnt something else than NumPy")
        stats = learner.stats()
    finally:
        client.close()
    if stats["backward_passes"] != stats["training_passes"]:
        raise BenchError(f"{case.name} with {method}: a pass had no error, so that it cost less than others")
    steps = np.diff(counted)
    log(f"{board}: {case.name}, {method} from {'latents' if latent else 'inputs'}: {steps[STEPS:].mean():.0f} a step")
    return Cost(
        case.name,
        case.freeze_until,
        network.graph.border,
        method,
        latent,
        size(network.graph.shapes[expected.entry]),
        round(float(steps[STEPS:].mean())),
        round(float(steps[1:STEPS].mean())),  # what updates do is counted in the first of all
        elf.sizes(program).ram_bytes,
        expected.learnt_hash(),
    )

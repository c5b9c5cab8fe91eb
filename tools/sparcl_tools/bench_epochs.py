"""What an epoch of SparCL-DER++ costs, and how much of it are the events that move masks and remove samples.

The task is that of examples/base_fashion_mlp, as many samples and epochs and all settings of SparCL, with the network
of the bench's steps and drawn samples: the one that bench_steps lets through every ReLU, with some signs turned. Dense
DER++ learns beside it, a few steps. firmware/epochs learns without a link, which would take longer than the learning.
The state after a first task, which is short, must be NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu import config, design, prepare
from sparcl_mcu import numerics as nx
from sparcl_mcu.config import Config
from sparcl_mcu.learners.base import LearnSettings, Room, TaskInfo
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Block

from . import elf
from .bench_kernels import BenchError, Row, run
from .bench_steps import dense_macs, live_network
from .build import build
from .generate import generate, templates, write
from .pio import ROOT

APP = ROOT / "firmware" / "epochs"
NAME = "mlp-784-128-10"
WHAT, DENSE = f"epoch SparCL-DER++ {NAME}", f"epoch DER++ {NAME}"
TDM, DDR, IMPORTANCE = f"{WHAT}, TDM events", f"{WHAT}, DDR event", f"{WHAT}, importance"
DENSITY, Q, BLOCK = 0.1, 0.92, Block(4, 1)  # Q: gradient sparsity, so that 80 % of the stored weights learn
PASSES = 3  # of a step with DER++
DENSE_STEPS = 8  # measured of the dense learner
FIRST, SECOND = TaskInfo((0, 1), 120, 3), (2, 3)  # the first only has to fill some of the buffer
SEEDS = (1000, 1 << 20)  # of the tasks' samples
BY_CLASS, BY_CHANCE = round(0.3 * 2**32), round(0.1 * 2**32)  # signs turned


@dataclass(frozen=True)
class Call:
    """What one call that learns cost, and what happened in it."""

    instructions: int
    step: bool  # a sample was learnt
    event: bool  # masks were looked at
    measured: bool  # importance was
    removed: bool  # samples were (DDR)

    @classmethod
    def of(cls, instructions: int, happened: int) -> Call:
        """From a line of firmware/epochs."""
        return cls(instructions, bool(happened & 1), bool(happened & 2), bool(happened & 4), happened > 7)


def example() -> Config:
    """The experiment whose schedule is measured."""
    read = config.load(ROOT / "examples" / "base_fashion_mlp" / "experiment.toml")
    network = replace(read.network, density=DENSITY)
    return replace(read, network=network, dgm=replace(read.dgm, sparsity=Q))


def _samples(x: NDArray[np.int8], task: TaskInfo, seed: int) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Of a task, int8 (samples, inputs) and labels, as firmware/epochs draws them."""
    y = np.array([task.classes[i & 1] for i in range(task.samples)], np.uint8)
    by_class = {label: _turned(label, BY_CLASS, x.size) for label in task.classes}
    turned = np.array([by_class[int(y[i])] ^ _turned(seed + i, BY_CHANCE, x.size) for i in range(task.samples)])
    return np.where(turned, -x, x).astype(np.int8), y


def _turned(of: int, share: int, inputs: int) -> NDArray[np.bool_]:
    return np.array([nx.hash32(of, 0, 0, 0, i) < share for i in range(inputs)])


@dataclass
class _Run:
    """What a board did in the second of two tasks."""

    calls: list[Call]
    macs: int  # of all kinds
    sizes: elf.Sizes


def _run(
    board: str,
    network: Network,
    x: NDArray[np.int8],
    room: Room,
    settings: LearnSettings,
    tasks: list[TaskInfo],
    folder: Path,
) -> _Run:
    """Build firmware/epochs and run it; its state after the first task must be NumPy's. Raises BenchError."""
    generate(network, folder, room=room, settings=settings)
    facts = {"tasks": tasks, "seeds": SEEDS, "by_class": BY_CLASS, "by_chance": BY_CHANCE, "x": x}
    model = folder / "model.h"
    write(model, model.read_text() + templates().get_template("bench_epochs.h.j2").render(facts))
    program = build(board, folder, build_dir=folder.parent / "objects", app=APP, whole_memory=True)
    first, second = (1 + task.epochs * (task.samples + 1) for task in tasks)
    lines = list(run(board, program, first + 1 + second + 1))
    learner = SimulatedLearner(network, room)
    learner.reset(settings)
    learner.begin_task(tasks[0])
    samples, labels = _samples(x, tasks[0], SEEDS[0])
    for _ in range(tasks[0].epochs):
        kept = np.flatnonzero(learner.wanted())
        learner.observe(samples[kept], labels[kept], kept)
        learner.end_epoch()
    learner.end_task()
    if lines[first][1] != learner.state_hash():
        raise BenchError(f"{NAME} with DER++: {board} learnt something else than NumPy")
    calls = [Call.of(*line) for line in lines[first + 1 : -1]]
    return _Run(calls, lines[-1][0] << 32 | lines[-1][1], elf.sizes(program))


def measure(board: str, folder: Path, log: Callable[[str], None] = print) -> list[Row]:
    """An epoch of each learner on a board, and parts of the sparse one's. Raises BenchError."""
    experiment = example()
    samples = experiment.data.samples_per_task
    assert samples is not None
    task = TaskInfo(SECOND, samples, experiment.learn.epochs)
    sparse = _sparse(board, experiment, task, folder / "sparse")
    dense = _dense(board, experiment, task, folder / "dense")
    for row in (*sparse, dense):
        log(f"{board}: {row.what}: {row.instructions}")
    return [*sparse, dense]


def _sparse(board: str, experiment: Config, task: TaskInfo, folder: Path) -> list[Row]:
    network, x = live_network(design.mlp((784,), 10, (128,), DENSITY, BLOCK), 0)
    settings, room = prepare.learn_settings(experiment), prepare.room(experiment, network)
    done = _run(board, network, x[0], room, settings, [FIRST, task], folder)
    whole = PASSES * task.samples * dense_macs(network)
    return [
        Row(
            board.removeprefix("qemu_"),
            what,
            str(BLOCK),
            DENSITY,
            round(total / task.epochs),
            round(total / done.macs, 3),
            round(total / task.epochs / whole, 3),
            done.sizes.flash_bytes,
            done.sizes.ram_bytes,
        )
        for what, total in parts(done.calls).items()
    ]


def parts(calls: list[Call]) -> dict[str, float]:
    """Instructions of a task, in all and of each part; what one call has several parts of is told apart by the mean of
    those that have one. Raises BenchError where there are none."""
    plain = _mean([c for c in calls if c.step and not c.measured and not c.event])
    measuring = _mean([c for c in calls if c.step and c.measured and not c.event])
    removing = _mean([c for c in calls if c.removed and not c.event])
    events = 0.0
    for call in (c for c in calls if c.event):
        rest = removing if call.removed else measuring if call.measured else plain if call.step else 0
        events += call.instructions - rest
    return {
        WHAT: sum(call.instructions for call in calls),
        TDM: events,
        DDR: removing * sum(call.removed for call in calls),
        IMPORTANCE: (measuring - plain) * sum(call.measured for call in calls),
    }


def _mean(calls: list[Call]) -> float:
    if not calls:
        raise BenchError("an epoch has no call of some kind that its parts are told apart by; make its task longer")
    return float(np.mean([call.instructions for call in calls]))


def _dense(board: str, experiment: Config, task: TaskInfo, folder: Path) -> Row:
    """DER++ without SparCL: its steps are all alike, so that a few of them say what an epoch costs."""
    network, x = live_network(design.mlp((784,), 10, (128,)), 0)
    learn = prepare.learn_settings(experiment)
    settings = LearnSettings(learn.seed, learn.lr_mantissa, learn.lr_exponent, learn.replay, learn.alpha_shift)
    tasks = [replace(each, samples=DENSE_STEPS, epochs=1) for each in (FIRST, task)]
    done = _run(board, network, x[0], Room(experiment.learn.replay, logits=True), settings, tasks, folder)
    instructions = round(_mean([call for call in done.calls if call.step]) * task.samples)
    per_mac = round(instructions / (PASSES * task.samples * dense_macs(network)), 3)
    core, flash, ram = board.removeprefix("qemu_"), done.sizes.flash_bytes, done.sizes.ram_bytes
    return Row(core, DENSE, "dense", 1.0, instructions, per_mac, per_mac, flash, ram)

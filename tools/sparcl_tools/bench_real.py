"""What whole training steps cost with real data: activations and errors are 0 where they are, and kernels skip what
cannot matter.

A network pretrained on the first half of a data set's classes learns samples of the other half, as in `bench_steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sparcl_mcu import experiment, prepare
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.config import Config, DataConfig, NetworkConfig, PretrainConfig
from sparcl_mcu.learners.base import LearnSettings, TaskInfo
from sparcl_mcu.learners.board import BoardLearner
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client

from .bench_kernels import BenchError
from .bench_steps import ROOM, Step, usual
from .build import build
from .generate import generate, model_hash

SAMPLES = 32
SETTINGS = LearnSettings()
REAL = {  # by step: data set, how many classes are known before, network
    "mlp-784-128-10": ("mnist", 5, NetworkConfig(kind="mlp", hidden=(128,))),
    "ds-cnn": ("kws", 6, NetworkConfig(kind="ds_cnn")),
    "resnet-8 last stage": ("cifar10_jpeg", 5, NetworkConfig(kind="resnet8", freeze_until="stage3_conv1")),
    "resnet-8": ("cifar10_jpeg", 5, NetworkConfig(kind="resnet8")),
}


def measure(
    board: str, step: Step, density: float, folder: Path, data_dir: Path, log: Callable[[str], None] = print
) -> int:
    """Instructions of a step, the mean over `SAMPLES` samples. The state must then be NumPy's, else BenchError."""
    source, known, network = REAL[step.name]
    config = Config(
        name="bench",
        data=DataConfig(source, classes_per_task=known, samples_per_task=1 + SAMPLES),
        network=replace(network, density=density, block=str(step.block)),
        pretrain=PretrainConfig(epochs=1, fine_tune_epochs=1, shipped=True),
    )
    made = prepare.scenario(config, data_dir)
    net = prepare.pretrained(config, made, lambda *_: None)
    new = experiment.quantised(net, made.tasks, made.shipped).train[1]
    generate(net, folder, room=ROOM, settings=SETTINGS)
    program = build(board, folder, build_dir=folder.parent / "objects", whole_memory=True)
    client = Client(open_board(catalogue.find(board), program), timeout=300.0)
    try:
        learner = BoardLearner(client, net, expected_model_hash=model_hash(net, ROOM))
        learner.reset(SETTINGS)
        learner.begin_task(TaskInfo(made.tasks[1].classes))
        counted = []
        for i in range(len(new)):
            learner.observe(new.x[i : i + 1], new.y[i : i + 1])
            counted.append(learner.stats()["instructions"])
        state_hash = learner.state_hash()
    finally:
        client.close()
    expected = SimulatedLearner(net, ROOM)
    expected.reset(SETTINGS)
    expected.begin_task(TaskInfo(made.tasks[1].classes))
    expected.observe(new.x, new.y)
    if state_hash != expected.state_hash():
        raise BenchError(f"{step.name} at {density}, {source}: {board} learnt something else than NumPy")
    instructions = usual(counted)
    log(f"{board}: step {step.name}, {step.block} at {density}, {source}: {instructions}")
    return instructions

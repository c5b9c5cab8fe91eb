"""From an experiment file to what every learner starts from: tasks and a quantised network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import quantize
from .config import Config
from .data import DataSet, Task, class_incremental, load
from .design import mlp_specs
from .experiment import Progress
from .learners.base import LearnSettings, SecondPass
from .network import Network
from .pretrain import PretrainSettings, pretrain
from .sparsity import parse_block


def load_tasks(config: Config, data_dir: Path | None) -> tuple[DataSet, tuple[Task, ...]]:
    """The experiment's data, whole and cut into tasks. Raises DataError."""
    data = load(config.data.source, relative_to=config.folder, data_dir=data_dir)
    return data, class_incremental(data, config.data.classes_per_task, config.data.samples_per_task)


def pretrained(config: Config, tasks: Sequence[Task], classes: int, on_progress: Progress) -> Network:
    """Design, pretrain on the first task's training samples and quantise; the same seed gives the same network.

    Nothing of later tasks is looked at, input scaling included: the device is shipped before they exist.
    """
    first = tasks[0]
    scaling = quantize.input_scaling(first.x_train, config.data.normalise)  # type: ignore[arg-type]
    x = first.x_train.reshape(len(first.x_train), -1).astype(np.float32)
    steps = np.rint((x - scaling.offset) * scaling.gain * np.float32(2.0**-scaling.exponent))
    x = (np.clip(steps, -127, 127) * 2.0**scaling.exponent).astype(np.float32)
    wanted = config.network
    layers = pretrain(
        mlp_specs(x.shape[1], classes, wanted.hidden, wanted.density, parse_block(wanted.block)),
        x,
        first.y_train,
        PretrainSettings(**vars(config.pretrain)),
        config.seed,
        on_epoch=lambda done, total, _: on_progress(done, total),
    )
    return quantize.quantise(layers, scaling, x, config.name)


def learn_settings(config: Config, second_pass: SecondPass = SecondPass.REPLAY) -> LearnSettings:
    """How the learners of this experiment learn."""
    return LearnSettings(config.seed, config.learn.lr_mantissa, config.learn.lr_exponent, second_pass)

"""From an experiment file to what every learner starts from: tasks and a quantised network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import quantize
from .config import RESNET18, Config, ConfigError, NetworkConfig
from .data import DataSet, Task, class_incremental, consecutive, load, named
from .design import NETWORKS, freeze_until, mlp
from .errors import SparclError
from .experiment import Progress
from .graph import Graph
from .learners.base import LearnSettings, SecondPass
from .network import Network
from .pretrain import PretrainSettings, pretrain
from .sparsity import parse_block


class PrepareError(SparclError):
    """The network an experiment asks for does not suit its data."""


@dataclass(frozen=True)
class Scenario:
    """An experiment's data, whole and cut.

    tasks: what is streamed to the board, the pretrained classes first of all: its replay buffer must hold them. base:
    the tasks the host pretrains on, with all their training samples.
    """

    data: DataSet
    tasks: tuple[Task, ...]
    base: tuple[Task, ...]

    @property
    def base_samples(self) -> int:
        return sum(len(task.y_train) for task in self.base)

    @property
    def base_names(self) -> str:
        return ", ".join(self.data.class_names[c] for task in self.base for c in task.classes)


def scenario(config: Config, data_dir: Path | None) -> Scenario:
    """Load and cut the experiment's data. Raises DataError or ConfigError."""
    wanted = config.data
    data = load(wanted.source, relative_to=config.folder, data_dir=data_dir)
    classes = named(data, wanted.tasks) if wanted.tasks else consecutive(data, wanted.classes_per_task or 2)
    count = config.pretrain.tasks
    if count >= len(classes):
        raise ConfigError(
            f"[pretrain] tasks is {count}, but there are {len(classes)} tasks; leave the board at least one"
        )
    tasks = class_incremental(data, classes, wanted.samples_per_task, wanted.validate_by)
    if wanted.samples_per_task is None:
        return Scenario(data, tasks, tasks[:count])
    return Scenario(data, tasks, class_incremental(data, classes[:count], None, wanted.validate_by))


def design(wanted: NetworkConfig, shape: tuple[int, ...], classes: int) -> Graph:
    """The architecture an experiment file asks for, for samples of `shape`. Raises PrepareError naming the kind."""
    block = parse_block(wanted.block)
    if wanted.kind == RESNET18:
        raise PrepareError(
            f"[network] kind {RESNET18!r} is for `sparcl reference`: no board holds its 11 million weights"
        )
    try:
        if wanted.kind == "mlp":
            graph = mlp(shape, classes, wanted.hidden or (), wanted.density, block)
        else:
            graph = NETWORKS[wanted.kind](shape, classes, density=wanted.density, block=block)
        return freeze_until(graph, wanted.freeze_until) if wanted.freeze_until else graph
    except SparclError as error:
        raise PrepareError(f"[network] kind {wanted.kind!r}: {error}") from None


def pretrained(config: Config, made: Scenario, on_progress: Progress) -> Network:
    """Design, pretrain on the base tasks' training samples and quantise; the same seed gives the same network.

    Nothing of later tasks is looked at, input scaling included: the device is shipped before they exist.
    """
    graph = design(config.network, made.data.sample_shape, made.data.classes)
    samples = np.concatenate([task.x_train for task in made.base])
    labels = np.concatenate([task.y_train for task in made.base])
    scaling = quantize.input_scaling(samples, config.data.normalise)  # type: ignore[arg-type]
    x = samples.reshape(len(samples), -1).astype(np.float32)
    steps = np.rint((x - scaling.offset) * scaling.gain * np.float32(2.0**-scaling.exponent))
    x = (np.clip(steps, -127, 127) * 2.0**scaling.exponent).astype(np.float32)
    wanted = config.pretrain
    network = pretrain(
        graph,
        x,
        labels,
        PretrainSettings(
            epochs=wanted.epochs,
            fine_tune_epochs=wanted.fine_tune_epochs,
            learning_rate=wanted.learning_rate,
            batch=wanted.batch,
        ),
        config.seed,
        on_epoch=lambda done, total, _: on_progress(done, total),
    )
    return quantize.quantise(network, scaling, x, config.name)


def learn_settings(config: Config, second_pass: SecondPass = SecondPass.REPLAY) -> LearnSettings:
    """How the learners of this experiment learn."""
    return LearnSettings(config.seed, config.learn.lr_mantissa, config.learn.lr_exponent, second_pass)

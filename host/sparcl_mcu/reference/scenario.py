"""The data of an experiment, cut into the tasks the float reference learns."""

from __future__ import annotations

from pathlib import Path

from .. import prepare
from ..config import Config
from ..data import DataSet, Task, domain_incremental, load
from . import FloatReferenceError


def cut(config: Config, data_dir: Path | None, first: int | None = None) -> tuple[DataSet, tuple[Task, ...]]:
    """The data and their tasks, only the `first` of them for a trial. Raises DataError, ConfigError or
    FloatReferenceError."""
    if config.reference.scenario == "class-il":
        made = prepare.scenario(config, data_dir)
        data, tasks = made.data, made.tasks
    else:
        data = load(config.data.source, relative_to=config.folder, data_dir=data_dir)
        tasks = domain_incremental(data, config.data.samples_per_task)
    if first is not None and not 1 <= first <= len(tasks):
        raise FloatReferenceError(f"--tasks is {first}, but {data.name} makes {len(tasks)} tasks")
    return data, tasks[:first]

"""Arguments and options that several commands share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from .. import config
from ..config import Config

Experiment: TypeAlias = Annotated[
    Path, typer.Argument(help="Experiment file, or the folder that holds experiment.toml.")
]
OptionalExperiment: TypeAlias = Annotated[
    Path | None,
    typer.Argument(help="Experiment file, or the folder that holds experiment.toml.", show_default=False),
]
DataDir: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of named data sets (.npz); also SPARCL_DATA_DIR.", show_default=False)
]
NetworkFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--network", help="Start from this .sparcl file instead of pretraining.", show_default=False),
]
BoardName: TypeAlias = Annotated[
    str | None, typer.Option("--board", help="Board, as listed by `sparcl boards`.", show_default=False)
]
Port: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Serial port or URL of a board that runs already, e.g. /dev/ttyACM0.", show_default=False),
]
Ports: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        help="Serial port or URL of a board that runs already, e.g. /dev/ttyACM0; several share the seeds.",
        show_default=False,
    ),
]


def read(experiment: Path, board: str | None = None, port: str | None = None) -> Config:
    """The experiment file with what the command line says on top. Raises ConfigError."""
    file = experiment / "experiment.toml" if experiment.is_dir() else experiment
    loaded = config.load(file)
    chosen = dataclasses.replace(loaded.board, name=board, port=None) if board else loaded.board
    return dataclasses.replace(loaded, board=dataclasses.replace(chosen, port=port) if port is not None else chosen)

"""`sparcl freeze`: which layers a board need not train, found on validation samples."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .. import work
from ..config import Config, ConfigError
from ..graph import Graph
from ..summary import interval, spread
from .options import DataDir, Experiment, read
from .runs import Run, run_all
from .ui import terminal

FIRST_SEED = 100  # choices; results have seeds from 0


def freeze(
    experiment: Experiment,
    data_dir: DataDir = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs for each layer.")] = 3,
    lose: Annotated[float, typer.Option(min=0.0, help="Points of accuracy that freezing may cost.")] = 1.0,
    kept: Annotated[Path, typer.Option(help="Finished runs are kept here.")] = Path("build/freeze"),
) -> None:
    """Propose [network] freeze_until: learn with each layer as the first that is trained, on a native board, and
    compare accuracy on validation samples, RAM and work."""
    from .. import prepare

    config = on_native(read(experiment))
    console = terminal()
    made = prepare.scenario(config, data_dir)
    graph = prepare.design(config.network, made.data.sample_shape, made.data.classes)
    refused: list[str] = []
    found: dict[str, list[dict[str, Any]]] = {}
    for name in candidates(graph):
        frozen = dataclasses.replace(config, network=dataclasses.replace(config.network, freeze_until=name))
        console.print(f"[bold]learning from {name} on[/]")
        several = [dataclasses.replace(frozen, seed=FIRST_SEED + i) for i in range(seeds)]
        try:
            found[name] = run_all([Run(each, False, validation=True) for each in several], data_dir, kept, console)
        except ConfigError as error:  # settings that need more layers
            refused.append(f"from {name} on is not possible: {error}")
    if not found:
        raise ConfigError(refused[0])
    table = Table("first trained", "accuracy, %", "task-il, %", "RAM, bytes", "work a sample", box=SIMPLE_HEAD)
    for name, runs in found.items():
        within = [run["task_il"] for run in runs if run["task_il"] is not None]
        ram = runs[0]["state_bytes"] + runs[0]["arena_bytes"]
        macs = sum(work.counted(run) for run in runs) / sum(run["presented"] for run in runs)
        table.add_row(name, spread([run["acc"] for run in runs]), spread(within), f"{ram:,}", f"{macs:,.0f}")
    console.print(table)
    for line in refused:
        console.print(line, markup=False)
    console.print(proposal(found, config.learn.method, lose), markup=False)


def on_native(config: Config) -> Config:
    """The experiment with nothing frozen, on a native board."""
    network = dataclasses.replace(config.network, freeze_until=None)
    board = dataclasses.replace(config.board, name="native", port=None)
    return dataclasses.replace(config, network=network, board=board)


def candidates(graph: Graph) -> list[str]:
    """Layers with weights, from the first on: with it nothing is frozen."""
    return [node.name for node in graph.nodes if node.weighted]


def proposal(found: dict[str, list[dict[str, Any]]], method: str, lose: float) -> str:
    """The last layer that may be the first trained: its accuracy is at most `lose` points below the best. Methods
    without a buffer are judged by task-il, where tasks have classes of their own."""
    runs = next(iter(found.values()))
    key = "task_il" if method in ("ewc", "lightcl") and runs[0]["task_il"] is not None else "acc"
    mean = {name: 100 * float(interval([run[key] for run in runs])["mean"] or 0) for name, runs in found.items()}
    best = max(mean.values())
    name = [name for name in mean if mean[name] >= best - lose][-1]
    said = {"acc": "accuracy", "task_il": "task-il"}[key]
    return f'Proposed: [network] freeze_until = "{name}", {said} {mean[name]:.1f} % beside {best:.1f} at best'

"""Commands that run an experiment on a board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..config import Config, ConfigError
from ..errors import SparclError
from . import crew as share
from . import seeds as several
from .options import BoardName, DataDir, NetworkFile, OptionalExperiment, Ports, read
from .ui import DEAD_ENDS, TerminalSteps, terminal

if TYPE_CHECKING:
    from ..record import RunFolder
    from . import pipeline


class RunError(SparclError):
    """What is to be run was not named, or cannot go on."""


Out = Annotated[Path, typer.Option(help="Folder of run folders.")]


def run(
    experiment: OptionalExperiment = None,
    board: BoardName = None,
    port: Ports = None,
    crew: Annotated[
        str | None,
        typer.Option("--boards", help="Share the seeds over so many boards, e.g. native:4.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run that was stopped: its folder.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds, from the file's seed on.")] = 1,
    network: NetworkFile = None,
    data_dir: DataDir = None,
    out: Out = Path("runs"),
) -> None:
    """Teach a board the tasks of an experiment and write a run folder with a report."""
    console = terminal()
    if (experiment is None) == (resume is None):
        raise RunError("name an experiment file, or a run that was stopped with --resume RUN")
    if resume:
        _go_on(resume, port or [], console, data_dir)
        return
    assert experiment
    config = read(experiment, board)
    boards = share.crew(config.board, crew, port or [])
    config = dataclasses.replace(config, board=boards[0])
    if seeds == 1:
        folder, measured = one(config, console, out, data_dir, network)
        console.print(_result(measured), markup=False)
    else:
        folder = several.several(config, seeds, console, out, data_dir, network, boards)
    console.print(f"Report: {folder / 'report.html'}", markup=False)


def _go_on(path: Path, ports: list[str], console: Console, data_dir: Path | None) -> None:
    """A run that was stopped, from its own folder: its settings, its network, and what is recorded."""
    from .. import record
    from . import pipeline

    many = (path / several.PLAN).is_file()
    if record.status(path) == "done" and not (many and several.left(path)):
        raise RunError(f"{path} is done; read {path / 'report.html'}")
    if many:
        several.go_on(path, ports, console, data_dir)
        console.print(f"Report: {path / 'report.html'}", markup=False)
        return
    if not (path / "config.resolved.toml").is_file():
        raise RunError(f"{path} is no folder of a run that had begun; start it again")
    if len(ports) > 1:
        raise RunError(f"{path} is a run on one board; name one --port")
    config = read(path / "config.resolved.toml", None, ports[0] if ports else None)
    network = path / "network.sparcl"
    options = pipeline.Options(data_dir, network if network.is_file() else None)
    measured = _run_in(record.RunFolder.resume(path), config, console, options)
    console.print(_result(measured), markup=False)
    console.print(f"Report: {path / 'report.html'}", markup=False)


def demo(board: BoardName = None, out: Out = Path("runs")) -> None:
    """The main job on scikit-learn's digits, from pretraining to the report."""
    from sparcl_tools.pio import ROOT

    console = terminal()
    config = read(ROOT / "examples" / "digits", board)
    name = config.board.name
    console.print(
        f"A board ({name}) learns ten handwritten digits, two at a time, and should not forget the first ones.\n"
        f"This takes {'about 15 seconds' if name == 'native' else 'about a minute'} and 3 MB of disk.\n",
    )
    folder, measured = one(config, console, out, None, None)
    console.print()
    console.print(_result(measured), markup=False)
    console.print(f"Report: {folder / 'report.html'}", markup=False)
    further = "make demo BOARD=qemu_m4" if name == "native" else f"sparcl run examples/digits --board {name} --seeds 5"
    console.print(f"Next: {further}; or your own data: sparcl new mydata/", markup=False)


def one(
    config: Config, console: Console, out: Path, data_dir: Path | None, network: Path | None
) -> tuple[Path, dict[str, Any]]:
    from ..record import RunFolder
    from . import pipeline

    folder = RunFolder.create(out, config.name)
    return folder.path, _run_in(folder, config, console, pipeline.Options(data_dir, network))


def _run_in(folder: RunFolder, config: Config, console: Console, options: pipeline.Options) -> dict[str, Any]:
    from . import pipeline

    try:
        return pipeline.run(config, folder, TerminalSteps(console), options)
    except (KeyboardInterrupt, SparclError) as error:
        network = folder.path / "network.sparcl"
        if not isinstance(error, DEAD_ENDS):
            hint = f"{folder.path} is readable as far as it got; go on with: sparcl run --resume {folder.path}"
            console.print(hint, markup=False)
        elif isinstance(error, ConfigError) and options.network_file is None and network.is_file():
            console.print(f"Its network is kept: start again with --network {network}", markup=False)
        raise


def _result(measured: dict[str, Any]) -> str:
    lines = [_learnt(measured)]
    if wear := measured["flash_wear"]:
        lines.append(
            f"Flash: {wear['commits']} commits, {wear['amplification']:.2f} bytes erased for each byte kept, a sector "
            f"erased {wear['erasures_per_epoch']:.3g} times an epoch"
        )
    if measured["resumed"]:
        lines.append("Resumed: how fast it learnt, and what its commits cost the flash, is known of whole runs only")
    return "\n".join(lines)


def _learnt(measured: dict[str, Any]) -> str:
    return (
        f"{100 * measured['acc']:.0f} % with replay, {100 * measured['acc_without_replay']:.0f} % without "
        f"(all at once: {100 * measured['acc_joint']:.0f} %; float twin: {100 * measured['acc_float']:.0f} %), "
        f"learnt on {measured['board']}"
    )

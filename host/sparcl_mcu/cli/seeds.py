"""Several seeds of an experiment: a run folder with one for each seed inside, which can go on after it was stopped."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import record
from ..config import BoardConfig, Config
from ..errors import SparclError
from ..summary import summarise
from . import crew
from .options import read
from .ui import DEAD_ENDS, Steps, TerminalSteps

PLAN = "seeds.json"  # how many, and on which boards; beside it the experiment, and its network if one was given
LAST_SEED = (1 << 32) - 1


class SeedsError(SparclError):
    """Seeds did not all end well."""


def several(
    config: Config,
    seeds: int,
    console: Console,
    out: Path,
    data_dir: Path | None,
    network: Path | None,
    boards: Sequence[BoardConfig] = (),
) -> Path:
    """Seeds from config.seed on; boards: more than one share them. Raises SeedsError when a seed failed, after the
    others are summarised."""
    last = config.seed + seeds - 1
    if last > LAST_SEED:
        raise SeedsError(
            f"--seeds {seeds} from seed = {config.seed} on ends with {last}; seeds fit 32 bits: take at most "
            f"--seeds {LAST_SEED - config.seed + 1}, or lower seed in the experiment file to {LAST_SEED - seeds + 1}"
        )
    folder = record.RunFolder.create(out, f"{config.name}_{seeds}_seeds")
    folder.write_text("experiment.toml", config.to_toml())
    if network:
        shutil.copyfile(network, folder.path / "network.sparcl")
    where = [{"name": board.name, "port": board.port} for board in boards]
    folder.write_json(PLAN, {"seeds": seeds, "boards": where})
    return _learn(folder, config, seeds, boards, console, data_dir)


def go_on(path: Path, ports: Sequence[str], console: Console, data_dir: Path | None) -> Path:
    """The seeds that have not ended well, each from where it stopped. ports: the boards are there now; else where they
    were."""
    config, seeds, boards = _plan(path)
    boards = [dataclasses.replace(config.board, port=port) for port in ports] or boards
    if boards:
        config = dataclasses.replace(config, board=boards[0])
    return _learn(record.RunFolder.resume(path), config, seeds, boards, console, data_dir)


def left(path: Path) -> bool:
    """Is there a seed in this folder that has not ended well?"""
    config, seeds, _ = _plan(path)
    return any(not _is_done(path / f"seed_{seed}") for seed in range(config.seed, config.seed + seeds))


def _plan(path: Path) -> tuple[Config, int, list[BoardConfig]]:
    """The experiment of a folder of seeds, how many there are to be, and on which boards. Raises UnusableError."""
    if not (path / "experiment.toml").is_file():
        raise record.UnusableError(f"{path} has lost its experiment.toml; put it back, or start the seeds again")
    config, remedy = read(path), "start the seeds again"
    plan = record.read_json(path, PLAN, remedy)
    with record.reading(path / PLAN, remedy):
        seeds = plan["seeds"]
        if type(seeds) is not int or seeds < 1:
            raise ValueError(f"seeds is {seeds!r}")
        boards = [dataclasses.replace(config.board, name=board["name"], port=board["port"]) for board in plan["boards"]]
    return config, seeds, boards


def _is_done(path: Path) -> bool:
    return (path / "status.json").is_file() and record.status(path) == "done"


def _one(config: Config, folder: record.RunFolder, steps: Steps, data_dir: Path | None) -> dict[str, Any]:
    """A seed's metrics: as it ended, from where it stopped, or anew."""
    from . import pipeline

    path = folder.path / f"seed_{config.seed}"
    if _is_done(path):
        found: dict[str, Any] = record.read_json(path, "metrics.json")
        with record.reading(path / "metrics.json", f"delete {path}, and this seed is learnt again"):
            _ = summarise([found]), found["seed"]
        return found
    networks = (path / "network.sparcl", folder.path / "network.sparcl")
    options = pipeline.Options(data_dir, next((file for file in networks if file.is_file()), None))
    return pipeline.run(config, record.RunFolder.resume(path), steps, options)


def _begin(folder: record.RunFolder, config: Config, data_dir: Path | None) -> None:
    """What each seed looks at when it begins, for all of them: those to come must match those that are over."""
    from .. import journal, prepare

    made = prepare.scenario(config, data_dir)
    journal.begin(folder, config, made.data)
    if not (folder.path / "network.sparcl").is_file():
        prepare.check_settings(config, made)


def _learn(
    folder: record.RunFolder,
    config: Config,
    seeds: int,
    boards: Sequence[BoardConfig],
    console: Console,
    data_dir: Path | None,
) -> Path:
    hint = f"Go on with: sparcl run --resume {folder.path}"
    try:
        with folder:
            _begin(folder, config, data_dir)
            measured, failed = _measured(folder, config, seeds, boards, console, data_dir)
            _summarise(folder, measured, console)
            if failed:
                for seed, error in failed.items():
                    console.print(f"seed {seed} failed: {error}", markup=False)
                raise SeedsError(f"{len(failed)} of {seeds} seeds failed; the summary is of the others: {folder.path}")
    except (KeyboardInterrupt, SparclError) as error:
        if not isinstance(error, DEAD_ENDS):
            console.print(hint, markup=False)
        raise
    return folder.path


def _measured(
    folder: record.RunFolder,
    config: Config,
    seeds: int,
    boards: Sequence[BoardConfig],
    console: Console,
    data_dir: Path | None,
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    configs = [dataclasses.replace(config, seed=seed) for seed in range(config.seed, config.seed + seeds)]
    if len(boards) > 1:
        shared = crew.share(configs, boards, lambda one, steps: _one(one, folder, steps, data_dir), console)
        if not shared.measured:
            raise SeedsError(f"every seed failed; the first: {next(iter(shared.failed.values()))}")
        return shared.measured, shared.failed
    measured = []
    for one in configs:
        console.print(f"[bold]Seed {one.seed}[/]")
        measured.append(_one(one, folder, TerminalSteps(console), data_dir))
    return measured, {}


def _summarise(folder: record.RunFolder, measured: list[dict[str, Any]], console: Console) -> None:
    from .. import report

    summary = summarise(measured)
    folder.write_json("summary.json", summary)
    folder.write_text("report.html", report.render_summary(folder.path))
    for key in ("acc", "acc_without_replay", "acc_float", "acc_joint", "forgetting"):
        if key in summary["mean"]:
            console.print(f"  {key:20} {_interval(summary['mean'][key])}")
    for key, value in summary["paired"].items():
        console.print(f"  {key:20} {_interval(value)} (paired)")


def _interval(value: dict[str, float | None]) -> str:
    mean, half = value["mean"] or 0.0, value["half_width"]  # which one seed alone does not have: the others failed
    return f"{100 * mean:6.2f}" + ("" if half is None else f" ± {100 * half:.2f}") + " points"

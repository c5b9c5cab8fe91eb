"""`sparcl reference`: the float reference of an experiment, in torch by the published protocol."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..config import Config
from ..data import DataSet, Task
from ..record import RunFolder
from .options import DataDir, Experiment, read
from .ui import TerminalSteps, terminal

WIDTH = 110  # of the table, also where the terminal is narrower
COLUMNS = {  # heading: key of a result, factor, format
    "acc": ("acc", 100, ".1f"),
    "aia": ("aia", 100, ".1f"),
    "bwt": ("bwt", 100, ".1f"),
    "forgetting": ("forgetting", 100, ".1f"),
    "task-il acc": ("acc_task_il", 100, ".1f"),
    "data used": ("data_used", 100, ".1f"),
    "work paper": ("flops_paper", 1, ".3g"),
    "work counted": ("flops_counted", 1, ".3g"),
}


def reference(
    experiment: Experiment,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method instead of the file's, several times for several.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds, from the file's seed on.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "auto",
    data_dir: DataDir = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Only the first tasks, for a trial.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="At most so many mini-batches a task, for a trial.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of results; finished seeds in it are kept.")] = Path("runs"),
) -> None:
    """Train the experiment's network in float on this computer, by the published protocol, and test it.

    Writes OUT/reference/NAME_METHOD_KEY/seed_N.json and summary.json. A seed that is there already is not run again.
    """
    from ..reference import methods, scenario, trainer

    console = terminal()
    config, ui = read(experiment), TerminalSteps(console)
    names = method or [config.reference.method]
    configs = [replace(config, reference=replace(config.reference, method=name)) for name in names]
    for each in configs:
        methods.make(each.reference.method, each.reference, each.network.density)  # refused before the data are read
    trainer.chosen_device(device)
    with ui.step(f"Load {config.data.source}"):
        data, cut = scenario.cut(config, data_dir, tasks)
    summaries = []
    for each in configs:
        folder = out / "reference" / f"{each.name}_{each.reference.method}_{_key(each, data, len(cut), steps)}"
        try:
            summaries.append(_seeds(each, data, cut, seeds, device, steps, folder, ui))
        except KeyboardInterrupt:
            console.print(f"{folder} keeps the finished seeds; the same command goes on from there", markup=False)
            raise
        console.print(f"  {folder}", markup=False)
    Console(width=max(console.width, WIDTH)).print(_table(summaries))
    console.print("Means over n seeds, acc with its 95 % t-interval; all in %, but work in floating-point operations")


def _key(config: Config, data: DataSet, tasks: int, steps: int | None) -> str:
    """What results may stand side by side under: everything but the seed that an outcome depends on."""
    content = config.to_dict()
    for other in ("seed", "board", "pretrain", "name"):
        del content[other]
    content["learn"] = {"replay": config.learn.replay}
    content |= {"data_sha256": data.checksum, "tasks": tasks, "steps": steps}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _seeds(
    config: Config,
    data: DataSet,
    tasks: tuple[Task, ...],
    count: int,
    device: str,
    steps: int | None,
    path: Path,
    ui: TerminalSteps,
) -> dict[str, Any]:
    from .. import record
    from ..reference import results, trainer

    found = []
    with RunFolder.resume(path) as folder:
        folder.write_text("config.resolved.toml", config.to_toml())
        for seed in range(config.seed, config.seed + count):
            name = f"seed_{seed}.json"
            if not (path / name).exists():
                job = trainer.job(replace(config, seed=seed), tasks, data.classes, device=device, steps=steps)
                with ui.step(f"{config.reference.method}, seed {seed}") as progress:
                    measured = results.of(job, trainer.run(job, progress))
                where = {"data_sha256": data.checksum, "versions": record.versions()}
                folder.write_json(name, measured | {"config_hash": replace(config, seed=seed).hash} | where)
            found.append(record.read_json(path, name))
        summary = results.summarise(found)
        folder.write_json("summary.json", summary)
    return summary


def _table(summaries: list[dict[str, Any]]) -> Table:
    table = Table("method", box=None, pad_edge=False)
    for heading in (*COLUMNS, "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for summary in summaries:
        cells = []
        for key, factor, form in COLUMNS.values():
            value = summary["mean"].get(key)
            cells.append("-" if value is None else format(factor * value["mean"], form))
            if key == "acc" and value["half_width"] is not None:
                cells[-1] += f" ± {format(factor * value['half_width'], form)}"
        table.add_row(summary["method"], *cells, str(len(summary["seeds"])))
    return table

"""`sparcl results methods`: every method of the board side by side, on three data sets: accuracy, memory, work."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import work
from ..config import Config
from ..summary import difference, spread
from .options import DataDir, read
from .runs import Run, run_all, seeds
from .sparcl_scenarios import CNN_S, OFF, Change, Row, configured, merged, sparse
from .ui import terminal

BOARD = "qemu_m4"
SAMPLES = 60  # of each task, where instructions are counted
SEEDS = 10
LEAST = (4, 2, 1.5)  # times less RAM that LightCL is to take
WITHIN = 1.0  # points between integers and float32, and between all samples and half of them
PAIR_WITH = "DER++"  # what accuracies are compared with
NAIVE = "naive: two updates a step"  # what task-il is compared with

DENSE = merged(OFF, {"network": {"density": 1.0}})
ER: Change = {"learn": {"method": "er"}}
ANCHORS: Change = {"learn": {"method": "lightcl", "replay": 15, "alpha_shift": 5}}
FIFTEEN: Change = {"learn": {"replay": 15}}
EWC: Change = {"learn": {"method": "ewc", "alpha_shift": 2}}
ESACL = merged(EWC, {"grda": {"c": 0.13, "mu": 0.6, "rho": 7}})  # nine tenths of the digits MLP's weights end at 0
HALF: Change = {"ids": {"share": 0.5}}
NO_RETRAINING: Change = {"pretrain": {"fine_tune_epochs": 0}}
# name, settings, control as Run.control, whether the float twin learns beside
ROWS = (
    Row(NAIVE, DENSE, control="naive"),
    Row("joint", DENSE, control="joint"),
    Row("ER", merged(DENSE, ER)),
    Row("DER", merged(DENSE, {"learn": {"method": "der"}})),
    Row("DER++", DENSE),
    Row("DER++, latents", merged(DENSE, {"learn": {"replay_at": "border"}}), twin=True),
    Row("DER++, buffer of 15", merged(DENSE, FIFTEEN)),
    Row("SparCL-ER 0.75", sparse(0.25, ER)),
    Row("SparCL-DER++ 0.75", sparse(0.25)),
    Row("SparCL-DER++ 0.90", sparse(0.1)),
    Row("SparCL-DER++ 0.75, buffer of 15", sparse(0.25, FIFTEEN)),
    Row("ER, IDS: half of the samples", merged(DENSE, ER, HALF)),
    Row("EWC", merged(DENSE, EWC), twin=True),
    Row("SparCL-EWC 0.90, not retrained", sparse(0.1, EWC, NO_RETRAINING)),
    Row("EsaCL-EWC, not retrained", merged(DENSE, ESACL, NO_RETRAINING), twin=True),
    Row("EsaCL-EWC, IDS: half of the samples", merged(DENSE, ESACL, NO_RETRAINING, HALF)),
    Row("LightCL", merged(DENSE, ANCHORS), twin=True),
    Row("LightCL 0.75", merged(OFF, {"network": {"density": 0.25}}, ANCHORS), twin=True),
    Row("LightCL, half of the channels", merged(OFF, {"network": {"density": 0.5, "pruned": "channels"}}, ANCHORS)),
)


@dataclasses.dataclass(frozen=True)
class Set:
    """change: settings of all rows. own: those of some rows, by the beginning of their names, chosen on validation
    samples (docs/results/tuning.md)."""

    example: str
    change: Change
    own: Mapping[str, Change] = dataclasses.field(default_factory=dict)

    def table(self) -> tuple[Row, ...]:
        return tuple(dataclasses.replace(row, change=merged(row.change, *self._of(row))) for row in ROWS)

    def _of(self, row: Row) -> list[Change]:
        return [change for name, change in self.own.items() if row.name.startswith(name)]


# With their first layers frozen, as LightCL and latents want it.
SETS = {
    "seq-digits, MLP, learns from fc2": Set(
        "digits_sparcl", {"network": {"freeze_until": "fc2"}, "learn": {"replay": 200}}
    ),
    "har, domain-il: a person a task, CNN on windows, learns from conv2": Set(
        "har_persons",
        {"network": {"freeze_until": "conv2"}},
        {
            "SparCL-EWC": {"learn": {"alpha_shift": 10}},
            "EsaCL-EWC": {"learn": {"alpha_shift": 12}, "grda": {"c": 0.22}},
        },
    ),
    "base-fashion-mnist, CNN-S, learns from conv3": Set(
        "base_fashion_mlp",
        merged(CNN_S, {"network": {"freeze_until": "conv3"}}),
        {
            "EWC": {"learn": {"alpha_shift": 4}},
            "SparCL-EWC": {"learn": {"alpha_shift": 10}},
            "EsaCL-EWC": {"learn": {"alpha_shift": 8}, "grda": {"c": 0.16}},
            "LightCL": {"learn": {"alpha_shift": 7}},
        },
    ),
}

_HEAD = """\
# Methods on the board, side by side

Written {date} by `sparcl results methods` (`make results-methods`), measured at {commits}. Every method learns the
same stream on the native board, {seeds} seeds from {first}, from the same pretrained networks (dense, or pruned); RAM,
flash and instructions are those of the firmware for `{board}`, counted by QEMU over a run of {samples} samples a task
without exams, for each sample the host has. *Bytes streamed*: to the board and back, for each sample the host has.
*RAM times less* than SparCL-DER++ 0.75: all of the firmware's, buffer included. *Work*: multiply-accumulates as the
board counts them, for each sample the host has. *Pruned*: weights of gRDA that are 0 at the end; they are stored and
counted all the same.
*Board - twin*: points between integers and float32, class-il, then task-il, by which methods without a buffer are to be
judged. *Minus naive*: of task-il. Means with 95 % t-intervals, differences paired by seed, bold where the interval
excludes 0. A commit that the history lacks was committed anew in other pieces; + marks a tree with changes.

The bounds (naive, joint) are run on the firmware of DER++, whose buffer they never draw from, and make two updates a
step. Rows that are *not retrained* start from the dense network as it is before pruning and the epochs after it.
"""


def results_methods(
    data_dir: DataDir = None,
    first_seed: Annotated[int, typer.Option(help="Tests use seeds from 0, choices 100 to 104.")] = 0,
    count: Annotated[int, typer.Option("--seeds", help="Seeds of the accuracies.")] = SEEDS,
    kept: Annotated[Path, typer.Option(help="Finished runs are kept here.")] = Path("build/methods"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Every method of the board on three data sets: accuracy, forgetting, RAM, flash, instructions, bytes streamed."""
    from sparcl_tools.pio import ROOT

    console = terminal()
    wanted = range(first_seed, first_seed + count)
    measured: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "first_seed": first_seed, "sets": {}}
    for name, of in SETS.items():
        console.print(f"[bold]{name}[/]")
        base = configured(read(ROOT / "examples" / of.example), of.change)
        rows = of.table()
        runs: list[Run] = []
        for row in rows:
            runs += seeds(configured(base, row.change), wanted, twin=row.twin, control=row.control)
        runs += [Run(on_chip(configured(base, row.change)), False, row.control, exam=0) for row in rows]
        found = run_all(runs, data_dir, kept, console)
        chips = found[len(rows) * count :]
        measured["sets"][name] = {
            row.name: {"runs": found[i * count : (i + 1) * count], "chip": chips[i]} for i, row in enumerate(rows)
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "methods.json").write_text(json.dumps(measured, indent=1) + "\n")
        (out / "methods.md").write_text(page(measured))
        console.print(f"Written: {out / 'methods.md'}, methods.json", markup=False)


def on_chip(config: Config) -> Config:
    """The same on the emulated core, with fewer samples and the same memory."""
    counted = config.ddr.samples or config.data.samples_per_task
    few: Change = {"data": {"samples_per_task": SAMPLES}, "ddr": {"samples": counted}}
    return configured(dataclasses.replace(config, seed=0), merged(few, {"board": {"name": BOARD}}))


def page(measured: dict[str, Any]) -> str:
    """docs/results/methods.md of methods.json."""
    every = [run for rows in measured["sets"].values() for row in rows.values() for run in row["runs"]]
    commits = ", ".join(sorted({run["commit"] for run in every}))
    count = len(next(iter(next(iter(measured["sets"].values())).values()))["runs"])
    facts = {"date": measured["date"], "first": measured["first_seed"], "seeds": count}
    parts = [_HEAD.format(commits=commits, board=BOARD, samples=SAMPLES, **facts)]
    parts += [_section(name, rows) for name, rows in measured["sets"].items()]
    return "\n".join(parts)


def _section(name: str, rows: dict[str, Any]) -> str:
    lines = [
        f"## {name}",
        "",
        f"| method | class-il | minus {PAIR_WITH} | task-il | minus naive | forgetting | board - twin | RAM, bytes "
        "| RAM times less | flash, bytes | instructions a sample | bytes streamed a sample | work a sample | pruned |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    paired, largest = rows[PAIR_WITH]["runs"], rows["SparCL-DER++ 0.75"]["chip"]["ram_bytes"]
    naive = [run["task_il"] for run in rows[NAIVE]["runs"]]
    for method, row in rows.items():
        runs, chip = row["runs"], row["chip"]
        less = [a["acc"] - b["acc"] for a, b in zip(runs, paired, strict=True)] if runs is not paired else []
        presented = chip["presented"]
        task_il = [run["task_il"] for run in runs if run["task_il"] is not None]
        gained = [own - other for own, other in zip(task_il, naive, strict=True)] if task_il else []
        cells = [
            method,
            spread([run["acc"] for run in runs]),
            difference(less),
            spread(task_il),
            difference(gained),
            spread([run["forgetting"] for run in runs if run["forgetting"] is not None]),
            ", ".join(
                difference([run[key] - run[f"{key}_float"] for run in runs if f"{key}_float" in run])
                for key in ("acc", "task_il")
                if runs[0].get(f"{key}_float") is not None
            ),
            f"{chip['ram_bytes']:,}",
            f"{largest / chip['ram_bytes']:.1f}x",
            f"{chip['flash_bytes']:,}",
            f"{chip['stats']['instructions'] / presented:,.0f}",
            f"{chip['stats']['link_bytes'] / presented:,.0f}",
            f"{sum(work.counted(run) for run in runs) / sum(run['presented'] for run in runs):,.0f}",
            spread([run["pruned"] for run in runs if "pruned" in run]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" + _targets(rows) + "\n" + _memory_of_lightcl(rows)


def _targets(rows: dict[str, Any]) -> str:
    """How far integers are from float32, where a method is meant to work; what IDS leaves out; EsaCL beside SparCL."""
    told_apart = "task_il" if rows[PAIR_WITH]["runs"][0]["task_il"] is not None else "acc"  # domain-il
    beside = {"ER, IDS: half of the samples": "ER", "EsaCL-EWC, not retrained": "SparCL-EWC 0.90, not retrained"}
    lines = ["| paired by seed, points | | to be within |", "|---|---|---|"]
    for name, row in rows.items():
        key = "acc" if name.startswith("DER++") else told_apart
        if f"{key}_float" in row["runs"][0]:
            lines.append(
                _target(f"{name}, board - twin", [run[key] - run[f"{key}_float"] for run in row["runs"]], WITHIN)
            )
    for name, other in beside.items():
        if name in rows and other in rows:
            key = "acc" if other == "ER" else told_apart
            found = [a[key] - b[key] for a, b in zip(rows[name]["runs"], rows[other]["runs"], strict=True)]
            lines.append(_target(f"{name}, minus {other}", found, WITHIN if other == "ER" else None))
    return "\n".join(lines) + "\n"


def _target(what: str, found: list[float], within: float | None) -> str:
    verdict = (
        "" if within is None else f"{within}: {'met' if abs(100 * float(np.mean(found))) <= within else '**not met**'}"
    )
    return f"| {what} | {difference(found)} | {verdict} |"


def _memory_of_lightcl(rows: dict[str, Any]) -> str:
    """Its RAM beside SparCL-DER++'s with a large buffer, a small one, and none counted."""
    large, small = rows["SparCL-DER++ 0.75"]["chip"], rows["SparCL-DER++ 0.75, buffer of 15"]["chip"]
    others = (large["ram_bytes"], small["ram_bytes"], large["ram_bytes"] - large["replay_bytes"])
    lines = [
        "Firmware's RAM of LightCL, times less than that of SparCL-DER++ 0.75 with a buffer of 200 samples, with one "
        f"of 15, and with its buffer not counted (to be at least {LEAST[0]}x, {LEAST[1]}x and {LEAST[2]}x):",
        "",
        "| | 200 samples | 15 samples | buffer not counted |",
        "|---|---|---|---|",
    ]
    for name in (name for name in rows if name.startswith("LightCL")):
        ratios = [other / rows[name]["chip"]["ram_bytes"] for other in others]
        cells = [f"{r:.2f}x{'' if r >= least else ', **not met**'}" for r, least in zip(ratios, LEAST, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

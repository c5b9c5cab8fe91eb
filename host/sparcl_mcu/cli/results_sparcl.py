"""`sparcl results sparcl`: SparCL on the board, scenario by scenario, each row of its tables one configuration.

Every row is the scenario's example with some settings changed, over the same seeds. Finished runs are kept, so that an
interrupted or repeated command only runs what is missing.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..config import Config
from ..errors import SparclError
from ..summary import difference, interval, spread
from . import sparcl_targets
from .options import DataDir, read
from .runs import Run, run_all, seeds
from .sparcl_scenarios import SCENARIOS, Scenario, configured
from .ui import terminal


class ResultsError(SparclError):
    """A scenario that is not known."""


def sparcl(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(SCENARIOS)}; none: draw page and pictures again.")
    ] = None,
    data_dir: DataDir = None,
    first_seed: Annotated[int, typer.Option(help="Tests use seeds from 0, choices 100 to 104.")] = 0,
    count: Annotated[int, typer.Option("--seeds", help="Seeds; 0: as many as the scenario wants.")] = 0,
    kept: Annotated[Path, typer.Option(help="Finished runs are kept here.")] = Path("build/sparcl"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """SparCL-DER++ on the board against dense DER++, static masks and the float twin."""
    from sparcl_tools.pio import ROOT

    console = terminal()
    out.mkdir(parents=True, exist_ok=True)
    file = out / "sparcl.json"
    for name in scenarios or []:
        if name not in SCENARIOS:
            raise ResultsError(f"there is no scenario {name!r}; known are {', '.join(SCENARIOS)}")
    for name in scenarios or []:
        scenario = SCENARIOS[name]
        console.print(f"[bold]{name}[/]")
        config = configured(read(ROOT / "examples" / scenario.example), scenario.change)
        several = range(first_seed, first_seed + (count or scenario.seeds))
        found = _measured(name, scenario, config, several, data_dir, kept, console)
        measured = _known(file) | {name: found}  # read late: other scenarios may have been measured meanwhile
        file.write_text(json.dumps({key: measured[key] for key in SCENARIOS if key in measured}, indent=1) + "\n")
    _draw(_known(file), out)
    console.print(f"Written: {out / 'sparcl.md'}, sparcl.json", markup=False)


def _known(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def _draw(measured: dict[str, Any], out: Path) -> None:
    (out / "sparcl.md").write_text(_page(measured))
    for name, found in measured.items():
        if picture := _picture(name, found):
            (out / f"sparcl_{name}.svg").write_text(picture)


def _measured(
    name: str, scenario: Scenario, config: Config, wanted: range, data_dir: Path | None, kept: Path, console: Console
) -> dict[str, Any]:
    from .. import prepare, work

    table = scenario.table()
    configs = {row.name: configured(config, row.change) for row in table}
    runs: list[Run] = []
    for row in table:
        runs += seeds(configs[row.name], wanted, twin=row.twin, control=row.control, exam=scenario.exam)
    found = run_all(runs, data_dir, kept, console)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": f"sparcl results sparcl {name}",
        "example": scenario.example,
        "changed": scenario.change,
        "first_seed": wanted.start,
        "exam": scenario.exam,
        "rows": {},
    }
    for number, row in enumerate(table):
        own = found[number * len(wanted) : (number + 1) * len(wanted)]
        settings = prepare.learn_settings(configs[row.name])
        for run in own:
            run["work_counted"] = work.counted(run)
            if not row.control:
                run["work_paper"] = work.paper(run, settings)
            if run["stats"].get("instructions"):
                run["instructions"] = run["stats"]["instructions"] / run["presented"]
                run["macs"] = {phase: run["stats"][phase] / run["presented"] for phase in work.COUNTED}
            del run["layers"], run["stats"]  # what is made of them stays
        result["rows"][row.name] = {"against": row.against, "control": row.control, "runs": own}
    return result


_HEAD = """\
# SparCL on the board

Written by `sparcl results sparcl NAME` (`make results-NAME`), one scenario after another; each says when and at which
commit. The native board learns; its state is held equal to NumPy's and to every emulated core's by
`tests/test_sparcl_c.py` and `tests/test_equality.py`. Means with 95 % t-intervals over paired seeds, in % and points.
*Against*: paired difference to the row named, bold where its interval excludes 0. *Work*: training multiply-accumulates
as counted by the board, and by the convention of the paper; times less than the table's first row. *Weights*: masters,
masks, indices and accumulators. *State*: all that is learnt, without the replay buffer. *Instructions*: of a Cortex-M4
(counted by QEMU) for each sample the host has, an epoch's over its samples: replay, importance, events and all.

DER++ here is one draw for the logits and one for the label, on a sample at a time; see
[numerics.md](../numerics.md), "One step".

*Where the columns of work part*: the paper's convention leaves out the buffer's backward passes and the passes that
measure importance, and lets gradient masks shrink both halves of a backward pass; the board does all of those passes,
and its gradient masks spare weight gradients alone. Instructions part further: a multiply-accumulate of a sparse
block takes more of them than a dense one ([bench.md](bench.md) says why), and loss, events and the choice of what to
replay cost the same at every density. The second tables of `chip_mlp` and `chip_cnn` put work by phase beside the
instructions for each multiply-accumulate. The link is in neither.

A commit that the history lacks was committed anew in other pieces; + marks a tree with changes not yet committed.
"""

_RESNETS = """
On ResNet-18's shapes, which no board here holds, the paper's work is 21.6x less at 0.95
([reference.md](../reference.md), held by `tests/test_reference_work.py`); at least 20x was wanted. ResNet-8's last
stage learns alone here; the layers before it, sparse but for the stem, only pass samples on.
"""


def _page(measured: dict[str, Any]) -> str:
    aims = "## What it is to show\n\n" + sparcl_targets.table(measured) + _RESNETS
    return "\n".join([_HEAD, aims, *(_section(name, found) for name, found in measured.items())])


def _section(name: str, found: dict[str, Any]) -> str:
    rows_ = found["rows"]
    first = next(iter(rows_.values()))["runs"]
    counts = "instructions" in first[0]
    commits = sorted({run["commit"] for row in rows_.values() for run in row["runs"]})
    tests = f"{exam} test samples a task, " if (exam := found.get("exam")) else ""
    changed = ", ".join(f"`[{s}] {k} = {v}`" for s, values in found["changed"].items() for k, v in values.items())
    lines = [
        f"## {name}",
        "",
        f"[examples/{found['example']}](../../examples/{found['example']}/experiment.toml)"
        f"{' with ' + changed if changed else ''}, {len(first)} seeds from {found['first_seed']}, {tests}"
        f"written {found['date']}, measured at {', '.join(commits)}.",
        "",
        "| row | class-il | against | points | board - float twin | task-il | forgetting | data used "
        "| work, counted | work, paper | weights, bytes | state, bytes |" + (" instructions | |" if counts else ""),
        "|---|---|---|---|---|---|---|---|---|---|---|---|" + ("---|---|" if counts else ""),
    ]
    if _series(found):
        lines[3:3] = ["", f"![Accuracy over sparsity](sparcl_{name}.svg)"]
    twins: list[float] = []
    for label, row in rows_.items():
        runs = row["runs"]
        against = row["against"]
        other = _found(rows_[against]["runs"], "acc") if against else []
        paired = [a - b for a, b in zip(_found(runs, "acc"), other, strict=True)] if other else []
        twin = [run["acc"] - run["acc_float"] for run in runs if "acc_float" in run]
        twins += twin
        cells = [
            label,
            spread(_found(runs, "acc")),
            against if paired else "",
            difference(paired),
            difference(twin),
            spread(_found(runs, "task_il")),
            spread(_found(runs, "forgetting")),
            f"{sum(run['data_used'] for run in runs) / len(runs):.3f}",
            "" if row["control"] else _times(first, runs, "work_counted"),
            "" if row["control"] else _times(first, runs, "work_paper"),
            f"{runs[0]['weight_bytes']:,}",
            f"{runs[0]['state_bytes'] - runs[0]['replay_bytes']:,}",
        ]
        if counts:
            cells += [f"{runs[0]['instructions']:,.0f}", _times(first, runs, "instructions")]
        lines.append("| " + " | ".join(cells) + " |")
    if counts:
        lines += ["", *_phases(rows_)]
    if twins:
        lines += ["", f"Board minus float twin, all {len(twins)} pairs together: {difference(twins)}."]
    return "\n".join(lines) + "\n"


def _phases(rows: dict[str, Any]) -> list[str]:
    """What a sample costs, phase by phase, and what a multiply-accumulate then takes."""
    lines = [
        "Multiply-accumulates a sample, as counted, and instructions for each:",
        "",
        "| row | forward | input gradient | weight gradient | importance | all | instructions for each |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, row in rows.items():
        macs = row["runs"][0]["macs"].values()
        per = row["runs"][0]["instructions"] / sum(macs)
        lines.append(f"| {label} | " + " | ".join(f"{n:,.0f}" for n in (*macs, sum(macs))) + f" | {per:.1f} |")
    return lines


def _found(runs: list[dict[str, Any]], key: str) -> list[float]:
    """Of the runs that know it: without an exam there are no accuracies, with one task no forgetting."""
    return [run[key] for run in runs if run.get(key) is not None]


def _series(found: dict[str, Any]) -> dict[str, list[tuple[float, float, float]]]:
    """Of the rows named "... 0.75": (sparsity, mean, half of the interval) by the name before it."""
    series: dict[str, list[tuple[float, float, float]]] = {}
    for label, row in found["rows"].items():
        accuracies = _found(row["runs"], "acc")
        if accuracies and (match := re.fullmatch(r"(.+) (0\.\d\d)", label)):
            of = interval(accuracies)
            series.setdefault(match[1], []).append(
                (float(match[2]), float(of["mean"] or 0), float(of["half_width"] or 0))
            )
    return series


def _picture(name: str, found: dict[str, Any]) -> str | None:
    """Accuracy over sparsity as SVG, where a table has it."""
    from ..report import plots

    series, levels = _series(found), {}
    if not series:
        return None
    for label, row in found["rows"].items():
        if label.startswith("dense"):
            levels[label.split(":")[0].removesuffix(", two updates a step")] = sum(r["acc"] for r in row["runs"]) / len(
                row["runs"]
            )
    shown = [mean - half for points in series.values() for _, mean, half in points]
    lowest = max(0.0, min(*shown, *(v for k, v in levels.items() if "naive" not in k)) - 0.05)
    levels = {k: v for k, v in levels.items() if v > lowest}
    return plots.standalone(plots.sparsity(series, levels, lowest, f"{name}: class-il accuracy over sparsity"))


def _times(first: list[dict[str, Any]], runs: list[dict[str, Any]], key: str) -> str:
    """How many times less work than the table's first row, means over seeds."""
    return f"{sum(run[key] for run in first) / sum(run[key] for run in runs):.1f}x"

"""`sparcl results sparcl`: SparCL on the board, scenario by scenario, each row of its tables one configuration.

Every row is the scenario's example with some settings changed, over the same seeds. Finished runs are kept, so that an
interrupted or repeated command only runs what is missing.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..config import Config
from ..errors import SparclError
from ..summary import spread
from .options import DataDir, read
from .runs import Run, run_all, seeds

PAPER_Q = {0.25: 0.80, 0.1: 0.92, 0.05: 0.96}  # gradient sparsity by density: 80 % of the stored weights learn


class ResultsError(SparclError):
    """A scenario that is not known."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a scenario's table. change: settings by section. against: the row its accuracy is compared with."""

    name: str
    change: dict[str, dict[str, Any]]
    against: str | None = "dense"
    joint: bool = False


OFF: dict[str, dict[str, Any]] = {"tdm": {"importance": "off"}, "dgm": {"sparsity": 0.0}, "ddr": {"fraction": 0.0}}
DENSE = OFF | {"network": {"density": 1.0}}


def _sparse(density: float, **change: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base = {"network": {"density": density}, "dgm": {"sparsity": PAPER_Q[density]}}
    return base | {section: base.get(section, {}) | values for section, values in change.items()}


def rows() -> list[Row]:
    """Dense DER++, SparCL-DER++ at three densities, and beside each the magnitude and random masks that never move."""
    found = [
        Row("dense", DENSE, against=None),
        Row("dense, joint, two updates a step", DENSE, joint=True),
    ]
    for density in PAPER_Q:
        s = f"{1 - density:.2f}"
        static = OFF | {"network": {"density": density}}
        drawn = OFF | {"network": {"density": density, "mask": "random"}}
        found += [
            Row(f"SparCL {s}", _sparse(density)),
            Row(f"static magnitude {s}", static, against=f"SparCL {s}"),
            Row(f"static random {s}", drawn, against=f"SparCL {s}"),
        ]
    return found


SCENARIOS = {"digits": ("digits_sparcl", 10), "base_fashion_mlp": ("base_fashion_mlp", 20)}  # example, seeds


def configured(config: Config, row: Row) -> Config:
    """The scenario's example with a row's settings."""
    for section, values in row.change.items():
        config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})
    return config


def sparcl(
    scenarios: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(SCENARIOS)}; default: all.")] = None,
    data_dir: DataDir = None,
    first_seed: Annotated[int, typer.Option(help="Tests use seeds from 0, choices 100 to 104.")] = 0,
    count: Annotated[int, typer.Option("--seeds", help="Seeds; 0: as many as the scenario wants.")] = 0,
    kept: Annotated[Path, typer.Option(help="Finished runs are kept here.")] = Path("build/sparcl"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """SparCL-DER++ on the board against dense DER++, static masks and the float twin."""
    from sparcl_tools.pio import ROOT

    console = Console(highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "sparcl.json"
    measured = json.loads(file.read_text()) if file.exists() else {}
    for name in scenarios or list(SCENARIOS):
        if name not in SCENARIOS:
            raise ResultsError(f"there is no scenario {name!r}; known are {', '.join(SCENARIOS)}")
        example, wanted = SCENARIOS[name]
        console.print(f"[bold]{name}[/]")
        config = read(ROOT / "examples" / example)
        several = range(first_seed, first_seed + (count or wanted))
        measured[name] = _scenario(config, several, data_dir, kept, console)
        file.write_text(json.dumps(measured, indent=1) + "\n")
        (out / "sparcl.md").write_text(_page(measured))
    console.print(f"Written: {out / 'sparcl.md'}, sparcl.json", markup=False)


def _scenario(config: Config, wanted: range, data_dir: Path | None, kept: Path, console: Console) -> dict[str, Any]:
    from .. import prepare, work

    table = rows()
    configs = {row.name: configured(config, row) for row in table}
    runs: list[Run] = []
    for row in table:
        runs += seeds(configs[row.name], wanted, joint=row.joint)
    found = run_all(runs, data_dir, kept, console)
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "sparcl results sparcl",
        "example": config.name,
        "first_seed": wanted.start,
        "rows": {},
    }
    for number, row in enumerate(table):
        own = found[number * len(wanted) : (number + 1) * len(wanted)]
        settings = prepare.learn_settings(configs[row.name])
        for run in own:
            run["work_counted"] = work.counted(run)
            if not row.joint:
                run["work_paper"] = work.paper(run, settings)
        result["rows"][row.name] = {"against": row.against, "joint": row.joint, "runs": own}
    return result


_HEAD = """\
# SparCL on the board

Written by `sparcl results sparcl` (`make results-sparcl`), one scenario after another; each says when and at which
commit. The native board learns; its state is held equal to NumPy's and to every emulated core's by
`tests/test_sparcl_c.py` and `tests/test_equality.py`. Means with 95 % t-intervals over paired seeds, in % and points.
*Against*: paired difference to the row named. *Work*: training multiply-accumulates as counted by the board, and by the
convention of the paper; times less than the dense row. *State*: weights, masks, indices, accumulators and all else that
is learnt, without the replay buffer.

DER++ here is one draw for the logits and one for the label, on a sample at a time; see
[numerics.md](../numerics.md), "One step".
"""


def _page(measured: dict[str, Any]) -> str:
    return "\n".join([_HEAD, *(_section(name, found) for name, found in measured.items())])


def _section(name: str, found: dict[str, Any]) -> str:
    rows_ = found["rows"]
    dense = rows_["dense"]["runs"]
    commits = sorted({run["commit"] for row in rows_.values() for run in row["runs"]})
    lines = [
        f"## {name}",
        "",
        f"[examples/{found['example']}](../../examples/{found['example']}/experiment.toml), {len(dense)} seeds from "
        f"{found['first_seed']}, written {found['date']}, measured at {', '.join(commits)}.",
        "",
        "| row | class-il | against | points | board - float twin | task-il | forgetting | data used "
        "| work, counted | work, paper | state, bytes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, row in rows_.items():
        runs = row["runs"]
        against = row["against"]
        paired = [a["acc"] - b["acc"] for a, b in zip(runs, rows_[against]["runs"], strict=True)] if against else []
        twin = [run["acc"] - run["acc_float"] for run in runs if "acc_float" in run]
        cells = [
            label,
            spread([run["acc"] for run in runs]),
            against or "",
            spread(paired, "+.2f"),
            spread(twin, "+.2f"),
            spread([run["task_il"] for run in runs if run["task_il"] is not None]),
            spread([run["forgetting"] for run in runs if run["forgetting"] is not None]),
            f"{sum(run['data_used'] for run in runs) / len(runs):.3f}",
            "" if row["joint"] else _times(dense, runs, "work_counted"),
            "" if row["joint"] else _times(dense, runs, "work_paper"),
            f"{runs[0]['state_bytes'] - runs[0]['replay_bytes']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _times(dense: list[dict[str, Any]], runs: list[dict[str, Any]], key: str) -> str:
    """How many times less work than the dense row, means over seeds."""
    return f"{sum(run[key] for run in dense) / sum(run[key] for run in runs):.1f}x"

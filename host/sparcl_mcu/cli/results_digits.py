"""`sparcl results digits`: what the main job reaches, measured again and written with date, commit and command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..record import read_json
from .options import read
from .run import one
from .seeds import several
from .ui import terminal

SEEDS = 10
ON_CHIP = "qemu_m4"

_PAGE = """\
# seq-digits: what the main job reaches

Measured {date} at commit {commit} by `sparcl results digits` (`make results`): {n} seeds of
`examples/digits` on the native board, each with its own pretrained network, and seed 0 on `{chip}`. The
configuration was chosen on validation samples with seeds 100-104 ([tuning.md](tuning.md)); what stands was chosen
without the test part.

| what | measured | target |
|---|---|---|
| final class-il accuracy on the board, mean of {n} seeds | {acc} | at least 80 % |
| above the same learner without replay | {gain} points | at least 55 points |
| board minus float twin, paired | {twin} points | mean within 1.0 point |
| without replay; joint; float twin | {without}; {joint}; {float} | |
| forgetting | {forgetting} points | |
| state hash after every task: board = NumPy | {agree} of {n} seeds, and {chip} | all |
| RAM on {chip}, stack and replay included | {ram} B, of it replay {replay} B | under 12,288 B + replay |
| flash on {chip} | {flash} B | under 24,576 B |
| instructions a streamed sample on {chip} | {instructions} | |
| multiply-accumulates a streamed sample | {macs} | |

Means with 95 % t-intervals over seeds. Accuracy is the mean over five tasks of {n_test} test samples, arg-max over
all ten classes. Without replay every sample is learnt twice instead, so that all make as many updates.
Every core's state hash is held equal to NumPy's by `tests/test_equality.py` in every test run.

| seed | board | without replay | joint | float twin | forgetting |
|---|---|---|---|---|---|
{rows}
"""


def digits(out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results")) -> None:
    """Handwritten digits: 10 seeds on the native board, one on the emulated Cortex-M4 (about 5 minutes)."""
    from sparcl_tools.pio import ROOT

    from ..report import accuracy_picture

    console = terminal()
    example, runs = ROOT / "examples" / "digits", Path("runs")
    folder = several(read(example), SEEDS, console, runs, None, None)
    summary = read_json(folder, "summary.json")
    chip_folder, chip = one(read(example, ON_CHIP), console, runs, None, None)
    versions = read_json(chip_folder, "versions.json")
    measured = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": versions["commit"],
        "command": "sparcl results digits",
        "summary": summary,
        ON_CHIP: chip,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "digits.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "digits.md").write_text(_page(measured))
    (out / "digits.svg").write_text(accuracy_picture(folder / "seed_0"))
    console.print(f"Written: {out / 'digits.md'}, digits.json, digits.svg", markup=False)


def _page(measured: dict[str, Any]) -> str:
    summary, chip = measured["summary"], measured[ON_CHIP]
    mean, paired, seeds = summary["mean"], summary["paired"], summary["seeds"]
    rows = [
        f"| {s['seed']} | "
        + " | ".join(
            f"{100 * s[key]:.1f}" for key in ("acc", "acc_without_replay", "acc_joint", "acc_float", "forgetting")
        )
        + " |"
        for s in seeds
    ]
    return _PAGE.format(
        date=measured["date"],
        commit=measured["commit"],
        n=len(seeds),
        chip=ON_CHIP,
        acc=_percent(mean["acc"]),
        gain=_points(paired["replay - without"]),
        twin=_points(paired["board - float twin"]),
        without=_percent(mean["acc_without_replay"]),
        joint=_percent(mean["acc_joint"]),
        float=_percent(mean["acc_float"]),
        forgetting=_points(mean["forgetting"]),
        agree=sum(s["simulation_agrees"] for s in seeds),
        ram=f"{chip['ram_bytes']:,}",
        replay=f"{chip['replay_bytes']:,}",
        flash=f"{chip['flash_bytes']:,}",
        instructions=f"{chip['instructions_per_step']:,.0f}",
        macs=f"{chip['macs_per_step']:,.0f}",
        n_test=chip["n_test"],
        rows="\n".join(rows),
    )


def _percent(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ± {100 * value['half_width']:.1f} %"


def _points(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:+.2f} ± {100 * value['half_width']:.2f}"

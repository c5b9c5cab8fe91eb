"""`sparcl bench`: instructions of every kernel and of whole training steps, counted on emulated cores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sparcl_tools import sizes
from sparcl_tools.pio import ROOT

from .options import DataDir
from .ui import terminal

CHIP = "qemu_m4"  # measured at every density; the others at some
BOARDS = (CHIP, "qemu_m0plus", "qemu_m3", "qemu_m33", "qemu_m55", "qemu_rv32")
OTHERS = (0.25, 0.1)
SIZES = ROOT / "docs" / "results" / "sizes.json"

Rows = list[dict[str, Any]]


def bench(
    boards: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BOARDS)}; default: all; or native.")
    ] = None,
    only: Annotated[str, typer.Option(help="Only what has this text in its name; the other rows stay.")] = "",
    data_dir: DataDir = None,
    kept: Annotated[Path, typer.Option(help="Folder of the programs.")] = Path("build/bench"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Count instructions, check every output against NumPy, write bench.json, bench.md and bench.svg (15 minutes).

    Boards and --only measure a part again, and put its rows in the place of those that were there. native: a table of
    where the time of a sample goes on this computer, printed and not kept. With a data folder, steps are counted with
    real samples as well.
    """
    from sparcl_tools import bench_epochs, bench_float, bench_host, bench_kernels, bench_real, bench_steps

    from ..report import plots
    from .bench_page import PHASES, curves, page

    console = terminal()
    if boards == [bench_host.BOARD]:
        splits = [bench_host.measure(*case, kept / "host" / f"{case[0]}_{case[1].name}") for case in bench_host.CASES]
        console.print(bench_host.table(splits), end="", markup=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    file = out / "bench.json"
    found: Rows = json.loads(file.read_text()) if file.exists() else []
    for board in boards or BOARDS:
        for layer in bench_kernels.LAYERS:
            if only in layer.name:
                densities = bench_kernels.DENSITIES if board == CHIP else OTHERS
                folder = kept / board / layer.name.replace(" ", "_").replace(",", "")
                found = merged(found, bench_kernels.measure(board, layer, folder, densities, console.print))
                file.write_text(json_text(found))
        for step in bench_steps.STEPS:
            for density in step.densities:
                if only in f"step {step.name}" and (board == CHIP or density in step.elsewhere):
                    folder = kept / board / f"{step.name}_{step.block}_{density}".replace(" ", "_")
                    row = bench_steps.measure(board, step, density, folder, console.print)
                    if data_dir and board == CHIP and step.name in bench_real.REAL:
                        real = bench_real.measure(board, step, density, folder, data_dir, console.print)
                        row = replace(row, real=real)
                    found = merged(found, [row])
                    file.write_text(json_text(found))
        if only in bench_float.WHAT:
            found = merged(found, [bench_float.measure(board, kept / board / "float", console.print)])
            file.write_text(json_text(found))
        if board == CHIP and only in bench_epochs.WHAT:
            found = merged(found, bench_epochs.measure(board, kept / board / "epochs", console.print))
            file.write_text(json_text(found))
    (out / "bench.md").write_text(page(found, sizes.load(SIZES)))
    lines, dense = curves(found)
    if len(lines) == len(PHASES):  # not yet, when only other rows were measured
        (out / "bench.svg").write_text(plots.standalone(plots.instructions(lines, dense), 860))
    console.print(f"Written: {out / 'bench.md'}, bench.json, bench.svg", markup=False)


def merged(rows: Rows, new: list[Any]) -> Rows:
    """Rows with those of `new` (bench_kernels.Row) put in place of the ones they measure again, or behind them."""
    by_key = {key(row): row for row in rows}
    for row in new:
        by_key[key(vars(row))] = {name: value for name, value in vars(row).items() if value is not None}
    return list(by_key.values())


def key(row: dict[str, Any]) -> tuple[str, str, str, float]:
    """What a row measures."""
    return row["core"], row["what"], row["block"], row["density"]


def json_text(rows: Rows) -> str:
    """A line a row, so that a change of one figure is a change of one line."""
    return "[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n"

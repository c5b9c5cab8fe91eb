"""Commands that only look: at data, a run, the boards, this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .ui import terminal


def data_check(
    file: Annotated[Path, typer.Argument(help="Your .npz file.")],
    classes_per_task: Annotated[int, typer.Option(min=1, help="As in the experiment file.")] = 2,
) -> None:
    """Check a data file; print its shapes, ranges, and the classes of each task."""
    from ..data import class_incremental, consecutive, npz

    data, ignored = npz.load(file)
    cut = class_incremental(data, consecutive(data, classes_per_task))
    console = terminal()
    table = Table("array", "shape", "dtype", "range")
    for key in ("x_train", "y_train", "x_test", "y_test", "domain_train", "domain_test"):
        array = getattr(data, key)
        if array is not None:
            table.add_row(key, str(array.shape), str(array.dtype), f"{array.min():g} .. {array.max():g}")
    console.print(table)
    tasks = Table("task", "classes", "training", "validation", "test")
    for index, task in enumerate(cut):
        names = ", ".join(data.class_names[label] for label in task.classes)
        tasks.add_row(str(index), escape(names), *(str(len(y)) for y in (task.y_train, task.y_val, task.y_test)))
    console.print(tasks)
    if data.groups:
        console.print(f"data.validate_by can be 'class', {', '.join(map(repr, data.groups))}", markup=False)
    if ignored:
        why = {f"{name}_train": f" ({unfit})" for name, unfit in data.unfit.items()}
        console.print(f"Ignored arrays: {', '.join(key + why.get(key, '') for key in ignored)}", markup=False)
    console.print(f"{file} is fine: {data.classes} classes, sha256 {data.checksum[:16]}", markup=False)


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/DATE_NAME.")],
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Draw a run's report.html again from its files."""
    from .. import report as reports
    from ..record import RunFolder, reading

    summary = (folder / "summary.json").is_file()
    with reading(folder):
        text = reports.render_summary(folder) if summary else reports.render(folder)
    page = RunFolder(folder).write_text("report.html", text)
    terminal().print(str(page), markup=False)
    if show:
        typer.launch(page.resolve().as_uri())


def boards() -> None:
    """List the boards firmware can be built for."""
    from ..boards import catalogue

    table = Table("board", "core", "RAM", "flash", "reached", "what it is")
    table.columns[0].no_wrap = True
    order = ("native", "qemu", "serial")
    for facts in sorted(catalogue.boards().values(), key=lambda facts: order.index(facts.reached)):
        sizes = [f"{size // 1024} KB" if size else "" for size in (facts.ram_bytes, facts.flash_bytes)]
        table.add_row(facts.name, facts.core, *sizes, facts.reached, facts.title)
    Console(highlight=False, emoji=False).print(table)


def doctor() -> None:
    """Say what is installed, what is missing, and the exact command to get it."""
    from . import checks

    console = terminal()
    findings = [(check, check.find()) for check in checks.CHECKS]
    for check, found in findings:
        if found:
            console.print(f"[green]✓[/] {check.name}: {found}")
        else:
            console.print(f"[red]✗[/] {check.name}: missing; needed for {check.needed_for}. Get it with:")
            console.print(f"    {check.remedy}", markup=False)
    if any(check.required and not found for check, found in findings):
        raise typer.Exit(1)

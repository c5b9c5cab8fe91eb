"""Commands that make something: an experiment file, a network, C, firmware."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SparclError
from .options import BoardName, DataDir, Experiment, NetworkFile, read
from .ui import TerminalSteps, terminal


class MakeError(SparclError):
    """Something cannot be made where it was asked for."""


def new(folder: Annotated[Path, typer.Argument(help="Folder of the new experiment; made if missing.")]) -> None:
    """Write a commented experiment.toml; one .npz file in the folder becomes its data."""
    from sparcl_tools.pio import ROOT

    target = folder / "experiment.toml"
    if target.exists():
        raise MakeError(f"{target} exists already; edit it, or name another folder")
    text = (ROOT / "examples" / "digits" / "experiment.toml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-_")[:40] or "experiment"
    text = re.sub(r'^name = "digits"', f'name = "{name}"', text, flags=re.M)
    found = sorted(folder.glob("*.npz"))
    if len(found) == 1 and not re.search(r'["\\\x00-\x1f\x7f]', found[0].name):
        text = re.sub(r'^source = "digits"', lambda _: f'source = "{found[0].name}"', text, flags=re.M)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MakeError(f"cannot write {target}: {error}") from None
    console = terminal()
    console.print(f"Wrote {target}", markup=False)
    console.print(f"Next: edit it, then run: sparcl run {target}", markup=False)


def pretrain(
    experiment: Experiment,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: network.sparcl beside it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Design and pretrain a sparse network on the first task or tasks, quantise it and save it."""
    from .. import network_file, prepare

    config = read(experiment)
    target = output or config.folder / "network.sparcl"
    if not target.parent.is_dir() or target.is_dir():  # said before the work, not after it
        raise MakeError(f"cannot write {target}: give a file name in a folder that exists")
    console = terminal()
    made = prepare.scenario(config, data_dir)
    with TerminalSteps(console).step(f"Pretrain on {made.base_samples} samples of {made.base_names}") as progress:
        net = prepare.pretrained(config, made, progress)
    network_file.save(net, target)
    for node in net.weighted():
        weights = net.weights[node.name]
        rows, fan_in = weights.mask.shape
        share = f" ({weights.slots / weights.mask.size:.0%} of dense, {node.block})" if not weights.dense else ""
        frozen = ", frozen" if node.frozen else ""
        console.print(f"  {node.name}: {node.op}, {rows} x {fan_in}, {weights.slots} weights{share}{frozen}")
    for choice in prepare.block_choices(config, made):
        console.print(f"Block shape of {choice}", markup=False)
    console.print(f"Wrote {target}", markup=False)


def generate(
    experiment: Experiment,
    network: NetworkFile = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: generated/ beside it.")] = None,
) -> None:
    """Turn a network into C (model.h, model.c) and print its memory plan."""
    from rich.table import Table

    from sparcl_tools import generate as generator

    from .. import prepare
    from ..network_file import load

    config = read(experiment)
    net = load(network or config.folder / "network.sparcl")
    prepare.check_network(config, net)
    target = output or config.folder / "generated"
    try:
        plan = generator.generate(net, target, room=prepare.room(config, net), settings=prepare.learn_settings(config))
    except OSError as error:
        raise MakeError(f"cannot write into {target}: {error.strerror}; choose another folder with --output") from None
    console = terminal()
    table = Table("RAM", "bytes", title=f"state {plan.state_bytes} + arena {plan.arena_bytes} bytes")
    table.columns[1].justify = "right"
    for what, size in plan.rows():
        table.add_row(what, str(size))
    console.print(table)
    console.print(f"Wrote {target}", markup=False)


def build(
    experiment: Experiment,
    network: NetworkFile = None,
    board: BoardName = None,
) -> None:
    """Generate C and build the firmware of a board with PlatformIO."""
    from sparcl_tools import elf

    from .. import boards, prepare
    from ..network_file import load
    from ..record import RunFolder
    from .pipeline import make_firmware

    config = read(experiment, board)
    config = replace(config, board=replace(config.board, port=None))  # a board that runs already is not built
    facts = boards.catalogue.find(config.board.name)
    net = load(network or config.folder / "network.sparcl")
    prepare.check_network(config, net)
    console = terminal()
    firmware = make_firmware(config, facts, net, RunFolder(config.folder), TerminalSteps(console))
    if firmware.program is not None:
        sizes = elf.sizes(firmware.program)
        console.print(f"RAM {sizes.ram_bytes} bytes (stack included), flash {sizes.flash_bytes} bytes")
        console.print(f"Wrote {firmware.program}", markup=False)

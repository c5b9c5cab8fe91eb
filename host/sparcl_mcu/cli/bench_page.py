"""docs/results/bench.md and the plot's curves, of the rows of bench.json."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from sparcl_tools import bench_slots, sizes

from .bench import BOARDS, CHIP, Rows, key

TRAINERS = {"digits": 6 * 1024, "lenet": 12 * 1024, "ds_cnn": 12 * 1024}  # networks of the size report: bytes allowed

DENSE, CONV32, CONV64 = "dense 784x128", "conv 3x3 32-32, 16x16", "conv 3x3 64-64, 8x8"
CONVOLUTIONS, DEPTHWISE = (CONV32, CONV64), "depthwise 3x3 64, 25x5"
PHASES = ("forward", "input gradient", "weight update")
CMSIS = {DENSE: 194_600, CONV32: 4_542_360, CONV64: 4_155_320}  # dense int8 forward, counted before this project began
STEP, FLOAT_STEP = "step mlp-784-128-10", "float32 step mlp-784-128-10"
EPOCH, DENSE_EPOCH = "epoch SparCL-DER++ mlp-784-128-10", "epoch DER++ mlp-784-128-10"
EPOCH_PARTS = ("TDM events", "DDR event", "importance")
FLOAT_STEPS = 3 * 1000  # of an epoch with DER++: a thousand samples, three passes each


@dataclass(frozen=True)
class Cell:
    """A figure of bench.json."""

    what: str
    block: str
    density: float
    column: str = "instructions"
    core: str = "m4"


@dataclass(frozen=True)
class Target:
    """The sum of some figures, or what share it is of another as many times, is to be at most `limit`."""

    what: str
    limit: float
    cells: tuple[Cell, ...]
    of: Cell | None = None
    times: int = 1

    def measured(self, rows: Rows) -> float | None:
        """None where a figure is missing."""
        by_key = {key(row): row for row in rows}
        wanted = [*self.cells, *([self.of] if self.of else [])]
        if any((cell.core, cell.what, cell.block, cell.density) not in by_key for cell in wanted):
            return None
        found = [float(by_key[c.core, c.what, c.block, c.density][c.column]) for c in wanted]
        return sum(found[:-1]) / (found[-1] * self.times) if self.of else sum(found)


def _targets() -> Iterator[Target]:
    for what, limit in (("forward", 1.94), ("forward, frozen", 1.3)):
        yield Target(f"{DENSE} {what}, per MAC", limit, (Cell(f"{DENSE} {what}", "dense", 1.0, "per_mac"),))
    for density, times in ((0.5, 1.5), (0.25, 3), (0.1, 7), (0.05, 12)):
        cell = Cell(f"{DENSE} forward", "4x1", density)
        yield Target(f"{cell.what} at {density:.0%}, 4x1", CMSIS[DENSE] / times, (cell,))
    for layer in CONVOLUTIONS:
        for block, density, times in (("dense", 1.0, 1), ("1x4", 0.25, 4), ("1x4", 0.1, 8.5)):
            cell = Cell(f"{layer} forward", block, density)
            yield Target(f"{cell.what} at {density:.0%}, {block}", CMSIS[layer] / times, (cell,))
        for density, times in ((0.25, 2.7), (0.1, 6)):
            cell = Cell(f"{layer} forward", "1x1", density)
            yield Target(f"{cell.what} at {density:.0%}, 1x1", CMSIS[layer] / times, (cell,))
    yield Target("depthwise 3x3 forward, per MAC", 6.3, (Cell(f"{DEPTHWISE} forward", "dense", 1.0, "per_mac"),))
    for density, limit in ((1.0, 800_000), (0.25, 210_000), (0.1, 100_000), (0.05, 62_000)):
        cell = Cell(STEP, "dense" if density == 1 else "4x1", density)
        yield Target(f"{cell.what} at {density:.0%}", limit, (cell,))
    for core, name, times in (("m4", "M4", 11), ("m3", "M3", 60), ("rv32", "RV32", 40)):
        ours, control = Cell(STEP, "4x1", 0.1, core=core), Cell(FLOAT_STEP, "dense", 1.0, core=core)
        yield Target(f"{name}: {STEP} at 10%, share of the float32 step on the same core", 1 / times, (ours,), control)
    for layer in CONVOLUTIONS:
        for block in ("1x4", "4x1"):
            cells = tuple(Cell(f"{layer} {phase}", block, 0.25, "per_nonzero") for phase in PHASES)
            yield Target(f"{layer}, all three phases at 25 %, {block}, per nonzero", 6.0, cells)
    update = f"{DENSE} weight update"
    yield Target(f"{update} at 10 %, 4x1, per weight", 4.6, (Cell(update, "4x1", 0.1, "per_nonzero"),))
    plain, fast = Cell(update, "4x1", 0.1, core="m3"), Cell(update, "4x1", 0.1)
    yield Target(f"{update} at 10 %, 4x1, in plain C (Cortex-M3), times the Cortex-M4's", 3, (plain,), fast)
    for layer, share in product((DENSE, *CONVOLUTIONS), (0.8, 0.5, 0.2)):
        whole = Cell(f"{layer} weight update", "4x1", 0.25)
        cell = Cell(f"{whole.what}, {share:.0%} selected", "4x1", 0.25)
        yield Target(f"{cell.what} at 25 %, 4x1, share of its cost when all learn", 1.15 * share, (cell,), whole)
    epoch = Cell(EPOCH, "4x1", 0.1)
    for part in EPOCH_PARTS[:2]:
        yield Target(f"{EPOCH} at 10%, share of its {part}", 0.02, (Cell(f"{EPOCH}, {part}", "4x1", 0.1),), epoch)
    yield Target(f"{EPOCH} at 10%, share of the dense one", 1 / 4, (epoch,), Cell(DENSE_EPOCH, "dense", 1.0))
    control = Cell(FLOAT_STEP, "dense", 1.0)
    yield Target(f"{EPOCH} at 10%, share of it in dense float32", 1 / 8, (epoch,), control, FLOAT_STEPS)
    for layer, cmsis in ((DENSE, 0.49), *((layer, 0.39) for layer in CONVOLUTIONS)):
        dense = Cell(f"{layer} forward", "dense", 1.0, "per_mac", "m55")
        yield Target(f"Cortex-M55: {dense.what}, per MAC", 1.5 * cmsis, (dense,))
        sparse = Cell(dense.what, "4x1", 0.25, "per_mac", "m55")
        yield Target(f"Cortex-M55: {dense.what} at 25 %, 4x1, share of the dense one", 1.0, (sparse,), dense)


_PAGE = """\
# Instructions

Written {date} by `sparcl bench` (`make bench`). *Instructions*, not cycles, counted by QEMU (`-icount`) around one
call; the compiler is gcc at the flags of platformio.ini. Inputs, errors and outputs of a kernel's case are all
nonzero; what every case wrote was equal to NumPy's, and a step's state as well (`tools/sparcl_tools/bench_*.py`).
*Per nonzero* divides by the stored multiply-accumulates, *per MAC* by those of the dense layer. A step is forward,
loss, backward and update of one sample, at batch 1, with its share of what every 64th step costs that counts what
updates do; with real data, which a pretrained network has not seen (MNIST, keywords, CIFAR-10), activations and errors
are 0 where they are. All figures: [bench.json](bench.json). `tests/test_bench.py` fails where some of them grow by more
than 2 %.

![Instructions against density; the dashed line is the dense layer]({svg})

Forward, input gradient and update of the 784x128 layer on the Cortex-M4, 4x1 blocks. Dashed: the same layer dense.
{break_even}

## Targets

CMSIS-NN takes {cmsis}, counted the same way on the same core before this project began; no command here repeats it.
Its limits for the Cortex-M55 are of the same origin.
The control of the MLP's step is plain float32 C with the update fused (`firmware/bench/float_step.c`), with the
core's FPU where it has one: Cortex-M4, M33 and M55; the others calculate in software.

| what, Cortex-M4 unless said | target: at most | measured | met |
|---|---|---|---|
{targets}

### Where a target is not met

What the inner loops take on the Cortex-M4, as gcc 12 compiles them, and why they do not take less:

- *Selected updates.* A block that learns takes 15 instructions for its four weights (`ldrh ldrsb mla mla mla pkhtb
  mla pkhtb ldrd qsub16 qsub16 qadd16 qadd16 strd`, 1 spill) and its test 2 (`tst beq`), as does one passed by;
  eight blocks take some 12 more. Where all learn, a block takes 15.5 with its share of the loop. So a share s of
  the blocks costs about (15 s + 3.5) / 15.5 of all, and a list of the selected ones, at 4.5 more a block for
  walking it, would cost 1.26 s. Only blocks stored by selection, the selected ones first, would be in proportion;
  masks, importance and hash would have to follow that order. In convolutions, which pass a block over all positions,
  the phase falls in proportion.
- *Convolutions, all phases.* Forward, a 1x4 block takes 19 for 16 multiply-accumulates (`ldrb ldrd add`, 2
  `sxtb16`, 4 `ldrd`, 8 `smlad`, `cmp bne`), a 4x1 block 16 for 8; then come the patches, about 2 an input, and 18
  an output. The input gradient takes 18 for 8 in 4x1 blocks (4 `ldr`, 4 `sxtb16`, 4 `smlad`, 2 `str`, 2 `add`,
  `subs bne`) and 24 for 8 in 1x4 blocks, which load and store four sums; the weight gradient 24 for 8 (4 loads, 4
  `sxtb16`, 5 `pkhbt` and `pkhtb`, 4 `smlad`, 2 `add`, `subs bne`, 3 spills). That is 7.2 and more before a row
  begins or ends. Less takes errors that lie there as int16, by channel, or a second, transposed order of the
  blocks: both of them RAM.
- *Depthwise forward.* 17 for 4 (`ldrd ldr`, 2 `sxtb16`, 4 `ldrsb`, 4 `smla`, 2 `add`, `cmp bcc`, 1 spill), which is
  38 for the 9 taps of an output, and 37 more an output for its bias, the exponents of its channel, ReLU and the
  pointers of the taps. Weights in (tap, channel) order would save 3 loads in 17.
- *Stochastic rounding.* The contract rounds updates to the nearest: with masters of 16 bits they do not die
  ([numerics.md](../numerics.md)). So no kernel rounds by chance, and there is no such row.
- *Flash of what learns.* Kernels are inlined for every storage a network has (dense and blocks), forward, backward and
  the update, once for shifts as steps have them, once for others and once to count what updates do. The learner
  holds schedule, removal and every replay method; compiled for size it would take 0.4 KB less.

## Whole steps, Cortex-M4

| step | block | density | instructions | with real data | per nonzero | per MAC | flash, bytes | RAM, bytes \
| stack, bytes |
|---|---|---|---|---|---|---|---|---|---|
{steps}

## An epoch of SparCL-DER++, Cortex-M4

The schedule is that of [examples/base_fashion_mlp](../../examples/base_fashion_mlp/experiment.toml): 1,000 samples
a task, 5 epochs, 200 samples in the replay buffer, 80 % of the stored weights learn, a tenth of the samples is removed.
An epoch is the mean of a second task's. *Importance*: what passes that measure gradients for masks add to steps.
Dense: a thousand steps like the 8 measured. In float32: three of the control's steps a sample. Integer learners skip
what a ReLU holds back; the control does not.

| what | density | instructions | share |
|---|---|---|---|
{epochs}

## RAM of a stored weight

Of a layer of 784 inputs (196 where the index has 8 bits and weights are single ones) and 128 outputs at 25 %, as
`sparcl plan` has it. Where masks do not move, the index lies in flash and the master's two bytes are all.

| storage | master and index, bytes | target: at most | met | with TDM's importance and DGM's selection |
|---|---|---|---|---|
{slots}

## Flash of what learns, Cortex-M4

Bytes of code, tables included, in the firmwares of the size report ([sizes.json](sizes.json), `make sizes`): no
weights and no other constants of the model, no link, store or C library.

| network | {parts} | all | target: at most | met |
|---|{rules}---|---|---|
{trainers}

## Kernels, Cortex-M4, per nonzero

{kernels}

## Other cores, per nonzero (steps: instructions)

{others}
"""


def page(rows: Rows, firmwares: sizes.Report) -> str:
    """docs/results/bench.md."""
    lines = []
    for target in _targets():
        measured = target.measured(rows)
        if measured is not None:
            form = ",.0f" if target.limit > 1000 else ".2f" if target.limit > 0.2 else ".4f"
            shown = [format(value, form) for value in (target.limit, measured)]
            met = "yes" if measured <= target.limit else "**no**"
            lines.append(f"| {target.what} | {shown[0]} | {shown[1]} | {met} |")
    steps = [
        f"| {row['what'].removeprefix('step ')} | {row['block']} | {row['density']:.0%} | {row['instructions']:,} "
        f"| {format(row['real'], ',') if 'real' in row else ''} | {row['per_nonzero']} | {row['per_mac']} "
        f"| {row['flash_bytes']:,} | {row['ram_bytes']:,} "
        f"| {format(row['stack_bytes'], ',') if 'stack_bytes' in row else ''} |"
        for row in rows
        if row["core"] == "m4" and "step " in row["what"]
    ]
    parts = next(iter(firmwares.values())).trainer
    return _PAGE.format(
        date=time.strftime("%Y-%m-%d"),
        svg="bench.svg",
        break_even=_break_even(rows),
        cmsis=", ".join(f"{count:,} for {layer}" for layer, count in CMSIS.items()),
        targets="\n".join(lines),
        steps="\n".join(steps),
        epochs=_epochs(rows),
        slots="\n".join(_slot(slot) for slot in bench_slots.slots()),
        parts=" | ".join(parts),
        rules="---|" * len(parts),
        trainers="\n".join(_trainer(name, limit, firmwares[f"{name} on {CHIP}"]) for name, limit in TRAINERS.items()),
        kernels=_kernels([row for row in rows if row["core"] == "m4"]),
        others=_others(rows),
    )


def _epochs(rows: Rows) -> str:
    epochs = {row["what"]: row for row in rows if row["what"].startswith("epoch ")}
    lines = []
    for row in epochs.values():
        whole = epochs[row["what"].split(",")[0]]
        share = "" if row is whole else f"{row['instructions'] / whole['instructions']:.1%}"
        lines.append(f"| {row['what']} | {row['density']:.0%} | {row['instructions']:,} | {share} |")
    return "\n".join(lines)


def _slot(slot: bench_slots.Slot) -> str:
    limit = bench_slots.AT_MOST[slot.storage]
    met = "yes" if slot.stored <= limit else "**no**"
    return f"| {slot.storage} | {slot.stored:.2f} | {limit} | {met} | {slot.masked:.2f} |"


def _trainer(name: str, limit: int, firmware: sizes.Firmware) -> str:
    parts = firmware.trainer
    total = sum(parts.values())
    cells = " | ".join(f"{count:,}" for count in (*parts.values(), total, limit))
    return f"| {name} | {cells} | {'yes' if total <= limit else '**no**'} |"


def _kernels(rows: Rows) -> str:
    """A table of what against block and density."""
    kernels = [row for row in rows if "step " not in row["what"] and "epoch " not in row["what"]]
    columns = sorted({(row["block"], row["density"]) for row in kernels}, key=lambda c: (c[0] != "dense", c[0], -c[1]))
    names = list(dict.fromkeys(row["what"] for row in kernels))
    cells = {(row["what"], row["block"], row["density"]): row["per_nonzero"] for row in kernels}
    head = "| kernel | " + " | ".join(f"{block} {density:.0%}" for block, density in columns) + " |"
    body = [
        f"| {name} | " + " | ".join(f"{cells[name, *c]:.2f}" if (name, *c) in cells else "" for c in columns) + " |"
        for name in names
    ]
    return "\n".join([head, "|" + "---|" * (len(columns) + 1), *body])


def _others(rows: Rows) -> str:
    cores = [board.removeprefix("qemu_") for board in BOARDS]
    cells = {key(row): row for row in rows}
    names = dict.fromkeys(key(row)[1:] for row in rows if row["core"] != "m4")
    lines = []
    for what, block, density in names:
        column, form = ("instructions", ",") if "step " in what else ("per_nonzero", ".2f")
        found = [cells.get((core, what, block, density)) for core in cores]
        shown = " | ".join(format(row[column], form) if row else "" for row in found)
        lines.append(f"| {what} | {block} {density:.0%} | {shown} |")
    return "\n".join(["| what | block, density | " + " | ".join(cores) + " |", "|" + "---|" * (len(cores) + 2), *lines])


def curves(rows: Rows) -> tuple[list[tuple[str, list[tuple[float, float]]]], list[float]]:
    """For the plot: by phase the points (density, instructions) of the 784x128 layer in 4x1 blocks; of each, dense."""
    of_layer = {key(row)[1:]: row["instructions"] for row in rows if row["core"] == "m4"}
    lines, dense = [], []
    for phase in PHASES:
        what = f"{DENSE} {phase}"
        points = [(density, n) for (name, block, density), n in of_layer.items() if name == what and block == "4x1"]
        if points and (what, "dense", 1.0) in of_layer:
            lines.append((phase, sorted(points)))
            dense.append(of_layer[what, "dense", 1.0])
    return lines, dense


def _break_even(rows: Rows) -> str:
    """Where the line through the points of a phase meets the dense layer."""
    said = []
    for (phase, points), dense in zip(*curves(rows), strict=True):
        (x0, y0), (x1, y1) = points[0], points[-1]
        at = x0 + (dense - y0) * (x1 - x0) / (y1 - y0)
        said.append(f"{phase} {at:.0%}")
    return f"Break-even with our own dense kernel at density: {', '.join(said)}." if said else ""

"""What kernels cost: every operator, block shape, density and phase, counted in instructions on an emulated core.

A layer becomes one program: its weights, inputs and errors (none of them zero) as constants, and a call a case. The
program (firmware/bench) prints what each call cost and a CRC of all it wrote; that CRC must be the one NumPy's
operators give.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu import numerics as nx
from sparcl_mcu import ops
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.boards.stream import BoardError
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import Node, Shape, Window
from sparcl_mcu.learners.simulated import apply_bias, apply_update
from sparcl_mcu.numerics import Ints
from sparcl_mcu.ops import activation
from sparcl_mcu.sparsity import BLOCKS, SINGLE, Block, Mask, expand, shrink, top_blocks

from . import elf
from .build import build
from .generate import templates, write
from .layout import pack, pair_rows
from .pio import ROOT

APP = ROOT / "firmware" / "bench"
DENSITIES = (0.5, 0.25, 0.1, 0.05)
SELECTED = (0.8, 0.5, 0.2)  # shares of the stored blocks, as DGM selects them
SELECTED_AT = 0.25  # density

# Exponents as they are in a network that learns: an update's shift is 9.
E_W, E_X, E_D, RATE = -8, -7, -12, -6


class BenchError(SparclError):
    """A kernel computed something else than NumPy, or the bench did not end."""


@dataclass(frozen=True)
class Row:
    """A line of docs/results/bench.json. per_nonzero, per_mac: instructions by stored and by dense multiply-accumulate.
    flash_bytes: the kernel's code; ram_bytes: masters, biases and scratch. Of a whole step both are the firmware's, and
    real is what it takes with real data, stack_bytes the most its stack held; None: not measured, and no key
    of the file."""

    core: str
    what: str
    block: str
    density: float
    instructions: int
    per_nonzero: float
    per_mac: float
    flash_bytes: int
    ram_bytes: int
    real: int | None = None
    stack_bytes: int | None = None


@dataclass(frozen=True)
class Layer:
    """A layer to be measured."""

    name: str
    node: Node
    shape: Shape  # of its input
    prunes: bool = True

    @property
    def operator(self) -> ops.Weighted:
        operator = ops.OPERATORS[self.node.op]
        assert isinstance(operator, ops.Weighted)
        return operator


def _dense(inputs: int, outputs: int) -> Layer:
    node = Node("layer", "dense", ("input",), outputs)
    return Layer(f"dense {inputs}x{outputs}", node, (1, 1, inputs), prunes=inputs > 128)


def _conv(side: int, channels: int, shape: Shape) -> Layer:
    node = Node("layer", "conv2d", ("input",), channels, Window((side, side)))
    return Layer(f"conv {side}x{side} {shape[2]}-{channels}, {shape[0]}x{shape[1]}", node, shape)


LAYERS = (
    _dense(784, 128),
    _dense(128, 10),
    _conv(3, 32, (16, 16, 32)),
    _conv(3, 64, (8, 8, 64)),
    _conv(1, 64, (25, 5, 64)),
    Layer(
        "depthwise 3x3 64, 25x5",
        Node("layer", "depthwise", ("input",), window=Window((3, 3))),
        (25, 5, 64),
        prunes=False,
    ),
)


@dataclass
class Case:
    """One call. crc: of bench_memory afterwards."""

    what: str
    block: str
    density: float
    lines: list[str]
    crc: int
    kernel: str  # the C function
    nonzero: int  # multiply-accumulates with stored weights
    ram: int
    selected: list[int] = field(default_factory=list)


@dataclass
class _Bench:
    """The data of one layer, and its cases."""

    layer: Layer
    cases: list[Case] = field(default_factory=list)
    storages: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        node, shape, operator = self.layer.node, self.layer.shape, self.layer.operator
        rng = np.random.default_rng(5)
        self.out_shape = operator.shape(node, [shape])
        self.rows, self.fan_in = self.out_shape[2], operator.fan_in(node, [shape])
        self.positions = operator.positions(self.out_shape)
        n = self.rows * self.fan_in
        self.values = (_nonzero(rng, n) * 256 + rng.integers(-100, 100, n) + 128).astype(np.int16)
        hi = (self.values >> 8).astype(np.int8).reshape(self.rows, self.fan_in)
        self.pairs: list[int] = pair_rows(hi).ravel().tolist() if node.op == "dense" else []
        self.x = _nonzero(rng, *shape).astype(np.int8)
        self.d = _nonzero(rng, *self.out_shape).astype(np.int8)
        # Large enough for every accumulator to be positive: a ReLU then passes everything on.
        room = 127 * int(np.sqrt(self.fan_in) * 127 * 4)
        self.bias = np.full(self.rows, room << -(nx.BIAS_EXPONENT - (E_W + E_X)), np.int32)
        self.e_out = E_W + E_X + nx.blen(2 * room) - 7
        depthwise = node.op == "depthwise"
        self.e_w = np.array([E_W - c % 3 for c in range(self.rows)]) if depthwise else np.array([E_W])
        self.tile = 0 if node.window is None or depthwise else 4 * self.fan_in  # int16 values of scratch
        inputs, outputs = int(np.prod(shape)), int(np.prod(self.out_shape))
        self.sizes = {
            "bias": self.rows,
            "v": inputs,
            "master": n + n % 2,
            "q": -(-outputs // 4) * 4,
            "positive": -(-outputs // 32) * 4,
        }

    @property
    def macs(self) -> int:
        return self.rows * self.fan_in * self.positions

    def crc(self, **written: NDArray[Any]) -> int:
        """Of bench_memory with some members written."""
        types = {"bias": "<i4", "v": "<i4", "master": "<i2", "q": "i1", "positive": "u1"}
        start: dict[str, NDArray[Any]] = {"bias": self.bias, "master": self.values}
        crc = 0
        for name, size in self.sizes.items():
            member = np.zeros(size, types[name])
            values = (start | written).get(name, np.zeros(0)).ravel()
            member[: len(values)] = values
            crc = zlib.crc32(member.tobytes(), crc)
        return crc

    def add(self, block: Block, density: float) -> None:
        """Every phase of one block shape and density."""
        rng = np.random.default_rng([round(1000 * density), *block])  # the same whatever else is measured
        mask = top_blocks(rng.random((self.rows, self.fan_in)), density, block)
        order = pack(np.arange(mask.size).reshape(mask.shape), mask, block)[2]  # type: ignore[arg-type]  # numbers
        masters = np.full(mask.size, 128, np.int16)
        masters[order] = self.values[: len(order)]
        _Phases(self, block, density, mask, np.array(order), masters.reshape(mask.shape), rng).add()


def _nonzero(rng: np.random.Generator, *shape: int) -> Ints:
    magnitude: Ints = rng.integers(1, 127, shape) * rng.choice([-1, 1], shape)
    return magnitude


@dataclass
class _Phases:
    bench: _Bench
    block: Block
    density: float
    mask: Mask
    order: Ints  # places of the stored weights in the dense matrix
    masters: NDArray[np.int16]
    rng: np.random.Generator

    def add(self) -> None:
        bench, node = self.bench, self.bench.layer.node
        self.operator = bench.layer.operator
        self.hi = (self.masters >> 8).astype(np.int64)
        self.window = "" if node.op == "dense" else "&w, "
        dense = bool(self.mask.all())
        wide = self.mask.shape[1] // self.block.cols > 256
        self.suffix = "" if node.op == "depthwise" else "_full" if dense else f"_{self.block}_i{16 if wide else 8}"
        self.matrix = self._matrix(dense, wide)
        self.ram = 2 * len(self.order) + 4 * bench.rows
        self._forward("forward", self.suffix, "bench_memory.master", self.ram)
        if dense and node.op == "dense":
            self._forward("forward, frozen", "_paired", "pairs", 0)
            self._forward("forward, gRDA's weights", f"{self.suffix}_frozen", "hi", len(self.order) + self.ram)
        else:
            self._forward("forward, frozen", f"{self.suffix}_frozen", "hi", 0)
        self._input_grad()
        self._update("weight update", self.mask, [])
        if not dense and self.density == SELECTED_AT:
            for share in SELECTED:
                stored = shrink(self.mask, self.block)
                chosen = stored & (self.rng.random(stored.shape) < share)
                bits = np.packbits(chosen[stored], bitorder="little").tolist()
                self._update(f"weight update, {share:.0%} selected", expand(chosen, self.block), bits)

    def _matrix(self, dense: bool, wide: bool) -> str:
        """The C expression of the weights, without what points to them."""
        bench = self.bench
        if bench.layer.node.op == "depthwise":
            return f"(scl_depthwise){{.e_w = e_w, .e_w_max = {bench.e_w.max()}, .bias = bench_memory.bias, .weights = "
        start, index, name = "NULL", "NULL", f"{self.block}_{round(100 * self.density)}"
        if not dense:
            starts, indices, _ = pack(self.masters, self.mask, self.block)
            bench.storages.append({"name": name, "start": starts, "index": indices, "bits": 16 if wide else 8})
            start, index = f"start_{name}", f"index_{name}"
        return (
            f"(scl_matrix){{.rows = {bench.rows}, .fan_in = {bench.fan_in}, .e_w = {E_W}, .start = {start}, "
            f".index = {index}, .bias = bench_memory.bias, .weights = "
        )

    def _call(
        self, what: str, kernel: str, weights: str, rest: str, ram: int, used: int, selected: list[int], crc: int
    ) -> None:
        bench = self.bench
        kernel = f"scl_{bench.layer.node.op}_{kernel}"
        lines = [f"const {self.matrix.split('{')[0][1:-1]} m = {self.matrix}{weights}}};", f"{kernel}(&m, {rest});"]
        bench.cases.append(
            Case(
                what=f"{bench.layer.name} {what}",
                block="dense" if self.mask.all() else str(self.block),
                density=self.density,
                lines=lines,
                crc=crc,
                kernel=kernel,
                nonzero=used * bench.positions,
                ram=ram,
                selected=selected,
            )
        )

    def _forward(self, what: str, storage: str, weights: str, ram: int) -> None:
        """storage: the kernel's suffix; weights: the C array that lies so; ram: its bytes, and those of biases."""
        bench = self.bench
        e_acc: Any = bench.e_w + E_X if len(bench.e_w) > 1 else E_W + E_X
        acc = self.operator.forward(bench.layer.node, self.hi, bench.x.astype(np.int64))
        acc = acc + activation.rsr_channels(bench.bias.astype(np.int64), e_acc - nx.BIAS_EXPONENT)
        q, _ = activation.requantise(acc, bench.e_out - e_acc, True)
        if not q.all():
            raise BenchError(f"{bench.layer.name}: an output is 0, so that this would measure less than all of a layer")
        crc = bench.crc(q=q, positive=np.packbits((acc > 0).ravel(), bitorder="little"))
        vec = f"{self.window}(scl_vec){{x, {E_X}}}, "
        rest = vec + ("tile, " if bench.tile else "") + "&out"
        self._call(what, f"forward{storage}", weights, rest, ram + 2 * bench.tile, len(self.order), [], crc)

    def _input_grad(self) -> None:
        bench = self.bench
        v = self.operator.input_grad(bench.layer.node, self.hi, bench.d.astype(np.int64), bench.layer.shape)
        if len(bench.e_w) > 1:
            v = activation.rsr_channels(v, bench.e_w.max() - bench.e_w)
        rest = f"{self.window}(scl_vec){{d, {E_D}}}, bench_memory.v"
        kernel, crc = f"input_grad{self.suffix}", bench.crc(v=v)
        self._call("input gradient", kernel, "bench_memory.master", rest, self.ram, len(self.order), [], crc)

    def _update(self, what: str, learns: Mask, selected: list[int]) -> None:
        bench = self.bench
        d = bench.d.astype(np.int64)
        masters, bias = self.masters.copy(), bench.bias.copy()
        gradient = self.operator.weight_grad(bench.layer.node, d, bench.x.astype(np.int64))
        apply_update(masters, learns, gradient, (bench.e_w - 8) - (E_D + E_X + RATE))
        apply_bias(bias, d.sum(axis=(0, 1)), nx.BIAS_EXPONENT - (E_D + RATE))
        after = bench.values.copy()
        after[: len(self.order)] = masters.ravel()[self.order]
        kernel = ("weight_update_selected" if selected else "weight_update") + self.suffix
        to = "&(scl_masters){bench_memory.master, bench_memory.bias, " + ("selected}" if selected else "NULL}")
        rest = f"{self.window}{to}, (scl_vec){{d, {E_D}}}, (scl_vec){{x, {E_X}}}, (scl_rate){{1, {RATE}}}"
        used, crc = int(np.count_nonzero(learns)), bench.crc(master=after, bias=bias)
        self._call(what, kernel, "bench_memory.master", rest, self.ram, used, selected, crc)


def _cases(layer: Layer, densities: tuple[float, ...]) -> _Bench:
    bench = _Bench(layer)
    bench.add(SINGLE, 1.0)
    for block in BLOCKS if layer.prunes else ():
        for density in densities:
            bench.add(block, density)
    return bench


def _generate(bench: _Bench, folder: Path) -> None:
    layer, rows = bench.layer, bench.rows
    window = ""
    if layer.node.window:
        kernel, stride = layer.node.window.kernel, layer.node.window.stride
        top, _, left, _ = layer.node.window.pads(*layer.shape[:2])
        window = ", ".join(str(v) for v in (*layer.shape, *bench.out_shape[:2], *kernel, *stride, top, left))
    facts = {
        "layer": layer.name,
        "sizes": bench.sizes,
        "values": bench.values,
        "pairs": bench.pairs,
        "tile": bench.tile,
        "bias": bench.bias,
        "x": bench.x.ravel(),
        "d": bench.d.ravel(),
        "e_w": bench.e_w.tolist() if rows == len(bench.e_w) else [],
        "window": window,
        "storages": bench.storages,
        "cases": bench.cases,
        "out_exponent": bench.e_out,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("h", "c"):
        write(folder / f"model.{suffix}", templates().get_template(f"bench.{suffix}.j2").render(facts))


def run(board: str, program: Path, lines: int, timeout: float = 120.0) -> Iterator[tuple[int, int]]:
    """Instructions and CRC of each case, as the board prints them. Raises BenchError, BoardError."""
    stream, text = open_board(catalogue.find(board), program), b""
    try:
        while text.count(b"\n") < lines:
            part = stream.read(timeout)
            if not part:
                raise BenchError(f"the bench on {board} says nothing for {timeout:g} s, after {text.count(10)} cases")
            text += part
    except BoardError as error:
        raise BenchError(f"the bench on {board} ended after {text.count(10)} of {lines} cases: {error}") from None
    finally:
        stream.close()
    for line in text.split(b"\n")[:lines]:
        instructions, crc = line.split()
        yield int(instructions, 16), int(crc, 16)


def measure(
    board: str, layer: Layer, folder: Path, densities: tuple[float, ...] = DENSITIES, log: Callable[[str], None] = print
) -> list[Row]:
    """Build and run the cases of one layer on a board, and check what they computed. Raises BenchError."""
    bench = _cases(layer, densities)
    _generate(bench, folder)
    program = build(board, folder, build_dir=folder.parent / "objects", app=APP, whole_memory=True)
    code = elf.sizes(program).flash
    core = board.removeprefix("qemu_")
    rows = []
    for case, (instructions, crc) in zip(bench.cases, run(board, program, len(bench.cases)), strict=True):
        if crc != case.crc:
            raise BenchError(f"{case.what}, {case.block} at {case.density}: {board} computed something else than NumPy")
        rows.append(
            Row(
                core,
                case.what,
                case.block,
                case.density,
                instructions,
                round(instructions / case.nonzero, 3),
                round(instructions / bench.macs, 3),
                code[case.kernel],
                case.ram,
            )
        )
    log(f"{board}: {layer.name}, {len(rows)} cases")
    return rows

"""Random layers and values for the kernel tests, and what a layer's C output must be."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

import helpers
from c_structs import Gathered, Masters, Matrix, Measure, Memory, Output, Rate, Vec, Watch, vec
from sparcl_mcu import numerics as nx
from sparcl_mcu.graph import Shape, Window
from sparcl_mcu.numerics import Ints
from sparcl_mcu.ops import activation
from sparcl_mcu.sparsity import BLOCKS, Block, Mask, expand, shrink, top_blocks
from sparcl_tools.layout import pack


@pytest.fixture(autouse=True, scope="module", params=sorted(helpers.VARIANTS))
def every_variant(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test module that imports this runs with each variant of the kernels, those of other cores by C stand-ins."""
    helpers.variant = request.param
    yield
    helpers.variant = "plain"


Rng = np.random.Generator
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def mantissas(rng: Rng, *shape: int) -> NDArray[np.int8]:
    """int8 values with many zeros and both extremes, as errors and activations have."""
    values = rng.integers(-127, 128, shape) * (rng.random(shape) < 0.7)
    return np.where(rng.random(shape) < 0.1, np.sign(values) * 127, values).astype(np.int8)


def masters(rng: Rng, mask: Mask) -> NDArray[np.int16]:
    """Masters over their whole range, some at its ends; 128 (weight 0) where masked."""
    values = rng.integers(nx.MASTER_MIN, nx.MASTER_MAX + 1, mask.shape)
    ends = rng.choice([nx.MASTER_MIN, nx.MASTER_MAX], mask.shape)
    return np.where(mask, np.where(rng.random(mask.shape) < 0.1, ends, values), 128).astype(np.int16)


def biases(rng: Rng, rows: int, e_acc: int) -> NDArray[np.int32]:
    """Biases that leave the accumulator room, as the bound checked at generation asks; some are 0."""
    limit = nx.BIAS_LIMIT >> max(0, nx.BIAS_EXPONENT - e_acc)
    return np.where(rng.random(rows) < 0.2, 0, rng.integers(-limit, limit + 1, rows)).astype(np.int32)


@dataclass
class Layer:
    """A weight matrix as NumPy has it and as C has it."""

    masters: NDArray[np.int16]  # (rows, fan_in)
    mask: Mask
    block: Block
    e_w: int
    bias: NDArray[np.int32]
    frozen: bool
    wide: bool  # index entries of two bytes
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        start, index, stored = pack(self.masters, self.mask, self.block)
        self.weights = self.memory.both(np.array(stored, np.int16))
        if self.frozen:
            self.weights = self.memory.inputs((self.weights >> 8).astype(np.int8))
        self.bias_memory = self.memory.both(self.bias)
        self.start = self.memory.inputs(np.array(start, np.uint16))
        self.index = self.memory.inputs(np.array(index, np.uint16 if self.wide else np.uint8))

    @property
    def hi(self) -> Ints:
        return (self.masters >> 8).astype(np.int64)

    @property
    def kernel(self) -> str:
        dense = "full" if self.mask.all() else f"{self.block}_i{16 if self.wide else 8}"
        return dense + ("_frozen" if self.frozen else "")

    def c(self) -> Matrix:
        dense = self.mask.all()
        return Matrix(
            *self.masters.shape,
            self.e_w,
            self.weights.ctypes.data,
            None if dense else self.start.ctypes.data,
            None if dense else self.index.ctypes.data,
            self.bias_memory.ctypes.data,
        )

    def select(self, rng: Rng) -> tuple[Mask, NDArray[np.uint8] | None]:
        """Some of the blocks: as a weight mask and as C's bits. All, and NULL, of a dense layer and now and then."""
        if self.mask.all() or rng.random() < 0.3:
            return self.mask, None
        stored = shrink(self.mask, self.block)
        chosen = stored & (rng.random(stored.shape) < 0.5)
        bits = self.memory.inputs(np.packbits(chosen[stored], bitorder="little"))
        return expand(chosen, self.block), bits


@dataclass
class Gradients:
    """A layer's weight gradients as NumPy has them, and the C kernels that make something of them."""

    layer: Layer
    d: NDArray[np.int8]  # errors of the outputs, (..., rows)
    x: NDArray[np.int8]
    e_d: int
    e_x: int
    gradient: Ints  # G (rows, fan_in)
    kernel: Callable[..., None]  # (verb, what comes before d, d, x, what comes after)

    def call(self, verb: str, *before: Any, rate: Rate | None = None) -> None:
        """One kernel; only its own memory may change."""
        vectors: list[Vec] = [vec(self.d, self.e_d), vec(self.x, self.e_x)]
        self.kernel(verb, *map(ctypes.byref, before), *vectors, *([] if rate is None else [rate]))
        self.layer.memory.check()

    def steps(self, rate: Rate) -> Ints:
        """What the contract takes off every master."""
        shift = (self.layer.e_w - 8) - (self.e_d + self.e_x + rate.exponent)
        return nx.sat(nx.rsr(rate.mantissa * self.gradient, shift), 32767)

    def check_update(self, rate: Rate, rng: Rng) -> None:
        layer = self.layer
        learns, bits = layer.select(rng)
        selected = None if bits is None else bits.ctypes.data
        verb = "update" if bits is None else "update_selected"
        self.call(verb, Masters(layer.weights.ctypes.data, layer.bias_memory.ctypes.data, selected), rate=rate)
        want = np.where(learns, updated(layer.masters, self.steps(rate)), layer.masters)
        assert layer.weights.tolist() == pack(want, layer.mask, layer.block)[2]
        assert layer.bias_memory.tolist() == updated_bias(layer.bias, self.d, self.e_d, rate).tolist()

    def check_gather(self, rate: Rate, rng: Rng) -> None:
        """Sums saturate: some begin near their limit. Those of blocks that do not learn stay."""
        layer = self.layer
        learns, bits = layer.select(rng)
        selected = None if bits is None else bits.ctypes.data
        rows = len(layer.bias)
        start = rng.integers(-nx.INT32_MAX, nx.INT32_MAX, layer.masters.shape) >> rng.integers(0, 31)
        bias_start = rng.integers(-nx.INT32_MAX, nx.INT32_MAX, rows)
        packed = [start[at] for at in storage_order(layer)]
        weight, bias = (layer.memory.both(np.array(values, np.int32)) for values in (packed, bias_start))
        self.call("gather", Gathered(weight.ctypes.data, bias.ctypes.data, selected), rate=rate)
        shift = (layer.e_w - 8) - (self.e_d + self.e_x + rate.exponent)
        change = nx.rsr(rate.mantissa * self.gradient, shift - 8)
        want = nx.sat(start + np.where(learns, change, 0), nx.INT32_MAX)
        assert weight.tolist() == [want[at] for at in storage_order(layer)]
        total = rate.mantissa * self.d.reshape(-1, rows).astype(np.int64).sum(axis=0)
        bias_shift = nx.BIAS_EXPONENT - (self.e_d + rate.exponent)
        assert bias.tolist() == nx.sat(bias_start + nx.rsr(total, bias_shift - 8), nx.INT32_MAX).tolist()

    def check_watch(self, rate: Rate, rng: Rng) -> None:
        """What an update would do is counted, of the blocks that learn; nothing is done."""
        layer = self.layer
        learns, bits = layer.select(rng)
        before = layer.weights.copy(), layer.bias_memory.copy()
        watch = Watch(7, 11, 13)
        selected = None if bits is None else bits.ctypes.data
        self.call("watch", Masters(layer.weights.ctypes.data, None, selected), watch, rate=rate)
        steps, moves = self.steps(rate), (self.gradient != 0) & learns
        beyond = layer.masters - steps != np.clip(layer.masters - steps, nx.MASTER_MIN, nx.MASTER_MAX)
        counts = [int(np.count_nonzero(what)) for what in (moves, moves & (steps == 0), moves & beyond)]
        assert [watch.watched - 7, watch.dead - 11, watch.saturated - 13] == counts
        assert (layer.weights == before[0]).all()
        assert (layer.bias_memory == before[1]).all()

    def check_measure(self, rng: Rng) -> None:
        """The gradients of a range of blocks are added to sums that saturate."""
        layer = self.layer
        blocks = len(layer.index)
        first = int(rng.integers(0, blocks + 1))
        count = int(rng.integers(0, blocks - first + 1))
        size = layer.block.rows * layer.block.cols
        start = rng.integers(-32767, 32768, count * size) >> rng.integers(0, 16)
        sums = layer.memory.both(start.astype(np.int16))
        before = layer.weights.copy(), layer.bias_memory.copy()
        self.call("measure", Measure(0, first, count, sums.ctypes.data))
        shift = (layer.e_w - 4) - (self.e_d + self.e_x)
        gradient = nx.rsr(self.gradient, shift)
        part = [gradient[at] for at in storage_order(layer)][first * size : (first + count) * size]
        assert sums.tolist() == nx.sat(start + np.array(part, np.int64), 32767).tolist()
        assert (layer.weights == before[0]).all()
        assert (layer.bias_memory == before[1]).all()


def storage_order(layer: Layer) -> list[tuple[int, int]]:
    """(row, input) of every stored weight, as C stores them."""
    rows, fan_in = layer.masters.shape
    if layer.mask.all():
        return [(o, i) for o in range(rows) for i in range(fan_in)]
    r, c = layer.block
    blocks = np.argwhere(shrink(layer.mask, layer.block))
    return [(g * r + o, k * c + i) for g, k in blocks.tolist() for o in range(r) for i in range(c)]


def updated(masters: NDArray[np.int16], steps: Ints) -> NDArray[np.int16]:
    return np.clip(masters - steps, nx.MASTER_MIN, nx.MASTER_MAX).astype(np.int16)


def updated_bias(bias: NDArray[np.int32], d: Ints | NDArray[np.int8], e_d: int, rate: Rate) -> Ints:
    total = d.reshape(-1, len(bias)).astype(np.int64).sum(axis=0)
    change = nx.rsr(rate.mantissa * total, nx.BIAS_EXPONENT - (e_d + rate.exponent))
    return nx.sat(bias - change, nx.BIAS_LIMIT)


def layers(
    draw: st.DrawFn, rng: Rng, groups: int, columns: int, *, e_x: int, block: Block, frozen: bool, sparse: bool = False
) -> Layer:
    """A layer of `groups` x `columns` blocks that meets inputs of exponent e_x. sparse: some weight is masked."""
    rows, fan_in = groups * block.rows, (columns + sparse) * block.cols
    mask = top_blocks(rng.random((rows, fan_in)), draw(st.floats(0.05, 1.0)), block)
    if sparse:
        mask[: block.rows, : block.cols] = False
        mask[: block.rows, block.cols : 2 * block.cols] = True
    e_w = draw(st.integers(-14, 0))
    wide = columns > 256 or draw(st.booleans())
    return Layer(masters(rng, mask), mask, block, e_w, biases(rng, rows, e_w + e_x), frozen, wide)


@st.composite
def maps(draw: st.DrawFn, kernel: tuple[int, int], channels: int, tallest: int = 8) -> tuple[Shape, Window]:
    """A map and a window that fits it: strides up to 4, beyond the kernel too, both paddings."""
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    height, width = draw(st.integers(1, tallest)), draw(st.integers(1, 8))
    fits = kernel[0] <= height and kernel[1] <= width
    padding = draw(st.sampled_from(["same", "valid"])) if fits else "same"
    return (height, width, channels), Window(kernel, stride, padding)


blocks = st.sampled_from(BLOCKS)
rates = st.builds(Rate, st.sampled_from([1, 3]), st.integers(-22, 0))
error_exponents = st.integers(-16, -2)
input_exponents = st.integers(-10, 0)


@dataclass
class Outputs:
    """A scl_output with its memory, and what must come to stand in it."""

    n: int
    exponent: int
    relu: bool
    masked: bool  # keep the ReLU mask
    last: bool  # logits

    def __post_init__(self) -> None:
        self.memory = Memory()
        self.q = self.memory.outputs(self.n, np.int8)
        self.positive = self.memory.outputs(-(-self.n // 8), np.uint8)
        self.logits = self.memory.outputs(self.n, np.int16)
        self.struct = Output(
            nx.LOGIT_EXPONENT if self.last else self.exponent,
            self.relu,
            None if self.last else self.q.ctypes.data,
            None if self.last or not self.masked else self.positive.ctypes.data,
            self.logits.ctypes.data if self.last else None,
            5,  # counted up from here
        )

    def check(self, acc: Ints, e_acc: Ints | int) -> None:
        """acc: accumulators with bias (..., rows); e_acc their exponent, one or one a row."""
        self.memory.check()
        if self.last:
            assert self.logits.tolist() == activation.logits(acc.ravel(), int(e_acc)).tolist()
            return
        want, saturated = activation.requantise(acc, self.exponent - e_acc, self.relu)
        assert self.q.tolist() == want.ravel().tolist()
        assert self.struct.saturated == 5 + saturated
        if self.masked and self.relu:
            bits = np.unpackbits(self.positive, bitorder="little")
            assert bits[: self.n].tolist() == (acc > 0).ravel().astype(int).tolist()
            assert not bits[self.n :].any()


def outputs(draw: st.DrawFn, n: int, e_acc: int, *, last: bool = False) -> Outputs:
    """Room for n outputs whose exponent lies anywhere near their accumulators'."""
    return Outputs(n, e_acc + draw(st.integers(-3, 18)), draw(st.booleans()), draw(st.booleans()), last)


def with_bias(acc: Ints, bias: NDArray[np.int32], e_acc: Ints | int) -> Ints:
    return acc + activation.rsr_channels(bias.astype(np.int64), e_acc - nx.BIAS_EXPONENT)


def matrix_hash(values: NDArray[np.int16], mask: Mask, start: int, learns: Mask | None = None) -> int:
    """CRC-32 over masters and, of a sparse matrix, mask bits in canonical order, then of those that learn."""
    crc = zlib.crc32((values.astype(np.int32) - 128).astype("<i2").tobytes(), start)
    for bits in (None if mask.all() else mask, learns):
        crc = crc if bits is None else zlib.crc32(np.packbits(bits, bitorder="little").tobytes(), crc)
    return crc


def crc_function(library: ctypes.CDLL, name: str) -> ctypes._NamedFuncPointer:
    function: ctypes._NamedFuncPointer = getattr(library, name)
    function.restype = ctypes.c_uint32
    return function

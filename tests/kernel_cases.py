"""Random layers and values for the kernel tests, and what a layer's C output must be."""

from __future__ import annotations

import ctypes
import zlib
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Config, Masters, Matrix, Memory, Output
from sparcl_mcu import numerics as nx
from sparcl_mcu.graph import Shape, Window
from sparcl_mcu.learners.simulated import apply_update
from sparcl_mcu.numerics import Ints
from sparcl_mcu.ops import activation
from sparcl_mcu.sparsity import BLOCKS, Block, Mask, top_blocks
from sparcl_tools.layout import pack

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
    """Biases that leave the accumulator room, as the bound checked at generation asks."""
    limit = nx.BIAS_LIMIT >> max(0, nx.BIAS_EXPONENT - e_acc)
    return rng.integers(-limit, limit + 1, rows).astype(np.int32)


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

    def c_masters(self) -> Masters:
        return Masters(self.weights.ctypes.data, self.bias_memory.ctypes.data)

    def check_updated(self, gradient: Ints, d: Ints, e_d: int, e_x: int, config: Config) -> None:
        """C's masters and biases are what the contract makes of G (rows, fan_in) and the errors d (..., rows)."""
        want = self.masters.copy()
        shift = np.array([(self.e_w - 8) - (e_d + e_x + config.lr_exponent)])
        apply_update(want, self.mask, config.lr_mantissa * gradient, shift)
        assert self.weights.tolist() == pack(want, self.mask, self.block)[2]
        assert self.bias_memory.tolist() == updated_bias(self.bias, d, e_d, config).tolist()
        self.memory.check()


def updated_bias(bias: NDArray[np.int32], d: Ints, e_d: int, config: Config) -> Ints:
    total = d.reshape(-1, d.shape[-1]).sum(axis=0)
    change = nx.rsr(config.lr_mantissa * total, nx.BIAS_EXPONENT - (e_d + config.lr_exponent))
    return nx.sat(bias - change, nx.BIAS_LIMIT)


def layers(draw: st.DrawFn, rng: Rng, groups: int, columns: int, *, e_x: int, block: Block, frozen: bool) -> Layer:
    """A layer of `groups` x `columns` blocks that meets inputs of exponent e_x."""
    rows, fan_in = groups * block.rows, columns * block.cols
    mask = top_blocks(rng.random((rows, fan_in)), draw(st.floats(0.05, 1.0)), block)
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
configs = st.builds(Config, st.just(0), st.sampled_from([1, 3]), st.integers(-15, 0), st.just(0))
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


def matrix_hash(values: NDArray[np.int16], mask: Mask, start: int) -> int:
    """CRC-32 over masters and, of a sparse matrix, mask bits in canonical order."""
    crc = zlib.crc32((values.astype(np.int32) - 128).astype("<i2").tobytes(), start)
    return crc if mask.all() else zlib.crc32(np.packbits(mask, bitorder="little").tobytes(), crc)


def crc_function(library: ctypes.CDLL, name: str) -> ctypes._NamedFuncPointer:
    function: ctypes._NamedFuncPointer = getattr(library, name)
    function.restype = ctypes.c_uint32
    return function

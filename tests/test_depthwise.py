"""Depthwise kernels: C against NumPy, exactly, with an exponent a channel."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Depthwise, Masters, Memory, Rate, Watch, c_window, pointer, vec
from helpers import runtime_library
from kernel_cases import (
    Rng,
    biases,
    crc_function,
    error_exponents,
    every_variant,  # noqa: F401  # a fixture
    input_exponents,
    mantissas,
    maps,
    masters,
    matrix_hash,
    outputs,
    rates,
    rngs,
    updated,
    updated_bias,
    with_bias,
)
from sparcl_mcu import numerics as nx
from sparcl_mcu import ops
from sparcl_mcu.graph import Node, Shape, size
from sparcl_mcu.numerics import Ints
from sparcl_mcu.ops import activation

OP = ops.Depthwise()


@dataclass
class Case:
    node: Node
    shape: Shape
    masters: NDArray[np.int16]
    exponents: NDArray[np.int8]
    bias: NDArray[np.int32]
    frozen: bool
    rng: Rng
    e_x: int

    def __post_init__(self) -> None:
        self.memory = Memory()
        hi = (self.masters >> 8).astype(np.int8)
        self.weights = self.memory.inputs(hi) if self.frozen else self.memory.both(self.masters)
        self.bias_memory = self.memory.both(self.bias)
        self.e_w = self.memory.inputs(self.exponents)
        self.out_shape = OP.shape(self.node, [self.shape])
        assert self.node.window is not None
        self.window = c_window(self.node.window, self.shape)
        self.c = Depthwise(
            self.weights.ctypes.data, self.bias_memory.ctypes.data, self.e_w.ctypes.data, int(self.exponents.max())
        )

    @property
    def hi(self) -> Ints:
        return (self.masters >> 8).astype(np.int64)

    @property
    def suffix(self) -> str:
        return "_frozen" if self.frozen else ""


@st.composite
def cases(draw: st.DrawFn, *, frozen: bool | None = None) -> Case:
    rng, e_x = draw(rngs), draw(input_exponents)
    kernel = (draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 3, 5])))
    channels = draw(st.integers(1, 6))
    shape, window = draw(maps(kernel, channels))
    exponents = rng.integers(-14, 1, channels).astype(np.int8)
    weights = masters(rng, np.ones((channels, kernel[0] * kernel[1]), np.bool_))
    bias = np.concatenate([biases(rng, 1, int(e) + e_x) for e in exponents])
    frozen = draw(st.booleans()) if frozen is None else frozen
    return Case(Node("dw", "depthwise", ("input",), window=window), shape, weights, exponents, bias, frozen, rng, e_x)


@settings(max_examples=200)
@given(cases(), st.data())
def test_forward(case: Case, data: st.DataObject) -> None:
    memory = Memory()
    x = memory.inputs(mantissas(case.rng, *case.shape))
    e_acc = case.exponents.astype(np.int64) + case.e_x
    out = outputs(data.draw, size(case.out_shape), int(e_acc.mean()))
    getattr(runtime_library(), f"scl_depthwise_forward{case.suffix}")(
        ctypes.byref(case.c), ctypes.byref(case.window), vec(x, case.e_x), ctypes.byref(out.struct)
    )
    acc = OP.forward(case.node, case.hi, x.astype(np.int64).reshape(case.shape))
    out.check(with_bias(acc, case.bias, e_acc), e_acc)
    memory.check()
    case.memory.check()


@settings(max_examples=200)
@given(cases())
def test_input_grad(case: Case) -> None:
    memory = Memory()
    d, v = memory.inputs(mantissas(case.rng, *case.out_shape)), memory.outputs(size(case.shape), np.int32)
    getattr(runtime_library(), f"scl_depthwise_input_grad{case.suffix}")(
        ctypes.byref(case.c), ctypes.byref(case.window), vec(d, -9), pointer(v)
    )
    want = OP.input_grad(case.node, case.hi, d.astype(np.int64).reshape(case.out_shape), case.shape)
    exponents = case.exponents.astype(np.int64)
    assert v.tolist() == activation.rsr_channels(want, exponents.max() - exponents).ravel().tolist()
    memory.check()
    case.memory.check()


@settings(max_examples=200)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_update_and_watch(case: Case, e_d: int, rate: Rate) -> None:
    """Watch counts what update then does."""
    memory, watch = Memory(), Watch()
    d = memory.inputs(mantissas(case.rng, *case.out_shape))
    x = memory.inputs(mantissas(case.rng, *case.shape))
    to = ctypes.byref(Masters(case.weights.ctypes.data, case.bias_memory.ctypes.data, None))
    layer = ctypes.byref(case.c), ctypes.byref(case.window)
    with_rate = vec(d, e_d), vec(x, case.e_x), rate
    runtime_library().scl_depthwise_weight_watch(*layer, to, ctypes.byref(watch), *with_rate)
    assert case.weights.tolist() == case.masters.ravel().tolist()
    assert case.bias_memory.tolist() == case.bias.tolist()
    runtime_library().scl_depthwise_weight_update(*layer, to, *with_rate)
    wide = d.astype(np.int64).reshape(case.out_shape)
    gradient = OP.weight_grad(case.node, wide, x.astype(np.int64).reshape(case.shape))
    shift = (case.exponents.astype(np.int64) - 8) - (e_d + case.e_x + rate.exponent)
    steps = nx.sat(activation.rsr_channels(rate.mantissa * gradient.T, shift).T, 32767)
    want = updated(case.masters, steps)
    assert case.weights.tolist() == want.ravel().tolist()
    assert case.bias_memory.tolist() == updated_bias(case.bias, wide, e_d, rate).tolist()
    counted = gradient != 0, (gradient != 0) & (steps == 0), case.masters - steps != want
    assert [watch.watched, watch.dead, watch.saturated] == [int(np.count_nonzero(what)) for what in counted]
    memory.check()
    case.memory.check()


@settings(max_examples=50)
@given(cases(frozen=False), st.integers(0, 2**32 - 1))
def test_hash(case: Case, start: int) -> None:
    function = crc_function(runtime_library(), "scl_depthwise_hash")
    got = function(ctypes.byref(case.c), ctypes.byref(case.window), ctypes.c_uint32(start))
    assert got == matrix_hash(case.masters, np.ones(case.masters.shape, np.bool_), start)

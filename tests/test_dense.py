"""Dense kernels: C against NumPy, exactly, over shapes, densities, blocks, storage and exponents."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from c_structs import Config, Memory, pointer, vec
from helpers import runtime_library
from kernel_cases import (
    Layer,
    Rng,
    blocks,
    configs,
    crc_function,
    error_exponents,
    input_exponents,
    layers,
    mantissas,
    matrix_hash,
    outputs,
    rngs,
    with_bias,
)
from sparcl_mcu import ops
from sparcl_mcu.graph import Node

NODE = Node("fc", "dense", ("input",), outputs=1)
DENSE = ops.DenseOp()


@st.composite
def cases(draw: st.DrawFn, *, frozen: bool | None = None) -> tuple[Layer, Rng, int]:
    """(layer, random numbers, exponent of the layer's inputs)."""
    rng, e_x = draw(rngs), draw(input_exponents)
    columns = draw(st.one_of(st.integers(1, 9), st.integers(1, 9), st.integers(250, 300)))
    frozen = draw(st.booleans()) if frozen is None else frozen
    layer = layers(draw, rng, draw(st.integers(1, 6)), columns, e_x=e_x, block=draw(blocks), frozen=frozen)
    return layer, rng, e_x


@settings(max_examples=200)
@given(cases(), st.data(), st.booleans())
def test_forward(case: tuple[Layer, Rng, int], data: st.DataObject, last: bool) -> None:
    layer, rng, e_x = case
    rows, fan_in = layer.masters.shape
    x = layer.memory.inputs(mantissas(rng, fan_in))
    out = outputs(data.draw, rows, layer.e_w + e_x, last=last)
    getattr(runtime_library(), f"scl_dense_forward_{layer.kernel}")(
        ctypes.byref(layer.c()), vec(x, e_x), ctypes.byref(out.struct)
    )
    acc = DENSE.forward(NODE, layer.hi, x.astype(np.int64))
    out.check(with_bias(acc, layer.bias, layer.e_w + e_x), layer.e_w + e_x)
    layer.memory.check()


@settings(max_examples=150)
@given(cases())
def test_input_grad(case: tuple[Layer, Rng, int]) -> None:
    layer, rng, _ = case
    rows, fan_in = layer.masters.shape
    memory = Memory()
    d, v = memory.inputs(mantissas(rng, rows)), memory.outputs(fan_in, np.int32)
    getattr(runtime_library(), f"scl_dense_input_grad_{layer.kernel}")(ctypes.byref(layer.c()), vec(d, -9), pointer(v))
    assert v.tolist() == DENSE.input_grad(NODE, layer.hi, d.astype(np.int64), (1, 1, fan_in)).ravel().tolist()
    memory.check()
    layer.memory.check()


@settings(max_examples=200)
@given(cases(frozen=False), error_exponents, configs)
def test_weight_update(case: tuple[Layer, Rng, int], e_d: int, config: Config) -> None:
    layer, rng, e_x = case
    rows, fan_in = layer.masters.shape
    memory = Memory()
    d, x = memory.inputs(mantissas(rng, rows)), memory.inputs(mantissas(rng, fan_in))
    getattr(runtime_library(), f"scl_dense_weight_update_{layer.kernel}")(
        ctypes.byref(layer.c()), ctypes.byref(layer.c_masters()), vec(d, e_d), vec(x, e_x), ctypes.byref(config)
    )
    wide = d.astype(np.int64)
    layer.check_updated(DENSE.weight_grad(NODE, wide, x.astype(np.int64)), wide, e_d, e_x, config)
    memory.check()


@settings(max_examples=100)
@given(cases(frozen=False), st.integers(0, 2**32 - 1))
def test_hash(case: tuple[Layer, Rng, int], start: int) -> None:
    layer, _, _ = case
    function = crc_function(runtime_library(), f"scl_matrix_hash_{layer.kernel}")
    assert function(ctypes.byref(layer.c()), ctypes.c_uint32(start)) == matrix_hash(layer.masters, layer.mask, start)
    layer.memory.check()

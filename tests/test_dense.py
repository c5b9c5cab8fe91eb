"""Dense kernels: C against NumPy, exactly, over shapes, densities, blocks, storage and exponents."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Memory, Rate, pointer, vec
from helpers import runtime_library
from kernel_cases import (
    Gradients,
    Layer,
    Rng,
    biases,
    blocks,
    crc_function,
    error_exponents,
    every_variant,  # noqa: F401  # a fixture
    input_exponents,
    layers,
    mantissas,
    masters,
    matrix_hash,
    outputs,
    rates,
    rngs,
    with_bias,
)
from sparcl_mcu import numerics as nx
from sparcl_mcu import ops
from sparcl_mcu.graph import Node
from sparcl_mcu.sparsity import SINGLE
from sparcl_tools.layout import pair_rows

NODE = Node("fc", "dense", ("input",), outputs=1)
DENSE = ops.DenseOp()


@st.composite
def cases(draw: st.DrawFn, *, frozen: bool | None = None, sparse: bool = False) -> tuple[Layer, Rng, int]:
    """(layer, random numbers, exponent of the layer's inputs)."""
    rng, e_x = draw(rngs), draw(input_exponents)
    columns = draw(st.one_of(st.integers(1, 9), st.integers(1, 9), st.integers(250, 300)))
    frozen = draw(st.booleans()) if frozen is None else frozen
    layer = layers(
        draw, rng, draw(st.integers(1, 6)), columns, e_x=e_x, block=draw(blocks), frozen=frozen, sparse=sparse
    )
    return layer, rng, e_x


@settings(max_examples=200)
@given(cases(), st.data(), st.booleans())
def test_forward(case: tuple[Layer, Rng, int], data: st.DataObject, last: bool) -> None:
    layer, rng, e_x = case
    rows, fan_in = layer.masters.shape
    live = data.draw(st.sampled_from((1, 1, 1, 0)), "0: nothing comes in")
    x = layer.memory.inputs((live * mantissas(rng, fan_in)).astype(np.int8))
    out = outputs(data.draw, rows, layer.e_w + e_x, last=last)
    getattr(runtime_library(), f"scl_dense_forward_{layer.kernel}")(
        ctypes.byref(layer.c()), vec(x, e_x), ctypes.byref(out.struct)
    )
    acc = DENSE.forward(NODE, layer.hi, x.astype(np.int64))
    out.check(with_bias(acc, layer.bias, layer.e_w + e_x), layer.e_w + e_x)
    layer.memory.check()


@st.composite
def paired(draw: st.DrawFn) -> tuple[Layer, NDArray[np.int8], int]:
    """(frozen layer whose rows lie in pairs, inputs, their exponent); half of them as large as can be."""
    rng, e_x, e_w = draw(rngs), draw(input_exponents), draw(st.integers(-14, 0))
    shape = draw(st.integers(1, 11)), draw(st.one_of(st.integers(1, 40), st.integers(500, 1100)))
    values, x = masters(rng, np.ones(shape, np.bool_)), mantissas(rng, shape[1])
    if draw(st.booleans()):
        values[:] = rng.choice([nx.MASTER_MIN, nx.MASTER_MAX], (shape[0], 1))
        x[:] = rng.choice([-127, 127])
    bias = biases(rng, shape[0], e_w + e_x)
    layer = Layer(values, np.ones(shape, np.bool_), SINGLE, e_w, bias, frozen=True, wide=False)
    layer.weights = layer.memory.inputs(pair_rows(layer.hi.astype(np.int8)))
    return layer, layer.memory.inputs(x), e_x


@settings(max_examples=150)
@given(paired(), st.data(), st.booleans())
def test_forward_of_rows_in_pairs(case: tuple[Layer, NDArray[np.int8], int], data: st.DataObject, last: bool) -> None:
    layer, x, e_x = case
    e_acc = layer.e_w + e_x
    acc = with_bias(DENSE.forward(NODE, layer.hi, x.astype(np.int64)), layer.bias, e_acc)
    out = outputs(data.draw, len(layer.bias), e_acc, last=last)
    runtime_library().scl_dense_forward_paired(ctypes.byref(layer.c()), vec(x, e_x), ctypes.byref(out.struct))
    out.check(acc, e_acc)
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


def gradients(case: tuple[Layer, Rng, int], e_d: int) -> Gradients:
    layer, rng, e_x = case
    rows, fan_in = layer.masters.shape
    d, x = layer.memory.inputs(mantissas(rng, rows)), layer.memory.inputs(mantissas(rng, fan_in))
    matrix = layer.c()

    def kernel(verb: str, *arguments: object) -> None:
        getattr(runtime_library(), f"scl_dense_weight_{verb}_{layer.kernel}")(ctypes.byref(matrix), *arguments)

    return Gradients(layer, d, x, e_d, e_x, DENSE.weight_grad(NODE, d.astype(np.int64), x.astype(np.int64)), kernel)


@settings(max_examples=200)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_update(case: tuple[Layer, Rng, int], e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_update(rate, case[1])


@settings(max_examples=100)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_gather(case: tuple[Layer, Rng, int], e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_gather(rate, case[1])


@settings(max_examples=100)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_watch(case: tuple[Layer, Rng, int], e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_watch(rate, case[1])


@settings(max_examples=100)
@given(cases(frozen=False, sparse=True), error_exponents)
def test_weight_measure(case: tuple[Layer, Rng, int], e_d: int) -> None:
    gradients(case, e_d).check_measure(case[1])


@settings(max_examples=100)
@given(cases(frozen=False), st.integers(0, 2**32 - 1))
def test_hash(case: tuple[Layer, Rng, int], start: int) -> None:
    layer, rng, _ = case
    learns, bits = layer.select(rng)
    function = crc_function(runtime_library(), f"scl_matrix_hash_{layer.kernel}")
    got = function(ctypes.byref(layer.c()), pointer(bits), ctypes.c_uint32(start))
    assert got == matrix_hash(layer.masters, layer.mask, start, None if bits is None else learns)
    layer.memory.check()

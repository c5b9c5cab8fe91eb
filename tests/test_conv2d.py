"""Convolution kernels: C against NumPy, exactly, over maps, windows, densities, blocks, storage and exponents."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c_structs import Memory, Rate, c_window, pointer, vec
from helpers import runtime_library
from kernel_cases import (
    Gradients,
    Layer,
    Rng,
    blocks,
    error_exponents,
    every_variant,  # noqa: F401  # a fixture
    input_exponents,
    layers,
    mantissas,
    maps,
    outputs,
    rates,
    rngs,
    with_bias,
)
from sparcl_mcu import ops
from sparcl_mcu.graph import Node, Shape, Window, size

CONV = ops.Conv2d()
sides = st.sampled_from([1, 3, 5])


@dataclass
class Case:
    layer: Layer
    node: Node
    shape: Shape  # of the input map
    out_shape: Shape
    rng: Rng
    e_x: int


@st.composite
def cases(draw: st.DrawFn, *, frozen: bool | None = None, sparse: bool = False) -> Case:
    rng, e_x, block = draw(rngs), draw(input_exponents), draw(blocks)
    one_d = draw(st.booleans()) and draw(st.booleans())
    kernel = (1, draw(sides)) if one_d else (draw(sides), draw(sides))
    long = draw(st.integers(0, 9)) == 0  # more block columns than a byte counts
    channels = draw(st.integers(11, 13)) if long else draw(st.integers(1, 4))
    shape, window = draw(maps((5, 5) if long else kernel, channels * block.cols, 1 if one_d and not long else 8))
    frozen = draw(st.booleans()) if frozen is None else frozen
    columns = window.kernel[0] * window.kernel[1] * channels
    layer = layers(
        draw, rng, draw(st.integers(1, 3)), columns - sparse, e_x=e_x, block=block, frozen=frozen, sparse=sparse
    )
    node = Node("conv", "conv2d", ("input",), outputs=len(layer.masters), window=window)
    return Case(layer, node, shape, CONV.shape(node, [shape]), rng, e_x)


def struct(case: Case) -> object:
    assert case.node.window is not None
    return ctypes.byref(c_window(case.node.window, case.shape))


@settings(max_examples=200)
@given(cases(), st.data())
def test_forward(case: Case, data: st.DataObject) -> None:
    layer = case.layer
    memory = Memory()
    x = memory.inputs(mantissas(case.rng, *case.shape))
    tile = memory.outputs(4 * layer.masters.shape[1], np.int16)
    e_acc = layer.e_w + case.e_x
    out = outputs(data.draw, size(case.out_shape), e_acc)
    getattr(runtime_library(), f"scl_conv2d_forward_{layer.kernel}")(
        ctypes.byref(layer.c()), struct(case), vec(x, case.e_x), pointer(tile), ctypes.byref(out.struct)
    )
    acc = CONV.forward(case.node, layer.hi, x.astype(np.int64).reshape(case.shape))
    out.check(with_bias(acc, layer.bias, e_acc), e_acc)
    memory.check()
    layer.memory.check()


@settings(max_examples=200)
@given(cases())
def test_input_grad(case: Case) -> None:
    layer, memory = case.layer, Memory()
    d = memory.inputs(mantissas(case.rng, *case.out_shape))
    v = memory.outputs(size(case.shape), np.int32)
    getattr(runtime_library(), f"scl_conv2d_input_grad_{layer.kernel}")(
        ctypes.byref(layer.c()), struct(case), vec(d, -9), pointer(v)
    )
    want = CONV.input_grad(case.node, layer.hi, d.astype(np.int64).reshape(case.out_shape), case.shape)
    assert v.tolist() == want.ravel().tolist()
    memory.check()
    layer.memory.check()


def gradients(case: Case, e_d: int) -> Gradients:
    layer = case.layer
    d = layer.memory.inputs(mantissas(case.rng, *case.out_shape))
    x = layer.memory.inputs(mantissas(case.rng, *case.shape))
    wide = d.astype(np.int64).reshape(case.out_shape)
    gradient = CONV.weight_grad(case.node, wide, x.astype(np.int64).reshape(case.shape))
    matrix, window = layer.c(), struct(case)

    def kernel(verb: str, *arguments: object) -> None:
        getattr(runtime_library(), f"scl_conv2d_weight_{verb}_{layer.kernel}")(ctypes.byref(matrix), window, *arguments)

    return Gradients(layer, d, x, e_d, case.e_x, gradient, kernel)


@settings(max_examples=200)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_update(case: Case, e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_update(rate, case.rng)


@settings(max_examples=100)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_gather(case: Case, e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_gather(rate, case.rng)


@settings(max_examples=100)
@given(cases(frozen=False), error_exponents, rates)
def test_weight_watch(case: Case, e_d: int, rate: Rate) -> None:
    gradients(case, e_d).check_watch(rate, case.rng)


@settings(max_examples=100)
@given(cases(frozen=False, sparse=True), error_exponents)
def test_weight_measure(case: Case, e_d: int) -> None:
    gradients(case, e_d).check_measure(case.rng)


@pytest.mark.parametrize(
    ("height", "kernel", "stride", "padding", "out", "before", "after"),
    [
        (5, 3, 1, "same", 5, 1, 1),
        (6, 3, 2, "same", 3, 0, 1),  # the odd zero comes after
        (5, 3, 2, "same", 3, 1, 1),
        (5, 5, 3, "same", 2, 1, 2),
        (7, 1, 3, "same", 3, 0, 0),
        (5, 3, 2, "valid", 2, 0, 0),
    ],
)
def test_padding_is_split_as_documented(
    height: int, kernel: int, stride: int, padding: str, out: int, before: int, after: int
) -> None:
    window = Window((kernel, 1), (stride, 1), padding)
    assert window.out(height, 1) == (out, 1)
    assert window.pads(height, 1) == (before, after, 0, 0)

"""Pool kernels: C against NumPy, exactly, with overlapping windows and packed indices."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Memory, c_window, pointer, vec
from helpers import runtime_library
from kernel_cases import Outputs, Rng, mantissas, maps, rngs
from sparcl_mcu import numerics as nx
from sparcl_mcu import ops
from sparcl_mcu.graph import Node, Shape, Window, size

MAX, AVERAGE = ops.MaxPool(), ops.AveragePool()


@st.composite
def max_cases(draw: st.DrawFn) -> tuple[Shape, Node]:
    kernel = draw(st.sampled_from([(2, 2), (3, 3), (1, 2), (1, 3)]))
    shape, window = draw(maps(kernel, draw(st.integers(1, 5))))
    return shape, Node("pool", "max_pool", ("input",), window=window)


@st.composite
def average_cases(draw: st.DrawFn) -> tuple[Shape, Node]:
    kernel = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    shape = (kernel[0] + draw(st.integers(0, 4)), kernel[1] + draw(st.integers(0, 4)), draw(st.integers(1, 4)))
    return shape, Node("pool", "avg_pool", ("input",), window=Window(kernel, stride, "valid"))


def tied(rng: Rng, shape: Shape) -> NDArray[np.int8]:
    """Values of which many are equal, and whole stretches -127."""
    few = rng.choice([-127, -1, 0, 1, 127], shape)
    return np.where(rng.random(shape) < 0.5, few, rng.integers(-127, 128, shape)).astype(np.int8)


def unpack(index: NDArray[np.uint8], n: int, bits: int) -> list[int]:
    """Entries of `bits` bits, lowest bits first."""
    flat = np.unpackbits(index, bitorder="little")
    assert not flat[n * bits :].any()
    return [int(entry @ (1 << np.arange(bits))) for entry in flat[: n * bits].reshape(n, bits).astype(int)]


@settings(max_examples=250)
@given(max_cases(), rngs, st.booleans())
def test_max_pool(case: tuple[Shape, Node], rng: Rng, train: bool) -> None:
    shape, node = case
    assert node.window is not None
    out_shape = MAX.shape(node, [shape])
    n, window, memory = size(out_shape), c_window(node.window, shape), Memory()
    bits = 2 if node.window.kernel[0] * node.window.kernel[1] <= 4 else 4
    x, q = memory.inputs(tied(rng, shape)), memory.outputs(n, np.int8)
    index = memory.outputs(-(-n * bits // 8), np.uint8)
    library = runtime_library()
    library.scl_max_pool_forward(ctypes.byref(window), pointer(x), pointer(q), pointer(index if train else None))
    want, winners = MAX.forward(node, [x.astype(np.int64).reshape(shape)])
    assert q.tolist() == want.ravel().tolist()
    memory.check()
    if not train:
        return
    assert unpack(index, n, bits) == winners.ravel().tolist()
    d, v = memory.inputs(mantissas(rng, n)), memory.outputs(size(shape), np.int32)
    library.scl_max_pool_input_grad(ctypes.byref(window), pointer(d), pointer(index), pointer(v))
    errors = MAX.backward(node, d.astype(np.int64).reshape(out_shape), winners, shape)
    assert v.tolist() == errors.ravel().tolist()
    memory.check()


def test_max_pool_ties_go_to_the_first_position_and_padding_never_wins() -> None:
    window = Window((3, 3), (1, 1), "same")
    x = np.full((3, 3, 1), -127, np.int64)
    values, winners = MAX.forward(Node("pool", "max_pool", ("input",), window=window), [x])
    assert (values == -127).all()
    assert winners[:, :, 0].tolist() == [[4, 3, 3], [1, 0, 0], [1, 0, 0]]


@settings(max_examples=200)
@given(average_cases(), rngs, st.integers(-20, 20), st.integers(-3, 9))
def test_average_pool(case: tuple[Shape, Node], rng: Rng, e_in: int, finer: int) -> None:
    shape, node = case
    assert node.window is not None
    out_shape = AVERAGE.shape(node, [shape])
    window, memory, library = c_window(node.window, shape), Memory(), runtime_library()
    x = memory.inputs(mantissas(rng, *shape))
    out = Outputs(size(out_shape), e_in - finer, relu=False, masked=False, last=False)
    reciprocal = AVERAGE.reciprocal(node)
    library.scl_avg_pool_forward(ctypes.byref(window), reciprocal, vec(x, e_in), ctypes.byref(out.struct))
    acc, _ = AVERAGE.forward(node, [x.astype(np.int64).reshape(shape)])
    out.check(acc, e_in + AVERAGE.exponent)
    d, v = memory.inputs(mantissas(rng, *out_shape)), memory.outputs(size(shape), np.int32)
    library.scl_avg_pool_input_grad(ctypes.byref(window), reciprocal, pointer(d), pointer(v))
    errors = AVERAGE.backward(node, d.astype(np.int64).reshape(out_shape), None, shape)
    assert v.tolist() == errors.ravel().tolist()
    memory.check()


@given(average_cases(), rngs)
def test_average_is_the_mean_to_within_one_unit(case: tuple[Shape, Node], rng: Rng) -> None:
    shape, node = case
    assert node.window is not None
    x = mantissas(rng, *shape).astype(np.int64)
    (kh, kw), (sh, sw) = node.window.kernel, node.window.stride
    acc, _ = AVERAGE.forward(node, [x])
    for y, row in enumerate(nx.rsr(acc, -AVERAGE.exponent)):
        for col, value in enumerate(row):
            mean = x[y * sh : y * sh + kh, col * sw : col * sw + kw].mean(axis=(0, 1))
            assert (np.abs(value - mean) <= 1).all()

"""Residual addition: C against NumPy, exactly, with and without ReLU."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from c_structs import Memory, pointer
from helpers import runtime_library
from kernel_cases import Outputs, Rng, mantissas, rngs
from sparcl_mcu import ops
from sparcl_mcu.graph import Node

NODE = Node("add", "add", ("a", "b"))


@given(st.integers(1, 40), rngs, st.integers(-9, 4), st.booleans(), st.booleans())
def test_forward(n: int, rng: Rng, exponent: int, relu: bool, masked: bool) -> None:
    memory = Memory()
    a, b = memory.inputs(mantissas(rng, n)), memory.inputs(mantissas(rng, n))
    out = Outputs(n, exponent, relu, masked, last=False)
    runtime_library().scl_add_forward(pointer(a), pointer(b), ctypes.c_uint32(n), ctypes.byref(out.struct))
    acc, _ = ops.Add().forward(NODE, [a.astype(np.int64), b.astype(np.int64)])
    out.check(acc, exponent)
    memory.check()


def test_the_sum_saturates_and_counts_it() -> None:
    out = Outputs(4, 0, relu=False, masked=False, last=False)
    a, b = np.array([127, -127, 100, 1], np.int8), np.array([1, -1, 27, 1], np.int8)
    runtime_library().scl_add_forward(pointer(a), pointer(b), ctypes.c_uint32(4), ctypes.byref(out.struct))
    assert out.q.tolist() == [127, -127, 127, 2]
    assert out.struct.saturated == 5 + 2


def test_both_sources_get_the_error_as_it_is() -> None:
    d = np.arange(-3, 3).reshape(1, 2, 3)
    v = ops.Add().backward(NODE, d, None, (1, 2, 3))
    assert (v == d).all()

"""Errors that meet in one tensor and are normalised: C against NumPy, exactly."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Error, Memory, Sum, pointer
from helpers import runtime_library
from kernel_cases import Rng, mantissas, rngs
from sparcl_mcu import numerics as nx
from sparcl_mcu.learners.simulated import _join
from sparcl_mcu.numerics import Ints

exponents = st.integers(-40, 10)


def accumulators(rng: Rng, n: int) -> NDArray[np.int32]:
    """Sums of errors of any magnitude; two of them fit int32."""
    limit = 1 << int(rng.integers(0, 31))
    return (rng.integers(-limit, limit + 1, n) * (rng.random(n) < 0.8)).clip(-(2**30) + 1, 2**30 - 1).astype(np.int32)


def close(sum_: Sum, positive: NDArray[np.uint8] | None, q: ctypes.c_void_p) -> Error:
    function = runtime_library().scl_sum_close
    function.restype = Error
    error = function(ctypes.byref(sum_), pointer(positive), q)
    assert isinstance(error, Error)
    return error


@settings(max_examples=250)
@given(st.integers(1, 40), rngs, exponents, st.booleans(), st.booleans())
def test_close(n: int, rng: Rng, e: int, relu: bool, in_place: bool) -> None:
    memory = Memory()
    v = memory.both(accumulators(rng, n))
    kept = rng.random(n) < rng.choice([0.0, 0.5, 0.9])
    positive = memory.inputs(np.packbits(kept, bitorder="little")) if relu else None
    want, e_want = nx.to_block_float(np.where(kept, v, 0) if relu else v.astype(np.int64), e)
    q = v.view(np.int8)[:n] if in_place else memory.outputs(n, np.int8)
    error = close(Sum(v.ctypes.data, n, e, True), positive, pointer(q))
    assert q.tolist() == want.tolist()
    assert error.q == q.ctypes.data
    assert error.any == want.any()
    assert error.e == e_want or not error.any
    memory.check()


def test_close_of_nothing_is_no_error() -> None:
    q = np.zeros(3, np.int8)
    assert not close(Sum(None, 3, 7, False), None, pointer(q)).any


@settings(max_examples=250)
@given(st.integers(1, 20), rngs, st.lists(st.tuples(exponents, st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_join(n: int, rng: Rng, branches: list[tuple[int, bool, bool]]) -> None:
    """Branches of int32 sums and of int8 errors, some without error, join in the order they come."""
    memory, library = Memory(), runtime_library()
    total = Sum(memory.outputs(n, np.int32).ctypes.data, n, 99, False)
    parts: list[tuple[Ints, int]] = []
    for e, wide, some in branches:
        values = memory.inputs(accumulators(rng, n) // 4 if wide else mantissas(rng, n))
        if wide:
            library.scl_sum_join(ctypes.byref(total), ctypes.byref(Sum(values.ctypes.data, n, e, some)))
        else:
            library.scl_sum_join_error(ctypes.byref(total), ctypes.byref(Error(values.ctypes.data, e, some)))
        if some:
            parts.append((values.astype(np.int64), e))
    memory.check()
    assert total.any == bool(parts)
    if parts:
        want, e_want = _join(parts)
        got = np.ctypeslib.as_array((ctypes.c_int32 * n).from_address(total.v))
        assert got.tolist() == want.tolist()
        assert total.e == e_want

"""Sticky output exponents: C against NumPy, exactly."""

from __future__ import annotations

import ctypes
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from c_structs import Scale
from helpers import runtime_library
from kernel_cases import Rng, crc_function, rngs
from sparcl_mcu import numerics as nx
from sparcl_mcu.learners.simulated import _Scale


@given(st.integers(1, 70000), st.integers(-20, 5), st.floats(0, 2), rngs)
def test_close(outputs: int, exponent: int, often: float, rng: Rng) -> None:
    """Three windows in which about `often` times the tolerated share of the outputs saturates."""
    want, got = _Scale(exponent, outputs, fixed=False), Scale(exponent, 0, 0)
    for _ in range(3 * nx.WINDOW):
        count = int(rng.poisson(often * outputs / (1 << nx.RARE_BITS)))
        want.saturated += count
        got.saturated += count
        want.close()
        runtime_library().scl_scale_close(ctypes.byref(got), ctypes.c_uint32(outputs))
        assert (got.exponent, got.saturated, got.window) == (want.exponent, want.saturated, want.window)


def test_only_more_than_the_tolerated_share_raises_the_exponent() -> None:
    for saturated, raised in ((nx.WINDOW, 0), (nx.WINDOW + 1, 1)):  # of WINDOW << RARE_BITS outputs
        scale = Scale(-4, saturated, nx.WINDOW - 1)
        runtime_library().scl_scale_close(ctypes.byref(scale), ctypes.c_uint32(1 << nx.RARE_BITS))
        assert (scale.exponent, scale.saturated, scale.window) == (-4 + raised, 0, 0)


@given(st.integers(-30, 16), st.integers(0, 2**32 - 1), st.integers(0, nx.WINDOW - 1), st.integers(0, 2**32 - 1))
def test_hash(exponent: int, saturated: int, window: int, start: int) -> None:
    function = crc_function(runtime_library(), "scl_scale_hash")
    want = zlib.crc32(np.array([exponent, saturated, window], np.int64).astype("<u4").tobytes(), start)
    assert function(ctypes.byref(Scale(exponent, saturated, window)), ctypes.c_uint32(start)) == want

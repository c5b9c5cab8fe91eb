"""sparcl/ops.h for ctypes: its structures, and memory that shows when a kernel writes where it must not."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.graph import Shape, Window

GUARD = 64  # bytes on either side of a buffer
PATTERN = 0xA5  # as int8 -91: a kernel that reads beyond its input gets a wrong result


class Vec(ctypes.Structure):
    _fields_ = (("q", ctypes.c_void_p), ("e", ctypes.c_int))


class Scale(ctypes.Structure):
    _fields_ = (("exponent", ctypes.c_int32), ("saturated", ctypes.c_uint32), ("window", ctypes.c_uint32))


class Output(ctypes.Structure):
    _fields_ = (
        ("exponent", ctypes.c_int),
        ("relu", ctypes.c_bool),
        ("q", ctypes.c_void_p),
        ("positive", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("saturated", ctypes.c_uint32),
    )


class Matrix(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_uint16),
        ("fan_in", ctypes.c_uint16),
        ("e_w", ctypes.c_int8),
        ("weights", ctypes.c_void_p),
        ("start", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class Masters(ctypes.Structure):
    _fields_ = (("master", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("selected", ctypes.c_void_p))


class Gathered(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weight", "bias", "selected"))


class Measure(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("layer", "first", "count")),
        ("sums", ctypes.c_void_p),
    )


class BlockMask(ctypes.Structure):
    """scl_mask."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in ("master", "anchor", "held", "fresh", "start", "index", "terms", "selected")
        ),
        *((name, ctypes.c_uint16) for name in ("groups", "columns", "capacity")),
        *((name, ctypes.c_uint8) for name in ("block", "index_bytes")),
    )


class Cut(ctypes.Structure):
    """scl_cut."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("code", "ties", "first", "taken", "number"))


class Watch(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("watched", "dead", "saturated"))


class Depthwise(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("e_w", ctypes.c_void_p),
        ("e_w_max", ctypes.c_int8),
    )


class CWindow(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint16) for name in ("in_h", "in_w", "channels", "out_h", "out_w")),
        *((name, ctypes.c_uint8) for name in ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left")),
    )


class Error(ctypes.Structure):
    _fields_ = (("q", ctypes.c_void_p), ("e", ctypes.c_int), ("any", ctypes.c_bool))


class Sum(ctypes.Structure):
    _fields_ = (("v", ctypes.c_void_p), ("n", ctypes.c_uint32), ("e", ctypes.c_int), ("any", ctypes.c_bool))


class Rate(ctypes.Structure):
    _fields_ = (("mantissa", ctypes.c_uint8), ("exponent", ctypes.c_int8))


class Lesson(ctypes.Structure):
    _fields_ = (
        ("label", ctypes.c_uint8),
        ("alpha_shift", ctypes.c_uint8),
        ("nothing", ctypes.c_bool),
        ("rate", Rate),
        *((name, ctypes.c_void_p) for name in ("classes", "logits", "measure", "watch")),
    )


def c_window(window: Window, shape: Shape) -> CWindow:
    """The window over an input map of `shape`."""
    top, _, left, _ = window.pads(shape[0], shape[1])
    return CWindow(*shape, *window.out(shape[0], shape[1]), *window.kernel, *window.stride, top, left)


class Memory:
    """Buffers between guard bytes. `check` fails if a kernel wrote outside of one, or into one it may only read."""

    def __init__(self) -> None:
        self._buffers: list[tuple[NDArray[np.uint8], int, bytes | None]] = []

    def inputs(self, values: NDArray[Any]) -> NDArray[Any]:
        """A copy of `values` that a kernel may only read."""
        return self._place(values, read_only=True)

    def both(self, values: NDArray[Any]) -> NDArray[Any]:
        """A copy of `values` that a kernel may change."""
        return self._place(values, read_only=False)

    def outputs(self, n: int, dtype: type[np.generic]) -> NDArray[Any]:
        """Room for n values, full of what is not the answer."""
        filled = np.full(n * np.dtype(dtype).itemsize, 0x5B, np.uint8)
        return self._place(filled.view(dtype), read_only=False)

    def _place(self, values: NDArray[Any], *, read_only: bool) -> NDArray[Any]:
        data = np.ascontiguousarray(values).reshape(-1)
        whole = np.full(GUARD + data.nbytes + GUARD, PATTERN, np.uint8)
        inner = whole[GUARD : GUARD + data.nbytes].view(data.dtype)
        inner[:] = data
        self._buffers.append((whole, data.nbytes, inner.tobytes() if read_only else None))
        return inner

    def check(self) -> None:
        for whole, length, before in self._buffers:
            assert (whole[:GUARD] == PATTERN).all(), "written before a buffer"
            assert (whole[GUARD + length :] == PATTERN).all(), "written behind a buffer"
            if before is not None:
                assert whole[GUARD : GUARD + length].tobytes() == before, "an input was changed"


def vec(q: NDArray[np.int8], e: int) -> Vec:
    return Vec(q.ctypes.data, e)


def pointer(array: NDArray[Any] | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)

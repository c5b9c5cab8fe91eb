"""Dense kernels: C against NumPy, exactly, over shapes, densities, blocks, exponents; NumPy against autograd."""

from __future__ import annotations

import ctypes
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers import runtime_library
from sparcl_mcu import numerics as nx
from sparcl_mcu.network import Dense
from sparcl_mcu.ops import activation, dense, softmax_ce
from sparcl_mcu.sparsity import Block, top_blocks
from sparcl_tools.generate import _pack


class CDense(ctypes.Structure):
    _fields_ = (
        ("inputs", ctypes.c_uint16),
        ("outputs", ctypes.c_uint16),
        ("e_w", ctypes.c_int8),
        ("master", ctypes.c_void_p),
        ("start", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class CVec(ctypes.Structure):
    _fields_ = (("q", ctypes.c_void_p), ("e", ctypes.c_int))


class COutput(ctypes.Structure):
    _fields_ = (
        ("exponent", ctypes.c_int),
        ("q", ctypes.c_void_p),
        ("positive", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("saturated", ctypes.c_uint32),
    )


class CConfig(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint32),
        ("lr_mantissa", ctypes.c_uint8),
        ("lr_exponent", ctypes.c_int8),
        ("second_pass", ctypes.c_uint8),
    )


@dataclass
class Case:
    """A layer in both layouts."""

    layer: Dense
    kernel: str
    master: NDArray[np.int16]
    start: NDArray[np.uint16]
    index: NDArray[np.uint8] | NDArray[np.uint16]
    bias: NDArray[np.int32]

    def c(self) -> CDense:
        sparse = not self.layer.dense
        return CDense(
            self.layer.inputs,
            self.layer.outputs,
            self.layer.weight_exponent,
            self.master.ctypes.data,
            self.start.ctypes.data if sparse else None,
            self.index.ctypes.data if sparse else None,
            self.bias.ctypes.data,
        )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, np.random.Generator]:
    block = draw(st.sampled_from([Block(1, 1), Block(1, 4), Block(4, 1)]))
    wide = draw(st.booleans()) and draw(st.booleans())
    outputs = draw(st.integers(1, 6)) * block.rows
    inputs = (draw(st.integers(260, 300)) if wide else draw(st.integers(1, 9))) * block.cols
    density = draw(st.floats(0.05, 1.0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = top_blocks(rng.random((outputs, inputs)), density, block)
    masters = np.where(mask, rng.integers(nx.MASTER_MIN, nx.MASTER_MAX + 1, mask.shape), 128).astype(np.int16)
    bias = rng.integers(-nx.BIAS_LIMIT, nx.BIAS_LIMIT + 1, outputs).astype(np.int32)
    layer = Dense("fc", masters, bias, mask, block, draw(st.integers(-10, 0)), draw(st.integers(-8, 4)))
    start, index, master = _pack(layer)
    index_type = np.uint8 if inputs // block.cols <= 256 else np.uint16
    kernel = "full" if layer.dense else f"{block}_i{8 * np.dtype(index_type).itemsize}"
    case = Case(
        layer,
        kernel,
        np.array(master, np.int16),
        np.array(start, np.uint16),
        np.array(index, index_type),
        bias.copy(),
    )
    return case, rng


def mantissas(rng: np.random.Generator, n: int) -> NDArray[np.int8]:
    """int8 values with many zeros, as errors and activations have."""
    return (rng.integers(-127, 128, n) * (rng.random(n) < 0.7)).astype(np.int8)


def vec(q: NDArray[np.int8], e: int) -> CVec:
    return CVec(q.ctypes.data, e)


@settings(max_examples=200)
@given(cases(), st.integers(-8, 0), st.booleans())
def test_forward(drawn: tuple[Case, np.random.Generator], e_x: int, last: bool) -> None:
    case, rng = drawn
    layer = case.layer
    e_acc = layer.weight_exponent + e_x
    x = mantissas(rng, layer.inputs)
    acc = dense.forward((layer.masters >> 8).astype(np.int64), layer.bias.astype(np.int64), x.astype(np.int64), e_acc)
    q = np.full(layer.outputs, 99, np.int8)
    positive = np.full(-(-layer.outputs // 8), 255, np.uint8)
    logits = np.zeros(layer.outputs, np.int16)
    out = COutput(nx.LOGIT_EXPONENT, None, None, logits.ctypes.data, 0)
    if not last:
        out = COutput(layer.output_exponent, q.ctypes.data, positive.ctypes.data, None, 0)
    getattr(runtime_library(), f"scl_dense_forward_{case.kernel}")(
        ctypes.byref(case.c()), vec(x, e_x), ctypes.byref(out)
    )
    if last:
        assert logits.tolist() == activation.logits(acc, e_acc).tolist()
    else:
        want_q, want_mask, saturated = activation.relu(acc, layer.output_exponent - e_acc)
        assert q.tolist() == want_q.tolist()
        assert np.unpackbits(positive, bitorder="little")[: layer.outputs].tolist() == want_mask.astype(int).tolist()
        assert out.saturated == saturated


@settings(max_examples=150)
@given(cases())
def test_input_grad(drawn: tuple[Case, np.random.Generator]) -> None:
    case, rng = drawn
    d = mantissas(rng, case.layer.outputs)
    v = np.full(case.layer.inputs, 12345, np.int32)
    getattr(runtime_library(), f"scl_dense_input_grad_{case.kernel}")(
        ctypes.byref(case.c()), vec(d, -9), ctypes.c_void_p(v.ctypes.data)
    )
    assert v.tolist() == dense.input_grad((case.layer.masters >> 8).astype(np.int64), d.astype(np.int64)).tolist()


@settings(max_examples=200)
@given(cases(), st.integers(-16, -2), st.integers(-8, 0), st.sampled_from([1, 3]), st.integers(-15, 0))
def test_weight_update(
    drawn: tuple[Case, np.random.Generator], e_d: int, e_x: int, lr_mantissa: int, lr_exponent: int
) -> None:
    case, rng = drawn
    layer = case.layer
    d, x = mantissas(rng, layer.outputs), mantissas(rng, layer.inputs)
    masters, bias = layer.masters.copy(), layer.bias.copy()
    shift = (layer.weight_exponent - 8) - (e_d + e_x + lr_exponent)
    dense.weight_update(masters, layer.mask, d.astype(np.int64), x.astype(np.int64), shift, lr_mantissa)
    dense.bias_update(bias, d.astype(np.int64), nx.BIAS_EXPONENT - (e_d + lr_exponent), lr_mantissa)
    config = CConfig(0, lr_mantissa, lr_exponent, 0)
    getattr(runtime_library(), f"scl_dense_weight_update_{case.kernel}")(
        ctypes.byref(case.c()), vec(d, e_d), vec(x, e_x), ctypes.byref(config)
    )
    moved = Dense("fc", masters, bias, layer.mask, layer.block, layer.weight_exponent, layer.output_exponent)
    assert case.master.tolist() == _pack(moved)[2]
    assert case.bias.tolist() == bias.tolist()


@settings(max_examples=100)
@given(cases(), st.integers(0, 2**32 - 1))
def test_hash(drawn: tuple[Case, np.random.Generator], start: int) -> None:
    case, _ = drawn
    layer = case.layer
    function = getattr(runtime_library(), f"scl_dense_hash_{case.kernel}")
    function.restype = ctypes.c_uint32
    want = zlib.crc32((layer.masters.astype(np.int32) - 128).astype("<i2").tobytes(), start)
    if not layer.dense:
        want = zlib.crc32(np.packbits(layer.mask, bitorder="little").tobytes(), want)
    assert function(ctypes.byref(case.c()), ctypes.c_uint32(start)) == want


@pytest.mark.parametrize("seed", range(5))
def test_gradients_match_float64_autograd(seed: int) -> None:
    """One layer and the loss: integer weight and input gradients point where float64 autograd points."""
    import torch

    rng = np.random.default_rng(seed)
    hi = rng.integers(-127, 128, (10, 64))
    x = rng.integers(0, 128, 64)
    e_w, e_x = -9, -7
    acc = dense.forward(hi, np.zeros(10, np.int64), x, e_w + e_x)
    z = activation.logits(acc, e_w + e_x)
    d, _ = nx.to_block_float(softmax_ce.gradient(z, 3), nx.LOSS_EXPONENT)

    w = torch.tensor(hi * 2.0**e_w, dtype=torch.float64, requires_grad=True)
    xt = torch.tensor(x * 2.0**e_x, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy((w @ xt)[None], torch.tensor([3])).backward()
    assert cosine(np.outer(d, x), w.grad.numpy()) > 0.99
    assert cosine(dense.input_grad(hi, d), xt.grad.numpy()) > 0.99


def cosine(a: NDArray[np.int64], b: NDArray[np.float64]) -> float:
    return float((a * b).sum() / np.sqrt((a.astype(np.float64) ** 2).sum() * (b**2).sum()))

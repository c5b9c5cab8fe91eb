"""The loss: C against NumPy, exactly; NumPy against float64."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c_structs import Lesson, Memory, Rate, pointer
from helpers import runtime_library
from kernel_cases import Rng, rngs
from sparcl_mcu.ops import softmax_ce


def logits(rng: Rng, n: int) -> NDArray[np.int16]:
    """From nearly equal to as far apart as int16 allows."""
    limit = min(32767, 1 << int(rng.integers(0, 16)))
    return rng.integers(-limit, limit + 1, n).astype(np.int16)


@settings(max_examples=300)
@given(st.integers(2, 40), rngs, st.booleans())
def test_gradient(n: int, rng: Rng, masked: bool) -> None:
    memory = Memory()
    z, g = memory.inputs(logits(rng, n)), memory.outputs(n, np.int32)
    label = int(rng.integers(n))
    classes = rng.random(n) < 0.5
    classes[label] = True
    bits = memory.inputs(np.packbits(classes, bitorder="little")) if masked else None
    runtime_library().scl_softmax_ce_grad(
        pointer(z), ctypes.c_uint32(n), ctypes.c_uint8(label), pointer(bits), pointer(g)
    )
    want = softmax_ce.gradient(z.astype(np.int64), label, classes if masked else None)
    assert g.tolist() == want.tolist()
    assert not masked or not g[~classes].any()
    memory.check()


@settings(max_examples=200)
@given(st.integers(1, 40), rngs, st.integers(0, 15))
def test_logit_gradient(n: int, rng: Rng, shift: int) -> None:
    memory = Memory()
    z, target = memory.inputs(logits(rng, n)), memory.inputs(logits(rng, n))
    before = rng.integers(-32768, 32768, n).astype(np.int32)
    g = memory.both(before)
    runtime_library().scl_logit_grad_add(
        pointer(z), pointer(target), ctypes.c_uint32(n), ctypes.c_int(shift), pointer(g)
    )
    want = before + softmax_ce.logit_gradient(z.astype(np.int64), target.astype(np.int64), shift)
    assert g.tolist() == want.tolist()
    memory.check()


@settings(max_examples=100)
@given(st.integers(2, 40), rngs, st.sampled_from(["nothing", "classes", "logits"]), st.integers(0, 15))
def test_a_lesson_asks_for_one_of_the_losses(n: int, rng: Rng, loss: str, shift: int) -> None:
    memory = Memory()
    z, target, g = memory.inputs(logits(rng, n)), memory.inputs(logits(rng, n)), memory.outputs(n, np.int32)
    label = int(rng.integers(n))
    classes = (rng.random(n) < 0.5) | (np.arange(n) == label)
    bits = memory.inputs(np.packbits(classes, bitorder="little"))
    of_logits = pointer(target if loss == "logits" else None)
    lesson = Lesson(label, shift, loss == "nothing", Rate(), pointer(bits), of_logits, None, None)
    runtime_library().scl_loss_grad(pointer(z), ctypes.c_uint32(n), ctypes.byref(lesson), pointer(g))
    wide = z.astype(np.int64)
    want = {
        "nothing": np.zeros(n, np.int64),
        "classes": softmax_ce.gradient(wide, label, classes),
        "logits": softmax_ce.logit_gradient(wide, target.astype(np.int64), shift),
    }
    assert g.tolist() == want[loss].tolist()
    memory.check()


@given(st.integers(2, 20), rngs)
def test_gradient_is_softmax_minus_one_hot(n: int, rng: Rng) -> None:
    z = rng.integers(-200, 201, n)
    label = int(rng.integers(n))
    p = np.exp((z - z.max()) / 32)
    want = p / p.sum() - (np.arange(n) == label)
    assert np.abs(softmax_ce.gradient(z, label) * 2.0**-15 - want).max() < 1e-3


def test_logit_gradient_has_the_loss_gradients_unit() -> None:
    """One whole logit (32 units) apart, weight 2**-3: an eighth, in units of 2**-15."""
    assert softmax_ce.logit_gradient(np.array([32]), np.array([0]), 3).tolist() == [32768 // 8]

"""The integer contract of docs/numerics.md: rounding, saturation, block floating point, random numbers.

Every tensor is ``mantissa * 2**exponent`` with one small signed exponent for the whole tensor. The functions here
are the readable twin of firmware/lib/sparcl/include/sparcl/numerics.h; tests hold both equal bit for bit. Arrays are
int64 inside, so that no intermediate of a 32-bit computation on the device can overflow here unnoticed.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BIAS_EXPONENT = -20  # bias real value = mantissa * 2**-20
BIAS_LIMIT = 1 << 29  # |bias mantissa| never exceeds this
LOGIT_EXPONENT = -5  # one logit unit is 1/32
LOSS_EXPONENT = -15  # exponent of softmax probabilities and of the loss gradient
MASTER_MIN, MASTER_MAX = -32512, 32767  # range of M' = M + 128
WINDOW = 32  # training forwards between two looks at a layer's saturation counter
RARE_BITS = 14  # one output in 2**14 may saturate

INT32_MAX = (1 << 31) - 1


class Stream(IntEnum):
    """What a random number is for; part of the hash, so no two uses ever share a number."""

    RESERVOIR = 1
    FIRST_DRAW = 2
    SECOND_DRAW = 3
    GROWTH = 4
    TIES = 5
    ROUNDING = 6
    IMPORTANCE = 7


def product(a: Ints, b: Ints) -> Ints:
    """a @ b of integers whose sums stay below 2**53: exact in float64, where it is many times faster."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.result_type(a, b))


def rsr(value: Ints | int, shift: int) -> Ints:
    """Rounding shift right: round half up, also for negative values.

    A shift of 0 or less is a left shift saturated to int32; a shift of 32 or more gives 0.
    """
    v = np.asarray(value, dtype=np.int64)
    if shift <= 0:
        # 2**31 already saturates every nonzero value, so a longer shift changes nothing but could overflow int64.
        return sat(v << min(-shift, 31), INT32_MAX)
    if shift >= 32:
        return np.zeros_like(v)
    return (v + (1 << (shift - 1))) >> shift


def sat(value: Ints, limit: int) -> Ints:
    """Clamp to [-limit, limit]."""
    return np.clip(np.asarray(value, dtype=np.int64), -limit, limit)


def blen(value: int) -> int:
    """Bits needed to write an unsigned value: 32 - clz(value)."""
    return int(value).bit_length()


def to_block_float(values: Ints, exponent: int) -> tuple[Ints, int]:
    """Normalise int32 errors to int8 mantissas with one shared exponent (docs/numerics.md, "Errors").

    Returns (mantissas within [-127, 127], exponent); all mantissas are 0 only if all values were.
    """
    largest = int(np.max(np.abs(values), initial=0))
    shift = max(0, blen(largest) - 7)
    return (rsr(values, shift) if shift else values.astype(np.int64)).clip(-127, 127), exponent + shift


def exponent_for(largest: float) -> int:
    """Smallest e for which `largest` fits 127 * 2**e."""
    return math.ceil(math.log2(largest / 127)) if largest > 0 else -126


def weight_exponent(largest: float, live_fan_in: float) -> int:
    """Exponent of a layer's int8 weights: room for 6 sigma of a He start on the *live* fan-in, and for what is there.

    `live_fan_in` is K * density, the mean number of stored weights an output has.
    """
    sigma = math.sqrt(2.0 / live_fan_in)
    return max(exponent_for(6 * sigma), exponent_for(largest))


def _exp_table() -> Ints:
    table = np.floor(32768 * np.exp(-np.arange(256) / 32) + 0.5).astype(np.int64)
    table[255] = 0
    return table


EXP_TABLE = _exp_table()  # exp(-k/32) in units of 2**-15; logits 255/32 or more below the largest count as 0


def _mix(u: int) -> int:
    u ^= u >> 16
    u = (u * 0x7FEB352D) & 0xFFFFFFFF
    u ^= u >> 15
    u = (u * 0x846CA68B) & 0xFFFFFFFF
    return u ^ (u >> 16)


def hash32(seed: int, stream: int, step: int, layer: int = 0, index: int = 0) -> int:
    """Counter-based random number in [0, 2**32): the same in any visiting order and after a resume."""
    h = seed
    for argument in (stream, step, layer, index):
        h = _mix(h ^ argument)
    return h


def pick(h: int, n: int) -> int:
    """Map a hash to [0, n) without division."""
    return (h * n) >> 32

"""Which blocks are removed, grown and selected (docs/numerics.md, "Masks that learn"); the twin of src/mask.c.

Blocks are given in canonical order: groups of rows, then block columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..numerics import Ints, Stream, hash32, pick

Chosen = NDArray[np.bool_]
Keys = NDArray[np.int64] | NDArray[np.float64]

TERM_GROWN = 255  # the term of a block that was grown and never measured: the last that DGM leaves out
UNIT_BITS = 4  # accumulated gradients have the exponent e_w - 4: 16 bits of a 16-bit master's 8 + 8


def code(values: Ints) -> Ints:
    """8-bit float of non-negative integers below 2**34: three bits behind the leading one, rounded down."""
    v = np.asarray(values, dtype=np.int64)
    e = np.maximum(np.frexp(v.astype(np.float64))[1] - 4, 0)  # blen - 4
    return np.where(v < 8, v, 8 + 8 * e + ((v >> e) & 7))


def decode(codes: Ints) -> Ints:
    """The smallest value with this code."""
    c = np.asarray(codes, dtype=np.int64)
    above = np.maximum(c - 8, 0)
    return np.where(c < 8, c, (8 + (above & 7)) << (above >> 3))


def lowest(keys: Keys, count: int, draw: int) -> Chosen:
    """The `count` lowest keys. Equal ones are taken in order from a random one on, around the end: always from the
    front would wear down the first rows. draw: hash32 of the event."""
    if not 0 < count < len(keys):
        return np.full(len(keys), count > 0, dtype=np.bool_)
    cut = np.sort(keys)[count - 1]
    chosen: Chosen = keys < cut
    tied = np.flatnonzero(keys == cut)
    chosen[np.roll(tied, -pick(draw, len(tied)))[: count - int(chosen.sum())]] = True
    return chosen


def grow(stored: Chosen, count: int, seed: int, step: int, layer: int) -> Chosen:
    """`count` of the blocks that are not stored, each choice equally likely (Knuth's algorithm S).

    stored: (blocks of the dense layer,) in canonical order.
    """
    unused = np.flatnonzero(~stored)
    chosen = np.zeros(len(stored), dtype=np.bool_)
    left = min(count, len(unused))
    for passed, block in enumerate(unused):
        if left == 0:
            break
        if pick(hash32(seed, Stream.GROWTH, step, layer, int(block)), len(unused) - passed) < left:
            chosen[block] = True
            left -= 1
    return chosen


def share(count: int, fraction: int) -> int:
    """`fraction` / 65536 of `count`, rounded."""
    return (count * fraction + 32768) >> 16

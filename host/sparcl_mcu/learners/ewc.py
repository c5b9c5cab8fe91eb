"""Online EWC in integers: weights that earlier tasks need are held where those left them (docs/numerics.md, "EWC").

The twin of firmware/lib/sparcl/src/ewc.c. Schwarz et al. 2018, "Progress and compress", with gamma 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..numerics import Ints
from ..sparsity import Block, Mask, in_storage_order

BITS = 15  # a hold of 2**15 would move a weight all the way to its anchor
MOST = (1 << BITS) - 1
SQUARES = 7  # a square of 2**(SQUARES - 2 e_w + alpha_shift) is one unit of a hold


def weight(alpha_shift: int) -> float:
    """What the square of an update, in real numbers, adds to the share of its way back that a weight goes."""
    return float(2.0 ** (32 - SQUARES - BITS - alpha_shift))


def dither(value: Ints, shift: int, draw: int) -> Ints:
    """value / 2**shift, rounded down or up so that the mean over 32-bit draws is right. 0 from shift 63 on."""
    if shift > 62:
        return np.zeros_like(value)
    return (value + (draw << shift >> 32)) >> shift


@dataclass
class Hold:
    """Of one layer, all (rows, fan_in): anchor, M' at the end of the last task; held, 0 .. MOST, how much earlier tasks
    need a weight; fresh, how much the open task does."""

    anchor: Ints
    held: Ints
    fresh: Ints

    @classmethod
    def load(cls, masters: NDArray[np.int16]) -> Hold:
        return cls(masters.astype(np.int64), np.zeros(masters.shape, np.int64), np.zeros(masters.shape, np.int64))

    def pull(self, masters: NDArray[np.int16], draw: int) -> Ints:
        """What is taken from every master in an update, besides its step."""
        return dither(self.held * (masters - self.anchor), BITS, draw)

    @staticmethod
    def note(hold: Ints, change: Ints, exponents: NDArray[np.int8], alpha_shift: int, draw: int) -> None:
        """Add the squares of a sample's steps, exponents e_w - 16, 0 where none is made, to `fresh` or `held`."""
        shifts = np.maximum(SQUARES - 2 * exponents.astype(np.int64) + alpha_shift, 0)
        for rows, shift in zip(np.split(np.arange(len(change)), len(shifts)), shifts, strict=True):
            hold[rows] = np.minimum(hold[rows] + dither(change[rows] ** 2, int(shift), draw), MOST)

    def end_task(self, masters: NDArray[np.int16]) -> None:
        self.held = np.minimum(self.held + self.fresh, MOST)
        self.fresh[:] = 0
        self.anchor = masters.astype(np.int64)

    def remask(self, mask: Mask) -> None:
        """Weights that are masked, or were until now, are 0 and held by nothing. mask: (rows, fan_in) that exist."""
        self.anchor[~mask] = 128
        self.held[~mask] = self.fresh[~mask] = 0

    def bytes(self, blocks: Mask | None, block: Block) -> bytes:
        """As the state hash takes it: of the stored weights; blocks as `in_storage_order` takes them."""
        parts = ((self.anchor, "<i2"), (self.held, "<u2"), (self.fresh, "<u2"))
        return b"".join(in_storage_order(values, blocks, block).astype(kind).tobytes() for values, kind in parts)


def draw(seed: int, step: int, layer: int) -> int:
    """Of a layer's update; layer: in Network.trainable()."""
    return nx.hash32(seed, nx.Stream.ROUNDING, step, layer)


def draw_remembered(seed: int, seen: int, layer: int) -> int:
    """Of a remembered sample, the `seen`th."""
    return nx.hash32(seed, nx.Stream.ROUNDING, seen, layer, 1)

"""LightCL in integers: maps and logits of a few new samples are held near what the model gave before it learnt their
task (docs/numerics.md, "LightCL").

The twin of firmware/lib/sparcl/src/lightcl.c. Wang et al., ASP-DAC 2025, arXiv 2407.10545: distillation on new samples,
of the channels that earlier tasks excited most; nothing of earlier tasks is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..graph import Node
from ..network import Network
from ..numerics import Ints
from ..sparsity import Mask
from .base import Room
from .masking import share

MOST_ACTIVITY = (1 << 32) - 1


def anchored(network: Network) -> list[Node]:
    """The layers whose outputs are held: all that learn but the last, which gives the logits."""
    return [node for node in network.trainable() if node is not network.graph.nodes[-1]]


def limits(channels: int, room: Room) -> tuple[int, int]:
    """(channels of a layer that each task wants kept, channels kept at most)."""
    take = max(1, share(channels, room.light_keep))
    return take, max(take, share(channels, room.light_most))


def keep(kept: Mask, activity: NDArray[Any], take: int, most: int) -> None:
    """Add the `take` channels of most activity, ties to the first, in place: none without, and `most` in all."""
    for channel in np.argsort(-activity.astype(np.float64), kind="stable")[:take]:
        if activity[channel] > 0 and kept.sum() < most:
            kept[channel] = True


@dataclass
class Anchors:
    """Of one layer's outputs q, (height, width, channels).

    kept: (channels,). activity: (channels,) sums of |q|, 0 .. MOST_ACTIVITY. maps: int8 (n, most * positions), kept
    channels of every anchor, position by position, 0 behind them. exponents: int16 (n,) of these.
    """

    take: int
    most: int
    kept: Mask
    activity: Ints
    maps: NDArray[np.int8]
    exponents: NDArray[np.int16]

    @classmethod
    def load(cls, network: Network, node: Node, room: Room) -> Anchors:
        height, width, channels = network.graph.shapes[node.name]
        take, most = limits(channels, room)
        maps = np.zeros((room.replay, most * height * width), np.int8)
        kept, activity = np.zeros(channels, np.bool_), np.zeros(channels, np.int64)
        return cls(take, most, kept, activity, maps, np.zeros(room.replay, np.int16))

    def open_task(self) -> None:
        """What the last task excited most is kept, too."""
        keep(self.kept, self.activity, self.take, self.most)
        self.activity[:] = 0

    def note(self, q: Ints) -> None:
        self.activity = np.minimum(self.activity + np.abs(q).sum(axis=(0, 1)), MOST_ACTIVITY)

    def put(self, slot: int, q: Ints, exponent: int) -> None:
        """The outputs of a sample become an anchor."""
        values = q[..., self.kept].ravel()
        self.maps[slot, : len(values)] = values
        self.exponents[slot] = exponent

    def error(self, slot: int, q: Ints, exponent: int) -> Ints:
        """How far kept channels are from the anchor, like q, |error| <= 254, exponent of q."""
        there = q[..., self.kept]
        anchor = self.maps[slot, : there.size].astype(np.int64).reshape(there.shape)
        error = np.zeros_like(q)
        error[..., self.kept] = there - nx.rsr(anchor, exponent - int(self.exponents[slot]))
        return error

    def bytes(self) -> bytes:
        """As the state hash takes it."""
        bits = np.packbits(self.kept, bitorder="little")
        parts = (bits, self.activity.astype("<u4"), self.exponents.astype("<i2"), self.maps)
        return b"".join(part.tobytes() for part in parts)

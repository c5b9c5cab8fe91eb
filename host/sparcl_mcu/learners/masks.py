"""The masks of a learner: which blocks of each sparse layer are stored and which of them learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..graph import Node
from ..network import Network
from ..numerics import Stream, hash32
from ..sparsity import Mask, expand, shrink
from . import masking
from .base import Importance, LearnSettings, Room
from .schedule import LAST

TDM, DGM = 0, 1  # what hash32's `index` is for in ties


@dataclass
class SparseLayer:
    """Masks of one layer in blocks, all (groups of rows, block columns)."""

    number: int  # in Network.trainable(): `layer` of hash32
    node: Node
    start: int  # K, blocks stored when the network was made
    most: int  # K + n_inter, blocks stored at most
    stored: Mask
    selected: Mask  # learn between refreshes; of those stored
    terms: NDArray[Any]  # gradient terms

    @property
    def mask(self) -> Mask:
        """(rows, fan_in) weights that exist."""
        return expand(self.stored, self.node.block)

    @property
    def learns(self) -> Mask:
        """(rows, fan_in) weights that exist and are selected."""
        return expand(self.selected, self.node.block)

    def targets(self, event: int, task: int, settings: LearnSettings) -> tuple[int, int]:
        """(shrink to, then grow to) in blocks. task: 1, 2, .."""
        inter, intra = (masking.share(self.stored.size, f) for f in (settings.tdm_inter, settings.tdm_intra))
        now = int(self.stored.sum())
        if event == 0:
            return now, (min(self.start + inter, self.stored.size) if task >= 2 else now)
        if event == LAST:
            return self.start, 0
        return max(self.start - intra, 1), self.start

    def shrink(self, count: int, keys: NDArray[Any], seed: int, step: int) -> None:
        """Remove the lowest until `count` blocks are stored."""
        at = np.flatnonzero(self.stored)
        extra = len(at) - count
        if extra > 0:
            gone = at[masking.lowest(keys.ravel()[at], extra, hash32(seed, Stream.TIES, step, self.number, TDM))]
            self.stored.ravel()[gone] = self.selected.ravel()[gone] = False

    def grow(self, count: int, seed: int, step: int) -> None:
        """Add random blocks until `count` are stored."""
        extra = count - int(self.stored.sum())
        if extra > 0:
            new = masking.grow(self.stored.ravel(), extra, seed, step, self.number)
            self.stored.ravel()[new] = self.selected.ravel()[new] = True
            self.terms.ravel()[new] = masking.TERM_GROWN

    def select(self, share: int | None, seed: int, step: int) -> None:
        """DGM: of the stored blocks, all but the lowest terms; None: all."""
        self.selected[:] = self.stored
        if share is not None:
            at = np.flatnonzero(self.stored)
            leave = len(at) - max(1, masking.share(len(at), share))
            draw = hash32(seed, Stream.TIES, step, self.number, DGM)
            self.selected.ravel()[at[masking.lowest(self.terms.ravel()[at], leave, draw)]] = False


class Masks:
    """The sparse layers of a network, the slices importance is measured in, and the work they leave."""

    def __init__(self, network: Network, room: Room, settings: LearnSettings) -> None:
        self.network = network
        graph = network.graph
        self._passed = {node.name for node in graph.split(room.entry(graph))[1]}  # in every training pass
        self.moves = settings.importance is not Importance.OFF
        self.released = settings.importance is Importance.RELEASED
        self.measures_tdm = settings.importance in (Importance.PAPER, Importance.RELEASED)
        self.layers = []
        for number, node in enumerate(network.trainable()):
            weights = network.weights[node.name]
            if not weights.dense:
                stored = shrink(weights.mask, node.block)
                start, more = int(stored.sum()), masking.share(stored.size, settings.tdm_inter)
                most = min(start + more, stored.size)
                terms = np.zeros(stored.shape)
                self.layers.append(SparseLayer(number, node, start, most, stored, stored.copy(), terms))
        self._slices = []
        for layer in self.layers if room.slice else []:
            size = room.slice // (layer.node.block.rows * layer.node.block.cols)
            self._slices += [(layer, first, size) for first in range(0, layer.most, size)]
        self.count()

    @property
    def windows(self) -> int:
        """W: slices of all sparse layers."""
        return len(self._slices)

    def slice(self, index: int) -> tuple[SparseLayer, Mask]:
        """The layer of a slice, and which of its stored blocks are in it."""
        layer, first, size = self._slices[index]
        inside = np.zeros_like(layer.stored)
        inside.ravel()[np.flatnonzero(layer.stored)[first : first + size]] = True
        return layer, inside

    def count(self) -> None:
        """Multiply-accumulates of a pass, as the masks are now."""
        network, masked = self.network, {layer.node.name: layer for layer in self.layers}
        self.macs_forward = self.macs_input_grad = self.macs_weight_grad = 0
        for node in network.weighted():
            layer, times = masked.get(node.name), network.positions(node)
            stored = int(layer.mask.sum()) if layer else network.weights[node.name].slots
            if node.name in self._passed:
                self.macs_forward += stored * times
            if set(node.sources) & network.graph.learns:
                self.macs_input_grad += stored * times
            if not node.frozen:
                self.macs_weight_grad += (int(layer.learns.sum()) if layer else stored) * times

    def macs_measure(self, target: SparseLayer, blocks: Mask) -> int:
        """Multiply-accumulates of an importance pass after its forward: errors down to the layer, gradients of a
        slice."""
        network, masked = self.network, {layer.node.name: layer for layer in self.layers}
        total = 0
        for node in reversed(network.graph.nodes):
            if node.name == target.node.name:
                break
            if ops.OPERATORS[node.op].weighted and set(node.sources) & network.graph.learns:
                layer = masked.get(node.name)
                stored = int(layer.mask.sum()) if layer else network.weights[node.name].slots
                total += stored * network.positions(node)
        per_block = target.node.block.rows * target.node.block.cols
        return total + int(blocks.sum()) * per_block * network.positions(target.node)

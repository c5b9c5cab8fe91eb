"""How a weight matrix lies in the device's memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.graph import Node
from sparcl_mcu.learners.base import Room
from sparcl_mcu.network import Network, Weights
from sparcl_mcu.sparsity import Block, Mask, shrink


def is_sparse(network: Network, node: Node) -> bool:
    """A trainable layer with masked weights: one whose mask can learn."""
    return node.weighted and not node.frozen and not network.weights[node.name].dense


def is_paired(network: Network, node: Node) -> bool:
    """A frozen dense layer without masked weights that no error goes through: its weights lie in pairs of rows."""
    frozen = node.op == "dense" and node.frozen and network.weights[node.name].dense
    return frozen and node.sources[0] not in network.graph.learns


@dataclass(frozen=True)
class Blocks:
    """The blocks of a layer. stored: in the network as made (K); capacity: there is room for."""

    groups: int
    columns: int
    weights: int  # a block
    stored: int
    capacity: int

    @classmethod
    def of(cls, network: Network, node: Node, room: Room) -> Blocks:
        weights, (rows, cols) = network.weights[node.name], node.block
        groups, columns = weights.mask.shape[0] // rows, weights.mask.shape[1] // cols
        stored = weights.slots // (rows * cols)
        more = share(groups * columns, room.inter) if room.tdm and is_sparse(network, node) else 0
        return cls(groups, columns, rows * cols, stored, min(stored + more, groups * columns))


def room_for(network: Network, node: Node, room: Room) -> int:
    """Weights of a layer that there is memory for: those it has as made, and where masks move some more."""
    blocks = Blocks.of(network, node, room)
    return blocks.capacity * blocks.weights if is_sparse(network, node) else network.weights[node.name].slots


def share(n: int, fraction: int) -> int:
    """n_p of docs/numerics.md, scl_share in C: a fraction of n in units of 2**-16, rounded half up."""
    return (n * fraction + 32768) >> 16


def index_bytes(weights: Weights, block: Block) -> int:
    """Bytes of one index entry: 0 for a dense matrix, 1 where every block column fits a byte, else 2."""
    if weights.dense:
        return 0
    return 1 if weights.mask.shape[1] // block.cols <= 256 else 2


def pack(masters: NDArray[np.int16], mask: Mask, block: Block) -> tuple[list[int], list[int], list[int]]:
    """(start, index, masters) in storage order: by group of rows, by ascending block column, row-major in a block.

    A dense matrix is stored row by row and has neither start nor index.
    """
    if mask.all():
        return [], [], [int(m) for m in masters.ravel()]
    rows, cols = block
    start, index, stored = [0], [], []
    for group, columns in enumerate(shrink(mask, block)):
        for column in np.flatnonzero(columns):
            index.append(int(column))
            tile = masters[group * rows : (group + 1) * rows, column * cols : (column + 1) * cols]
            stored += [int(m) for m in tile.ravel()]
        start.append(len(index))
    return start, index, stored


def paired_bytes(rows: int, fan_in: int) -> int:
    """Of weights in pairs of rows, with the zeros that make groups of four whole."""
    return (rows + -rows % 4) * (fan_in + -fan_in % 4)


def pair_rows(weights: NDArray[np.int8]) -> NDArray[np.int16]:
    """int8 (rows, fan_in) as the kernels want them in pairs: int16 (groups of rows, groups of inputs, 2, 4), ops.h."""
    rows, fan_in = weights.shape
    padded = np.zeros((rows + -rows % 4, fan_in + -fan_in % 4), np.int16)
    padded[:rows, :fan_in] = weights
    pairs = padded[::2] + 256 * padded[1::2]
    groups = pairs.reshape(len(padded) // 4, 2, padded.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    stored: NDArray[np.int16] = groups[..., [0, 2, 1, 3]]
    return stored

"""How a weight matrix lies in the device's memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu.network import Weights
from sparcl_mcu.sparsity import Block, Mask, shrink


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

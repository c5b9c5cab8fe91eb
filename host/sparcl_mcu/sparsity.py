"""Masks and block shapes: which weights of a layer exist.

A block shape (rows x columns of the (outputs, inputs) weight matrix) is kept or removed as a whole. Selection is by
count, never by threshold, so the density is exact however many scores tie.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import SparclError

Mask = NDArray[np.bool_]  # (outputs, inputs)


class SparsityError(SparclError):
    """A density or a block shape does not suit a layer."""


class Block(NamedTuple):
    """Block shape: `rows` neighbouring outputs times `cols` neighbouring inputs."""

    rows: int
    cols: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}"


SINGLE = Block(1, 1)
BLOCKS = (SINGLE, Block(1, 4), Block(4, 1))


def parse_block(text: str) -> Block:
    """`"4x1"` -> Block(4, 1). Raises SparsityError for a shape the kernels lack."""
    for block in BLOCKS:
        if text == str(block):
            return block
    raise SparsityError(f"block shape {text!r} is not one of {', '.join(map(str, BLOCKS))}")


def block_count(shape: tuple[int, int], block: Block) -> int:
    """Blocks in a dense (outputs, inputs) matrix. Raises SparsityError when the shape does not divide."""
    outputs, inputs = shape
    if outputs % block.rows or inputs % block.cols:
        raise SparsityError(
            f"blocks of {block} do not divide a layer of {outputs} outputs x {inputs} inputs; "
            "choose 1x1 or change the layer's size"
        )
    return (outputs // block.rows) * (inputs // block.cols)


def block_sum(values: NDArray[np.float64], block: Block) -> NDArray[np.float64]:
    """Sum of each block: (outputs, inputs) -> (outputs / rows, inputs / cols)."""
    outputs, inputs = values.shape
    tiles = values.reshape(outputs // block.rows, block.rows, inputs // block.cols, block.cols)
    return np.asarray(tiles.sum(axis=(1, 3)))


def expand(blocks: Mask, block: Block) -> Mask:
    """Block mask (outputs / rows, inputs / cols) -> weight mask (outputs, inputs)."""
    return np.repeat(np.repeat(blocks, block.rows, axis=0), block.cols, axis=1)


def in_storage_order(values: NDArray[Any], blocks: Mask | None, block: Block) -> NDArray[Any]:
    """Of values (outputs, inputs), those of the stored blocks (outputs / rows, inputs / cols), as a board stores them:
    by group of rows, by ascending block column, row by row in a block. None, a layer without masks: all, row by row."""
    if blocks is None:
        return values.ravel()
    tiles = values.reshape(blocks.shape[0], block.rows, blocks.shape[1], block.cols).swapaxes(1, 2)
    return tiles[blocks].ravel()


def shrink(mask: Mask, block: Block) -> Mask:
    """Weight mask -> block mask. Raises SparsityError if a block is neither full nor empty."""
    block_count((mask.shape[0], mask.shape[1]), block)
    filled = block_sum(mask.astype(np.float64), block)
    if not np.isin(filled, (0, block.rows * block.cols)).all():
        raise SparsityError(f"the mask is not made of whole {block} blocks")
    return filled > 0


def top_blocks(score: NDArray[np.float64], density: float, block: Block) -> Mask:
    """Mask that keeps exactly round(density * blocks) blocks, those with the largest summed score (at least one).

    score: (outputs, inputs), not negative. Ties go to the lowest index.
    """
    count = block_count((score.shape[0], score.shape[1]), block)
    if not 0 < density <= 1:
        raise SparsityError(f"density is {density}; it must be above 0 and at most 1")
    summed = block_sum(score, block)
    keep = max(1, round(density * count))
    chosen = np.argsort(-summed, axis=None, kind="stable")[:keep]
    blocks = np.zeros(count, dtype=np.bool_)
    blocks[chosen] = True
    return expand(blocks.reshape(summed.shape), block)

"""Network shapes: what pretraining fills in and quantisation freezes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .sparsity import Block, block_count


@dataclass(frozen=True)
class LayerSpec:
    """One dense layer to be trained. density: share of the weights that exist, 0 < density <= 1."""

    name: str
    inputs: int
    outputs: int
    density: float
    block: Block


def mlp_specs(inputs: int, classes: int, hidden: Sequence[int], density: float, block: Block) -> tuple[LayerSpec, ...]:
    """A multilayer perceptron whose hidden layers are sparse; the head stays dense, as small layers must.

    Raises SparsityError when blocks do not divide a hidden layer.
    """
    sizes = [inputs, *hidden, classes]
    specs = []
    for i, (before, after) in enumerate(pairwise(sizes)):
        sparse = i < len(hidden) and density < 1
        spec = LayerSpec(f"fc{i + 1}", before, after, density if sparse else 1.0, block if sparse else Block(1, 1))
        block_count((after, before), spec.block)
        specs.append(spec)
    return tuple(specs)

"""Fully connected layer; the twin of firmware/lib/sparcl/src/ops/dense.c.

A map is flattened in (height, width, channels) order, so flattening costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..numerics import Ints, product
from .base import OperatorError, Weighted, check_matrix

if TYPE_CHECKING:
    from ..graph import Node, Shape


class DenseOp(Weighted):
    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        if len(sources) != 1 or node.window is not None:
            raise OperatorError(f"a dense layer takes one source, not {len(sources)}, and no window")
        check_matrix(node, node.outputs, self.fan_in(node, sources))
        return (1, 1, node.outputs)

    def fan_in(self, node: Node, sources: list[Shape]) -> int:
        height, width, channels = sources[0]
        return height * width * channels

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        flat = xs[0].permute(0, 2, 3, 1).reshape(len(xs[0]), -1)  # torch keeps channels first
        return functional.linear(flat, weight, bias)[:, :, None, None]

    def positions(self, shape: Shape) -> int:
        return 1

    def forward(self, node: Node, hi: Ints, x: Ints) -> Ints:
        return product(hi, x.ravel())[None, None]

    def input_grad(self, node: Node, hi: Ints, d: Ints, shape: Shape) -> Ints:
        return product(d.ravel(), hi).reshape(shape)

    def weight_grad(self, node: Node, d: Ints, x: Ints) -> Ints:
        return np.outer(d.ravel(), x.ravel())

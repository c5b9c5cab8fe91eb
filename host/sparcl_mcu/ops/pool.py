"""Max and average pooling; the twin of firmware/lib/sparcl/src/ops/pool.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..numerics import Ints
from .base import OperatorError, Unweighted
from .window import float_pad, out_size, patches, scatter, window_of

if TYPE_CHECKING:
    from ..graph import Node, Shape


def _pooled(node: Node, sources: list[Shape]) -> Shape:
    if node.relu:
        raise OperatorError("a pool has no ReLU; give it to the layer before")
    return (*out_size(node, sources), sources[0][2])


class MaxPool(Unweighted):
    """The largest value of each window, in the source's exponent; ties go to the first. Padding never wins."""

    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        kernel = window_of(node).kernel
        if kernel not in ((2, 2), (3, 3), (1, 2), (1, 3)):
            raise OperatorError(f"a max pool of {kernel[0]}x{kernel[1]}; 2x2, 3x3, 1x2 and 1x3 are supported")
        return _pooled(node, sources)

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        window = window_of(node)
        return functional.max_pool2d(float_pad(functional, xs[0], window, float("-inf")), window.kernel, window.stride)

    def forward(self, node: Node, xs: list[Ints]) -> tuple[Ints, Ints]:
        seen = patches(xs[0] + 128, window_of(node))  # padding becomes 0, below every real value
        flat = seen.reshape(*seen.shape[:2], -1, seen.shape[4])
        return flat.max(axis=2) - 128, flat.argmax(axis=2)

    def backward(self, node: Node, d: Ints, saved: Any, shape: Shape) -> Ints:
        window = window_of(node)
        kh, kw = window.kernel
        chosen = saved[:, :, None, :] == np.arange(kh * kw)[:, None]
        values = (chosen * d[:, :, None, :]).reshape(*d.shape[:2], kh, kw, d.shape[2])
        return scatter(values, window, shape)


class AveragePool(Unweighted):
    """Mean of each window without padding; a window as large as the map is global average pooling.

    Means are smaller than what they are of, and have an exponent of their own.
    """

    shares_exponent = False
    exponent = -15  # of the reciprocal

    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        if window_of(node).padding != "valid":
            raise OperatorError("an average pool takes padding 'valid' only")
        if self._positions(node) > 4096:
            raise OperatorError(f"an average over {self._positions(node)} positions; at most 4096 are supported")
        return _pooled(node, sources)

    @staticmethod
    def _positions(node: Node) -> int:
        kh, kw = window_of(node).kernel
        return kh * kw

    def reciprocal(self, node: Node) -> int:
        """1 / positions, exponent -15."""
        p = self._positions(node)
        return (32768 + p // 2) // p

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        window = window_of(node)
        return functional.avg_pool2d(xs[0], window.kernel, window.stride)

    def forward(self, node: Node, xs: list[Ints]) -> tuple[Ints, None]:
        total = patches(xs[0], window_of(node)).sum(axis=(2, 3))
        return total * self.reciprocal(node), None

    def backward(self, node: Node, d: Ints, saved: Any, shape: Shape) -> Ints:
        window = window_of(node)
        kh, kw = window.kernel
        spread = np.broadcast_to((d * self.reciprocal(node))[:, :, None, None, :], (*d.shape[:2], kh, kw, d.shape[2]))
        return scatter(spread, window, shape)

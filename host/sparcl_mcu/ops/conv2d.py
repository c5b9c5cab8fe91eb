"""Convolution over (height, width, channels) maps; the twin of firmware/lib/sparcl/src/ops/conv2d.c.

The weight matrix is (out channels, kernel height * kernel width * in channels): a convolution is a dense layer over
patches. A map of height 1 makes it a 1-D convolution over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..numerics import Ints, product
from .base import Weighted, check_matrix
from .window import check_kernel, float_pad, out_size, patches, scatter, window_of

if TYPE_CHECKING:
    from ..graph import Node, Shape


class Conv2d(Weighted):
    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        check_kernel(window_of(node).kernel)
        shape = (*out_size(node, sources), node.outputs)
        check_matrix(node, node.outputs, self.fan_in(node, sources))
        return shape

    def fan_in(self, node: Node, sources: list[Shape]) -> int:
        kh, kw = window_of(node).kernel
        return kh * kw * sources[0][2]

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        window = window_of(node)
        kernel = weight.reshape(len(weight), *window.kernel, -1).permute(0, 3, 1, 2)
        return functional.conv2d(float_pad(functional, xs[0], window), kernel, bias, window.stride)

    def positions(self, shape: Shape) -> int:
        return shape[0] * shape[1]

    def forward(self, node: Node, hi: Ints, x: Ints) -> Ints:
        seen = patches(x, window_of(node))
        return product(seen.reshape(*seen.shape[:2], -1), hi.T)

    def input_grad(self, node: Node, hi: Ints, d: Ints, shape: Shape) -> Ints:
        window = window_of(node)
        return scatter(product(d, hi).reshape(*d.shape[:2], *window.kernel, shape[2]), window, shape)

    def weight_grad(self, node: Node, d: Ints, x: Ints) -> Ints:
        seen = patches(x, window_of(node))
        positions = d.shape[0] * d.shape[1]
        return product(d.reshape(positions, -1).T, seen.reshape(positions, -1))

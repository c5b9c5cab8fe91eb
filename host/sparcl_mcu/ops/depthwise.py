"""Depthwise convolution: one small kernel a channel; the twin of firmware/lib/sparcl/src/ops/depthwise.c.

The weight matrix is (channels, kernel height * kernel width), never pruned, with an exponent a channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..numerics import Ints
from .base import OperatorError, Weighted
from .window import check_kernel, float_pad, out_size, patches, scatter, window_of

if TYPE_CHECKING:
    from ..graph import Node, Shape


class Depthwise(Weighted):
    def shape(self, node: Node, sources: list[Shape]) -> Shape:
        if node.density < 1:
            raise OperatorError("depthwise kernels are too small to prune; leave density at 1")
        check_kernel(window_of(node).kernel)
        return (*out_size(node, sources), sources[0][2])

    def fan_in(self, node: Node, sources: list[Shape]) -> int:
        kh, kw = window_of(node).kernel
        return kh * kw

    def float_forward(self, functional: Any, node: Node, xs: list[Any], weight: Any, bias: Any) -> Any:
        window = window_of(node)
        kernel = weight.reshape(len(weight), 1, *window.kernel)
        padded = float_pad(functional, xs[0], window)
        return functional.conv2d(padded, kernel, bias, window.stride, groups=len(weight))

    def positions(self, shape: Shape) -> int:
        return shape[0] * shape[1]

    def forward(self, node: Node, hi: Ints, x: Ints) -> Ints:
        seen = patches(x, window_of(node))
        acc: Ints = np.einsum("yxklc,ckl->yxc", seen, hi.reshape(-1, *seen.shape[2:4]))
        return acc

    def input_grad(self, node: Node, hi: Ints, d: Ints, shape: Shape) -> Ints:
        window = window_of(node)
        kernel = hi.reshape(-1, *window.kernel).transpose(1, 2, 0)
        return scatter(d[:, :, None, None, :] * kernel, window, shape)

    def weight_grad(self, node: Node, d: Ints, x: Ints) -> Ints:
        seen = patches(x, window_of(node))
        gradient: Ints = np.einsum("yxc,yxklc->ckl", d, seen)
        return gradient.reshape(d.shape[2], -1)

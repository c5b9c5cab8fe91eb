"""Maps seen through a window: what convolutions and pools share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..numerics import Ints
from .base import OperatorError

if TYPE_CHECKING:
    from ..graph import Node, Shape, Window


def window_of(node: Node) -> Window:
    if node.window is None:
        raise OperatorError("a kernel size is missing")
    return node.window


def out_shape(node: Node, sources: list[Shape], channels: int) -> Shape:
    """Output shape of a windowed operator; raises OperatorError with the numbers when the window does not fit."""
    if len(sources) != 1:
        raise OperatorError(f"it takes one source, not {len(sources)}")
    window = window_of(node)
    (kh, kw), (sh, sw) = window.kernel, window.stride
    height, width, _ = sources[0]
    if window.padding not in ("same", "valid") or not (1 <= sh <= 255 and 1 <= sw <= 255 and kh >= 1 and kw >= 1):
        raise OperatorError(f"kernel {kh}x{kw}, stride {sh}x{sw}, padding {window.padding!r} is not supported")
    oh, ow = window.out(height, width)
    if oh < 1 or ow < 1:
        raise OperatorError(f"a kernel of {kh}x{kw} with padding 'valid' does not fit a map of {height}x{width}")
    return oh, ow, channels


def patches(x: Ints, window: Window) -> Ints:
    """(out height, out width, kernel height, kernel width, channels) view of the zero-padded map x."""
    top, bottom, left, right = window.pads(x.shape[0], x.shape[1])
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, window.kernel, axis=(0, 1))
    return views[:: window.stride[0], :: window.stride[1]].transpose(0, 1, 3, 4, 2)


def scatter(values: Ints, window: Window, shape: Shape) -> Ints:
    """Inverse of `patches`: add (out height, out width, kernel height, kernel width, channels) into a map."""
    height, width, channels = shape
    top, bottom, left, right = window.pads(height, width)
    padded = np.zeros((height + top + bottom, width + left + right, channels), dtype=np.int64)
    (sh, sw), (oh, ow) = window.stride, values.shape[:2]
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            padded[ky : ky + sh * oh : sh, kx : kx + sw * ow : sw][:oh, :ow] += values[:, :, ky, kx]
    return padded[top : top + height, left : left + width]


def float_pad(functional: Any, x: Any, window: Window, value: float = 0.0) -> Any:
    """torch: pad (n, channels, height, width) as `patches` does."""
    top, bottom, left, right = window.pads(x.shape[2], x.shape[3])
    return functional.pad(x, (left, right, top, bottom), value=value)

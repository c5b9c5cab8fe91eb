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


def check_kernel(kernel: tuple[int, int]) -> None:
    """Sides that convolutions have kernels for."""
    if not set(kernel) <= {1, 3, 5}:
        raise OperatorError(f"a kernel of {kernel[0]}x{kernel[1]}; sides of 1, 3 and 5 are supported")


def out_size(node: Node, sources: list[Shape]) -> tuple[int, int]:
    """Height and width a windowed operator gives; raises OperatorError with the numbers when the window does not
    fit."""
    if len(sources) != 1:
        raise OperatorError(f"it takes one source, not {len(sources)}")
    window = window_of(node)
    (kh, kw), (sh, sw) = window.kernel, window.stride
    height, width, channels = sources[0]
    if not all(1 <= side <= 255 for side in (kh, kw, sh, sw)):
        raise OperatorError(f"a kernel of {kh}x{kw} with stride {sh}x{sw}; all four must lie within 1 .. 255")
    if not all(1 <= side <= 65535 for side in sources[0]):
        raise OperatorError(f"a map of {height}x{width}x{channels}; all three must lie within 1 .. 65535")
    if window.padding not in ("same", "valid"):
        raise OperatorError(f"padding {window.padding!r}; 'same' and 'valid' are supported")
    if window.padding == "valid" and (kh > height or kw > width):
        raise OperatorError(f"a kernel of {kh}x{kw} with padding 'valid' does not fit a map of {height}x{width}")
    return window.out(height, width)


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

"""Bytes of scratch an operator needs beside its maps: the Python twin of the `_scratch`, `_bytes` functions of ops.h.

tests/test_scratch.py holds both equal.
"""

from __future__ import annotations

from sparcl_mcu.graph import Graph, Node, size


def relu_mask(outputs: int) -> int:
    """scl_relu_mask_bytes: a bit an output."""
    return -(-outputs // 8)


def conv2d_forward(graph: Graph, node: Node) -> int:
    """scl_conv2d_forward_scratch: int16 patches of four positions."""
    return 8 * graph.fan_in(node)


def max_pool_index(graph: Graph, node: Node) -> int:
    """scl_max_pool_index_bytes: two bits an output for windows up to four positions, else four."""
    assert node.window
    height, width = node.window.kernel
    return -(-size(graph.shapes[node.name]) * (2 if height * width <= 4 else 4) // 8)

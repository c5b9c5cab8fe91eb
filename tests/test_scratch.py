"""Scratch sizes: what the planner reserves is what the kernels' own functions say."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c_structs import c_window
from helpers import every_operator, runtime_library
from kernel_cases import maps
from sparcl_mcu.graph import INPUT, Graph, Node, Shape, Window
from sparcl_tools import scratch
from sparcl_tools.layout import share

sides = st.sampled_from([1, 3, 5])


@given(st.tuples(sides, sides).flatmap(lambda kernel: maps(kernel, 4)))
def test_windows(case: tuple[Shape, Window]) -> None:
    shape, window = case
    nodes = (
        Node("conv", "conv2d", (INPUT,), 4, window),
        Node("head", "dense", ("conv",), 2),
    )
    graph = Graph(shape, nodes)
    struct = ctypes.byref(c_window(window, shape))
    library = runtime_library()
    assert library.export_conv2d_forward_scratch(struct) == scratch.conv2d_forward(graph, nodes[0])


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (1, 2), (1, 3)])
def test_max_pool(kernel: tuple[int, int]) -> None:
    shape, window = (9, 7, 5), Window(kernel, (2, 2), "valid")
    graph = Graph(shape, (Node("max", "max_pool", (INPUT,), window=window), Node("head", "dense", ("max",), 2)))
    got = runtime_library().export_max_pool_index_bytes(ctypes.byref(c_window(window, shape)))
    assert got == scratch.max_pool_index(graph, graph.node("max"))


@given(st.integers(0, 100_000))
def test_relu_mask(n: int) -> None:
    assert runtime_library().export_relu_mask_bytes(ctypes.c_uint32(n)) == scratch.relu_mask(n)


@given(st.integers(0, 65535 * 65535), st.integers(0, 65535))
def test_share(n: int, fraction: int) -> None:
    function = runtime_library().export_share
    function.restype = ctypes.c_uint32
    assert function(ctypes.c_uint32(n), ctypes.c_uint16(fraction)) == share(n, fraction) <= n


def test_patches_of_four_positions() -> None:
    graph = every_operator()
    assert scratch.conv2d_forward(graph, graph.node("conv3")) == 4 * 2 * 5 * 5 * 8

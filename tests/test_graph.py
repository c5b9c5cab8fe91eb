"""Graphs: shapes, shared exponents, what needs an error; and what does not compose, refused by name with numbers."""

from __future__ import annotations

import pytest

from helpers import random_graph_network
from sparcl_mcu.graph import INPUT, Graph, GraphError, Node, Shape, Window
from sparcl_mcu.network import NetworkError
from sparcl_mcu.sparsity import Block

SHAPE = (6, 8, 3)


def conv(name: str, source: str = INPUT, outputs: int = 8, kernel: int = 3, **rest: object) -> Node:
    return Node(name, "conv2d", (source,), outputs=outputs, window=Window((kernel, kernel)), relu=True, **rest)  # type: ignore[arg-type]


def head(source: str) -> Node:
    return Node("head", "dense", (source,), outputs=5)


def residual(*, frozen_stem: bool = False) -> Graph:
    return Graph(
        SHAPE,
        (
            conv("stem", frozen=frozen_stem),
            conv("left", "stem"),
            Node("right", "depthwise", ("left",), window=Window((3, 3))),
            Node("sum", "add", ("right", "stem"), relu=True),
            Node("pool", "max_pool", ("sum",), window=Window((2, 2), (2, 2))),
            head("pool"),
        ),
    )


def test_shapes_follow_from_the_input() -> None:
    graph = Graph(
        SHAPE,
        (
            Node("a", "conv2d", (INPUT,), outputs=4, window=Window((3, 3), (2, 2))),
            Node("b", "depthwise", ("a",), window=Window((3, 3), (1, 1), "valid")),
            Node("c", "max_pool", ("a",), window=Window((2, 2), (2, 2))),
            Node("d", "avg_pool", ("c",), window=Window((2, 1), (1, 1), "valid")),
            Node("e", "add", ("b", "d")),
            Node("head", "dense", ("e",), outputs=5),
        ),
    )
    want = {INPUT: SHAPE, "a": (3, 4, 4), "b": (1, 2, 4), "c": (2, 2, 4), "d": (1, 2, 4), "head": (1, 1, 5)}
    assert {name: graph.shapes[name] for name in want} == want
    assert graph.fan_in(graph.node("a")) == 27
    assert graph.fan_in(graph.node("b")) == 9
    assert graph.fan_in(graph.node("head")) == 8


def test_what_meets_in_a_residual_shares_one_exponent_and_its_counter() -> None:
    graph = residual()
    assert graph.scales == {
        INPUT: INPUT, "stem": "stem", "left": "left", "right": "stem", "sum": "stem", "pool": "stem"
    }  # fmt: skip
    assert [node.name for node in graph.counts("stem")] == ["stem", "right", "sum"]
    assert [graph.scale_fixed(s) for s in (INPUT, "stem", "left")] == [True, False, False]


def test_a_frozen_layer_fixes_the_exponent_it_writes() -> None:
    assert residual(frozen_stem=True).scale_fixed("stem")


@pytest.mark.parametrize("frozen", [False, True])
def test_an_average_pool_has_an_exponent_of_its_own_that_moves_if_something_below_it_learns(frozen: bool) -> None:
    mean = Node("mean", "avg_pool", ("stem",), window=Window((2, 2), (2, 2), "valid"))
    graph = Graph(SHAPE, (conv("stem", frozen=frozen), mean, head("mean")))
    assert graph.scales["mean"] == "mean"
    assert graph.counts("mean") == [mean]
    assert graph.scale_fixed("mean") == frozen


def test_nothing_below_the_first_trainable_layer_needs_an_error() -> None:
    assert residual().learns == {"stem", "left", "right", "sum", "pool", "head"}
    assert residual(frozen_stem=True).learns == {"left", "right", "sum", "pool", "head"}


def pool(op: str, kernel: tuple[int, int], padding: str = "valid", source: str = INPUT, **rest: object) -> Node:
    return Node("pool", op, (source,), window=Window(kernel, (1, 1), padding), **rest)  # type: ignore[arg-type]


def windowed(op: str, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), padding: str = "same") -> Node:
    return Node("layer", op, (INPUT,), outputs=8, window=Window(kernel, stride, padding))


ONE = (head("layer"),)
JOINED = (Node("sum", "add", ("a", "layer")), head("sum"))
REFUSED: dict[str, tuple[tuple[Node, ...], list[str]]] = {
    "kernel of 2": ((windowed("conv2d", (2, 2)), *ONE), ["'layer'", "2x2", "1, 3 and 5"]),
    "depthwise kernel of 7": ((windowed("depthwise", (7, 7)), *ONE), ["'layer'", "7x7", "1, 3 and 5"]),
    "stride of 0": ((windowed("conv2d", (3, 3), (0, 1)), *ONE), ["'layer'", "stride 0x1"]),
    "stride beyond a byte": ((windowed("conv2d", (3, 3), (1, 256)), *ONE), ["'layer'", "stride 1x256"]),
    "padding": ((windowed("conv2d", (3, 3), padding="full"), *ONE), ["'layer'", "'full'"]),
    "valid window too large": (
        (Node("small", "max_pool", (INPUT,), window=Window((3, 3), (3, 3))),
         Node("layer", "conv2d", ("small",), outputs=8, window=Window((3, 3), (1, 1), "valid")), *ONE),
        ["'layer'", "3x3", "2x3"],
    ),
    "window missing": ((Node("layer", "conv2d", (INPUT,), outputs=8), *ONE), ["'layer'", "kernel size"]),
    "no channels": ((conv("layer", outputs=0), *ONE), ["'layer'", "0 outputs"]),
    "two sources": ((Node("layer", "depthwise", (INPUT, INPUT), window=Window((3, 3))), *ONE), ["'layer'", "not 2"]),
    "no source": ((conv("a"), Node("layer", "max_pool", (), window=Window((2, 2))), *JOINED), ["'layer'", "not 0"]),
    "dense without a source": ((conv("a"), Node("layer", "dense", (), outputs=4), *JOINED), ["'layer'", "not 0"]),
    "dense too large": ((Node("layer", "dense", (INPUT,), outputs=65536), *ONE), ["'layer'", "65536 outputs"]),
    "sparse depthwise": (
        (Node("layer", "depthwise", (INPUT,), window=Window((3, 3)), density=0.5), *ONE), ["'layer'", "density"]
    ),
    "density 0": ((conv("layer", density=0.0), *ONE), ["'layer'", "density 0.0"]),
    "1x4 blocks, 3 channels": (
        (conv("layer", density=0.5, block=Block(1, 4)), *ONE), ["'layer'", "1x4", "8 outputs x 27 inputs"]
    ),
    "4x1 blocks, 6 outputs": (
        (conv("layer", outputs=6, density=0.5, block=Block(4, 1)), *ONE), ["'layer'", "4x1", "6 outputs"]
    ),
    "max pool of 4": ((pool("max_pool", (4, 4)), head("pool")), ["'pool'", "4x4"]),
    "average pool, same": ((pool("avg_pool", (2, 2), "same"), head("pool")), ["'pool'", "'valid'"]),
    "average pool too large": ((pool("avg_pool", (7, 8)), head("pool")), ["'pool'", "7x8", "6x8"]),
    "pool with ReLU": ((pool("max_pool", (2, 2), relu=True), head("pool")), ["'pool'", "ReLU"]),
    "residual of two shapes": (
        (conv("a"), conv("b", outputs=4), Node("sum", "add", ("a", "b")), head("sum")),
        ["'sum'", "6x8x8", "6x8x4"],
    ),
    "residual of three": (
        (conv("a"), conv("b"), Node("sum", "add", ("a", "b", "a")), head("sum")), ["'sum'", "6x8x8"]
    ),
    "residual with the input": (
        (conv("a", outputs=3), Node("sum", "add", ("a", INPUT)), head("sum")), ["'sum'", "input", "exponent"]
    ),
    "residual with a pooled input": (
        (pool("max_pool", (3, 3), "same"), conv("a", outputs=3), Node("sum", "add", ("a", "pool")), head("sum")),
        ["'sum'", "input"],
    ),
    "unknown operator": ((Node("layer", "gru", (INPUT,), outputs=3), *ONE), ["'layer'", "'gru'", "conv2d"]),
    "unknown source": ((conv("layer", "nowhere"), *ONE), ["'layer'", "'nowhere'"]),
    "a source still to come": ((conv("layer", "head"), *ONE), ["'layer'", "'head'"]),
    "a name twice": ((conv("layer"), conv("layer", "layer"), *ONE), ["'layer'", "taken"]),
    "no C identifier": ((conv("a-b"), head("a-b")), ["'a-b'"]),
    "nothing uses it": ((conv("stray"), conv("layer"), *ONE), ["stray"]),
    "no dense head": ((conv("layer"),), ["last layer"]),
    "a head with ReLU": ((Node("head", "dense", (INPUT,), outputs=5, relu=True),), ["last layer"]),
    "no layer": ((), ["last layer"]),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_compose_is_refused_by_name_with_the_numbers(nodes: tuple[Node, ...], says: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        Graph(SHAPE, nodes)
    for text in says:
        assert text in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 8, 3), (6, 8, 0), (6, 65536, 1)])
def test_an_input_of_an_impossible_size_is_refused(shape: Shape) -> None:
    with pytest.raises(GraphError, match="x".join(map(str, shape))):
        Graph(shape, (conv("layer"), *ONE))


def test_a_kernel_larger_than_the_map_fits_with_padding() -> None:
    nodes = (Node("layer", "conv2d", (INPUT,), outputs=2, window=Window((5, 5))), *ONE)
    assert Graph((1, 2, 3), nodes).shapes["layer"] == (1, 2, 2)


def test_an_accumulator_that_could_overflow_is_refused_by_name_with_the_numbers() -> None:
    """Gradients over more positions than int32 holds."""
    graph = Graph(
        (250, 250, 1),
        (
            conv("wide", outputs=1),
            Node("pool", "avg_pool", ("wide",), window=Window((60, 60), (60, 60), "valid")),
            head("pool"),
        ),
    )
    with pytest.raises(NetworkError, match=r"'wide'.*62500 positions"):
        random_graph_network(graph, 0)

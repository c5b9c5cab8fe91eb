"""The one module that imports torch: graphs in float32, forward, with autograd underneath.

torch is imported when it is first needed: it takes seconds. Its annotations are not complete enough to check, so
tensors are `Any` here. Maps are (n, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from . import ops
from .graph import INPUT, Graph, Node


@cache
def torch() -> Any:
    """The torch module, set to one thread.

    At batch 1 a second thread makes nothing faster and waits in a loop, up to 50 times slower on a busy machine;
    with one, sums do not depend on the number of cores either.
    """
    import torch as module

    module.set_num_threads(1)
    return module


def functional() -> Any:
    """torch.nn.functional."""
    return torch().nn.functional


def forward(graph: Graph, x: Any, apply: Callable[[Node, Any], Any]) -> dict[str, Any]:
    """Output maps by name, after ReLU, the input included.

    x: float32 (n, inputs), samples flattened in (height, width, channels) order. apply(node, map) is what a weighted
    layer makes of its source, before ReLU.
    """
    maps = maps_of(graph, INPUT, x)
    operate(graph.nodes, maps, apply)
    return maps


def maps_of(graph: Graph, tensor: str, x: Any) -> dict[str, Any]:
    """Maps that hold one tensor alone: x, float32 (n, size), flattened in (height, width, channels) order."""
    return {tensor: x.reshape(len(x), *graph.shapes[tensor]).permute(0, 3, 1, 2)}


def values_of(y: Any) -> Any:
    """A map as (n, size), flattened in (height, width, channels) order."""
    return y.permute(0, 2, 3, 1).flatten(1)


def operate(nodes: Sequence[Node], maps: dict[str, Any], apply: Callable[[Node, Any], Any]) -> None:
    """Add the outputs of some nodes to the maps their sources are in."""
    for node in nodes:
        if node.weighted:
            y = apply(node, maps[node.sources[0]])
        else:
            sources = [maps[source] for source in node.sources]
            y = ops.OPERATORS[node.op].float_forward(functional(), node, sources, None, None)
        maps[node.name] = y.relu() if node.relu else y


def weighted(node: Node, x: Any, weight: Any, bias: Any) -> Any:
    """A weighted layer before ReLU; weight (rows, fan_in), bias (rows,) or None."""
    return ops.OPERATORS[node.op].float_forward(functional(), node, [x], weight, bias)


def logits(graph: Graph, maps: dict[str, Any]) -> Any:
    """(n, classes) of what `forward` gave."""
    return maps[graph.nodes[-1].name].flatten(1)

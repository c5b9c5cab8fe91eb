"""Channel pruning: layers that keep their strongest filters alone, as smaller dense layers.

The static variant of LightCL (Wang et al. 2025): filters are ranked by their mean absolute weight, and what reads a
layer loses the inputs that are gone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .errors import SparclError
from .graph import INPUT, Graph
from .sparsity import SINGLE

Kept = NDArray[np.int64]


class ThinError(SparclError):
    """The channels of a network cannot be pruned."""


def channels(graph: Graph, weights: dict[str, NDArray[np.float64]]) -> dict[str, Kept]:
    """Which output channels of every node stay, ascending: of a layer with density < 1 that share, one at least.

    weights: (rows, fan_in) by layer. Raises ThinError where two maps are added, which must keep the same ones.
    """
    kept: dict[str, Kept] = {INPUT: np.arange(graph.input_shape[2])}
    for node in graph.nodes:
        if node.op == "add":
            raise ThinError(
                f'[network] pruned = "channels": {node.name} adds maps, whose channels have to stay the same; prune '
                "weights, or take a network without shortcuts"
            )
        if not node.outputs:  # pools and depthwise layers keep what they read
            kept[node.name] = kept[node.sources[0]]
            continue
        count = max(1, round(node.density * node.outputs))
        strength = np.abs(weights[node.name]).mean(axis=1)
        kept[node.name] = np.sort(np.argsort(-strength, kind="stable")[:count])
    return kept


def graph_of(graph: Graph, kept: dict[str, Kept]) -> Graph:
    """The same layers with fewer channels, dense."""
    nodes = [
        replace(node, outputs=len(kept[node.name]), density=1.0, block=SINGLE) if node.outputs else node
        for node in graph.nodes
    ]
    return Graph(graph.input_shape, tuple(nodes))


def inputs(graph: Graph, name: str, kept: dict[str, Kept]) -> Kept:
    """Which inputs of a layer's weights stay, of fan_in; channels lie innermost."""
    node = graph.node(name)
    if node.op == "depthwise":
        return np.arange(graph.fan_in(node))
    of_channels = graph.shapes[node.sources[0]][2]
    return np.flatnonzero(np.isin(np.arange(graph.fan_in(node)) % of_channels, kept[node.sources[0]]))

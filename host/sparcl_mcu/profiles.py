"""How a network's density is spread over its layers.

uniform: every sparse layer has the same. erk (Erdos-Renyi-Kernel, Evci et al., "Rigging the Lottery", ICML 2020): small
layers keep more, in proportion to (rows + inputs + kernel sides) / weights. global: magnitudes of all sparse layers
compete (`global_blocks`). All keep the same number of weights.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .graph import Graph, Node
from .sparsity import Block, Mask, block_sum, expand

PROFILES = ("uniform", "erk", "global")


def erk(graph: Graph) -> Graph:
    """The same graph with the density of its sparse layers spread by ERK. Their blocks stay."""
    sparse = [node for node in graph.nodes if node.weighted and node.density < 1]
    weights = {node.name: graph.weight_rows(node) * graph.fan_in(node) for node in sparse}
    wanted = sum(node.density * weights[node.name] for node in sparse)
    dense: set[str] = set()
    while True:  # layers that would need more than all their weights become dense, the others share the rest
        open_layers = [node for node in sparse if node.name not in dense]
        room = wanted - sum(weights[name] for name in dense)
        raw = {node.name: _erdos_renyi(graph, node) for node in open_layers}
        total = sum(raw[name] * weights[name] for name in raw)
        factor = room / total if total else 0.0
        full = {name for name in raw if factor * raw[name] >= 1}
        if not full:
            break
        dense |= full
    densities = {name: factor * raw[name] for name in raw} | dict.fromkeys(dense, 1.0)
    nodes = tuple(replace(node, density=densities.get(node.name, node.density)) for node in graph.nodes)
    return Graph(graph.input_shape, nodes)


def _erdos_renyi(graph: Graph, node: Node) -> float:
    rows, fan_in = graph.weight_rows(node), graph.fan_in(node)
    sides = node.window.kernel if node.window else (0, 0)
    channels = fan_in // (sides[0] * sides[1]) if node.window else fan_in
    return (rows + channels + sum(sides)) / (rows * fan_in)


def global_blocks(
    scores: dict[str, NDArray[np.float64]], blocks: dict[str, Block], densities: dict[str, float]
) -> dict[str, Mask]:
    """Masks that keep the largest mean scores of all layers together; as many weights as the densities say, to within
    one block, and at least one block a layer.

    scores: (rows, fan_in) by layer, not negative.
    """
    names = list(scores)
    tiles = {name: block_sum(scores[name], blocks[name]) for name in names}
    area = {name: blocks[name].rows * blocks[name].cols for name in names}
    budget = round(sum(densities[name] * scores[name].size for name in names))
    means = np.concatenate([tiles[name].ravel() / area[name] for name in names])
    areas = np.concatenate([np.full(tiles[name].size, area[name]) for name in names])
    starts = np.cumsum([0, *(tiles[name].size for name in names)])
    kept = np.zeros(len(means), dtype=np.bool_)
    for first, end in itertools.pairwise(starts):
        kept[first + int(np.argmax(means[first:end]))] = True
    order = np.argsort(-means, kind="stable")
    order = order[~kept[order]]
    fits = int(areas[kept].sum()) + np.cumsum(areas[order]) <= budget
    kept[order[fits]] = True
    return {
        name: expand(kept[first:end].reshape(tiles[name].shape), blocks[name])
        for name, first, end in zip(names, starts[:-1], starts[1:], strict=True)
    }

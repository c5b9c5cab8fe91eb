"""`[network] block = "auto"`: the block shape of each layer, chosen from what was measured.

Instructions are those that `sparcl bench` counts on the board's core (docs/results/bench.json), accuracies those that
`sparcl results sparcl blocks` finds (docs/results/sparcl.json). Both commands rewrite their files; nothing stands here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import counted
from .counted import CountedError
from .errors import SparclError
from .graph import Graph, Node
from .sparsity import BLOCKS, SINGLE, Block
from .summary import interval

AUTO = "auto"
ACCURACIES = "docs/results/sparcl.json"


class BlockChoiceError(SparclError):
    """What was measured is not there."""


@dataclass(frozen=True)
class Choice:
    """The block shape of a layer. core: as the bench names it. operator: the one of the bench that is most like it.
    instructions: by shape, of a stored weight at a position, all its passes together. losses: points of accuracy
    against single weights, by shape: mean and half width of the 95 % interval."""

    layer: str
    block: Block
    core: str
    operator: str
    instructions: dict[Block, float]
    losses: dict[Block, tuple[float, float]]

    def __str__(self) -> str:
        each = ", ".join(
            f"{block} {count:.1f}{self._loss(block)}"
            for block, count in sorted(self.instructions.items(), key=lambda item: item[1])
        )
        return f"{self.layer}: {self.block}; instructions a weight, counted for {self.operator} on {self.core}: {each}"

    def _loss(self, block: Block) -> str:
        return " ({:+.2f} ± {:.2f} points)".format(*self.losses[block]) if block in self.losses else ""


def choose(graph: Graph, core: str) -> tuple[Choice, ...]:
    """A choice for each sparse layer of a graph: the fewest instructions of the shapes that divide it and do not surely
    lose accuracy, that is whose interval of differences from single weights does not lie below 0 as a whole.

    core: as in `boards.catalogue.BoardFacts`. Raises BlockChoiceError.
    """
    try:
        core = counted.core_of(core)
        return tuple(_choice(graph, node, core) for node in graph.nodes if node.weighted and node.density < 1)
    except CountedError as error:
        shapes = ", ".join(map(str, BLOCKS))
        raise BlockChoiceError(f'[network] block = "{AUTO}": {error}; or name a shape: {shapes}') from None


def with_blocks(graph: Graph, choices: Sequence[Choice]) -> Graph:
    """The same graph with the shapes chosen."""
    blocks = {choice.layer: choice.block for choice in choices}
    return replace(graph, nodes=tuple(replace(node, block=blocks.get(node.name, node.block)) for node in graph.nodes))


def _choice(graph: Graph, node: Node, core: str) -> Choice:
    operator = counted.operator(node)
    rows, fan_in = graph.weight_rows(node), graph.fan_in(node)
    channels = fan_in // math.prod(node.window.kernel) if node.window else fan_in
    costs = {
        block: sum(
            counted.instructions(core, f"{operator} {each}", block, node.density)
            for each in counted.passes(graph, node)
        )
        for block in BLOCKS
        if rows % block.rows == 0 and channels % block.cols == 0
    }
    losses = _losses(node.density)
    safe = [block for block in costs if block not in losses or sum(losses[block]) >= 0]
    return Choice(node.name, min(safe, key=costs.__getitem__), core, operator, costs, losses)


def _losses(density: float) -> dict[Block, tuple[float, float]]:
    """Points against single weights, mean and half width, at the density nearest to it that was measured."""
    rows = counted.measured(ACCURACIES)["blocks"]["rows"]
    found: dict[Block, tuple[float, float]] = {}
    measured = {1 - float(name.split()[1]) for name in rows if name.startswith("SparCL ")}
    nearest = min(measured, key=lambda each: abs(math.log(each / density)))
    of_single = rows[f"SparCL {1 - nearest:.2f} in {SINGLE}"]["runs"]
    for block in BLOCKS:
        runs = rows[f"SparCL {1 - nearest:.2f} in {block}"]["runs"]
        if block != SINGLE:
            points = interval([100 * (a["acc"] - b["acc"]) for a, b in zip(runs, of_single, strict=True)])
            found[block] = (float(points["mean"] or 0), float(points["half_width"] or 0))
    return found

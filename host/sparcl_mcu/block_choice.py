"""`[network] block = "auto"`: the block shape of each layer, chosen from what was measured.

Instructions are those that `sparcl bench` counts on the board's core (docs/results/bench.json), accuracies those that
`sparcl results sparcl blocks` finds (docs/results/sparcl.json). Both commands rewrite their files; nothing stands here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from .boards.catalogue import ROOT
from .errors import SparclError
from .graph import Graph, Node
from .sparsity import BLOCKS, SINGLE, Block
from .summary import interval

AUTO = "auto"
CORES = {  # as boards name them: as the bench does
    "Cortex-M0+": "m0plus",
    "Cortex-M3": "m3",
    "Cortex-M4": "m4",
    "Cortex-M33": "m33",
    "Cortex-M55": "m55",
    "RV32IMC": "rv32",
}
LIKE = {"Cortex-M7": "m4", "Xtensa LX6": "m3", "host": "m4"}  # cores not counted: one with the same kernels that is
CONVOLUTIONS_LIKE = {"m33": "m4", "m55": "m4"}  # the same where convolutions were not counted
DENSE = "dense 784x128"
BENCH, ACCURACIES = "docs/results/bench.json", "docs/results/sparcl.json"


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
    counted = CORES.get(core) or LIKE.get(core)
    if counted is None:
        raise BlockChoiceError(
            f'[network] block = "{AUTO}": no instructions were counted for {core}; name a shape: '
            f"{', '.join(map(str, BLOCKS))}"
        )
    return tuple(_choice(graph, node, counted) for node in graph.nodes if node.weighted and node.density < 1)


def with_blocks(graph: Graph, choices: Sequence[Choice]) -> Graph:
    """The same graph with the shapes chosen."""
    blocks = {choice.layer: choice.block for choice in choices}
    return replace(graph, nodes=tuple(replace(node, block=blocks.get(node.name, node.block)) for node in graph.nodes))


def _choice(graph: Graph, node: Node, core: str) -> Choice:
    operator, counted_on = _operator(node, core)
    passes = _passes(graph, node)
    rows, fan_in = graph.weight_rows(node), graph.fan_in(node)
    channels = fan_in // math.prod(node.window.kernel) if node.window else fan_in
    costs = {
        block: sum(_instructions(counted_on, f"{operator} {each}", block, node.density) for each in passes)
        for block in BLOCKS
        if rows % block.rows == 0 and channels % block.cols == 0
    }
    losses = _losses(node.density)
    safe = [block for block in costs if block not in losses or sum(losses[block]) >= 0]
    return Choice(node.name, min(safe, key=costs.__getitem__), counted_on, operator, costs, losses)


def _operator(node: Node, core: str) -> tuple[str, str]:
    """The operator of the bench that is most like a layer, and the core it was counted on."""
    if node.window is None:
        return DENSE, core
    like = "conv 3x3 64-64, 8x8" if node.outputs > 32 else "conv 3x3 32-32, 16x16"
    if math.prod(node.window.kernel) == 1:
        like = "conv 1x1 64-64, 25x5"
    counted = {row["core"] for row in _bench() if row["what"] == f"{like} forward"}
    core_like = core if core in counted else CONVOLUTIONS_LIKE.get(core)
    return (like, core_like) if core_like else (DENSE, core)


def _passes(graph: Graph, node: Node) -> list[str]:
    """What a step computes with a layer's weights."""
    if node.frozen:
        return ["forward, frozen"]
    below = graph.nodes[: graph.nodes.index(node)]
    learns_below = any(each.weighted and not each.frozen for each in below)
    return ["forward", *(["input gradient"] if learns_below else []), "weight update"]


def _instructions(core: str, what: str, block: Block, density: float) -> float:
    """Instructions a nonzero weight and position, at the density nearest to it that was counted."""
    rows = [row for row in _bench() if (row["core"], row["what"], row["block"]) == (core, what, str(block))]
    if not rows:
        raise BlockChoiceError(f"{BENCH} has no row {what!r} in {block} of {core}; count it with: make bench")
    nearest = min(rows, key=lambda row: abs(math.log(row["density"] / density)))
    return float(nearest["per_nonzero"])


def _losses(density: float) -> dict[Block, tuple[float, float]]:
    """Points against single weights, mean and half width, at the density nearest to it that was measured."""
    rows = _accuracies()
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


def _bench() -> list[dict[str, Any]]:
    return list(_read(ROOT / BENCH))


def _accuracies() -> dict[str, Any]:
    return dict(_read(ROOT / ACCURACIES)["blocks"]["rows"])


def _read(file: Path) -> Any:
    if not file.is_file():
        name = file.relative_to(ROOT)
        raise BlockChoiceError(f'[network] block = "{AUTO}" chooses by {name}, which is not there')
    return _parsed(file, file.stat().st_mtime_ns)


@cache
def _parsed(file: Path, _: int) -> Any:
    """Of a file as it was at a time."""
    return json.loads(file.read_text())

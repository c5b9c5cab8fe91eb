"""What `sparcl bench` counted (docs/results/bench.json), as far as designs and plans are made from it: instructions of
a layer's passes on a core. The command rewrites the file; no figure stands here.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from .boards.catalogue import ROOT
from .errors import SparclError
from .graph import Graph, Node
from .sparsity import Block

CORES = {  # as boards name them: as the bench does
    "Cortex-M0+": "m0plus",
    "Cortex-M3": "m3",
    "Cortex-M4": "m4",
    "Cortex-M33": "m33",
    "Cortex-M55": "m55",
    "RV32IMC": "rv32",
}
LIKE = {"Cortex-M7": "m4", "Xtensa LX6": "m3", "host": "m4"}  # cores not counted: one with the same kernels that is
BENCH = "docs/results/bench.json"
DENSE = "dense"  # as the bench names the storage of a layer without an index
LARGE_DENSE, SMALL_DENSE = "dense 784x128", "dense 128x10"
FORWARD, INPUT_GRADIENT, WEIGHT_UPDATE = "forward", "input gradient", "weight update"


class CountedError(SparclError):
    """What was measured is not there."""


def core_of(name: str) -> str:
    """The core of the bench for a board's. Raises CountedError."""
    found = CORES.get(name) or LIKE.get(name)
    if found is None:
        raise CountedError(f"no instructions were counted for {name}")
    return found


def operator(node: Node) -> str:
    """The operator of the bench that is most like a layer."""
    if node.window is None:
        return LARGE_DENSE if node.outputs > 32 or node.density < 1 else SMALL_DENSE
    if node.op == "depthwise":
        return "depthwise 3x3 64, 25x5"
    if math.prod(node.window.kernel) == 1:
        return "conv 1x1 64-64, 25x5"
    return "conv 3x3 64-64, 8x8" if node.outputs > 32 else "conv 3x3 32-32, 16x16"


def passes(graph: Graph, node: Node) -> list[str]:
    """What a step computes with a layer's weights."""
    if node.frozen:
        return [f"{FORWARD}, frozen"]
    below = graph.nodes[: graph.nodes.index(node)]
    learns_below = any(each.weighted and not each.frozen for each in below)
    return [FORWARD, *([INPUT_GRADIENT] if learns_below else []), WEIGHT_UPDATE]


def instructions(core: str, what: str, block: Block | None, density: float) -> float:
    """Of a stored weight at a position, at the density nearest to it that was counted. block: None: dense."""
    shape = DENSE if block is None else str(block)
    rows = [row for row in measured(BENCH) if (row["core"], row["what"], row["block"]) == (core, what, shape)]
    if not rows:
        raise CountedError(f"{BENCH} has no row {what!r} in {shape} of {core}; count it with: make bench")
    nearest = min(rows, key=lambda row: abs(math.log(row["density"] / density)))
    return float(nearest["per_nonzero"])


def measured(name: str) -> Any:
    """Contents of a file of results. Raises CountedError where it is not there."""
    file = ROOT / name
    if not file.is_file():
        raise CountedError(f"{name} is not there")
    return _parsed(file, file.stat().st_mtime_ns)


@cache
def _parsed(file: Path, _: int) -> Any:
    """Of a file as it was at a time."""
    return json.loads(file.read_text())

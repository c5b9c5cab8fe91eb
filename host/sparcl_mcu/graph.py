"""The architecture of a network: operators in order, their shapes, and what follows from how they are joined.

A `Graph` has no weights. Pretraining fills one with float weights, a `Network` holds one with integers. Maps are
(height, width, channels); a vector is (1, 1, n), a sensor window (1, time, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from . import ops
from .errors import SparclError
from .sparsity import SINGLE, Block

INPUT = "input"
Shape = tuple[int, int, int]


class GraphError(SparclError):
    """Operators that do not compose; the message names the layer and the numbers."""


@dataclass(frozen=True)
class Window:
    """A kernel moved over a map. padding: "same" (output = ceil(input / stride), zeros split as evenly as possible,
    the odd one after) or "valid" (no padding)."""

    kernel: tuple[int, int]  # height, width
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"

    def out(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output map."""
        (kh, kw), (sh, sw) = self.kernel, self.stride
        if self.padding == "same":
            return -(-height // sh), -(-width // sw)
        return (height - kh) // sh + 1, (width - kw) // sw + 1

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Zeros before and after: top, bottom, left, right."""
        if self.padding == "valid":
            return 0, 0, 0, 0
        oh, ow = self.out(height, width)
        rows = max((oh - 1) * self.stride[0] + self.kernel[0] - height, 0)
        cols = max((ow - 1) * self.stride[1] + self.kernel[1] - width, 0)
        return rows // 2, rows - rows // 2, cols // 2, cols - cols // 2


@dataclass(frozen=True)
class Node:
    """One operator. outputs: features of a dense layer or channels of a convolution. density and block say how its
    weights are to be pruned; frozen weights are never updated."""

    name: str
    op: str
    sources: tuple[str, ...]
    outputs: int = 0
    window: Window | None = None
    relu: bool = False
    density: float = 1.0
    block: Block = SINGLE
    frozen: bool = False

    @property
    def weighted(self) -> bool:
        return ops.OPERATORS[self.op].weighted

    @property
    def shares_exponent(self) -> bool:
        """Its outputs have its sources' exponent."""
        operator = ops.OPERATORS[self.op]
        return isinstance(operator, ops.Unweighted) and operator.shares_exponent

    @property
    def requantises(self) -> bool:
        """Its outputs may saturate: all but those of a max pool, which are values of its source."""
        return self.op != "max_pool"


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which each follows its sources. The last gives the logits."""

    input_shape: Shape
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        known = {INPUT}
        for node in self.nodes:
            if node.op not in ops.OPERATORS:
                raise GraphError(f"layer {node.name!r} is a {node.op!r}; known are {', '.join(ops.OPERATORS)}")
            if not (node.name.isidentifier() and node.name.isascii()) or node.name in known:
                raise GraphError(f"layer name {node.name!r} is taken or not a C identifier")
            for source in node.sources:
                if source not in known:
                    raise GraphError(f"layer {node.name!r} takes {source!r}, which no earlier layer gives")
            known.add(node.name)
        if not self.nodes or self.nodes[-1].op != "dense" or self.nodes[-1].relu:
            raise GraphError("the last layer must be dense, without ReLU: it gives the logits")
        used = [s for node in self.nodes for s in node.sources]
        crowded = [name for name in known if used.count(name) > 2]
        if crowded:
            raise GraphError(f"{', '.join(crowded)} feeds more than two layers")
        unused = known - set(used) - {self.nodes[-1].name}
        if unused:
            raise GraphError(f"nothing uses {', '.join(sorted(unused))}")
        _ = self.shapes, self.scales  # refuse what does not compose here and now

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Output shape of the input and of every node."""
        shapes = {INPUT: self.input_shape}
        for node in self.nodes:
            try:
                shapes[node.name] = ops.OPERATORS[node.op].shape(node, [shapes[s] for s in node.sources])
            except ops.OperatorError as error:
                raise GraphError(f"layer {node.name!r}: {error}") from None
        return shapes

    @cached_property
    def scales(self) -> dict[str, str]:
        """For the input and every node but the last: the name of the exponent its output has.

        A max pool keeps its source's exponent; what meets in a residual shares one. A scale is named after its first
        member; "input" is the input's.
        """
        root = {INPUT: INPUT} | {node.name: node.name for node in self.nodes[:-1]}

        def find(name: str) -> str:
            while root[name] != name:
                name = root[name]
            return name

        order = [INPUT, *(node.name for node in self.nodes)]
        for node in self.nodes[:-1]:
            if not node.shares_exponent:
                continue
            for source in node.sources:
                a, b = sorted((find(node.name), find(source)), key=order.index)
                root[b] = a
            if node.op == "add" and find(node.name) == INPUT:
                raise GraphError(
                    f"residual {node.name!r} joins the input, whose exponent is fixed, with a layer whose exponent "
                    "learning may raise; put a convolution between"
                )
        return {name: find(name) for name in root}

    @cached_property
    def learns(self) -> frozenset[str]:
        """Tensors whose error is needed: a trainable layer gives them or lies below them."""
        found: set[str] = set()
        for node in self.nodes:
            if (node.weighted and not node.frozen) or found & set(node.sources):
                found.add(node.name)
        return frozenset(found)

    @cached_property
    def border(self) -> str:
        """The tensor through which the frozen layers reach those that learn; its exponent never moves.

        Raises GraphError where nothing is frozen below, or where more than one tensor crosses.
        """
        crossing = {s for node in self.nodes if node.name in self.learns for s in node.sources} - self.learns
        if len(crossing) != 1:
            raise GraphError(
                f"the frozen layers reach the others through {' and '.join(sorted(crossing))}; activations can be "
                "replayed at one tensor only: freeze until another layer, or replay inputs"
            )
        if crossing == {INPUT}:
            raise GraphError(
                "no layer is frozen below those that learn, so there is no border to replay activations at; freeze "
                "some (freeze_until), or replay inputs"
            )
        return crossing.pop()

    def split(self, tensor: str) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The nodes that the input (none) or the frozen border is made by, and those after it."""
        count = next((i for i, node in enumerate(self.nodes, start=1) if node.name == tensor), 0)
        return self.nodes[:count], self.nodes[count:]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def fan_in(self, node: Node) -> int:
        """Weights an output of this layer has when dense."""
        return ops.OPERATORS[node.op].fan_in(node, [self.shapes[s] for s in node.sources])

    def weight_rows(self, node: Node) -> int:
        """Rows of the layer's (rows, fan_in) weight matrix."""
        return self.shapes[node.name][2]

    def scale_fixed(self, scale: str) -> bool:
        """An exponent never moves if it is the input's, or a frozen layer's or an average pool's that has nothing
        trainable below."""
        return scale == INPUT or any(
            node.frozen if node.weighted else node.sources[0] not in self.learns
            for node in self.nodes[:-1]
            if self.scales[node.name] == scale and not node.shares_exponent
        )

    def counts(self, scale: str) -> list[Node]:
        """Layers whose saturated outputs this scale counts: those that requantise into it."""
        members = (node for node in self.nodes[:-1] if node.requantises)
        return [node for node in members if self.scales[node.name] == scale]


def size(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]

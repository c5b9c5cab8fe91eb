"""Quantised networks as frozen data: a graph, integer weights, exponents, and how real samples enter.

A `Network` is what pretraining and quantisation produce and what every learner starts from. `network_file.py` reads
and writes it.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numerics as nx
from . import ops
from .errors import SparclError
from .graph import INPUT, Graph, Node, size
from .sparsity import Block, Mask, SparsityError, shrink

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class NetworkError(SparclError):
    """A network describes something impossible; the message names the layer and the numbers."""


@dataclass(frozen=True)
class Weights:
    """Weights of one layer as a matrix.

    masters: int16 (rows, fan_in), M' = M + 128 in [-32512, 32767]; weight = (M' >> 8) * 2**exponent.
    bias: int32 (rows,), exponent -20. mask: bool (rows, fan_in), whole blocks. exponents: int8, (1,), or (rows,) for
    a depthwise layer.
    """

    masters: NDArray[np.int16]
    bias: NDArray[np.int32]
    mask: Mask
    exponents: NDArray[np.int8]

    @property
    def slots(self) -> int:
        """Stored weights."""
        return int(np.count_nonzero(self.mask))

    @property
    def dense(self) -> bool:
        """Every weight exists, so no index is kept."""
        return bool(self.mask.all())

    @property
    def largest(self) -> float:
        """The magnitude of the largest weight."""
        return float((np.abs(self.masters.astype(np.int64) - 128).T * 2.0 ** (self.exponents - 8.0)).max())

    @property
    def exponent(self) -> int:
        """The largest exponent: that of the layer's input error."""
        return int(self.exponents.max())

    def check(self, rows: int, fan_in: int, block: Block, per_row: bool) -> None:
        """Raises NetworkError saying what is wrong with these weights for such a layer."""
        shape = (rows, fan_in)
        if self.masters.shape != shape or self.masters.dtype != np.int16:
            raise NetworkError(f"masters must be int16 {shape}, not {self.masters.dtype} {self.masters.shape}")
        if self.bias.shape != (rows,) or self.bias.dtype != np.int32:
            raise NetworkError(f"bias must be int32 ({rows},)")
        if self.mask.shape != shape or self.mask.dtype != np.bool_:
            raise NetworkError(f"mask must be bool {shape}")
        if self.exponents.shape != ((rows if per_row else 1),) or self.exponents.dtype != np.int8:
            raise NetworkError(f"exponents must be int8 ({rows if per_row else 1},)")
        if per_row and not self.dense:
            raise NetworkError("depthwise kernels are stored whole, but a weight is masked")
        if (self.masters < nx.MASTER_MIN).any():
            raise NetworkError(f"a master lies below {nx.MASTER_MIN}")
        if (np.abs(self.bias.astype(np.int64)) > nx.BIAS_LIMIT).any():
            raise NetworkError(f"a bias lies outside +-{nx.BIAS_LIMIT}")
        if (self.masters[~self.mask] != 128).any():
            raise NetworkError("a masked weight is not 0")
        if (self.exponents < -30).any() or (self.exponents > 8).any():
            raise NetworkError("a weight exponent lies outside -30 .. 8")
        try:
            shrink(self.mask, block)
        except SparsityError as error:
            raise NetworkError(str(error)) from None


@dataclass(frozen=True)
class Network:
    """A graph with integer weights.

    weights: by layer name, for every weighted layer. exponents: by scale name (`Graph.scales`), the exponent of the
    int8 outputs at the start; learning may raise those that are not fixed. A sample x (float, flattened) enters as
    clip(rint((x - offset) * gain * 2**-exponents["input"]), -127, 127); offset, gain: float32 (inputs,).
    """

    name: str
    graph: Graph
    weights: dict[str, Weights]
    exponents: dict[str, int]
    offset: NDArray[np.float32]
    gain: NDArray[np.float32]

    @property
    def inputs(self) -> int:
        return size(self.graph.input_shape)

    @property
    def classes(self) -> int:
        return self.graph.nodes[-1].outputs

    @property
    def input_exponent(self) -> int:
        return self.exponents[INPUT]

    @property
    def slots(self) -> int:
        """Stored weights of all layers."""
        return sum(w.slots for w in self.weights.values())

    def weighted(self) -> list[Node]:
        return [node for node in self.graph.nodes if node.weighted]

    def trainable(self) -> list[Node]:
        return [node for node in self.weighted() if not node.frozen]

    def output_exponent(self, node: Node) -> int:
        """Exponent of a layer's output at the start; -5 for the logits."""
        scale = self.graph.scales.get(node.name)
        return nx.LOGIT_EXPONENT if scale is None else self.exponents[scale]

    def positions(self, node: Node) -> int:
        """Times a forward pass uses each weight of a layer."""
        operator = ops.OPERATORS[node.op]
        assert isinstance(operator, ops.Weighted)
        return operator.positions(self.graph.shapes[node.name])

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one forward pass through a layer; its input gradient and weight gradient cost as
        many each."""
        return self.weights[node.name].slots * self.positions(node)

    @property
    def macs_forward(self) -> int:
        """Multiply-accumulates of one forward pass, padding included; likewise the two below for backward."""
        return sum(self.macs(node) for node in self.weighted())

    @property
    def macs_input_grad(self) -> int:
        return sum(self.macs(node) for node in self.weighted() if set(node.sources) & self.graph.learns)

    @property
    def macs_weight_grad(self) -> int:
        return sum(self.macs(node) for node in self.trainable())

    def error_terms(self, node: Node) -> int:
        """Most products of int8 by int8 that can meet in one input error of a layer, two branches counted."""
        taps = node.window.kernel[0] * node.window.kernel[1] if node.window else 1
        return 2 * taps * (1 if node.op == "depthwise" else len(self.weights[node.name].bias))

    def __post_init__(self) -> None:
        graph = self.graph
        if not NAME.fullmatch(self.name):  # it is printed into generated C
            raise NetworkError(f"the name {self.name!r} must be at most 40 letters, digits, '-' and '_'")
        if self.inputs > 65535:
            raise NetworkError(f"{self.inputs} input values a sample; at most 65535 are possible")
        if not 2 <= self.classes <= 255:
            raise NetworkError(f"{self.classes} classes; 2 .. 255 are possible")
        if set(self.weights) != {node.name for node in graph.nodes if node.weighted}:
            raise NetworkError(f"weights are given for {', '.join(sorted(self.weights))}, which are not its layers")
        if list(self.exponents) != list(dict.fromkeys(graph.scales.values())):  # their order is the hash's
            raise NetworkError(f"exponents are given for {', '.join(sorted(self.exponents))}, which are not its scales")
        if not all(-30 <= e <= 16 for e in self.exponents.values()):
            raise NetworkError("an output exponent lies outside -30 .. 16")
        for what, values in (("offset", self.offset), ("gain", self.gain)):
            if values.shape != (self.inputs,) or values.dtype != np.float32 or not np.isfinite(values).all():
                raise NetworkError(f"{what} must be finite float32 ({self.inputs},)")
        for node in self.weighted():
            try:
                self.weights[node.name].check(
                    graph.weight_rows(node), graph.fan_in(node), node.block, node.op == "depthwise"
                )
                self._check_bounds(node)
            except NetworkError as error:
                raise NetworkError(f"layer {node.name!r}: {error}") from None

    def _check_bounds(self, node: Node) -> None:
        """No 32-bit accumulator can overflow (docs/numerics.md, "Bounds")."""
        fan_in, room = self.forward_bound(node)
        if fan_in * 127 * 127 + room >= 1 << 31:
            raise NetworkError(
                f"{fan_in} inputs of int8 x int8 and a bias up to {room} could overflow the 32-bit accumulator; "
                "use fewer inputs or a larger weight exponent"
            )
        if self.error_terms(node) * 127 * 127 >= 1 << 31:
            raise NetworkError(f"{self.error_terms(node)} terms of an input error could overflow 32 bits")
        if self.positions(node) * 127 * 127 * 3 >= 1 << 31:
            raise NetworkError(
                f"a weight gradient over {self.positions(node)} positions could overflow the 32-bit accumulator"
            )

    def forward_bound(self, node: Node) -> tuple[int, int]:
        """(most stored weights an output has, largest shifted bias). Sticky exponents only grow, which only lowers
        both terms: the start is the worst case."""
        weights = self.weights[node.name]
        shift = int(weights.exponents.min()) + self.exponents[self.graph.scales[node.sources[0]]] - nx.BIAS_EXPONENT
        room = nx.BIAS_LIMIT if shift >= 0 else nx.BIAS_LIMIT << -shift
        return int(weights.mask.sum(axis=1).max()), room

    def quantise_inputs(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """Real samples (n, ...) -> int8 (n, inputs). Raises NetworkError for a wrong size or values not finite."""
        flat = np.asarray(x, dtype=np.float32).reshape(len(x), -1)
        if flat.shape[1] != self.inputs:
            raise NetworkError(
                f"a sample has {flat.shape[1]} values, but network {self.name!r} takes {self.inputs}; "
                "is this network made for this data set?"
            )
        if not np.isfinite(flat).all():
            raise NetworkError("the samples hold NaN or infinite values; clean the data first (sparcl data check)")
        scaled = (flat - self.offset) * self.gain * np.float32(2.0**-self.input_exponent)
        quantised: NDArray[np.int8] = np.clip(np.rint(scaled), -127, 127).astype(np.int8)
        return quantised

    def describe(self) -> dict[str, Any]:
        """Everything but the arrays, as plain data (JSON)."""
        nodes = [asdict(node) | {"block": str(node.block)} for node in self.graph.nodes]
        return {
            "name": self.name,
            "input_shape": list(self.graph.input_shape),
            "nodes": nodes,
            "exponents": self.exponents,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        arrays: dict[str, NDArray[Any]] = {"offset": self.offset, "gain": self.gain}
        for node in self.weighted():
            for what, values in vars(self.weights[node.name]).items():
                arrays[f"{node.name}.{what}"] = values
        return arrays

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of everything that makes this network this network, whatever the file looks like."""
        crc = zlib.crc32(json.dumps(self.describe(), sort_keys=True).encode())
        for array in self.arrays().values():
            crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
        return crc

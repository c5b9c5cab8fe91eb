"""Float network -> integer `Network`: exponents, masters, biases (docs/numerics.md, "Weights" and "Forward")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import numerics as nx
from .data.dataset import SMALLEST
from .errors import SparclError
from .graph import INPUT, Node
from .network import Network, Weights
from .pretrain import FloatNetwork, FloatWeights

CALIBRATION_SAMPLES = 64


class QuantizeError(SparclError):
    """A float network or its data cannot be expressed in the integer contract."""


@dataclass(frozen=True)
class InputScaling:
    """How a real sample becomes int8: clip(rint((x - offset) * gain * 2**-exponent)); see `Network`."""

    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    exponent: int


def input_scaling(x: NDArray[Any], normalise: Literal["range", "standard"]) -> InputScaling:
    """Scaling learnt from the samples x (n, ...) a device may see before it is shipped: the first task's training part.

    range: one gain for all inputs, the largest |x| becomes 127. standard: each input has mean 0 and variance 1, and
    4 standard deviations become 127. Inputs that never vary become 0. Raises QuantizeError when there is nothing to
    scale by, or so little that float32 has no gain for it.
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    inputs = flat.shape[1]
    if normalise == "range":
        largest = np.abs(flat).max(initial=0)
        if largest == 0:
            raise QuantizeError("every sample of the first task is all zeros; there is nothing to scale by")
        if largest < SMALLEST:
            raise QuantizeError(
                f"the first task's samples have values up to {largest:g} in size, too small for float32 to scale; "
                "store them as about -1 .. 1"
            )
        offset, gain, exponent = np.zeros(inputs), np.full(inputs, (127 / 128) / largest), -7
    else:
        varies = np.ptp(flat, axis=0) > 0
        if not varies.any():
            raise QuantizeError(
                'all samples of the first task are the same; [data] normalise = "standard" has nothing to scale by'
            )
        offset, spread = flat.mean(axis=0), np.where(varies, flat.std(axis=0), 1)
        if spread.min() < SMALLEST:
            raise QuantizeError(
                f"input {spread.argmin()} has a standard deviation of {spread.min():g} in the first task, too small "
                "for float32 to scale; store it as about -1 .. 1, or as a constant"
            )
        gain = np.where(varies, 1 / spread, 0)
        exponent = -5  # 127 * 2**-5 = 3.97 standard deviations
    return InputScaling(offset.astype(np.float32), gain.astype(np.float32), exponent)


def quantise(network: FloatNetwork, scaling: InputScaling, x: NDArray[np.float32], name: str) -> Network:
    """Freeze a float network. x: real values of quantised inputs (n, inputs); 64 of them, evenly spaced, calibrate."""
    spaced = np.linspace(0, len(x) - 1, min(CALIBRATION_SAMPLES, len(x))).astype(np.int64)
    maps = network.maps(x[spaced])
    return to_integers(network, scaling, {layer: _outer(m) for layer, m in maps.items()}, name)


def _outer(outputs: NDArray[np.float32]) -> float:
    """The magnitude that 1 in 2**RARE_BITS outputs exceed, as many as the sticky rule lets saturate."""
    magnitudes = np.abs(outputs)
    return float(np.quantile(magnitudes, 1 - 2.0**-nx.RARE_BITS)) or float(magnitudes.max(initial=0))


def to_integers(network: FloatNetwork, scaling: InputScaling, outer: dict[str, float], name: str) -> Network:
    """Freeze a float network. outer: by layer name, the magnitude its outputs rarely exceed. Raises QuantizeError."""
    graph = network.graph
    peaks: dict[str, float] = {}
    for layer, scale in graph.scales.items():
        peaks[scale] = max(peaks.get(scale, 0.0), outer[layer])
    exponents = {scale: nx.exponent_for(peak or 1.0) for scale, peak in peaks.items()}
    exponents[INPUT] = scaling.exponent
    weights = {node.name: _weights(node, network.weights[node.name]) for node in graph.nodes if node.weighted}
    return Network(name, graph, weights, exponents, scaling.offset, scaling.gain)


def _weights(node: Node, layer: FloatWeights) -> Weights:
    if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
        raise QuantizeError(f"layer {node.name!r} has weights that are not finite; lower the learning rate")
    live = np.count_nonzero(layer.mask) / len(layer.mask)
    groups = layer.weight if node.op == "depthwise" else layer.weight[None]  # one exponent each
    exponents = np.array([nx.weight_exponent(float(np.abs(g).max(initial=0)), live) for g in groups], dtype=np.int8)
    master = np.rint(layer.weight.astype(np.float64) * 2.0 ** (8 - exponents.astype(np.float64)[:, None])) + 128
    bias = np.rint(layer.bias.astype(np.float64) * 2.0**-nx.BIAS_EXPONENT)
    return Weights(
        masters=np.clip(master, nx.MASTER_MIN, nx.MASTER_MAX).astype(np.int16),
        bias=np.clip(bias, -nx.BIAS_LIMIT, nx.BIAS_LIMIT).astype(np.int32),
        mask=layer.mask,
        exponents=exponents,
    )

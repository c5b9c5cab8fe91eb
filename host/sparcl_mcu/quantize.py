"""Float network -> integer `Network`: exponents, masters, biases (docs/numerics.md, "Weights" and "Forward")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import numerics as nx
from .errors import SparclError
from .network import Dense, Network
from .pretrain import FloatLayer

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
    4 standard deviations become 127. Inputs that never vary become 0.
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    inputs = flat.shape[1]
    if normalise == "range":
        largest = np.abs(flat).max(initial=0)
        if largest == 0:
            raise QuantizeError("every sample of the first task is all zeros; there is nothing to scale by")
        offset, gain, exponent = np.zeros(inputs), np.full(inputs, (127 / 128) / largest), -7
    else:
        spread = flat.std(axis=0)
        offset = flat.mean(axis=0)
        gain = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
        exponent = -5  # 127 * 2**-5 = 3.97 standard deviations
    return InputScaling(offset.astype(np.float32), gain.astype(np.float32), exponent)


def quantise(layers: tuple[FloatLayer, ...], scaling: InputScaling, x: NDArray[np.float32], name: str) -> Network:
    """Freeze a float network. x: real values of quantised inputs (n, inputs), of which the first 64 calibrate."""
    h = x[:CALIBRATION_SAMPLES].astype(np.float64)
    frozen = []
    for i, layer in enumerate(layers):
        h = h @ layer.weight.T.astype(np.float64) + layer.bias
        if i < len(layers) - 1:
            h = np.maximum(h, 0)
            output_exponent = nx.exponent_for(float(h.max(initial=0)) or 1.0) + 1
        else:
            output_exponent = nx.LOGIT_EXPONENT
        frozen.append(_layer(layer, output_exponent))
    return Network(name, tuple(frozen), scaling.exponent, scaling.offset, scaling.gain)


def _layer(layer: FloatLayer, output_exponent: int) -> Dense:
    if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
        raise QuantizeError(f"layer {layer.spec.name!r} has weights that are not finite; lower the learning rate")
    live = np.count_nonzero(layer.mask) / layer.spec.outputs
    exponent = nx.weight_exponent(float(np.abs(layer.weight).max(initial=0)), live)
    master = np.rint(layer.weight.astype(np.float64) * 2.0 ** (8 - exponent)) + 128
    bias = np.rint(layer.bias.astype(np.float64) * 2.0**-nx.BIAS_EXPONENT)
    return Dense(
        name=layer.spec.name,
        masters=np.clip(master, nx.MASTER_MIN, nx.MASTER_MAX).astype(np.int16),
        bias=np.clip(bias, -nx.BIAS_LIMIT, nx.BIAS_LIMIT).astype(np.int32),
        mask=layer.mask,
        block=layer.spec.block,
        weight_exponent=exponent,
        output_exponent=output_exponent,
    )

"""The integer learner in NumPy: the readable specification the C runtime is held against, bit for bit."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from ..network import Dense
from ..numerics import Ints
from ..ops import activation, dense, softmax_ce
from .base import Inputs, Labels
from .step import StepLearner


@dataclass
class _Layer:
    """Learnt state of one dense layer."""

    spec: Dense
    masters: NDArray[np.int16]  # M', (outputs, inputs)
    bias: NDArray[np.int32]
    output_exponent: int  # sticky in hidden layers
    saturated: int = 0  # outputs saturated in this window
    window: int = 0  # training forwards in this window

    @classmethod
    def start(cls, spec: Dense) -> _Layer:
        return cls(spec, spec.masters.copy(), spec.bias.copy(), spec.output_exponent)

    @property
    def hi(self) -> Ints:
        """The rounded int8 weight of every master."""
        return (self.masters >> 8).astype(np.int64)

    def close_window(self) -> None:
        """Raise the output exponent when more than 1/256 of a window's outputs saturated."""
        self.window += 1
        if self.window == nx.WINDOW:
            if self.saturated * 256 > nx.WINDOW * self.spec.outputs:
                self.output_exponent += 1
            self.saturated = self.window = 0


class SimulatedLearner(StepLearner):
    """Integer forward, backward and update, batch 1; the board's arithmetic without the board."""

    layers: list[_Layer]

    def _load(self) -> None:
        self.layers = [_Layer.start(spec) for spec in self.network.layers]

    def _forward(self, x: Ints) -> tuple[Ints, list[Ints], list[int], list[NDArray[np.bool_]], list[int]]:
        """Logits, then a list over layers of: inputs, input exponents; over hidden layers: ReLU masks, saturations."""
        inputs, exponents, masks, saturated = [x], [self.network.input_exponent], [], []
        for layer in self.layers[:-1]:
            acc_exponent = layer.spec.weight_exponent + exponents[-1]
            acc = dense.forward(layer.hi, layer.bias.astype(np.int64), inputs[-1], acc_exponent)
            q, mask, count = activation.relu(acc, layer.output_exponent - acc_exponent)
            inputs.append(q)
            exponents.append(layer.output_exponent)
            masks.append(mask)
            saturated.append(count)
        last = self.layers[-1]
        acc_exponent = last.spec.weight_exponent + exponents[-1]
        acc = dense.forward(last.hi, last.bias.astype(np.int64), inputs[-1], acc_exponent)
        return activation.logits(acc, acc_exponent), inputs, exponents, masks, saturated

    def logits(self, x: NDArray[np.int8]) -> Ints:
        """int16 logits (classes,) of one sample, unit 1/32."""
        return self._forward(x.astype(np.int64))[0]

    def predict(self, x: Inputs) -> Labels:
        return np.array([int(np.argmax(self.logits(sample))) for sample in x], dtype=np.uint8)

    def _train(self, x: NDArray[np.int8], label: int) -> bool:
        z, inputs, exponents, masks, saturated = self._forward(x.astype(np.int64))
        error, e_error = nx.to_block_float(softmax_ce.gradient(z, label), nx.LOSS_EXPONENT)
        learns = bool(error.any())
        for i in reversed(range(len(self.layers))):
            if not error.any():
                break
            layer = self.layers[i]
            hi = layer.hi  # the input error uses the weights before this layer's update
            self._update(layer, error, e_error, inputs[i], exponents[i])
            if i > 0:
                v = np.where(masks[i - 1], dense.input_grad(hi, error), 0)
                error, e_error = nx.to_block_float(v, layer.spec.weight_exponent + e_error)
        for layer, count in zip(self.layers, saturated, strict=False):
            layer.saturated += count
            layer.close_window()
        return learns

    def _update(self, layer: _Layer, error: Ints, e_error: int, x: Ints, e_x: int) -> None:
        s = self.settings
        shift = (layer.spec.weight_exponent - 8) - (e_error + e_x + s.lr_exponent)
        dense.weight_update(layer.masters, layer.spec.mask, error, x, shift, s.lr_mantissa)
        dense.bias_update(layer.bias, error, nx.BIAS_EXPONENT - (e_error + s.lr_exponent), s.lr_mantissa)

    def state_hash(self) -> int:
        """CRC-32 in the canonical order of docs/numerics.md, "State hash"."""
        crc = 0
        for layer in self.layers:
            m = layer.masters.astype(np.int32) - 128
            crc = zlib.crc32(m.astype("<i2").tobytes(), crc)
            if not layer.spec.dense:
                crc = zlib.crc32(np.packbits(layer.spec.mask, bitorder="little").tobytes(), crc)
            crc = zlib.crc32(layer.bias.astype("<i4").tobytes(), crc)
            counters = np.array(
                [layer.spec.weight_exponent, layer.output_exponent, layer.saturated, layer.window], dtype="<i4"
            )
            crc = zlib.crc32(counters.tobytes(), crc)
        crc = zlib.crc32(self.replay.x.tobytes(), crc)
        crc = zlib.crc32(self.replay.y.tobytes(), crc)
        tail = np.array([self.replay.seen, self.step, self.settings.seed], dtype="<u4")
        return zlib.crc32(tail.tobytes(), crc)

    def moved(self) -> float:
        """Fraction of the stored masters that differ from the start."""
        changed = sum(np.count_nonzero(layer.masters != layer.spec.masters) for layer in self.layers)
        return changed / sum(layer.spec.slots for layer in self.layers)

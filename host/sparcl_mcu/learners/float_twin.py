"""The float twin: the board's protocol in float32 autograd without any rounding.

Same start (the quantised network's masters), same sample order, same replay draws. What separates its accuracy
from the integer learner's is the arithmetic and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from .base import Inputs, Labels
from .step import StepLearner


class FloatTwin(StepLearner):
    """Plain SGD, batch 1, on dequantised weights; masked weights stay 0."""

    def _load(self) -> None:
        import torch

        self._torch = torch
        self._input_scale = 2.0**self.network.input_exponent
        self._weights: list[Any] = []
        self._masks: list[Any] = []
        self._biases: list[Any] = []
        for layer in self.network.layers:
            master = layer.masters.astype(np.float64) - 128
            weight = np.where(layer.mask, master, 0) * 2.0 ** (layer.weight_exponent - 8)
            self._weights.append(torch.tensor(weight, dtype=torch.float32, requires_grad=True))
            self._masks.append(torch.tensor(layer.mask, dtype=torch.float32))
            bias = layer.bias.astype(np.float64) * 2.0**nx.BIAS_EXPONENT
            self._biases.append(torch.tensor(bias, dtype=torch.float32, requires_grad=True))

    def _logits(self, x: NDArray[np.int8]) -> Any:
        torch = self._torch
        h = torch.from_numpy(x.astype(np.float32) * np.float32(self._input_scale))
        for i, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            h = h @ weight.T + bias
            if i < len(self._weights) - 1:
                h = torch.relu(h)
        return h

    def predict(self, x: Inputs) -> Labels:
        with self._torch.no_grad():
            return np.asarray(self._logits(x).argmax(dim=1).numpy(), dtype=np.uint8)

    def _train(self, x: NDArray[np.int8], label: int) -> bool:
        torch = self._torch
        loss = torch.nn.functional.cross_entropy(self._logits(x[None]), torch.tensor([label]))
        parameters = self._weights + self._biases
        lr = self.settings.lr_mantissa * 2.0**self.settings.lr_exponent
        with torch.no_grad():
            gradients = torch.autograd.grad(loss, parameters)
            for weight, mask, gradient in zip(self._weights, self._masks, gradients, strict=False):
                weight -= lr * gradient * mask
            for bias, gradient in zip(self._biases, gradients[len(self._weights) :], strict=True):
                bias -= lr * gradient
        return True

    def state_hash(self) -> None:
        return None

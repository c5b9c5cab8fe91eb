"""The float twin: the board's protocol in float32 autograd without any rounding.

Same start (the quantised network's masters), same sample order, same replay draws. What separates its accuracy
from the integer learner's is the arithmetic and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from .. import torch_backend as backend
from ..graph import Node
from .base import Inputs, Labels
from .step import StepLearner


@dataclass
class _Layer:
    """Tensors of one weighted layer; mask is None where every weight exists."""

    weight: Any
    bias: Any
    mask: Any


class FloatTwin(StepLearner):
    """Plain SGD on dequantised weights; masked weights stay 0, frozen layers as they were."""

    def _load(self) -> None:
        torch = backend.torch()
        self._layers: dict[str, _Layer] = {}
        for node in self.network.weighted():
            w = self.network.weights[node.name]
            scale = 2.0 ** (w.exponents.astype(np.float64) - 8)
            weight = np.where(w.mask, w.masters.astype(np.float64) - 128, 0) * scale[:, None]
            bias = w.bias.astype(np.float64) * 2.0**nx.BIAS_EXPONENT
            self._layers[node.name] = _Layer(
                torch.tensor(weight, dtype=torch.float32, requires_grad=not node.frozen),
                torch.tensor(bias, dtype=torch.float32, requires_grad=not node.frozen),
                None if w.dense else torch.tensor(w.mask, dtype=torch.float32),
            )
        self._trainable = [self._layers[node.name] for node in self.network.trainable()]
        self._parameters = [p for layer in self._trainable for p in (layer.weight, layer.bias)]
        self._gathered = [torch.zeros_like(p) for p in self._parameters]  # of the open mini-batch

    def _logits(self, x: NDArray[np.int8]) -> Any:
        """float32 (n, classes) of int8 samples (n, inputs)."""
        values = x.astype(np.float32) * np.float32(2.0**self.network.input_exponent)
        graph = self.network.graph
        return backend.logits(graph, backend.forward(graph, backend.torch().from_numpy(values), self._weighted))

    def _weighted(self, node: Node, source: Any) -> Any:
        layer = self._layers[node.name]
        return backend.weighted(node, source, layer.weight, layer.bias)

    def predict(self, x: Inputs) -> Labels:
        with backend.torch().no_grad():
            return np.asarray(self._logits(x).argmax(dim=1).numpy(), dtype=np.uint8)

    def _train(self, x: NDArray[np.int8], label: int) -> bool:
        torch = backend.torch()
        loss = backend.functional().cross_entropy(self._logits(x[None]), torch.tensor([label]))
        gradients = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            for layer, gradient in zip(self._trainable, gradients[::2], strict=True):
                if layer.mask is not None:
                    gradient.mul_(layer.mask)
            if self.batch == 1:
                self._descend(gradients)
            else:
                torch._foreach_add_(self._gathered, gradients)
        return True

    def _descend(self, gradients: Any) -> None:
        rate = self.settings.lr_mantissa * 2.0**self.settings.lr_exponent
        backend.torch()._foreach_add_(self._parameters, gradients, alpha=-rate)

    def _apply(self) -> None:
        torch = backend.torch()
        with torch.no_grad():
            self._descend(self._gathered)
            torch._foreach_zero_(self._gathered)

    def state_hash(self) -> None:
        return None

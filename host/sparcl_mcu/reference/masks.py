"""Which weights exist and which of them are updated. Selection is by count, never by threshold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import torch_backend as backend
from .network import Layer


class Masks:
    """A weight mask and a gradient mask for each layer; a layer that was given none is dense and wholly updated.

    Masks are bool tensors of the weight's shape. The gradient mask always lies inside the weight mask.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._weights: dict[str, Any] = {}
        self._updates: dict[str, Any] = {}
        self._live = {name: layer.size for name, layer in self._layers.items()}
        self._updated = dict(self._live)

    def weights(self, layer: Layer) -> Any:
        """The weight mask."""
        mask = self._weights.get(layer.name)
        return backend.torch().ones_like(layer.weight, dtype=bool) if mask is None else mask

    def updates(self, layer: Layer) -> Any:
        """The gradient mask; the weight mask where none was set."""
        mask = self._updates.get(layer.name)
        return self.weights(layer) if mask is None else mask

    def live(self, layer: Layer) -> int:
        """Weights that exist."""
        return self._live[layer.name]

    def updated(self, layer: Layer) -> int:
        """Weights that exist and are updated."""
        return self._updated[layer.name]

    def set_weights(self, layer: Layer, mask: Any) -> None:
        """Change the weight mask; what it excludes becomes 0, and is no longer updated."""
        self._weights[layer.name] = mask
        self._live[layer.name] = int(mask.sum())
        with backend.torch().no_grad():
            layer.weight.masked_fill_(~mask, 0.0)
        if layer.name in self._updates:
            self.set_updates(layer, self._updates[layer.name])
        else:
            self._updated[layer.name] = self._live[layer.name]

    def set_updates(self, layer: Layer, mask: Any) -> None:
        """Change the gradient mask to the part of `mask` that lies inside the weight mask."""
        self._updates[layer.name] = mask & self.weights(layer)
        self._updated[layer.name] = int(self._updates[layer.name].sum())

    def clear_updates(self) -> None:
        """Every weight that exists is updated again."""
        self._updates.clear()
        self._updated = dict(self._live)

    def apply_to_gradients(self) -> None:
        """Zero the gradient of every weight that does not exist or is not updated.

        Filled, not multiplied: a product keeps the sign of a zero, which updates could then flip, and makes infinities
        not-a-number.
        """
        for name in self._weights.keys() | self._updates.keys():
            layer = self._layers[name]
            if layer.weight.grad is not None:
                layer.weight.grad.masked_fill_(~self.updates(layer), 0.0)


def top(score: Any, count: int, among: Any | None = None) -> Any:
    """bool mask of the `count` largest scores, exactly, however many tie. among: bool, the candidates; None: all.

    Candidates must be `count` at least.
    """
    torch = backend.torch()
    values = score.flatten()
    if among is not None:
        values = values.masked_fill(~among.flatten(), float("-inf"))
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[torch.topk(values, count, sorted=False).indices] = True
    return mask.view_as(score)


def grown(mask: Any, count: int, rng: np.random.Generator) -> Any:
    """`mask` with unused places added, each as likely as another, until `count` are set."""
    torch = backend.torch()
    flat = mask.flatten()
    unused = np.flatnonzero(~flat.cpu().numpy())
    added = rng.choice(unused, count - int(flat.sum()), replace=False)
    new = flat.clone()
    new[torch.from_numpy(added).to(flat.device)] = True
    return new.view_as(mask)


def keep(density: float, layer: Layer) -> int:
    """Weights that a density leaves of a layer."""
    return min(layer.size, max(1, round(density * layer.size)))

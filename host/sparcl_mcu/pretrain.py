"""Float pretraining on the host: dense first, pruned by magnitude to an exact density, then fine-tuned.

That order is what worked best of the rules tried (docs/design.md, "Pretraining").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .design import LayerSpec
from .errors import SparclError
from .sparsity import Mask, top_blocks


class PretrainError(SparclError):
    """Pretraining settings or data are unusable."""


@dataclass(frozen=True)
class PretrainSettings:
    """Mini-batch SGD with momentum 0.9 on the base classes."""

    epochs: int = 20  # dense
    fine_tune_epochs: int = 5  # after pruning
    learning_rate: float = 0.05
    batch: int = 32


@dataclass(frozen=True)
class FloatLayer:
    """weight float32 (outputs, inputs), 0 where masked; bias float32 (outputs,); mask bool (outputs, inputs)."""

    spec: LayerSpec
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mask: Mask


def pretrain(
    specs: tuple[LayerSpec, ...],
    x: NDArray[np.float32],
    y: NDArray[np.uint8],
    settings: PretrainSettings,
    seed: int,
    on_epoch: Callable[[int, int, float], None] | None = None,
) -> tuple[FloatLayer, ...]:
    """Train on x (n, inputs), the real values of quantised inputs, and labels y (n,).

    The loss is a softmax over the classes that occur in y only, so that logits of classes still to come are not
    pushed down. `on_epoch(done, total, training accuracy)` reports progress. Raises PretrainError.
    """
    torch = _torch()
    if len(x) == 0:
        raise PretrainError("there is no sample to pretrain on")
    if settings.epochs < 1 or settings.fine_tune_epochs < 0 or settings.batch < 1:
        raise PretrainError("pretraining needs epochs >= 1, fine_tune_epochs >= 0 and batch >= 1")
    generator = torch.Generator().manual_seed(seed)
    weights, biases = _start(specs, generator)
    masks = [torch.ones_like(w) for w in weights]
    classes = torch.tensor(np.unique(y).astype(np.int64))
    xs, ys = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    labels = torch.searchsorted(classes, ys)
    total = settings.epochs + settings.fine_tune_epochs

    for epoch in range(total):
        if epoch == settings.epochs:
            masks = [_prune(w, spec) for w, spec in zip(weights, specs, strict=True)]
        if epoch in (0, settings.epochs):  # pruning starts afresh: old momentum would revive masked weights
            optimiser = torch.optim.SGD([*weights, *biases], lr=settings.learning_rate, momentum=0.9)
        hits = 0
        for batch in torch.randperm(len(xs), generator=generator).split(settings.batch):
            logits = _forward(xs[batch], weights, biases, masks)[:, classes]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimiser.step()
            hits += int((logits.argmax(dim=1) == labels[batch]).sum())
        if on_epoch:
            on_epoch(epoch + 1, total, hits / len(xs))
    if settings.fine_tune_epochs == 0:
        masks = [_prune(w, spec) for w, spec in zip(weights, specs, strict=True)]
    return tuple(
        FloatLayer(spec, (w * m).detach().numpy(), b.detach().numpy(), m.numpy().astype(np.bool_))
        for spec, w, b, m in zip(specs, weights, biases, masks, strict=True)
    )


def _torch() -> Any:
    """torch, imported when it is needed: it takes seconds, and its annotations are not complete enough to check."""
    import torch

    return torch


def _start(specs: tuple[LayerSpec, ...], generator: Any) -> tuple[list[Any], list[Any]]:
    """He initialisation; biases 0."""
    torch = _torch()

    weights = []
    for spec in specs:
        w = torch.randn(spec.outputs, spec.inputs, generator=generator) * (2.0 / spec.inputs) ** 0.5
        weights.append(w.requires_grad_())
    return weights, [torch.zeros(spec.outputs, requires_grad=True) for spec in specs]


def _forward(x: Any, weights: list[Any], biases: list[Any], masks: list[Any]) -> Any:
    for i, (w, b, m) in enumerate(zip(weights, biases, masks, strict=True)):
        x = x @ (w * m).T + b
        if i < len(weights) - 1:
            x = x.relu()
    return x


def _prune(weight: Any, spec: LayerSpec) -> Any:
    torch = _torch()
    score = np.abs(weight.detach().numpy()).astype(np.float64)
    return torch.from_numpy(top_blocks(score, spec.density, spec.block).astype(np.float32))

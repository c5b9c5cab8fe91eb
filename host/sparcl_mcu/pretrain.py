"""Float pretraining on the host: dense first, pruned by magnitude to an exact density, then fine-tuned.

That order is what worked best of the rules tried (docs/design.md, "Pretraining"). Convolutions are trained with
batch normalisation, which is folded into their weights and biases: the device knows nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import thin
from . import torch_backend as backend
from .errors import SparclError
from .graph import Graph, Node
from .profiles import global_blocks
from .sparsity import Mask, top_blocks

NORM_EPSILON = 1e-3  # a channel that hardly varies must not blow up the exponent its layer shares
NORM_SAMPLES = 1024  # samples the folded means and variances are taken from


class PretrainError(SparclError):
    """Pretraining settings or data are unusable."""


@dataclass(frozen=True)
class PretrainSettings:
    """Mini-batch SGD with momentum 0.9 on the base classes."""

    epochs: int = 20  # dense
    fine_tune_epochs: int = 5  # after pruning
    learning_rate: float = 0.05
    batch: int = 32
    batch_norm: bool = True  # after every convolution; other layers never have it
    global_magnitude: bool = False  # sparse layers compete for their weights, instead of a density a layer
    gradual: bool = False  # prune a little after each epoch of the second half, not all at once
    random_masks: bool = False  # prune weights drawn at random instead of the smallest: the control
    channels: bool = False  # a density is the share of channels that stay; layers become smaller and dense


@dataclass(frozen=True)
class FloatWeights:
    """weight float32 (rows, fan_in), 0 where masked; bias float32 (rows,); mask bool (rows, fan_in)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mask: Mask


@dataclass(frozen=True)
class FloatNetwork:
    """A graph with float weights, by layer name."""

    graph: Graph
    weights: dict[str, FloatWeights]

    def maps(self, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Output of every layer after ReLU for x (n, inputs): float32 (n, channels, height, width) by name."""
        torch = backend.torch()

        def apply(node: Node, source: Any) -> Any:
            w = self.weights[node.name]
            return backend.weighted(node, source, torch.from_numpy(w.weight), torch.from_numpy(w.bias))

        with torch.no_grad():
            maps = backend.forward(self.graph, torch.from_numpy(x), apply)
        return {name: values.numpy() for name, values in maps.items()}

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, classes) for x (n, inputs)."""
        logits: NDArray[np.float32] = self.maps(x)[self.graph.nodes[-1].name].reshape(len(x), -1)
        return logits


def pretrain(
    graph: Graph,
    x: NDArray[np.float32],
    y: NDArray[np.uint8],
    settings: PretrainSettings,
    seed: int,
    on_epoch: Callable[[int, int, float], None] | None = None,
    dense: Path | None = None,
) -> FloatNetwork:
    """Train on x (n, inputs), the real values of quantised inputs, and labels y (n,). Frozen layers are trained too:
    they are frozen on the device.

    The loss is a softmax over the classes that occur in y only, so that logits of classes still to come are not
    pushed down. `on_epoch(done, total, training accuracy)` reports progress. dense: file that keeps the network as it
    is before it is pruned; where it exists, training begins with it, so that densities and masks can share it.
    Raises PretrainError.
    """
    torch = backend.torch()
    layers = start(graph, settings, generator := torch.Generator().manual_seed(seed))
    _check(x, settings, any(layer.gamma is not None for layer in layers.values()))
    classes = torch.tensor(np.unique(y).astype(np.int64))
    xs, ys = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    labels = torch.searchsorted(classes, ys)
    total = settings.epochs + settings.fine_tune_epochs
    some = xs[torch.randperm(len(xs), generator=torch.Generator().manual_seed(seed))[:NORM_SAMPLES]]
    dense = None if settings.gradual else dense  # pruning all the while, it never is dense and done
    begun = dense is not None and dense.exists()
    if dense and begun:
        _load(dense, layers, generator)

    for epoch in range(settings.epochs if begun else 0, total):
        pruned = epoch == settings.epochs
        if pruned and dense and not begun:
            _save(dense, layers, generator)
        if pruned and settings.channels:
            graph, layers = _thin(graph, layers, some)
        elif pruned:
            _prune(graph, layers, some, settings, seed)
        elif settings.gradual and 2 * epoch > settings.epochs and epoch < settings.epochs:
            _prune(graph, layers, some, settings, seed, _left(epoch, settings.epochs))
            pruned = True
        if epoch == 0 or pruned:  # start afresh: old momentum would revive masked weights
            parameters = [p for layer in layers.values() for p in layer.parameters()]
            optimiser = torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=0.9)
        hits = 0
        for batch in torch.randperm(len(xs), generator=generator).split(settings.batch):
            if len(batch) == 1 < settings.batch:
                continue  # one sample has no variance
            logits = _logits(graph, layers, xs[batch])[:, classes]
            optimiser.zero_grad()
            backend.functional().cross_entropy(logits, labels[batch]).backward()
            optimiser.step()
            hits += int((logits.argmax(dim=1) == labels[batch]).sum())
        if on_epoch:
            on_epoch(epoch + 1, total, hits / len(xs))
    if settings.fine_tune_epochs == 0 and settings.channels:
        graph, layers = _thin(graph, layers, some)
    elif settings.fine_tune_epochs == 0:
        _prune(graph, layers, some, settings, seed)
    _fold(graph, layers, some)
    return FloatNetwork(
        graph,
        {
            name: FloatWeights(
                (layer.weight * layer.mask).detach().numpy(),
                layer.bias.detach().numpy(),
                layer.mask.numpy().astype(np.bool_),
            )
            for name, layer in layers.items()
        },
    )


def _check(x: NDArray[np.float32], settings: PretrainSettings, normalised: bool) -> None:
    if len(x) == 0:
        raise PretrainError("there is no sample to pretrain on")
    if settings.epochs < 1 or settings.fine_tune_epochs < 0 or settings.batch < 1:
        raise PretrainError("pretraining needs epochs >= 1, fine_tune_epochs >= 0 and batch >= 1")
    if normalised and min(settings.batch, len(x)) < 2:
        raise PretrainError(
            f"batch normalisation needs at least 2 samples a batch (batch {settings.batch}, {len(x)} samples); "
            "raise [pretrain] batch"
        )
    if settings.channels and (settings.gradual or settings.global_magnitude or settings.random_masks):
        raise PretrainError(
            '[network] pruned = "channels" prunes each layer at once, its weakest channels: leave [pretrain] prune = '
            '"gradual", [network] profile = "global" and mask = "random" out'
        )


@dataclass
class Layer:
    """A weighted layer in training. gamma: the factor of its batch normalisation, whose offset is the bias; None
    without. mask: float, 1 where a weight exists."""

    weight: Any
    bias: Any
    gamma: Any
    mask: Any

    def parameters(self) -> list[Any]:
        return [self.weight, self.bias] + ([] if self.gamma is None else [self.gamma])


def start(graph: Graph, settings: PretrainSettings, generator: Any) -> dict[str, Layer]:
    """He initialisation; biases 0."""
    torch = backend.torch()
    layers = {}
    for node in graph.nodes:
        if node.weighted:
            rows, fan_in = graph.weight_rows(node), graph.fan_in(node)
            w = torch.randn(rows, fan_in, generator=generator) * (2.0 / fan_in) ** 0.5
            norm = settings.batch_norm and node.op != "dense"
            gamma = torch.ones(rows, requires_grad=True) if norm else None
            layers[node.name] = Layer(
                w.requires_grad_(), torch.zeros(rows, requires_grad=True), gamma, torch.ones_like(w)
            )
    return layers


def _save(file: Path, layers: dict[str, Layer], generator: Any) -> None:
    part = file.with_suffix(f".{os.getpid()}")  # two processes may train the same at once
    values = {name: [p.detach() for p in layer.parameters()] for name, layer in layers.items()}
    backend.torch().save({"layers": values, "generator": generator.get_state()}, part)
    part.replace(file)


def _load(file: Path, layers: dict[str, Layer], generator: Any) -> None:
    found = backend.torch().load(file, weights_only=True)
    generator.set_state(found["generator"])
    with backend.torch().no_grad():
        for name, layer in layers.items():
            for mine, kept in zip(layer.parameters(), found["layers"][name], strict=True):
                mine.copy_(kept)


def _logits(
    graph: Graph, layers: dict[str, Layer], x: Any, statistics: dict[str, tuple[Any, Any]] | None = None
) -> Any:
    """Forward with the batch's own means and variances, which are left in `statistics`."""

    def apply(node: Node, source: Any) -> Any:
        layer = layers[node.name]
        weight = layer.weight * layer.mask
        if layer.gamma is None:
            return backend.weighted(node, source, weight, layer.bias)
        z = backend.weighted(node, source, weight, None)
        if statistics is not None:
            statistics[node.name] = z.mean(dim=(0, 2, 3)), z.var(dim=(0, 2, 3), unbiased=False)
        return backend.functional().batch_norm(z, None, None, layer.gamma, layer.bias, True, 0.0, NORM_EPSILON)

    return backend.logits(graph, backend.forward(graph, x, apply))


def _norms(graph: Graph, layers: dict[str, Layer], x: Any) -> dict[str, tuple[Any, Any]]:
    """By layer with batch normalisation: (factor, mean) such that factor * (w x - mean) + bias is what it computes.

    Taken from many samples at once with the weights as they are now; running averages would lag behind.
    """
    statistics: dict[str, tuple[Any, Any]] = {}
    with backend.torch().no_grad():
        _logits(graph, layers, x, statistics)
        return {
            name: (layers[name].gamma * (variance + NORM_EPSILON).rsqrt(), mean)
            for name, (mean, variance) in statistics.items()
        }


def _left(epoch: int, epochs: int) -> float:
    """How much of the way to the wanted sparsity is left: 1 at half of the dense epochs, 0 at their end, falling with
    the cube (Zhu and Gupta, "To prune, or not to prune", 2017)."""
    return (2 - 2 * epoch / epochs) ** 3


def _thin(graph: Graph, layers: dict[str, Layer], x: Any) -> tuple[Graph, dict[str, Layer]]:
    """The strongest channels of layers with a density below 1, once normalisation is folded in."""
    torch = backend.torch()
    norms = _norms(graph, layers, x)
    weights = {}
    for name, layer in layers.items():
        factor = norms[name][0][:, None] if name in norms else 1.0
        weights[name] = (layer.weight.detach() * factor).numpy().astype(np.float64)
    kept = thin.channels(graph, weights)
    smaller = {}
    for name, layer in layers.items():
        rows, columns = torch.from_numpy(kept[name]), torch.from_numpy(thin.inputs(graph, name, kept))
        weight = layer.weight.detach()[rows][:, columns].clone().requires_grad_()
        bias = layer.bias.detach()[rows].clone().requires_grad_()
        gamma = None if layer.gamma is None else layer.gamma.detach()[rows].clone().requires_grad_()
        smaller[name] = Layer(weight, bias, gamma, torch.ones_like(weight))
    return thin.graph_of(graph, kept), smaller


def _prune(
    graph: Graph, layers: dict[str, Layer], x: Any, settings: PretrainSettings, seed: int, left: float = 0.0
) -> None:
    """Keep the weights that are largest once normalisation is folded in. left: share of the sparsity still to come."""
    rng = np.random.default_rng(seed)  # of random masks: the same each time, so that masks only shrink
    norms = _norms(graph, layers, x)
    scores, masks = {}, {}
    for name, layer in layers.items():
        node = graph.node(name)
        weight = layer.weight.detach() * layer.mask
        if name in norms:
            weight = weight * norms[name][0][:, None]
        scores[name] = np.abs(weight.numpy()).astype(np.float64)
        if settings.random_masks:
            scores[name] = rng.random(weight.shape) * layer.mask.numpy()
        masks[name] = top_blocks(scores[name], _density(node, left), node.block)
    sparse = [graph.node(name) for name in scores if graph.node(name).density < 1]
    if settings.global_magnitude and sparse:
        masks |= global_blocks(
            {node.name: scores[node.name] for node in sparse},
            {node.name: node.block for node in sparse},
            {node.name: _density(node, left) for node in sparse},
        )
    for name, layer in layers.items():
        layer.mask = backend.torch().from_numpy(masks[name].astype(np.float32))


def _density(node: Node, left: float) -> float:
    return node.density + (1 - node.density) * left


def _fold(graph: Graph, layers: dict[str, Layer], x: Any) -> None:
    """Weights and biases that compute what they and the normalisation computed."""
    with backend.torch().no_grad():
        for name, (factor, mean) in _norms(graph, layers, x).items():
            layer = layers[name]
            layer.weight = layer.weight * factor[:, None]
            layer.bias = layer.bias - factor * mean
            layer.gamma = None

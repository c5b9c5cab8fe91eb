"""A network in float32 training: its torch module, and what masks and work counts need to know of its layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import ops, prepare, pretrain
from .. import torch_backend as backend
from ..config import RESNET18, NetworkConfig
from ..graph import INPUT, Graph, Node
from . import FloatReferenceError, resnet18


@dataclass(frozen=True)
class Layer:
    """A layer with weights. weight: float32 parameter, zero where masked. positions: times each weight is used in the
    forward pass of one sample. sparse: may be masked. first: reads the input, so no error is computed below it."""

    name: str
    weight: Any
    positions: int
    sparse: bool
    first: bool

    @property
    def size(self) -> int:
        """Weights of the layer when dense."""
        return int(self.weight.numel())


@dataclass(frozen=True)
class Network:
    """module: holds every parameter and running statistic. forward: float32 (n, *sample) -> logits (n, classes)."""

    module: Any
    layers: tuple[Layer, ...]
    forward: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    @property
    def sparse(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.sparse)

    def parameters(self) -> list[Any]:
        return list(self.module.parameters())

    @property
    def norms(self) -> list[Any]:
        """Its batch normalisations."""
        return [part for part in self.module.modules() if hasattr(part, "running_mean")]

    @contextmanager
    def statistics_kept(self) -> Iterator[None]:
        """Passes inside leave the running statistics of batch normalisation as they are: they only look."""
        momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum in zip(self.norms, momenta, strict=True):
                norm.momentum = momentum


def build(
    wanted: NetworkConfig, shape: tuple[int, ...], classes: int, *, batch_norm: bool, seed: int, device: str
) -> Network:
    """The network of an experiment file with random weights; the same seed gives the same weights on every device.

    Every layer is trained and masks are made of single weights, as published: `freeze_until` and `block` are the
    board's. Raises PrepareError or FloatReferenceError naming the setting.
    """
    if wanted.kind == RESNET18:
        if not batch_norm:
            raise FloatReferenceError("[reference] batch_norm is false, but [network] kind 'resnet18' is built with it")
        return _of_resnet(shape, classes, wanted.density < 1, seed, device)
    plain = dataclasses.replace(wanted, freeze_until=None, block="1x1")
    return of_graph(prepare.design(plain, shape, classes), batch_norm=batch_norm, seed=seed, device=device)


def of_graph(graph: Graph, *, batch_norm: bool, seed: int, device: str) -> Network:
    """A ready-made graph with He weights; convolutions are followed by batch normalisation if wanted."""
    torch = backend.torch()
    nn = torch.nn
    settings = pretrain.PretrainSettings(batch_norm=batch_norm)
    started = pretrain.start(graph, settings, torch.Generator().manual_seed(seed))
    module = nn.ModuleDict()
    for name, layer in started.items():
        part = module[name] = nn.Module()
        part.weight = nn.Parameter(layer.weight.detach())
        part.bias = nn.Parameter(layer.bias.detach()) if layer.gamma is None else None
        part.norm = nn.BatchNorm2d(len(layer.bias), eps=pretrain.NORM_EPSILON) if layer.gamma is not None else None
    module.to(device)

    def apply(node: Node, source: Any) -> Any:
        part = module[node.name]
        y = backend.weighted(node, source, part.weight, part.bias)
        return y if part.norm is None else part.norm(y)

    def forward(x: Any) -> Any:
        return backend.logits(graph, backend.forward(graph, x.flatten(1), apply))

    layers = []
    for node in graph.nodes:
        operator = ops.OPERATORS[node.op]
        if isinstance(operator, ops.Weighted):
            positions = operator.positions(graph.shapes[node.name])
            weight = module[node.name].weight
            layers.append(Layer(node.name, weight, positions, node.density < 1, INPUT in node.sources))
    return Network(module, tuple(layers), forward)


def _of_resnet(shape: tuple[int, ...], classes: int, sparse: bool, seed: int, device: str) -> Network:
    if len(shape) != 3 or min(shape) < 1:
        raise FloatReferenceError(
            f"[network] kind 'resnet18' takes colour images (height, width, channels), but samples have shape {shape}"
        )
    module = resnet18.module(shape[2], classes, seed)
    module.to(device)
    layers = tuple(
        Layer(name, weight, positions, sparse and prunable, name == resnet18.STEM)
        for name, weight, positions, prunable in resnet18.layers(module, shape[0], shape[1])
    )
    return Network(module, layers, lambda x: resnet18.forward(module, x.permute(0, 3, 1, 2)))

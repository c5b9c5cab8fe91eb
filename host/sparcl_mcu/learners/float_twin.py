"""The float twin: the board's protocol in float32 autograd without any rounding.

Same start (the quantised network's masters), same sample order, same replay draws, same schedule. It decides on its own
masks, by the same rules. What separates its accuracy from the integer learner's is the arithmetic and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from .. import torch_backend as backend
from ..graph import INPUT, Node
from ..sparsity import block_sum, expand
from . import ewc, grda, ids, lightcl, masking
from .base import Inputs, Labels, Room
from .masks import SparseLayer
from .step import Lesson, Slice, StepLearner, arg_max

UNITS = 2.0**-nx.LOGIT_EXPONENT  # logits are handed on in the board's units


@dataclass
class _Layer:
    """Tensors of one weighted layer. learns: 1 where an update reaches; None where every weight exists."""

    weight: Any
    bias: Any
    learns: Any
    sparse: SparseLayer | None
    accumulated: NDArray[np.float64]  # importance, (2, rows, fan_in)
    master: Any = None  # gRDA: what learns; `weight` is in use


class _Hold:
    """EWC, of one layer: as learners/ewc.py, in shares of the way back."""

    def __init__(self, weight: Any) -> None:
        self.anchor = weight.detach().clone()
        self.held, self.fresh = (backend.torch().zeros_like(self.anchor) for _ in range(2))

    def remask(self, mask: Any) -> None:
        for values in (self.anchor, self.held, self.fresh):
            values.mul_(mask)


class _Anchors:
    """LightCL, of one layer's outputs: as learners/lightcl.py, in real numbers and whole maps."""

    def __init__(self, channels: int, room: Room) -> None:
        self.take, self.most = lightcl.limits(channels, room)
        self.kept = np.zeros(channels, np.bool_)
        self.activity = np.zeros(channels)
        self.maps: dict[int, Any] = {}  # by slot, (1, channels, height, width)

    def open_task(self) -> None:
        lightcl.keep(self.kept, self.activity, self.take, self.most)
        self.activity[:] = 0


class FloatTwin(StepLearner):
    """Plain SGD on dequantised weights; masked weights stay 0, frozen layers as they were."""

    sample_type = np.float32

    def _load(self) -> None:
        torch = backend.torch()
        self._layers: dict[str, _Layer] = {}
        sparse = {layer.node.name: layer for layer in self.masks.layers}
        for node in self.network.weighted():
            w = self.network.weights[node.name]
            scale = 2.0 ** (w.exponents.astype(np.float64) - 8)
            weight = np.where(w.mask, w.masters.astype(np.float64) - 128, 0) * scale[:, None]
            bias = w.bias.astype(np.float64) * 2.0**nx.BIAS_EXPONENT
            self._layers[node.name] = _Layer(
                torch.tensor(weight, dtype=torch.float32, requires_grad=not node.frozen),
                torch.tensor(bias, dtype=torch.float32, requires_grad=not node.frozen),
                None if w.dense else torch.tensor(w.mask, dtype=torch.float32),
                sparse.get(node.name),
                np.zeros((2, *w.masters.shape)),
            )
        self._trainable = [self._layers[node.name] for node in self.network.trainable()]
        self._parameters = [p for layer in self._trainable for p in (layer.weight, layer.bias)]
        self._gathered = [torch.zeros_like(p) for p in self._parameters]  # of the open mini-batch
        self._pruned = [self._layers[node.name] for node in grda.pruned(self.network)] if self.room.prune else []
        for layer in self._pruned:
            layer.master = layer.weight.detach().clone()
        self._thresholds = grda.powers(self.room.prune, self.room.prune_mu)
        self._holds = [_Hold(layer.weight) for layer in self._trainable] if self.room.ewc else []
        anchored = lightcl.anchored(self.network) if self.room.light_keep else []
        shapes = self.network.graph.shapes
        self._anchors = {node.name: _Anchors(shapes[node.name][2], self.room) for node in anchored}

    def _unit(self, tensor: str) -> np.float32:
        """Of the values that `_enter` gives and `_forward` takes: the board's at the start."""
        return np.float32(2.0 ** self.network.exponents[self.network.graph.scales[tensor]])

    def _enter(self, x: NDArray[np.int8]) -> NDArray[Any]:
        return self._enter_all(x[None]).ravel()

    def _enter_all(self, x: Inputs) -> NDArray[Any]:
        """Values of int8 samples (n, inputs) in the tensor `entry`, (n, size)."""
        maps = self._maps(INPUT, x)
        with backend.torch().no_grad():
            backend.operate(self.below, maps, self._weighted)
        return np.asarray(backend.values_of(maps[self.entry]).numpy()) / self._unit(self.entry)

    def _forward(self, x: NDArray[Any]) -> Any:
        """float32 (n, classes) of what `_enter_all` gave."""
        return backend.logits(self.network.graph, self._run(x))

    def _run(self, x: NDArray[Any]) -> dict[str, Any]:
        """Every map from the entry on."""
        maps = self._maps(self.entry, x)
        backend.operate(self.above, maps, self._weighted)
        return maps

    def _maps(self, tensor: str, x: NDArray[Any]) -> dict[str, Any]:
        values = backend.torch().from_numpy(x.astype(np.float32) * self._unit(tensor))
        return backend.maps_of(self.network.graph, tensor, values)

    def _logits(self, x: NDArray[Any]) -> NDArray[Any]:
        with backend.torch().no_grad():
            return np.asarray(self._forward(x[None]).numpy()[0] * UNITS)

    def _weighted(self, node: Node, source: Any) -> Any:
        layer = self._layers[node.name]
        return backend.weighted(node, source, layer.weight, layer.bias)

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        if among is not None:
            self._check_classes(among)
        classes = None if among is None else np.isin(np.arange(self.network.classes), among)
        with backend.torch().no_grad():
            logits = self._forward(self._enter_all(x)).numpy()
        return np.array([arg_max(z, classes) for z in logits], dtype=np.uint8)

    def _loss(self, z: Any, lesson: Lesson) -> Any:
        torch = backend.torch()
        if lesson.logits is not None:  # its gradient is 2**-alpha_shift (z - t)
            target = torch.tensor(lesson.logits / UNITS, dtype=torch.float32)
            return ((z[0] - target) ** 2).sum() * 2.0 ** (-lesson.alpha_shift - 1)
        if lesson.classes is not None:
            z = z.masked_fill(torch.from_numpy(~lesson.classes), -torch.inf)
        return backend.functional().cross_entropy(z, torch.tensor([lesson.label]))

    def _train(self, lesson: Lesson) -> tuple[NDArray[Any], bool]:
        torch = backend.torch()
        maps = self._run(lesson.x[None])
        z = backend.logits(self.network.graph, maps)
        logits: NDArray[Any] = z.detach().numpy()[0] * UNITS
        if self.replay.anchors and lesson.logits is None and self._see(lesson, maps):
            self.work["skipped"] += 1
            return logits, False
        skipped = 0 < lesson.margin <= logits[lesson.label] - np.delete(logits, lesson.label).max()
        loss = self._loss(z, lesson)
        if lesson.offered:
            skipped |= not self.threshold.takes(self._level(loss, z, maps))
        if skipped:
            self.work["skipped"] += 1
            return logits, False
        gradients = torch.autograd.grad(loss + self._held(lesson, maps), self._parameters)
        if self.room.rho:
            self._ascend(gradients[::2])
            z = backend.logits(self.network.graph, self._run(lesson.x[None]))
            gradients = torch.autograd.grad(self._loss(z, lesson), self._parameters)
        with torch.no_grad():
            for layer, gradient in zip(self._trainable, gradients[::2], strict=True):
                if layer.learns is not None:
                    gradient.mul_(layer.learns)
            if self.room.batch == 1:
                for layer in self._pruned:
                    layer.weight.copy_(layer.master)
                self._pull(gradients[::2])
                self._descend(gradients, lesson.rate_shift)
                self._prune()
            else:
                torch._foreach_add_(self._gathered, gradients, alpha=2.0**-lesson.rate_shift)
        return logits, True

    def _descend(self, gradients: Any, rate_shift: int = 0) -> None:
        rate = self.settings.lr_mantissa * 2.0 ** (self.settings.lr_exponent - rate_shift)
        backend.torch()._foreach_add_(self._parameters, gradients, alpha=-rate)

    def _apply(self) -> None:
        torch = backend.torch()
        with torch.no_grad():
            self._descend(self._gathered)
            torch._foreach_zero_(self._gathered)

    def _level(self, loss: Any, z: Any, maps: dict[str, Any]) -> float | None:
        """IDS: of the last layer's gradient."""
        (g,) = backend.torch().autograd.grad(loss, [z], retain_graph=True)
        (source,) = self.network.graph.nodes[-1].sources
        return ids.real_level(float(g.norm() * maps[source].detach().norm()))

    def _prune(self) -> None:
        """gRDA: masters have learnt in the place of weights in use, which are made of them anew."""
        threshold = grda.threshold(self._thresholds, self.step) * 2.0**grda.EXPONENT
        for layer in self._pruned:
            layer.master.copy_(layer.weight)
            layer.weight.copy_(backend.functional().softshrink(layer.master, threshold))

    def _ascend(self, gradients: Any) -> None:
        """Sharpness: weights in use go up the gradient, as far as the integer learner's."""
        with backend.torch().no_grad():
            for node, layer, gradient in zip(self.network.trainable(), self._trainable, gradients, strict=True):
                if layer.master is None:
                    continue
                if layer.learns is not None:
                    gradient.mul_(layer.learns)
                _, power = np.frexp(float(gradient.abs().max()))
                unit = self.network.weights[node.name].exponent - 8
                layer.weight.add_(gradient, alpha=2.0 ** (self.room.rho + unit - int(power)))

    # ---- EWC

    def _pull(self, gradients: Any) -> None:
        """Weights go the held part of their way back; in a task's last epoch it is noted what this sample needs."""
        for layer, hold, gradient in zip(self._trainable, self._holds, gradients, strict=bool(self._holds)):
            pull = hold.held * (layer.weight - hold.anchor)
            layer.weight.sub_(pull if layer.learns is None else pull * layer.learns)
            if self._noting:
                self._note_need(hold.fresh, gradient)

    def _note_need(self, hold: Any, gradient: Any) -> None:
        rate = self.settings.lr_mantissa * 2.0**self.settings.lr_exponent
        hold.add_((rate * gradient) ** 2, alpha=ewc.weight(self.settings.alpha_shift)).clamp_(max=1)

    def _need(self, lesson: Lesson) -> None:
        loss = self._loss(self._forward(lesson.x[None]), lesson)
        gradients = backend.torch().autograd.grad(loss, self._parameters)[::2]
        for layer, hold, gradient in zip(self._trainable, self._holds, gradients, strict=True):
            self._note_need(hold.held, gradient if layer.learns is None else gradient * layer.learns)

    def _hold(self) -> None:
        with backend.torch().no_grad():
            for layer, hold in zip(self._trainable, self._holds, strict=True):
                hold.held.add_(hold.fresh).clamp_(max=1)
                hold.fresh.zero_()
                hold.anchor = (layer.weight if layer.master is None else layer.master).detach().clone()

    # ---- LightCL

    def _open_anchors(self) -> None:
        for anchors in self._anchors.values():
            anchors.open_task()

    def _look(self, x: NDArray[Any]) -> None:
        self._note(self._run(x[None]))

    def _note(self, maps: dict[str, Any]) -> None:
        for name, anchors in self._anchors.items():
            anchors.activity += maps[name][0].detach().abs().sum(dim=(1, 2)).numpy()

    def _see(self, lesson: Lesson, maps: dict[str, Any]) -> bool:
        """A new sample before it is learnt; True if it became an anchor instead."""
        if self._noting:
            self._note(maps)
        if lesson.anchor is None:
            return False
        for name, anchors in self._anchors.items():
            anchors.maps[lesson.anchor] = maps[name].detach()
        return True

    def _held(self, lesson: Lesson, maps: dict[str, Any]) -> Any:
        """Half the squared distance of kept channels to the anchor's, weighted; 0 where nothing is held."""
        if lesson.anchor is None:
            return 0.0
        distances = [
            ((maps[name] - anchors.maps[lesson.anchor])[:, anchors.kept] ** 2).sum()
            for name, anchors in self._anchors.items()
        ]
        return sum(distances) * 2.0 ** (-lesson.alpha_shift - 1)

    # ---- masks

    def _clear(self, layer: SparseLayer) -> None:
        self._layers[layer.node.name].accumulated[:] = 0

    def _measure(self, lesson: Lesson, part: Slice) -> bool:
        layer = self._layers[part.layer.node.name]
        (gradient,) = backend.torch().autograd.grad(self._loss(self._forward(lesson.x[None]), lesson), [layer.weight])
        here = expand(part.blocks, part.layer.node.block)
        layer.accumulated[part.accumulator][here] += gradient.numpy()[here]
        return True

    def _terms(self, layer: SparseLayer) -> NDArray[np.float64]:
        first, second = np.abs(self._layers[layer.node.name].accumulated)
        return block_sum(first / 2 + second, layer.node.block)

    def _weigh(self, layer: SparseLayer, log_steps: int | None) -> NDArray[Any]:
        weight = self._layers[layer.node.name].weight.detach().numpy()
        magnitudes = block_sum(np.abs(weight).astype(np.float64), layer.node.block)
        if log_steps is None:
            return magnitudes
        counted = layer.terms != masking.TERM_GROWN
        if self.masks.released and self.settings.dgm_share:
            counted &= layer.selected
        return np.asarray(magnitudes + np.where(counted, layer.terms, 0) / (1 << log_steps))

    def _remask(self, layer: SparseLayer) -> None:
        torch, tensors = backend.torch(), self._layers[layer.node.name]
        mask = torch.from_numpy(layer.mask)
        with torch.no_grad():
            tensors.weight.mul_(mask)
            if self._holds:
                self._holds[layer.number].remask(mask)

    def _settle(self, layer: SparseLayer) -> None:
        torch = backend.torch()
        self._layers[layer.node.name].learns = torch.from_numpy(layer.learns.astype(np.float32))

    def state_hash(self) -> None:
        return None

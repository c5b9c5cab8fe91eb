"""The integer learner in NumPy: the readable specification the C runtime is held against, bit for bit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import numerics as nx
from .. import ops
from ..graph import INPUT, Node, size
from ..network import Weights
from ..numerics import Ints
from ..ops import activation, softmax_ce
from ..sparsity import Mask, block_sum, expand, in_storage_order
from . import ewc, grda, ids, lightcl, masking
from .base import Inputs, Labels
from .ewc import Hold
from .lightcl import Anchors
from .masks import SparseLayer
from .step import Lesson, Slice, StepLearner, arg_max


@dataclass
class _Layer:
    """Learnt state of one weighted layer, and what does not change beside it."""

    start: Weights
    masters: NDArray[np.int16]  # M', (rows, fan_in)
    bias: NDArray[np.int32]
    sparse: SparseLayer | None  # its masks; None where every weight exists
    gathered: Ints  # gradients of the open mini-batch, (rows, fan_in)
    bias_gathered: Ints
    accumulated: Ints  # importance, (2, rows, fan_in), exponent e_w - 4
    ewc: Hold | None  # where the network has room for it
    working: NDArray[np.int8] | None = None  # gRDA: weights in use, (rows, fan_in)

    @classmethod
    def load(cls, start: Weights, sparse: SparseLayer | None, ewc: bool) -> _Layer:
        bias, shape = start.bias.copy(), start.masters.shape
        accumulated = np.zeros((2, *shape) if sparse else (2, 0, 0), np.int64)
        nothing = np.zeros(shape, np.int64), np.zeros(len(bias), np.int64)
        hold = Hold.load(start.masters) if ewc else None
        return cls(start, start.masters.copy(), bias, sparse, *nothing, accumulated, hold)

    @property
    def learns(self) -> NDArray[np.bool_]:
        """(rows, fan_in) weights that updates reach."""
        return self.sparse.learns if self.sparse else self.start.mask

    @property
    def stored(self) -> Mask | None:
        """(groups of rows, block columns) that exist; None of a layer without masks."""
        return self.sparse.stored if self.sparse else None

    @property
    def hi(self) -> Ints:
        """The int8 weights in use: with gRDA `working`, else the rounded masters."""
        return (self.masters >> 8 if self.working is None else self.working).astype(np.int64)

    def accumulator_exponent(self, e_in: int) -> Ints | int:
        """Exponent of the accumulators: one, or one a row (depthwise)."""
        e = self.start.exponents.astype(np.int64) + e_in
        return int(e[0]) if len(e) == 1 else e


@dataclass
class _Scale:
    """The exponent of one or more layers' outputs, and the counters that may raise it."""

    exponent: int
    outputs: int  # values a training pass writes with this exponent
    fixed: bool
    saturated: int = 0
    window: int = 0

    def close(self) -> None:
        """End of a training pass: raise the exponent when more than one output in 2**RARE_BITS saturated."""
        if self.fixed:
            return
        self.window += 1
        if self.window == nx.WINDOW:
            if self.saturated << nx.RARE_BITS > nx.WINDOW * self.outputs:
                self.exponent += 1
            self.saturated = self.window = 0


@dataclass
class _Trace:
    """What one forward pass leaves for backward."""

    maps: dict[str, Ints]  # int8 outputs by name, the input included
    positive: dict[str, NDArray[np.bool_]] = field(default_factory=dict)  # ReLU masks
    saved: dict[str, Any] = field(default_factory=dict)  # of operators without weights
    saturated: dict[str, int] = field(default_factory=dict)  # by layer


class SimulatedLearner(StepLearner):
    """Integer forward, backward and update; the board's arithmetic without the board."""

    sample_type = np.int8

    def _load(self) -> None:
        graph = self.network.graph
        sparse = {layer.node.name: layer for layer in self.masks.layers}
        learning = {node.name for node in self.network.trainable()}
        self.layers = {
            name: _Layer.load(weights, sparse.get(name), self.room.ewc and name in learning)
            for name, weights in self.network.weights.items()
        }
        self.pruned = [node.name for node in grda.pruned(self.network)] if self.room.prune else []
        self.thresholds = grda.powers(self.room.prune, self.room.prune_mu)
        self._prune(0)
        held = lightcl.anchored(self.network) if self.room.light_keep else []
        self.anchors = {node.name: Anchors.load(self.network, node, self.room) for node in held}
        self.scales = {
            scale: _Scale(
                exponent,
                sum(size(graph.shapes[node.name]) for node in graph.counts(scale)),
                graph.scale_fixed(scale),
            )
            for scale, exponent in self.network.exponents.items()
        }

    def _exponent(self, name: str) -> int:
        """Exponent of a tensor: the input or a layer's int8 output."""
        return self.scales[self.network.graph.scales[name]].exponent

    # ---- forward

    def _enter(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        trace = self._start(INPUT, x)
        for node in self.below:
            self._operate(node, trace)
        return trace.maps[self.entry].ravel().astype(np.int8)

    def _forward(self, x: NDArray[np.int8]) -> tuple[Ints, _Trace]:
        """Logits of what `_enter` gave, and what backward needs."""
        trace = self._start(self.entry, x)
        *hidden, head = self.above
        for node in hidden:
            self._operate(node, trace)
        operator = ops.OPERATORS[head.op]
        assert isinstance(operator, ops.Weighted)
        acc, e_acc = self._accumulate(operator, head, trace.maps[head.sources[0]])
        return activation.logits(acc.ravel(), int(e_acc)), trace

    def _start(self, tensor: str, x: NDArray[np.int8]) -> _Trace:
        return _Trace({tensor: x.astype(np.int64).reshape(self.network.graph.shapes[tensor])})

    def _operate(self, node: Node, trace: _Trace) -> None:
        operator = ops.OPERATORS[node.op]
        sources = [trace.maps[source] for source in node.sources]
        e_acc: Ints | int
        if isinstance(operator, ops.Weighted):
            acc, e_acc = self._accumulate(operator, node, sources[0])
        elif isinstance(operator, ops.Unweighted):
            acc, trace.saved[node.name] = operator.forward(node, sources)
            e_acc = self._exponent(node.sources[0]) + operator.exponent
        shift = self._exponent(node.name) - e_acc
        trace.positive[node.name] = acc > 0
        trace.maps[node.name], trace.saturated[node.name] = activation.requantise(acc, shift, node.relu)

    def _accumulate(self, operator: ops.Weighted, node: Node, x: Ints) -> tuple[Ints, Ints | int]:
        layer = self.layers[node.name]
        e_acc = layer.accumulator_exponent(self._exponent(node.sources[0]))
        bias = activation.rsr_channels(layer.bias.astype(np.int64), e_acc - nx.BIAS_EXPONENT)
        return operator.forward(node, layer.hi, x) + bias, e_acc

    def _logits(self, x: NDArray[np.int8]) -> Ints:
        """int16 logits (classes,) of what `_enter` gave, unit 1/32."""
        return self._forward(x)[0]

    def predict(self, x: Inputs, among: tuple[int, ...] | None = None) -> Labels:
        if among is not None:
            self._check_classes(among)
        classes = None if among is None else np.isin(np.arange(self.network.classes), among)
        return np.array([arg_max(self._logits(self._enter(sample)), classes) for sample in x], dtype=np.uint8)

    # ---- backward

    def _train(self, lesson: Lesson) -> tuple[Ints, bool]:
        z, trace = self._forward(lesson.x)
        gradient = _loss_gradient(z, lesson)
        error, e_error = nx.to_block_float(gradient, nx.LOSS_EXPONENT)
        skipped = 0 < lesson.margin <= z[lesson.label] - np.delete(z, lesson.label).max()
        if lesson.offered:
            (source,) = self.network.graph.nodes[-1].sources
            skipped |= not self.threshold.takes(ids.level(gradient, trace.maps[source], self._exponent(source)))
        self.work["skipped"] += bool(skipped) or (lesson.anchor is not None and lesson.logits is None)
        learns = bool(error.any()) and not skipped
        if self.replay.anchors and lesson.logits is None:
            learns = self._see(lesson, trace, learns)
        if learns:
            rate, at = self.settings.lr_exponent - lesson.rate_shift, trace
            if self.room.rho:
                for node, d, e in self._backward(error[None, None], e_error, trace, lesson):
                    self._ascend(node, d, e, trace.maps[node.sources[0]], rate)
                above, at = self._forward(lesson.x)
                error, e_error = nx.to_block_float(_loss_gradient(above, lesson), nx.LOSS_EXPONENT)
            for node, d, e in self._backward(error[None, None], e_error, at, lesson) if error.any() else ():
                self._update(node, d, e, at.maps[node.sources[0]], rate)
            self._prune(grda.threshold(self.thresholds, self.step))
        for name, count in trace.saturated.items():
            scale = self.scales[self.network.graph.scales[name]]
            if not scale.fixed:
                scale.saturated += count
        for scale in self.scales.values():
            scale.close()
        return z, learns

    def _backward(self, error: Ints, e_error: int, trace: _Trace, lesson: Lesson) -> Iterator[tuple[Node, Ints, int]]:
        """From the last layer down: every trainable layer that has an error, the error (height, width, rows) and its
        exponent. The errors of a layer's inputs are computed before the layer is given, which may then change."""
        graph = self.network.graph
        parts = {graph.nodes[-1].name: [(error, e_error)]}
        for node in reversed(graph.nodes):
            meeting = parts.get(node.name, []) + self._held(node, trace, lesson)
            if not meeting:
                continue
            v, e = _join(meeting)
            if node.relu:
                v = np.where(trace.positive[node.name], v, 0)
            d, e = nx.to_block_float(v, e)
            if not d.any():
                continue
            for source, part in self._input_errors(node, d, e, trace):
                parts.setdefault(source, []).append(part)
            if node.weighted and not node.frozen:
                yield node, d, e

    def _input_errors(self, node: Node, d: Ints, e: int, trace: _Trace) -> list[tuple[str, tuple[Ints, int]]]:
        """For each source whose error is needed: its name and (int32 errors, exponent)."""
        graph, operator = self.network.graph, ops.OPERATORS[node.op]
        found = []
        for source in node.sources:
            if source not in graph.learns:
                continue
            shape = graph.shapes[source]
            if isinstance(operator, ops.Unweighted):
                v = operator.backward(node, d, trace.saved[node.name], shape)
                found.append((source, (v, e + operator.exponent)))
            elif isinstance(operator, ops.Weighted):
                weights = self.layers[node.name].start
                v = operator.input_grad(node, self.layers[node.name].hi, d, shape)
                v = (
                    activation.rsr_channels(v, weights.exponent - weights.exponents.astype(np.int64))
                    if len(weights.exponents) > 1
                    else v
                )
                found.append((source, (v, e + weights.exponent)))
        return found

    def _update(self, node: Node, d: Ints, e_d: int, x: Ints, rate: int) -> None:
        """M' -= sat(rsr(m_lr * G, shift)), b -= rsr(m_lr * sum d, shift), for every stored weight."""
        layer, s = self.layers[node.name], self.settings
        gradient, shift = self._step_of(node, d, e_d, x, rate)
        bias_gradient = s.lr_mantissa * d.sum(axis=(0, 1))
        bias_shift = nx.BIAS_EXPONENT - (e_d + rate)
        if layer.ewc:
            change = nx.sat(_rsr_rows(gradient, shift - 8), nx.INT32_MAX)
            draw = ewc.draw(s.seed, self.step, self.network.trainable().index(node))
            pull = layer.ewc.pull(layer.masters, draw)
            move(layer.masters, layer.learns, nx.rsr(change, 8) + pull)
            if self._noting:
                change = np.where(layer.learns, change, 0)
                layer.ewc.note(layer.ewc.fresh, change, layer.start.exponents, s.alpha_shift, draw)
            apply_bias(layer.bias, nx.sat(nx.rsr(bias_gradient, bias_shift - 8), nx.INT32_MAX), 8)
        elif self.room.batch == 1:
            apply_update(layer.masters, layer.learns, gradient, shift)
            apply_bias(layer.bias, bias_gradient, bias_shift)
        else:
            layer.gathered = nx.sat(layer.gathered + _rsr_rows(gradient, shift - 8), nx.INT32_MAX)
            layer.bias_gathered = nx.sat(layer.bias_gathered + nx.rsr(bias_gradient, bias_shift - 8), nx.INT32_MAX)

    def _step_of(self, node: Node, d: Ints, e_d: int, x: Ints, rate: int) -> tuple[Ints, Ints]:
        """Of a layer's masters: m_lr * G (rows, fan_in), and the shift that brings it to their exponent, one or one a
        row."""
        operator = ops.OPERATORS[node.op]
        assert isinstance(operator, ops.Weighted)
        e_w = self.layers[node.name].start.exponents.astype(np.int64)
        shift = (e_w - 8) - (e_d + self._exponent(node.sources[0]) + rate)
        return self.settings.lr_mantissa * operator.weight_grad(node, d, x), shift

    def _apply(self) -> None:
        for node in self.network.trainable():
            layer = self.layers[node.name]
            apply_update(layer.masters, layer.learns, layer.gathered, np.array([8]))
            apply_bias(layer.bias, layer.bias_gathered, 8)
            layer.gathered[:] = layer.bias_gathered[:] = 0

    def _hold(self) -> None:
        for layer in self.layers.values():
            if layer.ewc:
                layer.ewc.end_task(layer.masters)

    def _need(self, lesson: Lesson) -> None:
        z, trace = self._forward(lesson.x)
        error, e_error = nx.to_block_float(_loss_gradient(z, lesson), nx.LOSS_EXPONENT)
        s = self.settings
        for node, d, e in self._backward(error[None, None], e_error, trace, lesson):
            layer = self.layers[node.name]
            assert layer.ewc
            gradient, shift = self._step_of(node, d, e, trace.maps[node.sources[0]], s.lr_exponent)
            change = np.where(layer.learns, nx.sat(_rsr_rows(gradient, shift - 8), nx.INT32_MAX), 0)
            draw = ewc.draw_remembered(s.seed, self.replay.seen, self.network.trainable().index(node))
            layer.ewc.note(layer.ewc.held, change, layer.start.exponents, s.alpha_shift, draw)

    def _prune(self, threshold: int) -> None:
        """gRDA: weights in use are made of masters anew."""
        for name in self.pruned:
            layer = self.layers[name]
            layer.working = grda.weights(layer.masters, layer.start.exponents, threshold)

    def _ascend(self, node: Node, d: Ints, e_d: int, x: Ints, rate: int) -> None:
        """Sharpness: a layer's weights in use go up its gradient; masters stay."""
        layer = self.layers[node.name]
        if layer.working is None:
            return
        gradient, shift = self._step_of(node, d, e_d, x, rate)
        gradient = np.where(layer.start.mask, nx.sat(_rsr_rows(gradient, shift - 8), nx.INT32_MAX), 0)
        drawn = grda.soft(layer.masters, layer.start.exponents, grda.threshold(self.thresholds, self.step))
        layer.working = grda.rounded(drawn + grda.ascent(gradient, self.room.rho))

    # ---- LightCL

    def _open_anchors(self) -> None:
        for anchors in self.anchors.values():
            anchors.open_task()

    def _look(self, x: NDArray[np.int8]) -> None:
        self._note(self._forward(x)[1])

    def _note(self, trace: _Trace) -> None:
        for name, anchors in self.anchors.items():
            anchors.note(trace.maps[name])

    def _see(self, lesson: Lesson, trace: _Trace, learns: bool) -> bool:
        """A new sample before it is learnt, if it is: anchors are not."""
        if self._noting:
            self._note(trace)
        if lesson.anchor is None:
            return learns
        for name, anchors in self.anchors.items():
            anchors.put(lesson.anchor, trace.maps[name], self._exponent(name))
        return False

    def _held(self, node: Node, trace: _Trace, lesson: Lesson) -> list[tuple[Ints, int]]:
        """The error that holds a layer's outputs to an anchor's, if there is one."""
        anchors = self.anchors.get(node.name)
        if anchors is None or lesson.anchor is None:
            return []
        e = self._exponent(node.name)
        error = anchors.error(lesson.anchor, trace.maps[node.name], e)
        return [(error, e - lesson.alpha_shift)] if error.any() else []

    # ---- masks

    def _clear(self, layer: SparseLayer) -> None:
        self.layers[layer.node.name].accumulated[:] = 0

    def _measure(self, lesson: Lesson, part: Slice) -> bool:
        z, trace = self._forward(lesson.x)
        error, e_error = nx.to_block_float(_loss_gradient(z, lesson), nx.LOSS_EXPONENT)
        if not error.any():
            return False
        node, into = part.layer.node, self.layers[part.layer.node.name]
        for reached, d, e_d in self._backward(error[None, None], e_error, trace, lesson):
            if reached is node:
                operator = ops.OPERATORS[node.op]
                assert isinstance(operator, ops.Weighted)
                gradient = operator.weight_grad(node, d, trace.maps[node.sources[0]])
                shift = (into.start.exponent - masking.UNIT_BITS) - (e_d + self._exponent(node.sources[0]))
                sums = into.accumulated[part.accumulator]
                here = expand(part.blocks, node.block)
                sums[here] = nx.sat(sums[here] + nx.rsr(gradient[here], shift), 32767)
                break
        return True

    def _terms(self, layer: SparseLayer) -> Ints:
        first, second = np.abs(self.layers[layer.node.name].accumulated)
        return masking.code(_block_sum(first + 2 * second, layer))

    def _weigh(self, layer: SparseLayer, log_steps: int | None) -> Ints:
        m = self.layers[layer.node.name].masters.astype(np.int64) - 128
        magnitudes = _block_sum(np.abs(m), layer)
        if log_steps is None:
            return masking.code(magnitudes)
        counted = layer.terms != masking.TERM_GROWN
        if self.masks.released and self.settings.dgm_share:
            counted &= layer.selected
        terms = np.where(counted, layer.terms, 0).astype(np.int64)
        return masking.code(magnitudes + (masking.decode(terms) << 3 >> log_steps))  # halves of 16 master units

    def _remask(self, layer: SparseLayer) -> None:
        state = self.layers[layer.node.name]
        state.masters[~layer.mask] = 128
        if state.ewc:
            state.ewc.remask(layer.mask)

    def _settle(self, layer: SparseLayer) -> None:
        """Masks are read where they lie."""

    # ---- state

    def learnt_hash(self) -> int:
        """CRC-32 of parts 1 and 2 of docs/numerics.md, "State hash": what the layers have learnt."""
        crc = 0
        for node in self.network.trainable():
            layer = self.layers[node.name]
            m = layer.masters.astype(np.int32) - 128
            crc = zlib.crc32(m.astype("<i2").tobytes(), crc)
            if layer.sparse:
                crc = zlib.crc32(np.packbits(layer.sparse.mask, bitorder="little").tobytes(), crc)
                if self.room.dgm:
                    crc = zlib.crc32(np.packbits(layer.learns, bitorder="little").tobytes(), crc)
            crc = zlib.crc32(layer.bias.astype("<i4").tobytes(), crc)
            crc = zlib.crc32(layer.start.exponents.tobytes(), crc)
            if layer.ewc:
                crc = zlib.crc32(layer.ewc.bytes(layer.stored, node.block), crc)
            if layer.working is not None:
                working = in_storage_order(layer.working, layer.stored, node.block)
                crc = zlib.crc32(working.astype(np.int8).tobytes(), crc)
            if node.name in self.anchors:
                crc = zlib.crc32(self.anchors[node.name].bytes(), crc)
        for scale in self.scales.values():
            if not scale.fixed:
                counters = np.array([scale.exponent, scale.saturated, scale.window], dtype="<i4")
                crc = zlib.crc32(counters.tobytes(), crc)
        if self.room.ids:
            value = ids.FRESH if self.threshold.value is None else self.threshold.value
            crc = zlib.crc32(np.array([value], dtype="<i4").tobytes(), crc)
        return crc

    def state_hash(self) -> int:
        """CRC-32 in the canonical order of docs/numerics.md, "State hash"."""
        crc = zlib.crc32(self.replay.x.tobytes(), self.learnt_hash())
        crc = zlib.crc32(self.replay.y.tobytes(), crc)
        if self.room.logits:
            crc = zlib.crc32(self.replay.logits.astype("<i2").tobytes(), crc)
        crc = zlib.crc32(self.removal.bytes(), crc)
        tail = np.array([self.replay.seen, self.step, self.settings.seed, self.schedule.position], dtype="<u4")
        return zlib.crc32(tail.tobytes(), crc)

    def moved(self) -> float:
        """Fraction of the stored trainable masters that differ from the start."""
        layers = [self.layers[node.name] for node in self.network.trainable()]
        changed = sum(np.count_nonzero(layer.masters != layer.start.masters) for layer in layers)
        return changed / sum(layer.start.slots for layer in layers)


def _loss_gradient(z: Ints, lesson: Lesson) -> Ints:
    """Of the logits, exponent -15."""
    if lesson.logits is None:
        return softmax_ce.gradient(z, lesson.label, lesson.classes)
    return softmax_ce.logit_gradient(z, lesson.logits.astype(np.int64), lesson.alpha_shift)


def _block_sum(values: Ints, layer: SparseLayer) -> Ints:
    return block_sum(values.astype(np.float64), layer.node.block).astype(np.int64)


def _join(parts: list[tuple[Ints, int]]) -> tuple[Ints, int]:
    """Sum of errors that meet in one tensor: each aligned to the larger exponent, in the order they came."""
    v, e = parts[0]
    for other, e_other in parts[1:]:
        top = max(e, e_other)
        v, e = nx.rsr(v, top - e) + nx.rsr(other, top - e_other), top
    return v, e


def _rsr_rows(values: Ints, shift: Ints) -> Ints:
    """`rsr` of a (rows, fan_in) matrix with shift (1,) or (rows,)."""
    return activation.rsr_channels(values.T, shift if len(shift) > 1 else int(shift[0])).T


def apply_update(masters: NDArray[np.int16], mask: NDArray[np.bool_], gradient: Ints, shift: Ints) -> None:
    """M' -= sat(rsr(gradient, shift)) for every stored weight, in place. gradient int64 (rows, fan_in); shift (1,) or
    (rows,)."""
    move(masters, mask, _rsr_rows(gradient, shift))


def move(masters: NDArray[np.int16], mask: NDArray[np.bool_], steps: Ints) -> None:
    """M' -= sat(step) for every stored weight, in place."""
    moved = np.clip(masters - nx.sat(steps, 32767), nx.MASTER_MIN, nx.MASTER_MAX)
    masters[mask] = moved[mask].astype(np.int16)


def apply_bias(bias: NDArray[np.int32], gradient: Ints, shift: int) -> None:
    """b -= rsr(gradient, shift), |b| <= 2**29, in place."""
    bias[:] = nx.sat(bias - nx.rsr(gradient, shift), nx.BIAS_LIMIT).astype(np.int32)

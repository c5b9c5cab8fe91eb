"""A board's state block, as it lies in its memory, read into the simulated learner."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparcl_mcu import numerics as nx
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import Node
from sparcl_mcu.learners import ewc, ids
from sparcl_mcu.learners.base import Importance, LearnSettings, Replay, Room, TaskInfo
from sparcl_mcu.learners.schedule import Schedule
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.network import Network
from sparcl_mcu.sparsity import Mask

from .generate import model_hash
from .plan import Field, plan

MAGIC, VERSION = 0x534C4353, 3  # SCL_STATE_MAGIC, SCL_STATE_VERSION
HEAD = struct.Struct("<9I4H6B2x")  # scl_state up to its config
CONFIG = struct.Struct("<IBb6B5HBx")  # scl_config

Arrays = Mapping[str, NDArray[Any]]


class StateError(SparclError):
    """A state is damaged, or another network's."""


def load(network: Network, room: Room, block: bytes) -> SimulatedLearner:
    """A simulated learner that goes on where the board with this state block was. Raises StateError."""
    memory = plan(network, room)
    if len(block) != memory.state_bytes:
        raise StateError(f"a state of {network.name!r} has {memory.state_bytes} bytes, this one {len(block)}")
    magic, version, model = HEAD.unpack_from(block)[:3]
    expected = model_hash(network, room)
    if (magic, version, model) != (MAGIC, VERSION, expected):
        raise StateError(
            f"this is a state of model {model:08x} in layout {version}; network {network.name!r} with this room is "
            f"{expected:08x} in layout {VERSION}"
        )
    arrays = {field.name: _array(block, field) for field in memory.state[1:]}
    try:
        return _learner(network, room, block, arrays)
    except (SparclError, ValueError, IndexError) as error:
        raise StateError(f"this state of {network.name!r} is not sound: {error}") from None


def _learner(network: Network, room: Room, block: bytes, arrays: Arrays) -> SimulatedLearner:
    _, _, _, step, seen, position, samples, _, swept, *rest = HEAD.unpack_from(block)
    epochs, epochs_done, removed, tasks_begun, task_open, gathered, remembered, event, _, anchored = rest
    learner = SimulatedLearner(network, room)
    settings = _settings(block)
    learner.reset(settings)
    learner.step, learner.replay.seen, learner.replay.anchored = step, seen, anchored
    learner.tasks_begun, learner.epoch, learner.gathered = tasks_begun, epochs_done, gathered
    learner.remembered = bool(remembered)
    bits = np.unpackbits(arrays["task_classes"], bitorder="little", count=network.classes)
    learner.task_classes = bits.astype(np.bool_)
    if task_open:
        learner.task = TaskInfo(tuple(int(c) for c in np.flatnonzero(bits)), samples, epochs)
    length = samples * epochs if settings.masks_learn else 0
    windows = learner.masks.windows if settings.sweeps and length else 0
    learner.schedule = Schedule(length, windows, position, event if length else 1, swept, swept > 0)
    _load_layers(learner, arrays)
    _load_replay(learner, arrays)
    if settings.ddr_fraction and tasks_begun:
        learner.removal.begin(samples, epochs, settings.ddr_fraction)
    if room.ddr:
        counts = arrays["ddr_wrong"]
        learner.removal.alive[:] = np.unpackbits(arrays["ddr_alive"], bitorder="little", count=room.ddr)
        learner.removal.counts[:] = np.stack([counts & 15, counts >> 4], 1).ravel()[: room.ddr]
        learner.removal.removed = removed
    learner.masks.count()
    _check(learner)
    return learner


def _check(learner: SimulatedLearner) -> None:
    """Raises ValueError for what no board would have, as scl_admit refuses it."""
    for name, layer in learner.layers.items():
        if (layer.masters < nx.MASTER_MIN).any() or (np.abs(layer.bias.astype(np.int64)) > nx.BIAS_LIMIT).any():
            raise ValueError(f"{name} has a weight or a bias out of range")
        if layer.ewc and max(layer.ewc.held.max(), layer.ewc.fresh.max()) > ewc.MOST:
            raise ValueError(f"{name} is held by more than {ewc.MOST}")
        if layer.working is not None and (layer.working < -127).any():
            raise ValueError(f"{name} has a weight in use below -127")
    buffer = learner.replay
    if (buffer.y >= learner.network.classes).any():
        raise ValueError(f"its buffer has a label above {learner.network.classes - 1}")
    if buffer.anchored > buffer.capacity:
        raise ValueError(f"it has {buffer.anchored} anchors where {buffer.capacity} fit")
    for name, anchors in learner.anchors.items():
        exponent = learner.scales[learner.network.graph.scales[name]].exponent
        if anchors.kept.sum() > anchors.most or (anchors.exponents[: buffer.anchored] > exponent).any():
            raise ValueError(f"{name} keeps more than {anchors.most} channels, or an anchor of a later exponent")
    if abs(learner.threshold.value or 0) > ids.MOST:
        raise ValueError(f"the threshold {learner.threshold.value} of IDS is out of range")


def _array(block: bytes, field: Field) -> NDArray[Any]:
    """A member of the state block, flat; a scl_scale is three numbers."""
    kind = field.declaration.split()[0].removesuffix("_t")
    dtype = np.dtype("<i4") if kind == "scl_scale" else np.dtype(kind).newbyteorder("<")
    return np.frombuffer(block, dtype, field.bytes // dtype.itemsize, field.offset)


def _settings(block: bytes) -> LearnSettings:
    seed, mantissa, exponent, replay, alpha, beta, single, importance, within, *shares = CONFIG.unpack_from(
        block, HEAD.size
    )
    margin, intra, inter, share, fraction, anneal = shares
    return LearnSettings(
        seed=seed,
        lr_mantissa=mantissa,
        lr_exponent=exponent,
        replay=Replay(replay),
        alpha_shift=alpha,
        beta_shift=beta,
        single_head_loss=bool(single),
        margin=margin,
        importance=Importance(importance),
        tdm_intra=intra,
        tdm_inter=inter,
        dgm_share=share,
        ddr_fraction=fraction,
        ddr_within_task=bool(within),
        anneal=anneal,
    )


def _load_layers(learner: SimulatedLearner, arrays: Arrays) -> None:
    masked = {layer.node.name: layer for layer in learner.masks.layers}
    for node in learner.network.trainable():
        layer, sparse = learner.layers[node.name], masked.get(node.name)
        if sparse and f"{node.name}_start" in arrays:
            sparse.stored[:] = _stored(arrays[f"{node.name}_start"], arrays[f"{node.name}_index"], sparse.stored.shape)
        blocks = sparse.stored if sparse else None
        layer.masters[:] = 128  # a weight of 0
        _unpack(layer.masters, arrays[f"{node.name}_master"], node, blocks)
        layer.bias[:] = arrays[f"{node.name}_bias"]
        if learner.room.batch > 1:
            _unpack(layer.gathered, arrays[f"{node.name}_gathered"], node, blocks)
            layer.bias_gathered[:] = arrays[f"{node.name}_bias_gathered"]
        if layer.ewc:
            if sparse:
                layer.ewc.remask(sparse.mask)
            for values, what in ((layer.ewc.anchor, "anchor"), (layer.ewc.held, "held"), (layer.ewc.fresh, "fresh")):
                _unpack(values, arrays[f"{node.name}_{what}"], node, blocks)
        if layer.working is not None:
            _unpack(layer.working, arrays[f"{node.name}_working"], node, blocks)
        if sparse:
            at = np.flatnonzero(sparse.stored)
            if learner.room.slice:
                sparse.terms[:] = 0
                sparse.terms.ravel()[at] = arrays[f"{node.name}_terms"][: len(at)]
            if learner.room.dgm:
                bits = np.unpackbits(arrays[f"{node.name}_selected"], bitorder="little", count=len(at))
                sparse.selected[:] = False
                sparse.selected.ravel()[at] = bits
            else:
                sparse.selected[:] = sparse.stored
    for name, anchors in learner.anchors.items():
        anchors.maps[:] = arrays[f"{name}_maps"].reshape(anchors.maps.shape)
        anchors.exponents[:] = arrays[f"{name}_map_e"]
        anchors.activity[:] = arrays[f"{name}_activity"]
        bits = np.unpackbits(arrays[f"{name}_kept"], bitorder="little", count=len(anchors.kept))
        anchors.kept[:] = bits
    for name, scale in learner.scales.items():
        if f"{name}_scale" in arrays:
            made = scale.exponent
            scale.exponent, scale.saturated, scale.window = (int(value) for value in arrays[f"{name}_scale"])
            if scale.exponent < made:
                raise ValueError(f"{name} has the exponent {scale.exponent}, below the {made} it was made with")
    if learner.room.ids:
        (threshold,) = arrays["ids_threshold"].tolist()
        learner.threshold.value = None if threshold == ids.FRESH else threshold
    _load_window(learner, arrays)


def _stored(start: NDArray[Any], index: NDArray[Any], shape: tuple[int, ...]) -> Mask:
    """(groups, columns) of a mask that moves."""
    stored = np.zeros(shape, np.bool_)
    for group in range(shape[0]):
        stored[group, index[start[group] : start[group + 1]]] = True
    return stored


def _unpack(into: NDArray[Any], values: NDArray[Any], node: Node, blocks: Mask | None) -> None:
    """Weights in storage order into a (rows, fan_in) matrix; blocks: (groups, columns) that are stored, None: all."""
    if blocks is None:
        into[:] = values[: into.size].reshape(into.shape)
        return
    rows, cols = node.block
    tiles = into.reshape(blocks.shape[0], rows, blocks.shape[1], cols)
    where = np.nonzero(blocks)
    tiles[where[0], :, where[1], :] = values[: len(where[0]) * rows * cols].reshape(-1, rows, cols)


def _load_window(learner: SimulatedLearner, arrays: Arrays) -> None:
    """What the open importance window has gathered."""
    schedule = learner.schedule
    if not schedule.windows or schedule.swept % (1 << schedule.log_steps) == 0:
        return
    layer, blocks = learner.masks.slice(schedule.swept >> schedule.log_steps)
    sums = arrays["importance_sums"].reshape(2, -1)
    for accumulator in range(2):
        _unpack(learner.layers[layer.node.name].accumulated[accumulator], sums[accumulator], layer.node, blocks)


def _load_replay(learner: SimulatedLearner, arrays: Arrays) -> None:
    buffer, room = learner.replay, learner.room
    if room.replay:
        buffer.x[:] = arrays["replay_x"].reshape(buffer.x.shape)
        buffer.y[:] = arrays["replay_y"]
    if room.logits:
        buffer.logits[:] = arrays["replay_logits"].reshape(-1, learner.network.classes)[: room.replay]

"""The memory plan: every byte of the state block and of the arena, known before anything is compiled.

The state block holds what is learnt and is laid out field by field. The arena is scratch: buffers whose lifetimes in
a training step do not overlap share bytes. The generator writes both into model.h; tests compare the sizes with
what the linker reports.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sparcl_mcu.network import Dense, Network

HEAD_BYTES = 32  # sizeof(scl_state)
SCALE_BYTES = 12  # sizeof(scl_scale)
ALIGN = 4


@dataclass(frozen=True)
class Field:
    """One member of the state block. name: its C name; what: for people; bytes: without padding."""

    name: str
    what: str
    bytes: int
    offset: int


@dataclass(frozen=True)
class Buffer:
    """One arena buffer, alive from step `first` to step `last` (indices into `MemoryPlan.steps`, inclusive)."""

    name: str
    what: str
    bytes: int
    first: int
    last: int
    offset: int


@dataclass(frozen=True)
class MemoryPlan:
    """state and arena are RAM; constant_bytes is flash for tables of the model (code comes on top)."""

    steps: tuple[str, ...]
    state: tuple[Field, ...]
    arena: tuple[Buffer, ...]
    state_bytes: int
    arena_bytes: int
    replay_bytes: int
    constant_bytes: int

    def alive(self, step: int) -> int:
        """Bytes of arena buffers alive in a step."""
        return sum(_aligned(b.bytes) for b in self.arena if b.first <= step <= b.last)

    @property
    def peak(self) -> str:
        """The step that needs most of the arena."""
        return self.steps[max(range(len(self.steps)), key=self.alive)]

    def rows(self) -> list[tuple[str, int]]:
        """What occupies RAM, largest first: (what, bytes)."""
        rows = [(field.what, field.bytes) for field in self.state] + [("arena (scratch)", self.arena_bytes)]
        return sorted(rows, key=lambda row: -row[1])

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"peak": self.peak}


def plan(network: Network, replay_capacity: int) -> MemoryPlan:
    """Plan state and arena of a network with a replay buffer of `replay_capacity` int8 samples."""
    state, state_bytes = _state(network, replay_capacity)
    steps, wanted = _lifetimes(network.layers)
    arena = _place(wanted)
    return MemoryPlan(
        steps=steps,
        state=state,
        arena=arena,
        state_bytes=state_bytes,
        arena_bytes=max(_aligned(b.offset + b.bytes) for b in arena),
        replay_bytes=replay_capacity * (network.inputs + 1),
        constant_bytes=sum(_constants(layer) for layer in network.layers),
    )


def index_bytes(layer: Dense) -> int:
    """Bytes of one index entry: 0 for a dense layer, 1 where every block column fits a byte, else 2."""
    if layer.dense:
        return 0
    return 1 if layer.inputs // layer.block.cols <= 256 else 2


def _constants(layer: Dense) -> int:
    start = 0 if layer.dense else 2 * (layer.outputs // layer.block.rows + 1)
    blocks = layer.slots // (layer.block.rows * layer.block.cols)
    return 2 * layer.slots + 4 * layer.outputs + start + index_bytes(layer) * blocks


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _state(network: Network, replay_capacity: int) -> tuple[tuple[Field, ...], int]:
    members = [("head", "head: seed, step, counters", HEAD_BYTES)]
    for layer in network.layers:
        members.append((f"{layer.name}_bias", f"{layer.name} biases, int32", 4 * layer.outputs))
    for layer in network.layers[:-1]:
        members.append((f"{layer.name}_scale", f"{layer.name} output exponent", SCALE_BYTES))
    for layer in network.layers:
        members.append((f"{layer.name}_master", f"{layer.name} masters, int16", 2 * layer.slots))
    if replay_capacity:
        members.append(("replay_x", "replay buffer, int8 inputs", replay_capacity * network.inputs))
        members.append(("replay_y", "replay buffer, labels", replay_capacity))
    fields, offset = [], 0
    for name, what, size in members:  # in falling alignment, so that the compiler adds no padding between them
        fields.append(Field(name, what, size, offset))
        offset += size
    return tuple(fields), _aligned(offset)


def _lifetimes(layers: tuple[Dense, ...]) -> tuple[tuple[str, ...], list[Buffer]]:
    """Steps of one training pass and the buffers they need, not yet placed (offset 0)."""
    last = len(layers) - 1
    steps = [f"{layer.name} forward" for layer in layers] + ["loss"]
    for i in range(last, -1, -1):
        steps += [f"{layers[i].name} input gradient"] * (i > 0) + [f"{layers[i].name} update"]
    at = {step: n for n, step in enumerate(steps)}

    buffers = []
    for i, layer in enumerate(layers):
        made = at[f"{layer.name} forward"]
        used = at[f"{layer.name} update"]
        # the step in which the error of this layer's output appears
        error = at["loss"] if i == last else at[f"{layers[i + 1].name} input gradient"]
        n = layer.outputs
        if i == last:
            buffers.append(Buffer("logits", "logits, int16", 2 * n, made, error, 0))
        else:
            after = at[f"{layers[i + 1].name} update"]
            buffers.append(Buffer(f"{layer.name}_q", f"{layer.name} outputs, int8", n, made, after, 0))
            buffers.append(Buffer(f"{layer.name}_positive", f"{layer.name} ReLU mask", -(-n // 8), made, error, 0))
        buffers.append(Buffer(f"{layer.name}_v", f"{layer.name} errors, int32", 4 * n, error, error, 0))
        buffers.append(Buffer(f"{layer.name}_d", f"{layer.name} errors, int8", n, error, used, 0))
    return tuple(steps), buffers


def _place(wanted: list[Buffer]) -> tuple[Buffer, ...]:
    """First fit, largest first, into bytes no buffer alive at the same time holds."""
    placed: list[Buffer] = []
    for b in sorted(wanted, key=lambda b: -b.bytes):
        offset = 0
        for other in sorted(placed, key=lambda p: p.offset):
            together = b.first <= other.last and other.first <= b.last
            if together and offset + b.bytes > other.offset:
                offset = max(offset, _aligned(other.offset + other.bytes))
        placed.append(Buffer(b.name, b.what, b.bytes, b.first, b.last, offset))
    return tuple(sorted(placed, key=lambda b: (b.first, b.offset)))

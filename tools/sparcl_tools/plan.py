"""The memory plan: every byte of the state block and of the arena, known before anything is compiled.

The state block holds what is learnt and is laid out field by field. The arena is scratch: buffers whose lifetimes in
a training step do not overlap share bytes. The generator writes both into model.h; tests compare the sizes with
what the linker reports.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sparcl_mcu.errors import SparclError
from sparcl_mcu.network import Network

from .layout import index_bytes
from .lower import Program, lower


class PlanError(SparclError):
    """A network's memory cannot be laid out."""


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
    """One arena buffer, alive from step `first` to step `last` (indices into `MemoryPlan.steps`, inclusive).

    type: its C element type. over: a buffer it may overwrite from the front in the step both are alive."""

    name: str
    what: str
    bytes: int
    first: int
    last: int
    offset: int
    type: str
    over: str | None


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
        """Bytes of the arena in use in a step."""
        used: set[int] = set()
        for b in self.arena:
            if b.first <= step <= b.last:
                used.update(range(b.offset, b.offset + b.bytes, ALIGN))
        return ALIGN * len(used)

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


def plan(network: Network, replay_capacity: int, batch: int = 1) -> MemoryPlan:
    """Plan state and arena of a network with a replay buffer of `replay_capacity` int8 samples.

    batch: steps whose gradients are gathered, in the state block, before they are applied; 1 needs no memory.
    """
    return plan_program(network, lower(network, batch), replay_capacity, batch)


def plan_program(network: Network, program: Program, replay_capacity: int, batch: int) -> MemoryPlan:
    """The same for a network lowered already."""
    state, state_bytes = _state(network, replay_capacity, batch)
    arena = _place(_lifetimes(program))
    return MemoryPlan(
        steps=tuple(step.name for step in program.steps()),
        state=state,
        arena=arena,
        state_bytes=state_bytes,
        arena_bytes=max(_aligned(b.offset + b.bytes) for b in arena),
        replay_bytes=replay_capacity * (network.inputs + 1),
        constant_bytes=_constants(network),
    )


def _constants(network: Network) -> int:
    """Flash for initial masters (or frozen weights), biases and indices."""
    total = 0
    for node in network.weighted():
        weights = network.weights[node.name]
        total += weights.slots * (1 if node.frozen else 2) + 4 * len(weights.bias)
        total += len(weights.exponents) if node.op == "depthwise" else 0
        if not weights.dense:
            groups, per_block = len(weights.bias) // node.block.rows, node.block.rows * node.block.cols
            total += 2 * (groups + 1) + index_bytes(weights, node.block) * weights.slots // per_block
    return total


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _state(network: Network, replay_capacity: int, batch: int) -> tuple[tuple[Field, ...], int]:
    members = [("head", "head: seed, step, counters", HEAD_BYTES)]
    for node in network.trainable():
        members.append((f"{node.name}_bias", f"{node.name} biases, int32", 4 * len(network.weights[node.name].bias)))
    for node in network.trainable() if batch > 1 else []:
        weights = network.weights[node.name]
        members.append((f"{node.name}_bias_gathered", f"{node.name} bias gradients, int32", 4 * len(weights.bias)))
        members.append((f"{node.name}_gathered", f"{node.name} gradients, int32", 4 * weights.slots))
    for scale in network.exponents:
        if not network.graph.scale_fixed(scale):
            members.append((f"{scale}_scale", f"{scale} output exponent", SCALE_BYTES))
    for node in network.trainable():
        members.append((f"{node.name}_master", f"{node.name} masters, int16", 2 * network.weights[node.name].slots))
    if replay_capacity:
        members.append(("replay_x", "replay buffer, int8 inputs", replay_capacity * network.inputs))
        members.append(("replay_y", "replay buffer, labels", replay_capacity))
    if len({name for name, _, _ in members}) < len(members):
        raise PlanError("two members of the state block would share a name; rename a layer")
    fields, offset = [], 0
    for name, what, size in members:  # in falling alignment, so that the compiler adds no padding between them
        fields.append(Field(name, what, size, offset))
        offset += size
    return tuple(fields), _aligned(offset)


def _lifetimes(program: Program) -> list[Buffer]:
    """Every buffer with the first and last step that uses it, not yet placed (offset 0)."""
    used: dict[str, list[int]] = {}
    for n, step in enumerate(program.steps()):
        for name in step.uses:
            used.setdefault(name, []).append(n)
    return [
        Buffer(b.name, b.what, b.bytes, min(used[b.name]), max(used[b.name]), 0, b.type, b.over)
        for b in program.buffers.values()
    ]


def _place(wanted: list[Buffer]) -> tuple[Buffer, ...]:
    """First fit, largest first, into bytes no buffer alive at the same time holds."""
    placed: list[Buffer] = []
    for b in sorted(wanted, key=lambda b: -b.bytes):
        rivals = [other for other in placed if b.first <= other.last and other.first <= b.last]
        starts = sorted({0, *(_aligned(other.offset + other.bytes) for other in rivals)})
        placed.append(replace(b, offset=next(o for o in starts if all(_compatible(b, o, other) for other in rivals))))
    return tuple(sorted(placed, key=lambda b: (b.first, b.offset)))


def _compatible(b: Buffer, offset: int, other: Buffer) -> bool:
    """May b lie at `offset` while `other` is alive too?"""
    apart = offset + b.bytes <= other.offset or other.offset + other.bytes <= offset
    return apart or _overwrites(b, offset, other)


def _overwrites(b: Buffer, offset: int, other: Buffer) -> bool:
    """Errors in int8 may overwrite the int32 sums they are made from, from the front: the write never overtakes the
    read, and the sum is dead afterwards."""
    return b.over == other.name and b.first == other.last and offset <= other.offset

"""The memory plan: every byte of the state block and of the arena, known before anything is compiled.

The state block holds what is learnt and is laid out field by field. The arena is scratch: buffers whose lifetimes in
a training step do not overlap share bytes. The generator writes both into model.h; tests compare the sizes with
what the linker reports.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import size
from sparcl_mcu.learners import grda, lightcl
from sparcl_mcu.learners.base import Room
from sparcl_mcu.network import Network

from .layout import Blocks, index_bytes, is_paired, is_sparse, paired_bytes, room_for
from .lower import Program, lower


class PlanError(SparclError):
    """A network's memory cannot be laid out."""


HEAD_BYTES = 76  # sizeof(scl_state)
SCALE_BYTES = 12  # sizeof(scl_scale)
WINDOW_BYTES = 16  # sizeof(scl_window)
LAYER_BYTES = 48  # sizeof(scl_layer)
ANCHORS_BYTES = 36  # sizeof(scl_anchors)
HOLDS_BYTES = 12  # sizeof(scl_holds)
THRESHOLDS_BYTES = 132  # of gRDA: int32 (SCL_GRDA_POWERS)
ALIGN = 4


OF_WEIGHTS = ("_master", "_gathered", "_start", "_index", "_terms", "_selected")  # how names of a layer's members end


@dataclass(frozen=True)
class Field:
    """One member of the state block. name: its C name; what: for people; bytes: without padding; declaration: in C."""

    name: str
    what: str
    bytes: int
    offset: int
    declaration: str


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

    @property
    def weight_bytes(self) -> int:
        """Of the state: masters, indices, masks and accumulators."""
        of_all = ("importance_sums", "learning")
        return sum(f.bytes for f in self.state if f.name.endswith(OF_WEIGHTS) or f.name in of_all)

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


def plan(network: Network, room: Room) -> MemoryPlan:
    """Plan state and arena of a network with that much room for settings."""
    return plan_program(network, lower(network, room), room)


def plan_program(network: Network, program: Program, room: Room) -> MemoryPlan:
    """The same for a network lowered already."""
    state, state_bytes = _state(network, room)
    arena = _place(_lifetimes(program))
    return MemoryPlan(
        steps=tuple(step.name for step in program.steps()),
        state=state,
        arena=arena,
        state_bytes=state_bytes,
        arena_bytes=max(_aligned(b.offset + b.bytes) for b in arena),
        replay_bytes=sum(field.bytes for field in state if field.name.startswith("replay_")),
        constant_bytes=_constants(network, room),
    )


def _constants(network: Network, room: Room) -> int:
    """Flash for initial masters (or frozen weights), biases, indices, and what describes layers and their windows."""
    total = WINDOW_BYTES * sum(node.window is not None for node in network.graph.nodes)
    total += ANCHORS_BYTES * len(lightcl.anchored(network)) if room.light_keep else 0
    total += THRESHOLDS_BYTES if room.prune else 0
    total += HOLDS_BYTES * len(network.weighted()) if room.ewc and room.tdm else 0
    for node in network.weighted():
        weights = network.weights[node.name]
        stored = weights.slots * (1 if node.frozen else 2)
        total += paired_bytes(*weights.mask.shape) if is_paired(network, node) else stored
        total += LAYER_BYTES + 4 * len(weights.bias)
        total += len(weights.exponents) if node.op == "depthwise" else 0
        if not weights.dense:
            groups, per_block = len(weights.bias) // node.block.rows, node.block.rows * node.block.cols
            total += 2 * (groups + 1) + index_bytes(weights, node.block) * weights.slots // per_block
    return total


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


@dataclass(frozen=True)
class _Member:
    """A member of the state block, before it is placed: `count` elements of a C type."""

    name: str
    what: str
    type: str
    count: int

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return SCALE_BYTES if self.type == "scl_scale" else int(self.type.strip("uint_")) // 8


def _members(network: Network, room: Room) -> list[_Member]:
    trainable, classes = network.trainable(), network.classes
    sparse = {node.name: Blocks.of(network, node, room) for node in trainable if is_sparse(network, node)}
    members = []
    for node in trainable:
        weights = network.weights[node.name]
        members.append(_Member(f"{node.name}_bias", f"{node.name} biases, int32", "int32_t", len(weights.bias)))
        if room.batch > 1:
            what = f"{node.name} bias gradients, int32"
            members.append(_Member(f"{node.name}_bias_gathered", what, "int32_t", len(weights.bias)))
            members.append(_Member(f"{node.name}_gathered", f"{node.name} gradients, int32", "int32_t", weights.slots))
        slots = room_for(network, node, room)
        even = slots + slots % 2  # kernels take two at a time: the next layer's masters begin at a word
        members.append(_Member(f"{node.name}_master", f"{node.name} masters, int16", "int16_t", even))
        if room.ewc:
            members.append(_Member(f"{node.name}_anchor", f"{node.name} anchors, int16", "int16_t", slots))
            members.append(_Member(f"{node.name}_held", f"{node.name} held by EWC, uint16", "uint16_t", slots))
            members.append(_Member(f"{node.name}_fresh", f"{node.name} to be held, uint16", "uint16_t", slots))
    for node in grda.pruned(network) if room.prune else []:
        slots = network.weights[node.name].slots
        members.append(_Member(f"{node.name}_working", f"{node.name} weights in use, int8", "int8_t", slots))
    for node in lightcl.anchored(network) if room.light_keep else []:
        name, (height, width, channels) = node.name, network.graph.shapes[node.name]
        count = room.replay * lightcl.limits(channels, room)[1] * height * width
        members.append(_Member(f"{name}_maps", f"{name} anchors, int8", "int8_t", count))
        members.append(_Member(f"{name}_map_e", f"{name} anchors' exponents, int16", "int16_t", room.replay))
        members.append(_Member(f"{name}_activity", f"{name} activity, uint32", "uint32_t", channels))
        members.append(_Member(f"{name}_kept", f"{name} channels kept, bits", "uint8_t", -(-channels // 8)))
    for name, blocks in sparse.items():
        if room.tdm:
            width = 8 * index_bytes(network.weights[name], network.graph.node(name).block)
            members.append(_Member(f"{name}_start", f"{name} first blocks, uint16", "uint16_t", blocks.groups + 1))
            members.append(_Member(f"{name}_index", f"{name} block columns", f"uint{width}_t", blocks.capacity))
        if room.slice:
            members.append(_Member(f"{name}_terms", f"{name} importance, uint8", "uint8_t", blocks.capacity))
        if room.dgm:
            bits = -(-blocks.capacity // 8)
            members.append(_Member(f"{name}_selected", f"{name} blocks that learn", "uint8_t", bits))
    for scale in network.exponents:
        if not network.graph.scale_fixed(scale):
            members.append(_Member(f"{scale}_scale", f"{scale} output exponent", "scl_scale", 1))
    if room.ids:
        members.append(_Member("ids_threshold", "IDS: what is learnt, int32", "int32_t", 1))
    holder = "anchors" if room.light_keep else "replay buffer"
    if room.logits:  # one more row: of the new sample, until it is offered
        members.append(_Member("replay_logits", f"{holder}, int16 logits", "int16_t", (room.replay + 1) * classes))
    if room.slice:
        members.append(_Member("importance_sums", "importance window, int16", "int16_t", 2 * room.slice))
    if room.dgm:
        members.append(_Member("learning", "blocks that learn a layer, uint16", "uint16_t", len(network.weighted())))
    if room.replay:
        what = "latents" if room.latent else "inputs"
        count = room.replay * size(network.graph.shapes[room.entry(network.graph)])
        members.append(_Member("replay_x", f"{holder}, int8 {what}", "int8_t", count))
        members.append(_Member("replay_y", f"{holder}, labels", "uint8_t", room.replay))
    if room.ddr:
        members.append(_Member("ddr_alive", "samples not removed, bits", "uint8_t", -(-room.ddr // 8)))
        members.append(_Member("ddr_wrong", "samples' counts, nibbles", "uint8_t", -(-room.ddr // 2)))
    members.append(_Member("task_classes", "the task's classes, bits", "uint8_t", -(-classes // 8)))
    return members


def _state(network: Network, room: Room) -> tuple[tuple[Field, ...], int]:
    """Members in falling alignment, so that the compiler adds no padding between them."""
    members = sorted(_members(network, room), key=lambda m: -min(m.size, ALIGN))
    if len({"head", *(m.name for m in members)}) <= len(members):
        raise PlanError("two members of the state block would share a name; rename a layer")
    head = Field("head", "head: settings, seed, step, schedule", HEAD_BYTES, 0, "scl_state head")
    fields, offset = [head], HEAD_BYTES
    for m in members:
        declaration = f"{m.type} {m.name}" if m.type == "scl_scale" else f"{m.type} {m.name}[{m.count}]"
        fields.append(Field(m.name, m.what, m.size * m.count, offset, declaration))
        offset += m.size * m.count
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

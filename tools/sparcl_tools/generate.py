"""The generator: `Network` -> model.h and model.c.

Generated code holds what is particular to one network: constants, the state block's type, the arena plan and
straight-line forward and backward functions. Everything general is in the runtime. The skeletons are templates;
arrays are written by `_array`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparcl_mcu import __version__
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import INPUT, Node, size
from sparcl_mcu.learners import grda, lightcl
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.network import Network

from .layout import Blocks, index_bytes, is_paired, is_sparse, pack, pair_rows
from .lower import kernel, lower
from .plan import ANCHORS_BYTES, HEAD_BYTES, HOLDS_BYTES, LAYER_BYTES, WINDOW_BYTES, MemoryPlan, plan_program

if TYPE_CHECKING:
    import jinja2

RUNTIME_VERSION = 5  # SCL_RUNTIME_VERSION this generator writes for; a test compares it with sparcl.h
MAX_BLOCKS = 65535  # `start` entries are uint16


class GenerateError(SparclError):
    """A network cannot be expressed as C for this runtime."""


def model_hash(network: Network, room: Room) -> int:
    """CRC-32 that identifies a network with its room; a board reports it in HELLO."""
    *values, latent, ewc, keep, most, ids, prune, mu, rho = (int(value) for value in vars(room).values())
    crc = zlib.crc32(struct.pack("<9I", network.fingerprint, *values))
    more = (
        (latent, b"latent"),
        (ewc, b"ewc"),
        (keep, b"lightcl %d %d" % (keep, most)),
        (ids, b"ids %d" % ids),
        (prune, b"grda %d %d" % (prune, mu)),
        (rho, b"rho %d" % rho),
    )
    for used, name in more:  # networks without one of these keep the hash they had before it was there
        crc = zlib.crc32(name, crc) if used else crc
    return crc


def generate(network: Network, out_dir: Path, *, room: Room, settings: LearnSettings) -> MemoryPlan:
    """Write model.h and model.c into `out_dir` (made if missing); unchanged files keep their time stamp.

    `settings` become the defaults of a board that no host configures. Raises GenerateError, and LearnerError for
    settings that `room` has no memory for.
    """
    room.check(settings)
    _check(network, room)
    program = lower(network, room)
    memory = plan_program(network, program, room)
    facts = {
        "version": __version__,
        "runtime_version": RUNTIME_VERSION,
        "network": network,
        "hash": model_hash(network, room),
        "room": room,
        "settings": {name: int(value) for name, value in vars(settings).items()},
        "plan": memory,
        "head_bytes": HEAD_BYTES,
        "layer_bytes": LAYER_BYTES,
        "window_bytes": WINDOW_BYTES,
        "anchors_bytes": ANCHORS_BYTES,
        "holds_bytes": HOLDS_BYTES,
        "program": program,
        "layers": [_layer(network, node, room) for node in network.weighted()],
        "windows": [_window(network, node) for node in network.graph.nodes if node.window],
        "scales": _scales(network),
        "anchored": [_anchors(network, node, room, memory) for node in lightcl.anchored(network)],
        "ids": _ids(network, room) if room.ids else None,
        "thresholds": grda.powers(room.prune, room.prune_mu),
        **_entry(network, room),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in ("model.h", "model.c"):
        write(out_dir / name, templates().get_template(f"{name}.j2").render(facts))
    return memory


def templates() -> jinja2.Environment:
    """The skeletons of generated code; their filter `array` makes a C initialiser."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparcl_tools"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["array"] = _array
    return environment


def _entry(network: Network, room: Room) -> dict[str, Any]:
    """What the templates say about the tensor that training passes start at."""
    graph = network.graph
    entry = room.entry(graph)
    return {
        "entry": entry,
        "replay_values": size(graph.shapes[entry]),
        "latent_macs": sum(network.macs(node) for node in graph.split(entry)[0] if node.weighted),
        "learns_from_entry": any(entry in node.sources for node in network.trainable()),
    }


def _ids(network: Network, room: Room) -> dict[str, Any]:
    """What the templates say about the last layer, whose gradient decides what is learnt."""
    graph = network.graph
    head = graph.nodes[-1]
    (source,) = head.sources
    scale = graph.scales[source]
    return {
        "classes": network.classes,
        "gradient": f"{head.name}_v",
        "inputs": size(graph.shapes[source]),
        "h": "x" if source in (INPUT, room.entry(graph)) else f"{source.upper()}_Q(a)",
        "from_entry": source in (INPUT, room.entry(graph)),
        "exponent": str(network.exponents[scale]) if graph.scale_fixed(scale) else f"s->{scale}_scale.exponent",
    }


def _check(network: Network, room: Room) -> None:
    """Refuse what the runtime cannot hold, with the numbers."""
    for what, value, least, most in (
        ("a replay buffer of {} samples", room.replay, 0, 65535),
        ("a mini-batch of {} steps", room.batch, 1, 255),
        ("a slice of {} weights", room.slice, 0, 65535),
        ("DDR counters for {} samples", room.ddr, 0, 65535),
        ("{} / 65536 more blocks", room.inter, 0, 65535),
    ):
        if not least <= value <= most:
            raise GenerateError(f"{what.format(value)}; {least} .. {most} are possible")
    if not network.trainable():
        raise GenerateError("every layer is frozen; leave at least the last one trainable")
    if room.logits and not room.replay:
        raise GenerateError("logits are kept with replayed samples, but the replay buffer holds 0 samples")
    if room.light_keep and not lightcl.anchored(network):
        raise GenerateError("LightCL holds layers that learn below the last one; leave one of them trainable")
    if room.latent and not room.replay:
        raise GenerateError("latents are what the replay buffer keeps, but it holds 0 samples")
    if (values := size(network.graph.shapes[room.entry(network.graph)])) > 65535:
        raise GenerateError(
            f"a latent has {values} values, 65535 are possible; freeze until a later layer, or replay inputs"
        )
    if room.inter and not room.tdm:
        raise GenerateError(f"room for {room.inter} / 65536 more blocks a layer, but masks that do not move (tdm)")
    sparse = [node for node in network.weighted() if is_sparse(network, node)]
    for needed, what in ((room.tdm, "masks that move (tdm)"), (room.dgm, "a selection (dgm)"), (room.slice, "a slice")):
        if needed and not sparse:
            raise GenerateError(f"{what}, but no trainable layer is sparse; prune one or leave it out")
    for node in network.weighted():
        _check_layer(network, node, room)


def _check_layer(network: Network, node: Node, room: Room) -> None:
    blocks, learns = Blocks.of(network, node, room), is_sparse(network, node)
    if blocks.capacity > MAX_BLOCKS and not network.weights[node.name].dense:
        raise GenerateError(
            f"layer {node.name!r} stores up to {blocks.capacity} blocks of {node.block}; a sparse layer holds "
            f"{MAX_BLOCKS}: choose larger blocks, a lower density or fewer outputs"
        )
    if learns and room.slice % blocks.weights:
        raise GenerateError(
            f"a slice of {room.slice} weights is not made of whole {node.block} blocks, as layer {node.name!r} has"
        )


def _forward_bound(network: Network, node: Node, room: Room) -> tuple[int, int]:
    """As Network.forward_bound, but a mask that moves may give one output every weight there is room for.

    That is within bounds, too: 65535 inputs leave room for the largest bias a network is allowed.
    """
    fan_in, bias_room = network.forward_bound(node)
    if room.tdm and is_sparse(network, node):
        blocks = Blocks.of(network, node, room)
        fan_in = min(network.graph.fan_in(node), blocks.capacity * node.block.cols)
    return fan_in, bias_room


def _layer(network: Network, node: Node, room: Room) -> dict[str, Any]:
    """What the templates say about a weighted layer."""
    weights = network.weights[node.name]
    sparse, blocks = is_sparse(network, node), Blocks.of(network, node, room)
    start, index, masters = pack(weights.masters, weights.mask, node.block)
    fan_in, bias_room = _forward_bound(network, node, room)
    return {
        "name": node.name,
        "place": network.weighted().index(node),
        "sparse": sparse,
        "moves": room.tdm and sparse,
        "blocks": blocks,
        "number": "SCL_FROZEN" if node.frozen else network.trainable().index(node),
        "index_bytes": index_bytes(weights, node.block),
        "op": node.op,
        "block": node.block,
        "frozen": node.frozen,
        "rows": len(weights.bias),
        "columns": network.graph.fan_in(node),
        "slots": weights.slots,
        "positions": network.positions(node),
        "anchored": room.light_keep > 0 and node in lightcl.anchored(network),
        "pruned": room.prune > 0 and node in grda.pruned(network),
        "in_pass": node in network.graph.split(room.entry(network.graph))[1],
        "exponents": weights.exponents.tolist(),
        "kernel": kernel(network, node),
        "index_type": f"uint{8 * index_bytes(weights, node.block)}_t",
        "start": start,
        "index": index,
        **_stored(network, node, masters),
        "bias": weights.bias,
        "fan_in": fan_in,
        "bias_room": bias_room,
        "error_terms": network.error_terms(node) if set(node.sources) & network.graph.learns else 0,
    }


def _stored(network: Network, node: Node, masters: list[int]) -> dict[str, Any]:
    """The weights as generated code has them, and their type in C. masters: in the order of `pack`."""
    if is_paired(network, node):
        pairs = pair_rows((network.weights[node.name].masters >> 8).astype(np.int8))
        return {"stored": pairs.ravel(), "stored_type": "_Alignas(4) int16_t"}
    if node.frozen:
        return {"stored": [m >> 8 for m in masters], "stored_type": "int8_t"}
    return {"stored": masters, "stored_type": "int16_t"}


def _window(network: Network, node: Node) -> dict[str, Any]:
    shapes = network.graph.shapes
    source = shapes[node.sources[0]]
    assert node.window
    top, _, left, _ = node.window.pads(source[0], source[1])
    return {
        "name": node.name,
        "window": node.window,
        "input": source,
        "output": shapes[node.name],
        "pad_top": top,
        "pad_left": left,
    }


def _scales(network: Network) -> list[dict[str, Any]]:
    """The exponents that learning may raise."""
    graph = network.graph
    return [
        {"name": scale, "exponent": e, "outputs": sum(size(graph.shapes[n.name]) for n in graph.counts(scale))}
        for scale, e in network.exponents.items()
        if not graph.scale_fixed(scale)
    ]


def _anchors(network: Network, node: Node, room: Room, memory: MemoryPlan) -> dict[str, Any]:
    """What the templates say about a layer that LightCL holds."""
    graph = network.graph
    height, width, channels = graph.shapes[node.name]
    take, most = lightcl.limits(channels, room)
    scale = graph.scales[node.name]
    return {
        "name": node.name,
        "q": next(b.offset for b in memory.arena if b.name == f"{node.name}_q"),
        "scale": "" if graph.scale_fixed(scale) else scale,
        "exponent": network.exponents[scale],
        "positions": height * width,
        "channels": channels,
        "take": take,
        "most": most,
    }


def _array(values: Iterable[int]) -> str:
    """C initialiser, lines below 100 columns."""
    lines, line = [], "   "
    for value in values:
        text = f" {int(value)},"
        if len(line) + len(text) > 98:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def write(path: Path, text: str) -> None:
    """A file that is already as it should be keeps its time stamp."""
    if path.exists() and path.read_text() == text:
        return
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)

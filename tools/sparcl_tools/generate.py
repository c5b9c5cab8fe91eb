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
from typing import Any

from sparcl_mcu import __version__
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import INPUT, Node, size
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.network import Network

from .layout import index_bytes, pack
from .lower import kernel, lower
from .plan import MemoryPlan, plan_program

RUNTIME_VERSION = 2  # SCL_RUNTIME_VERSION this generator writes for; a test compares it with sparcl.h
MAX_BLOCKS = 65535  # `start` entries are uint16


class GenerateError(SparclError):
    """A network cannot be expressed as C for this runtime."""


def model_hash(network: Network, replay_capacity: int, batch: int = 1) -> int:
    """CRC-32 that identifies a network with its replay capacity and mini-batch; a board reports it in HELLO."""
    return zlib.crc32(struct.pack("<III", network.fingerprint, replay_capacity, batch))


def generate(
    network: Network, out_dir: Path, *, replay_capacity: int, settings: LearnSettings, batch: int = 1
) -> MemoryPlan:
    """Write model.h and model.c into `out_dir` (made if missing); unchanged files keep their time stamp.

    `settings` become the defaults of a board that no host configures. Raises GenerateError.
    """
    import jinja2

    if not 0 <= replay_capacity <= 65535:
        raise GenerateError(f"a replay buffer of {replay_capacity} samples; 0 .. 65535 are possible")
    if not 1 <= batch <= 255:
        raise GenerateError(f"a mini-batch of {batch} steps; 1 .. 255 are possible")
    if not network.trainable():
        raise GenerateError("every layer is frozen; leave at least the last one trainable")
    for node in network.weighted():
        weights = network.weights[node.name]
        blocks = weights.slots // (node.block.rows * node.block.cols)
        if blocks > MAX_BLOCKS and not weights.dense:
            raise GenerateError(
                f"layer {node.name!r} stores {blocks} blocks of {node.block}; a sparse layer holds {MAX_BLOCKS}: "
                "choose larger blocks, a lower density or fewer outputs"
            )
    program = lower(network, batch)
    memory = plan_program(network, program, replay_capacity, batch)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparcl_tools"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["array"] = _array
    facts = {
        "version": __version__,
        "runtime_version": RUNTIME_VERSION,
        "network": network,
        "hash": model_hash(network, replay_capacity, batch),
        "replay_capacity": replay_capacity,
        "batch": batch,
        "settings": settings,
        "plan": memory,
        "program": program,
        "layers": [_layer(network, node) for node in network.weighted()],
        "windows": [_window(network, node) for node in network.graph.nodes if node.window],
        "scales": _scales(network),
        "learns_from_input": any(INPUT in node.sources for node in network.trainable()),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in ("model.h", "model.c"):
        _write(out_dir / name, environment.get_template(f"{name}.j2").render(facts))
    return memory


def _layer(network: Network, node: Node) -> dict[str, Any]:
    """What the templates say about a weighted layer."""
    weights = network.weights[node.name]
    start, index, masters = pack(weights.masters, weights.mask, node.block)
    fan_in, bias_room = network.forward_bound(node)
    return {
        "name": node.name,
        "op": node.op,
        "block": node.block,
        "frozen": node.frozen,
        "rows": len(weights.bias),
        "columns": network.graph.fan_in(node),
        "slots": weights.slots,
        "positions": network.positions(node),
        "exponents": weights.exponents.tolist(),
        "kernel": kernel(network, node),
        "index_type": f"uint{8 * index_bytes(weights, node.block)}_t",
        "start": start,
        "index": index,
        "stored": [m >> 8 for m in masters] if node.frozen else masters,
        "bias": weights.bias,
        "fan_in": fan_in,
        "bias_room": bias_room,
        "error_terms": network.error_terms(node) if set(node.sources) & network.graph.learns else 0,
    }


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


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)

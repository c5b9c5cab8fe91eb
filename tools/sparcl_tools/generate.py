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

import numpy as np

from sparcl_mcu import __version__
from sparcl_mcu import numerics as nx
from sparcl_mcu.errors import SparclError
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.network import Dense, Network
from sparcl_mcu.sparsity import shrink

from .plan import MemoryPlan, index_bytes, plan

RUNTIME_VERSION = 1  # SCL_RUNTIME_VERSION this generator writes for; a test compares it with sparcl.h
MAX_SLOTS = 65535  # `start` entries are uint16


class GenerateError(SparclError):
    """A network cannot be expressed as C for this runtime."""


def model_hash(network: Network, replay_capacity: int) -> int:
    """CRC-32 that identifies a network together with its replay capacity; a board reports it in HELLO."""
    return zlib.crc32(struct.pack("<II", network.fingerprint, replay_capacity))


def generate(network: Network, out_dir: Path, *, replay_capacity: int, settings: LearnSettings) -> MemoryPlan:
    """Write model.h and model.c into `out_dir` (made if missing); unchanged files keep their time stamp.

    `settings` become the defaults of a board that no host configures. Raises GenerateError.
    """
    import jinja2

    if not 0 <= replay_capacity <= 65535:
        raise GenerateError(f"a replay buffer of {replay_capacity} samples; 0 .. 65535 are possible")
    for layer in network.layers:
        if layer.slots > MAX_SLOTS and not layer.dense:
            raise GenerateError(f"layer {layer.name!r} stores {layer.slots} weights; a sparse layer holds {MAX_SLOTS}")
    memory = plan(network, replay_capacity)
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
        "hash": model_hash(network, replay_capacity),
        "replay_capacity": replay_capacity,
        "settings": settings,
        "plan": memory,
        "layers": [_facts(network, i) for i in range(len(network.layers))],
        "slots": sum(layer.slots for layer in network.layers),
        "slots_above_first": sum(layer.slots for layer in network.layers[1:]),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in ("model.h", "model.c"):
        _write(out_dir / name, environment.get_template(f"{name}.j2").render(facts))
    return memory


def _facts(network: Network, i: int) -> dict[str, Any]:
    """What the templates say about layer i."""
    layer = network.layers[i]
    exponent = network.layers[i - 1].output_exponent if i else network.input_exponent
    bias_shift = layer.weight_exponent + exponent - nx.BIAS_EXPONENT
    width = index_bytes(layer)
    start, index, masters = _pack(layer)
    return {
        "name": layer.name,
        "spec": layer,
        "before": network.layers[i - 1] if i else None,
        "last": i == len(network.layers) - 1,
        "kernel": f"{layer.block}_i{8 * width}" if width else "full",
        "index_type": f"uint{8 * width}_t",
        "start": start,
        "index": index,
        "masters": masters,
        "fan_in": int(layer.mask.sum(axis=1).max()),
        "bias_room": nx.BIAS_LIMIT if bias_shift >= 0 else nx.BIAS_LIMIT << -bias_shift,
    }


def _pack(layer: Dense) -> tuple[list[int], list[int], list[int]]:
    """(start, index, masters) in storage order: by group of outputs, by ascending block column, row-major in a block.

    A dense layer is stored row by row and has neither start nor index.
    """
    if layer.dense:
        return [], [], [int(m) for m in layer.masters.ravel()]
    rows, cols = layer.block
    blocks = shrink(layer.mask, layer.block)
    start, index, masters = [0], [], []
    for group, columns in enumerate(blocks):
        for column in np.flatnonzero(columns):
            index.append(int(column))
            block = layer.masters[group * rows : (group + 1) * rows, column * cols : (column + 1) * cols]
            masters += [int(m) for m in block.ravel()]
        start.append(len(index))
    return start, index, masters


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

"""Quantised networks as frozen data, and the .sparcl file.

A `Network` is what pretraining and quantisation produce and what every learner starts from. The file is a zip of
plain arrays plus one JSON text (NumPy's .npz layout, never pickle), so reading one cannot run anything.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numerics as nx
from .errors import SparclError
from .sparsity import Block, Mask, SparsityError, parse_block, shrink

FORMAT = 1
SIZE_LIMIT = 64 << 20  # bytes, unpacked: far above any microcontroller, far below a zip bomb


class NetworkError(SparclError):
    """A network file is damaged, of another version, or describes something impossible."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: hidden layers end in ReLU and int8, the last layer in int16 logits.

    masters: int16 (outputs, inputs), M' = M + 128 in [-32512, 32767]; weight = (M' >> 8) * 2**weight_exponent.
    bias: int32 (outputs,), exponent -20. mask: bool (outputs, inputs), whole blocks; all True when dense.
    output_exponent: exponent of the int8 output (hidden layers; learning may raise it) or -5 (logits).
    """

    name: str
    masters: NDArray[np.int16]
    bias: NDArray[np.int32]
    mask: Mask
    block: Block
    weight_exponent: int
    output_exponent: int

    @property
    def inputs(self) -> int:
        return int(self.masters.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.masters.shape[0])

    @property
    def slots(self) -> int:
        """Stored weights."""
        return int(np.count_nonzero(self.mask))

    @property
    def dense(self) -> bool:
        """No index is kept: every weight exists."""
        return bool(self.mask.all())

    def __post_init__(self) -> None:
        def refuse(why: str) -> None:
            raise NetworkError(f"layer {self.name!r}: {why}")

        if self.masters.ndim != 2 or self.masters.dtype != np.int16:
            refuse("masters must be an int16 matrix (outputs, inputs)")
        if not (1 <= self.inputs <= 65535 and 1 <= self.outputs <= 65535):
            refuse(f"{self.outputs} outputs x {self.inputs} inputs; both must lie in 1 .. 65535")
        if self.bias.shape != (self.outputs,) or self.bias.dtype != np.int32:
            refuse(f"bias must be int32 ({self.outputs},)")
        if self.mask.shape != self.masters.shape or self.mask.dtype != np.bool_:
            refuse(f"mask must be bool {self.masters.shape}")
        if (self.masters < nx.MASTER_MIN).any():
            refuse(f"a master lies below {nx.MASTER_MIN}")
        if (np.abs(self.bias.astype(np.int64)) > nx.BIAS_LIMIT).any():
            refuse(f"a bias lies outside +-{nx.BIAS_LIMIT}")
        if (self.masters[~self.mask] != 128).any():
            refuse("a masked weight is not 0")
        if not (-30 <= self.weight_exponent <= 8 and -30 <= self.output_exponent <= 16):
            refuse(f"exponents {self.weight_exponent}, {self.output_exponent} are out of range")
        try:
            shrink(self.mask, self.block)
        except SparsityError as error:
            refuse(str(error))


@dataclass(frozen=True)
class Network:
    """Layers in order, and how a real sample becomes int8.

    A sample x (float, flattened) enters as clip(rint((x - offset) * gain * 2**-input_exponent), -127, 127).
    offset, gain: float32 (inputs,).
    """

    name: str
    layers: tuple[Dense, ...]
    input_exponent: int
    offset: NDArray[np.float32]
    gain: NDArray[np.float32]

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def classes(self) -> int:
        return self.layers[-1].outputs

    def __post_init__(self) -> None:
        if not self.layers:
            raise NetworkError("a network needs at least one layer")
        for before, after in pairwise(self.layers):
            if before.outputs != after.inputs:
                raise NetworkError(
                    f"layer {after.name!r} takes {after.inputs} inputs, but {before.name!r} gives {before.outputs}"
                )
        if len({layer.name for layer in self.layers}) != len(self.layers):
            raise NetworkError("two layers share a name")
        if not all(layer.name.isidentifier() and layer.name.isascii() for layer in self.layers):
            raise NetworkError("a layer's name must be a C identifier")
        if not 2 <= self.classes <= 255:
            raise NetworkError(f"{self.classes} classes; 2 .. 255 are possible")
        if self.layers[-1].output_exponent != nx.LOGIT_EXPONENT:
            raise NetworkError(f"the last layer's output exponent must be {nx.LOGIT_EXPONENT}")
        for what, values in (("offset", self.offset), ("gain", self.gain)):
            if values.shape != (self.inputs,) or values.dtype != np.float32 or not np.isfinite(values).all():
                raise NetworkError(f"{what} must be finite float32 ({self.inputs},)")
        exponent = self.input_exponent
        for layer in self.layers:
            # Sticky exponents only grow, which only lowers both terms: the start is the worst case.
            bias_shift = layer.weight_exponent + exponent - nx.BIAS_EXPONENT
            bias_room = nx.BIAS_LIMIT if bias_shift >= 0 else nx.BIAS_LIMIT << -bias_shift
            fan_in = int(layer.mask.sum(axis=1).max())
            if fan_in * 127 * 127 + bias_room >= 1 << 31:
                raise NetworkError(
                    f"layer {layer.name!r}: {fan_in} inputs of int8 x int8 and a bias up to {bias_room} "
                    "could overflow the 32-bit accumulator; use fewer inputs or a larger weight exponent"
                )
            exponent = layer.output_exponent

    def quantise_inputs(self, x: NDArray[Any]) -> NDArray[np.int8]:
        """Real samples (n, ...) -> int8 (n, inputs). Raises NetworkError for a wrong size or values not finite."""
        flat = np.asarray(x, dtype=np.float32).reshape(len(x), -1)
        if flat.shape[1] != self.inputs:
            raise NetworkError(
                f"a sample has {flat.shape[1]} values, but network {self.name!r} takes {self.inputs}; "
                "is this network made for this data set?"
            )
        if not np.isfinite(flat).all():
            raise NetworkError("the samples hold NaN or infinite values; clean the data first (sparcl data check)")
        scaled = (flat - self.offset) * self.gain * np.float32(2.0**-self.input_exponent)
        quantised: NDArray[np.int8] = np.clip(np.rint(scaled), -127, 127).astype(np.int8)
        return quantised

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of everything that makes this network this network, whatever the file looks like."""
        crc = zlib.crc32(_describe(self).encode())
        for array in _arrays(self).values():
            crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
        return crc


def _describe(network: Network) -> str:
    layers = [
        {
            "op": "dense",
            "name": layer.name,
            "block": str(layer.block),
            "weight_exponent": layer.weight_exponent,
            "output_exponent": layer.output_exponent,
        }
        for layer in network.layers
    ]
    meta = {"format": FORMAT, "name": network.name, "input_exponent": network.input_exponent, "layers": layers}
    return json.dumps(meta, sort_keys=True)


def _arrays(network: Network) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"offset": network.offset, "gain": network.gain}
    for layer in network.layers:
        arrays[f"{layer.name}.masters"] = layer.masters
        arrays[f"{layer.name}.bias"] = layer.bias
        arrays[f"{layer.name}.mask"] = layer.mask
    return arrays


def save(network: Network, path: Path) -> None:
    """Write a .sparcl file; the final name appears only when the file is whole."""
    part = path.with_name(path.name + ".part")
    arrays = _arrays(network) | {"meta": np.frombuffer(_describe(network).encode(), dtype=np.uint8)}
    with open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    part.replace(path)


def load(path: Path) -> Network:
    """Read a .sparcl file. Raises NetworkError naming the file and the cause."""
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > SIZE_LIMIT:
                raise NetworkError(f"{path} unpacks to {unpacked} bytes; at most {SIZE_LIMIT} are accepted")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta.get("format") != FORMAT:
            raise NetworkError(f"{path} has format {meta.get('format')}; this version reads {FORMAT}")
        return Network(
            name=str(meta["name"]),
            layers=tuple(_layer(entry, arrays) for entry in meta["layers"]),
            input_exponent=int(meta["input_exponent"]),
            offset=arrays["offset"],
            gain=arrays["gain"],
        )
    except FileNotFoundError:
        raise NetworkError(f"{path} does not exist; make one with: sparcl pretrain") from None
    except SparclError as error:
        raise NetworkError(f"{path}: {error}") from None
    except Exception as error:  # zipfile, NumPy and json raise nearly anything on a damaged file
        raise NetworkError(
            f"{path} is not a readable .sparcl file ({error}); pretrain again or restore a copy"
        ) from None


def _layer(entry: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Dense:
    if entry["op"] != "dense":
        raise NetworkError(f"layer {entry['name']!r} is a {entry['op']!r}, which this version does not know")
    name = str(entry["name"])
    return Dense(
        name=name,
        masters=arrays[f"{name}.masters"],
        bias=arrays[f"{name}.bias"],
        mask=arrays[f"{name}.mask"],
        block=parse_block(entry["block"]),
        weight_exponent=int(entry["weight_exponent"]),
        output_exponent=int(entry["output_exponent"]),
    )

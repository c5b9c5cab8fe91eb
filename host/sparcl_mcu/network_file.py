"""The .sparcl file: a zip of plain arrays and one JSON text (NumPy's .npz layout, never pickle).

Reading one cannot run anything, takes no file of more than SIZE_LIMIT bytes, and unpacks at most as many.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from . import whole_file
from .errors import SparclError
from .graph import Graph, Node, Window
from .network import Network, NetworkError, Weights
from .sparsity import parse_block

FORMAT = 2
SIZE_LIMIT = 64 << 20  # bytes, packed and unpacked: far above any microcontroller, far below a zip bomb


def save(network: Network, path: Path) -> None:
    """Write a .sparcl file; the final name appears only when the file is whole. Raises NetworkError."""
    meta = json.dumps({"format": FORMAT, **network.describe()})
    arrays = {"meta": np.frombuffer(meta.encode(), dtype=np.uint8), **network.arrays()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    try:
        whole_file.write(path, content.getvalue())
    except OSError as error:
        raise NetworkError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from None


def load(path: Path) -> Network:
    """Read a .sparcl file. Raises NetworkError naming the file and the cause."""
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise NetworkError(f"{path} has {path.stat().st_size} bytes; at most {SIZE_LIMIT} are accepted")
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
        graph = Graph(tuple(meta["input_shape"]), tuple(_node(entry) for entry in meta["nodes"]))
        return Network(
            name=str(meta["name"]),
            graph=graph,
            weights={
                node.name: Weights(
                    **{field: arrays[f"{node.name}.{field}"] for field in ("masters", "bias", "mask", "exponents")}
                )
                for node in graph.nodes
                if node.weighted
            },
            exponents={scale: int(meta["exponents"][scale]) for scale in dict.fromkeys(graph.scales.values())},
            offset=arrays["offset"],
            gain=arrays["gain"],
        )
    except FileNotFoundError:
        raise NetworkError(f"{path} does not exist; make one with: sparcl pretrain") from None
    except IsADirectoryError:
        raise NetworkError(f"{path} is a folder; name the file in it, such as {path / 'network.sparcl'}") from None
    except SparclError as error:
        raise NetworkError(f"{path}: {error}") from None
    except Exception as error:  # zipfile, NumPy and json raise nearly anything on a damaged file
        raise NetworkError(
            f"{path} is not a readable .sparcl file ({error}); pretrain again or restore a copy"
        ) from None


def _node(entry: dict[str, Any]) -> Node:
    window = entry.pop("window")
    return Node(
        **entry
        | {
            "sources": tuple(entry["sources"]),
            "block": parse_block(entry["block"]),
            "window": Window(tuple(window["kernel"]), tuple(window["stride"]), window["padding"]) if window else None,
        }
    )

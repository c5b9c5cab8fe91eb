"""A learnt state in a file: a state block and its CRC-32 (docs/protocol.md, "States that travel"). Data only."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from . import whole_file
from .errors import SparclError

MAGIC = 0x534C4353  # SCL_STATE_MAGIC
HEAD = struct.Struct("<3I")  # magic, layout version, model hash
SIZE_LIMIT = 16 << 20  # bytes: far above any microcontroller


class StateFileError(SparclError):
    """A state cannot be written, or a file is none."""


def save(path: Path, state: bytes) -> None:
    """Write a state block; the final name appears only when the file is whole. Raises StateFileError."""
    try:
        whole_file.write(path, state + zlib.crc32(state).to_bytes(4, "little"))
    except OSError as error:
        raise StateFileError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from None


def load(path: Path, model: int | None = None) -> bytes:
    """The state block in a file; `model`: the model hash it must have. Raises StateFileError naming the cause."""
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise StateFileError(f"{path} has {path.stat().st_size} bytes; at most {SIZE_LIMIT} are accepted")
        data = path.read_bytes()
    except OSError as error:
        raise StateFileError(f"{path} cannot be read: {error.strerror or error}; make one with: sparcl pull") from None
    state, crc = data[:-4], int.from_bytes(data[-4:], "little")
    if len(state) < HEAD.size or zlib.crc32(state) != crc:
        raise StateFileError(
            f"{path} is damaged or cut short (its CRC differs); pull the state again or restore a copy"
        )
    magic, _, found = HEAD.unpack_from(state)
    if magic != MAGIC:
        raise StateFileError(f"{path} is no state of a board; make one with: sparcl pull")
    if model is not None and found != model:
        raise StateFileError(
            f"{path} is a state of model {found:08x}, but the board has {model:08x}: a state belongs to one network "
            "with one memory; push it to a board that was built from the same .sparcl file with the same settings"
        )
    return state

"""The firmware as a process of this computer."""

from __future__ import annotations

import os
from pathlib import Path

from .process import ProcessStream
from .stream import BoardError, ByteStream


def open_native(program: Path, flash: Path | None = None) -> ByteStream:
    """Start the program, with `flash` for the file that is its flash, made if it is not there. Raises BoardError when
    it is not there or not executable."""
    if not program.is_file():
        raise BoardError(f"{program} does not exist; build it with: sparcl build")
    if not os.access(program, os.X_OK):
        raise BoardError(f"{program} is not executable; build it again with: sparcl build")
    command = [program.resolve(), *([flash.resolve()] if flash else [])]
    return ProcessStream(command, f"native program {program.name}")

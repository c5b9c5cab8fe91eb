"""Open the byte stream of any board."""

from __future__ import annotations

from pathlib import Path

from . import boot_loader
from .catalogue import BoardFacts
from .native import open_native
from .qemu import open_qemu
from .serial import open_serial, ports
from .stream import BoardError, ByteStream


def open_board(
    facts: BoardFacts, program: Path | None = None, port: str | None = None, flash: Path | None = None
) -> ByteStream:
    """Connect to `port` (device or URL) if given; otherwise start `program` on this computer or in its emulator.

    flash: the file that such a started board has for its flash, so that what it commits (docs/protocol.md, "The
    store") outlives it; made if it is not there. None: it forgets everything when it ends.
    Raises BoardError when what the board needs is missing.
    """
    if port is not None:
        return open_serial(port, facts.baud, facts.fast_baud)
    if facts.reached == "serial":
        found = ports() or [f"none; {boot_loader.attached() or 'is the board plugged in?'}"]
        raise BoardError(
            f"board {facts.name!r} is reached through a serial port; name it with --port. Found: {', '.join(found)}"
        )
    if program is None:
        raise BoardError(f"board {facts.name!r} needs a built program or a port; build it with: sparcl build")
    return open_native(program, flash) if facts.reached == "native" else open_qemu(facts, program, flash)

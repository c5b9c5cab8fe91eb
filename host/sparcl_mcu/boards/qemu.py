"""Emulated boards: the firmware on a QEMU machine, with its UART on a pipe or on a TCP port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .catalogue import BoardFacts
from .process import ProcessStream
from .stream import BoardError, ByteStream

START_SECONDS = 10.0

DEBIAN = {"qemu-system-arm": "qemu-system-arm", "qemu-system-riscv32": "qemu-system-misc"}


@dataclass(frozen=True)
class Started:
    """An emulated board running in the background."""

    url: str  # for pyserial, and so for --port
    pid: int


def open_qemu(facts: BoardFacts, program: Path, flash: Path | None = None) -> ByteStream:
    """Start an emulator that ends with the stream; `flash` is the file its flash lies in, made if it is not there.
    Raises BoardError when emulator or program is missing."""
    command = _command(facts, program, "stdio,signal=off", flash)
    return ProcessStream(command, f"emulated board {facts.name}")


def start_detached(facts: BoardFacts, program: Path, port: int = 0) -> Started:
    """Start an emulator that outlives this program; returns once its TCP port (a free one for 0) listens.

    The board runs at once and waits for one host at a time. Raises BoardError when emulator or program is missing,
    when the port is taken, and when it does not listen within START_SECONDS.
    """
    port = _free_port(port)
    # Without nodelay every reply waits for the host's delayed acknowledgement: 44 ms instead of 1.
    command = _command(facts, program, f"socket,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    deadline = time.monotonic() + START_SECONDS
    while not _taken(port):
        if process.poll() is not None:
            raise BoardError(f"{command[0]} ended at once: {process.stderr.read().decode(errors='replace').strip()}")
        if time.monotonic() > deadline:
            process.kill()
            raise BoardError(f"{command[0]} does not listen on port {port} after {START_SECONDS:g} s")
        time.sleep(0.02)
    return Started(f"socket://127.0.0.1:{port}", process.pid)


def _command(facts: BoardFacts, program: Path, uart: str, flash: Path | None = None) -> list[str]:
    emulator, *options = facts.emulator
    path = shutil.which(emulator)
    if path is None:
        package = DEBIAN.get(emulator, emulator)
        raise BoardError(
            f"board {facts.name!r} needs {emulator}, which is not on PATH; on Debian: sudo apt install {package}"
        )
    if not program.is_file():
        raise BoardError(f"{program} does not exist; build it with: sparcl build --board {facts.name}")
    kind, _, rest = uart.partition(",")
    chardev = f"{kind},id=uart,{rest}"
    silent = ["-display", "none", "-monitor", "none", "-chardev", chardev, "-serial", "chardev:uart"]
    if flash is not None:
        *store, last = facts.store_memory
        options += [*store, last + str(flash.resolve()).replace(",", ",,")]  # a comma would end QEMU's option
    return [path, *options, *silent, "-kernel", str(program.resolve())]


def _free_port(port: int) -> int:
    """`port` itself if nobody listens there, any free one for 0. Raises BoardError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BoardError(f"port {port} cannot be used ({error}); is another board running there?") from None
        return int(probe.getsockname()[1])


def _taken(port: int) -> bool:
    """Whether somebody listens, found out without connecting: the board serves one host at a time."""
    try:
        _free_port(port)
    except BoardError:
        return True
    return False

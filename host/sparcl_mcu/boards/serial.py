"""Boards behind a serial port or any other URL of pyserial; the one module that imports it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from . import boot_loader
from .stream import BoardError, ByteStream

READ_BYTES = 1 << 16
WRITE_SECONDS = 10.0


def ports() -> list[str]:
    """Serial ports this computer has now, as "device (what it calls itself)"."""
    from serial.tools import list_ports

    return [f"{port.device} ({port.description})" for port in sorted(list_ports.comports())]


def open_serial(port: str, baud: int, fast: int = 0) -> ByteStream:
    """Open a device or URL (socket://127.0.0.1:5555) at `baud`; a device may go over to `fast`, if not 0. What is
    behind a URL has one speed. Raises BoardError saying what to check."""
    import serial

    options: dict[str, Any] = {} if "://" in port else {"exclusive": True}
    try:
        line = serial.serial_for_url(port, baudrate=baud, timeout=0, write_timeout=WRITE_SECONDS, **options)
    except (serial.SerialException, ValueError, OSError) as error:
        raise BoardError(f"{port} cannot be opened: {_remedy(port, error)}") from None
    return SerialStream(line, port, 0 if "://" in port else fast)


class SerialStream:
    """SerialLine of an open pyserial object."""

    def __init__(self, line: object, name: str, fast: int) -> None:
        import serial

        assert isinstance(line, serial.SerialBase)
        self._line = line
        self._failures = (serial.SerialException, OSError)
        self._name = name
        self.first, self.fast = int(line.baudrate), fast

    @property
    def name(self) -> str:
        return self._name

    @property
    def baud(self) -> int:
        return int(self._line.baudrate)

    @baud.setter
    def baud(self, baud: int) -> None:
        try:
            self._line.baudrate = baud
        except (*self._failures, ValueError) as error:
            raise BoardError(
                f"{self._name} cannot run at {baud} baud ({error}); take custom_sparcl_fast_baud out of the board's "
                "file in firmware/boards, and switch the board off and on"
            ) from None

    def read(self, timeout: float) -> bytes:
        try:
            # Wait for one byte, then take all that is there: asking for more at first would wait for all of it.
            self._line.timeout = timeout
            first = bytes(self._line.read(1))
            if not first:
                return b""
            self._line.timeout = 0
            return first + bytes(self._line.read(READ_BYTES))
        except self._failures as error:
            raise self._gone(error) from None

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data)
        except self._failures as error:
            raise self._gone(error) from None

    def close(self) -> None:
        self._line.close()

    def _gone(self, error: Exception) -> BoardError:
        hint = boot_loader.attached() or "is the board still plugged in and running?"
        return BoardError(f"{self._name} went away ({error}); {hint}")


def _group(port: str) -> str:
    """The group that a device belongs to: dialout on Debian, uucp on Arch. By its number if it has no name here."""
    import grp  # Windows has none, nor EACCES

    number = Path(port).stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _remedy(port: str, error: Exception) -> str:
    text = str(error)
    code = getattr(error, "errno", None)
    if "://" in port:
        return f"{text}; is the board running there? Start an emulated one with: pio run -e qemu_m4 -t upload"
    if code == errno.EACCES:
        return (
            f"permission denied; join the group that owns it: sudo usermod -aG {_group(port)} $USER, then log in again"
        )
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return "another program has it open; close that serial monitor"
    if code == errno.ENOENT or "FileNotFound" in text:
        found = ports()
        hint = boot_loader.attached() or "is the board plugged in?"
        return f"there is no such port; found: {', '.join(found) if found else 'none'}; {hint}"
    return text

"""The byte stream a board offers, whatever it is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..errors import SparclError


class BoardError(SparclError):
    """A board is unknown, cannot be started or reached, or went away."""


class ByteStream(Protocol):
    """An open, two-way pipe of bytes to a running board; nothing in it knows of frames."""

    @property
    def name(self) -> str:
        """What the user would call it in a message: a port, a URL, a program."""

    def read(self, timeout: float) -> bytes:
        """Whatever has come, as soon as anything has; b"" when nothing came within `timeout` seconds.

        Raises a SparclError when the board is gone: unplugged, closed, its process ended.
        """

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises a SparclError when the board is gone."""

    def close(self) -> None:
        """Let go of the board; allowed twice."""


@runtime_checkable
class SerialLine(ByteStream, Protocol):
    """A byte stream over a line with a speed, in baud; setting `baud` changes this end of it."""

    baud: int
    first: int  # what a board runs at when it is switched on
    fast: int  # what board and line are known to do; 0: nothing faster

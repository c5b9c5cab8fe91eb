"""How fast the line runs: at the speed a board begins with, until both ends agree on its faster one.

docs/protocol.md, "The speed", says what the board does meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..boards.stream import ByteStream, SerialLine
from .log import LinkLog
from .messages import RefusedError, SilentError

T = TypeVar("T")


class LineSpeed:
    """The speed of one board's line; a stream without speeds stays as it is."""

    def __init__(self, stream: ByteStream, log: LinkLog | None) -> None:
        self._line = stream if isinstance(stream, SerialLine) and stream.fast else None
        self._log = log
        self._given_up = False

    def open(self, hello: Callable[[], T], ask: Callable[[int], object]) -> T:
        """What `hello` returns, at the speed agreed on in the end. ask: a SPEED message of so many baud.

        Raises SilentError when the board is heard at neither speed, and what `hello` raises.
        """
        line = self._line
        if line is None:
            return hello()
        found = self._heard(line, hello)
        if line.baud == line.fast or self._given_up:
            return found
        try:
            ask(line.fast)
        except RefusedError as error:
            self._give_up(str(error))
            return found
        except SilentError:
            pass  # its reply may be lost: the board is at one of the two
        line.baud = line.fast
        found = self._heard(line, hello)
        if line.baud != line.fast:
            self._give_up(f"nothing is heard at {line.fast} baud")
        return found

    def _heard(self, line: SerialLine, hello: Callable[[], T]) -> T:
        """At the speed of now; in silence at the other: a board keeps its speed longer than a host does, or was
        switched off and on."""
        try:
            found = hello()
        except SilentError as error:
            line.baud = line.first if line.baud == line.fast else line.fast
            try:
                found = hello()
            except SilentError:
                line.baud = line.first
                raise SilentError(f"{error} (tried {line.first} and {line.fast} baud)") from None
        self._note(f"heard at {line.baud} baud")
        return found

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._note(f"{why}: the line stays as it is")

    def _note(self, text: str) -> None:
        if self._log:
            self._log.note(text)

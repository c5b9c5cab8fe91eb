"""What is kept of a conversation: counters, and a text line for every frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TextIO

from .messages import REPLY, Kind

_NAMES = {int(kind): kind.name for kind in Kind}
_NAMES |= {kind | REPLY: name + "_REPLY" for kind, name in _NAMES.items() if kind < REPLY}


@dataclass
class LinkCounters:
    """The host's side of the link since it was opened; bytes are bytes on the wire."""

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    payload_sent: int = 0  # bytes, without kind, seq, crc, stuffing and repetitions
    payload_received: int = 0
    retries: int = 0  # frames sent again
    naks: int = 0
    damaged: int = 0  # pieces received that were no frame
    seconds: float = 0.0  # in requests, from the first byte sent to the last reply

    @property
    def link_bytes(self) -> int:
        """Bytes on the wire, both ways."""
        return self.bytes_sent + self.bytes_received


class LinkLog:
    """One line a frame: seconds, > sent or < received, message, sequence number, payload bytes.

    The file is the caller's; open it with its usual buffer, and this costs about a microsecond a frame.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._start = time.monotonic()

    def frame(self, direction: str, kind: int, seq: int, payload_bytes: int) -> None:
        """Note a frame; `direction` is ">" or "<", and ">>" for one sent again."""
        name = _NAMES.get(kind) or f"0x{kind:02x}"
        self._file.write(f"{time.monotonic() - self._start:.6f} {direction} {name} {seq} {payload_bytes}\n")

    def note(self, text: str) -> None:
        """Note anything else: a NAK's reason, a damaged frame, a silence."""
        self._file.write(f"{time.monotonic() - self._start:.6f} # {text}\n")

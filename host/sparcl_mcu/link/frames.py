"""Frames on the wire: COBS(kind, seq, payload, crc32) and a zero byte (docs/protocol.md, "Frames")."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from cobs import cobs

OVERHEAD = 6  # bytes before stuffing: kind, seq, crc


class Frame(NamedTuple):
    """One frame whose CRC was right."""

    kind: int
    seq: int
    payload: bytes


def encode(kind: int, seq: int, payload: bytes = b"") -> bytes:
    """The bytes to send, delimiter included."""
    body = bytes((kind, seq)) + payload
    wire: bytes = cobs.encode(body + zlib.crc32(body).to_bytes(4, "little"))
    return wire + b"\0"


def decode(stuffed: bytes) -> Frame | None:
    """The frame in what came between two delimiters, or None if it is damaged or too short."""
    try:
        raw: bytes = cobs.decode(stuffed)
    except cobs.DecodeError:
        return None
    if len(raw) < OVERHEAD or zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        return None
    return Frame(raw[0], raw[1], raw[2:-4])


class Splitter:
    """Cuts what arrives at the zero bytes; anything before the next one is kept."""

    LIMIT = 4096  # bytes; no reply is near it, so more is noise without a delimiter

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Whole pieces, without their delimiters and without empty ones."""
        *pieces, rest = (self._rest + data).split(b"\0")
        self._rest = rest[-self.LIMIT :]
        return [piece for piece in pieces if piece]

"""The key of a locked board, and the codes that frames to it carry (docs/protocol.md, "The lock")."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable

from .messages import Kind, LinkError

VARIABLE = "SPARCL_KEY"  # in the environment: of builds, and of programs that talk to what they built
MAC_BYTES = 8
PLACE = struct.Struct("<B3xIIII4x")  # kind, number in the conversation, boot, conversation, model hash
NEED_KEY = frozenset(
    (
        *(Kind.RESET, Kind.BEGIN_TASK, Kind.OBSERVE, Kind.END_TASK, Kind.REMEMBER, Kind.END_EPOCH),
        *(Kind.COMMIT, Kind.READ_STATE, Kind.WRITE_STATE, Kind.SPEED),
    )
)
_MASK = (1 << 64) - 1

Seal = Callable[[int, int, bytes], bytes]  # kind, number in the conversation, payload -> what goes behind it


def key_of_environment() -> bytes | None:
    """The key in SPARCL_KEY, None when it is not set. Raises LinkError for what is no key."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    if not re.fullmatch("[0-9a-fA-F]{32}", text):
        raise LinkError(f"{VARIABLE} is no key: give 32 hexadecimal digits, those the firmware was built with")
    return bytes.fromhex(text)


def seal(key: bytes, boot: int, conversation: int, model_hash: int) -> Seal:
    """What makes the codes of one conversation."""

    def code(kind: int, number: int, payload: bytes) -> bytes:
        if kind not in NEED_KEY:
            return b""
        place = PLACE.pack(kind, number, boot, conversation, model_hash)
        return siphash(key, place + payload).to_bytes(MAC_BYTES, "little")

    return code


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 (Aumasson and Bernstein 2012) of data under a key of 16 bytes."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v0, v1, v2, v3 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    words: tuple[int, ...] = struct.unpack(f"<{len(padded) // 8}Q", padded)
    for word in (*words, None):
        if word is None:
            v2 ^= 0xFF
        else:
            v3 ^= word
        for _ in range(4 if word is None else 2):
            v0 = (v0 + v1) & _MASK
            v1 = (v1 << 13 & _MASK | v1 >> 51) ^ v0
            v0 = v0 << 32 & _MASK | v0 >> 32
            v2 = (v2 + v3) & _MASK
            v3 = (v3 << 16 & _MASK | v3 >> 48) ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = (v3 << 21 & _MASK | v3 >> 43) ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = (v1 << 17 & _MASK | v1 >> 47) ^ v2
            v2 = v2 << 32 & _MASK | v2 >> 32
        if word is not None:
            v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3

"""What host and board say to each other: the Python side of sparcl/messages.h and docs/protocol.md.

tests/test_facts.py holds these lists equal to the C headers, which are where a change begins.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from ..errors import SparclError

PROTOCOL_VERSION = 6  # SCL_PROTOCOL_VERSION
RUNTIME_VERSION = 5  # SCL_RUNTIME_VERSION: the arithmetic and the counters this package knows
REPLY = 0x80  # a reply has its request's kind and this bit


class LinkError(SparclError):
    """The board did not answer, refused, or speaks another version."""


class SilentError(LinkError):
    """Nothing that the board sent was understood for as long as one waits."""


class RefusedError(LinkError):
    """The board answered with an error; `status` says which."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Kind(IntEnum):
    """Message kinds (SCL_MESSAGE_LIST)."""

    HELLO = 0x01
    RESET = 0x02
    BEGIN_TASK = 0x03
    OBSERVE = 0x04
    END_TASK = 0x05
    PREDICT = 0x06
    STATE_HASH = 0x07
    STATS = 0x08
    REMEMBER = 0x09
    END_EPOCH = 0x0A
    WANTED = 0x0B
    PREDICT_AMONG = 0x0C
    LAYER = 0x0D
    BUFFER = 0x0E
    COMMIT = 0x0F
    STORE = 0x10
    READ_STATE = 0x11
    WRITE_STATE = 0x12
    SPEED = 0x13
    NAK = 0xFF


class Nak(IntEnum):
    """Why a frame was not accepted (SCL_NAK_LIST)."""

    DAMAGED = 1
    SHORT = 2
    LONG = 3
    ORDER = 4
    CLOSED = 5


class Status(IntEnum):
    """First byte of a reply (SCL_ERR_LIST)."""

    OK = 0
    ARG = -1
    LABEL = -2
    TASK = -3
    CONFIG = -4
    LENGTH = -5
    KIND = -6
    SAMPLE = -7
    SCHEDULE = -8
    ROOM = -9
    STORE = -10
    FLASH = -11
    STATE = -12
    LOCKED = -13


STATUS_TEXT = {
    Status.OK: "ok",
    Status.ARG: "an argument is NULL or out of its range",
    Status.LABEL: "the network lacks that class, or the task did not announce it",
    Status.TASK: "no task is open, or one is open already: begin and end tasks in turn",
    Status.CONFIG: "a learning setting is out of its range",
    Status.LENGTH: "the payload has the wrong length for its message kind",
    Status.KIND: "the message kind is unknown to this protocol version",
    Status.SAMPLE: "the task has no such sample, or it was removed",
    Status.SCHEDULE: "the task is too short for the settings, or its length is not known",
    Status.ROOM: "the network was generated without the memory for it",
    Status.STORE: "the board has no flash to keep states in, or too little for two of them",
    Status.FLASH: "the flash could not be erased or written: it is worn out or busy",
    Status.STATE: "no state of this network, or one of which only a part has come",
    Status.LOCKED: "the board is locked: the message needs the code of the right key",
}

TOKEN = struct.Struct("<I")  # HELLO request
RESET = struct.Struct("<IBbBBBBBBHHHHHB")  # scl_config
BEGIN_TASK = struct.Struct("<IH")  # samples, epochs; then a bit a class
OBSERVE = struct.Struct("<BH")  # label, number; then the sample
WANTED = struct.Struct("<H")  # first sample
WANTED_SAMPLES = 1024  # SCL_WANTED_SAMPLES: the most one reply tells about
BUFFER_CLASSES = 64  # SCL_BUFFER_CLASSES, likewise
COMMIT = struct.Struct("<I")  # every
READ_STATE = struct.Struct("<H")  # piece
WRITE_STATE = struct.Struct("<H64s")  # piece, its bytes
SPEED = struct.Struct("<I")  # baud
STATE_PIECE = 64  # SCL_STATE_PIECE: bytes of the state that one message moves
STATE_LIMIT = STATE_PIECE << 16  # bytes; READ_STATE can name no piece behind them
STATE_HASH = struct.Struct("<I")
HELLO_HEAD = struct.Struct("<IH")  # token, protocol_version: the same in every version
_HELLO = struct.Struct("<IHBHIIHHHBHIIIIHHBIIBII")
_STATS = struct.Struct("<7I8QI8I")
_LAYER = struct.Struct("<4I")
_STORE = struct.Struct("<9I")


@dataclass(frozen=True)
class Hello:
    """What a board tells about itself (docs/protocol.md, "HELLO"); fields in the order of the wire."""

    token: int
    protocol_version: int
    next_seq: int
    runtime_version: int
    build_id: int
    model_hash: int
    inputs: int
    classes: int
    replay_capacity: int
    window: int
    max_payload: int
    settings: int  # CRC-32 of the RESET that the board learns by
    step: int
    seen: int
    position: int
    epochs_done: int
    tasks_begun: int
    task_open: int
    commits: int  # 0: nothing to come back to after a power cut
    uncommitted: int
    locked: int
    boot: int
    conversation: int
    board: str

    @classmethod
    def unpack(cls, body: bytes) -> Hello:
        """From a reply without its status. Raises LinkError for another version, with both numbers."""
        if len(body) < HELLO_HEAD.size:
            raise LinkError(f"the board's HELLO has {len(body)} bytes; is this sparcl-mcu firmware?")
        _, version = HELLO_HEAD.unpack_from(body)
        if version != PROTOCOL_VERSION:
            raise LinkError(
                f"the board speaks link protocol {version}, this host {PROTOCOL_VERSION}; "
                "build and upload the firmware again from this checkout"
            )
        if len(body) < _HELLO.size:
            raise LinkError(f"the board's HELLO has {len(body)} bytes, at least {_HELLO.size} are needed")
        name = body[_HELLO.size :].decode(errors="replace")
        values: tuple[Any, ...] = (*_HELLO.unpack_from(body), name)
        return cls(*values)


@dataclass(frozen=True)
class Stats:
    """Work done since reset, and the board's link counters since power-on; fields in the order of the wire."""

    steps: int
    predictions: int
    training_passes: int
    backward_passes: int
    skipped: int
    removed: int
    events: int
    macs_forward: int
    macs_input_grad: int
    macs_weight_grad: int
    macs_importance: int
    updates_watched: int
    updates_dead: int
    updates_saturated: int
    instructions: int  # spent learning; 0 if the board cannot count
    stack_bytes: int  # most in use at any one time since power-on; 0 if the board does not know
    frames_ok: int
    bad_crc: int
    too_long: int
    too_short: int
    repeated: int
    out_of_order: int
    unknown_kind: int
    refused: int

    @classmethod
    def unpack(cls, body: bytes) -> Stats:
        """From a reply without its status. Raises LinkError for a wrong length."""
        if len(body) != _STATS.size:
            raise LinkError(f"the board's STATS has {len(body)} bytes, expected {_STATS.size}")
        return cls(*_STATS.unpack(body))


LINK_COUNTERS = tuple(field.name for field in fields(Stats))[-8:]


@dataclass(frozen=True)
class LayerInfo:
    """How a weighted layer stands; fields in the order of the wire."""

    live: int  # stored weights
    learn: int  # of those, weights that learn now
    terms: int  # blocks whose measured importance is not 0
    weights: int  # weights if none were masked

    @classmethod
    def unpack(cls, body: bytes) -> LayerInfo:
        """From a reply without its status. Raises LinkError for a wrong length."""
        if len(body) != _LAYER.size:
            raise LinkError(f"the board's LAYER has {len(body)} bytes, expected {_LAYER.size}")
        return cls(*_LAYER.unpack(body))


@dataclass(frozen=True)
class StoreInfo:
    """How a board's store stands (docs/protocol.md, "The store"); fields in the order of the wire."""

    commits: int  # of this network
    every: int  # samples between two commits the board makes itself; 0: none
    uncommitted: int  # samples observed since the last one
    failed: int  # since power-on, as the last two
    slots: int
    slot_bytes: int
    sector_bytes: int
    erased: int  # sectors
    programmed: int  # bytes

    @classmethod
    def unpack(cls, body: bytes) -> StoreInfo:
        """From a reply without its status. Raises LinkError for a wrong length."""
        if len(body) != _STORE.size:
            raise LinkError(f"the board's STORE has {len(body)} bytes, expected {_STORE.size}")
        return cls(*_STORE.unpack(body))


def status_text(status: int) -> str:
    """What a status byte (signed) means."""
    try:
        return STATUS_TEXT[Status(status)]
    except ValueError:
        return f"error {status}, unknown to this host"

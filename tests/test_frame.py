"""Frames: the C code against the `cobs` package and zlib, for every content and length."""

from __future__ import annotations

import ctypes
import zlib

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from helpers import RUNTIME, compile_c
from sparcl_mcu.link.frames import OVERHEAD, Frame, Splitter, decode, encode

NONE, WHOLE, DAMAGED, SHORT, LONG = range(5)
CAPACITY = 600

# Bytes that stuffing treats apart are common here: zeros, ones, and runs around 254.
content = st.one_of(
    st.binary(max_size=CAPACITY - OVERHEAD),
    st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"\7" * 250, b"\7" * 253, b"\7" * 254]), max_size=6).map(
        lambda parts: b"".join(parts)[: CAPACITY - OVERHEAD]
    ),
)
byte = st.integers(0, 255)


class Decoder(ctypes.Structure):
    """scl_frame_decoder."""

    _fields_ = (
        ("bytes", ctypes.c_void_p),
        ("capacity", ctypes.c_size_t),
        ("length", ctypes.c_size_t),
        ("code", ctypes.c_uint8),
        ("left", ctypes.c_uint8),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    sources = [str(RUNTIME / f"src/{part}.c") for part in ("frame", "crc32")]
    target = tmp_path_factory.mktemp("frames") / "frames.so"
    flags = ("-shared", "-fPIC", "-fsanitize=undefined", "-static-libubsan")
    library = ctypes.CDLL(str(compile_c(target, sources, *flags)))
    library.scl_frame_seal.restype = ctypes.c_size_t
    return library


def c_decode(library, wire: bytes, capacity: int = CAPACITY) -> list[tuple[int, bytes]]:
    """Events other than NONE, and the frame that came with each."""
    buffer = ctypes.create_string_buffer(CAPACITY)
    decoder = Decoder()
    library.scl_frame_init(ctypes.byref(decoder), buffer, ctypes.c_size_t(capacity))
    events = []
    payload_bytes = ctypes.c_size_t()
    for value in wire:
        event = library.scl_frame_push(ctypes.byref(decoder), ctypes.c_uint8(value), ctypes.byref(payload_bytes))
        if event != NONE:
            events.append((event, buffer.raw[: 2 + payload_bytes.value] if event == WHOLE else b""))
    return events


@given(kind=byte, seq=byte, payload=content)
def test_c_reads_what_python_writes(library, kind, seq, payload):
    wire = encode(kind, seq, payload)
    assert wire.count(0) == 1
    assert c_decode(library, wire) == [(WHOLE, bytes([kind, seq]) + payload)]
    assert decode(wire[:-1]) == Frame(kind, seq, payload)


@given(kind=byte, seq=byte, payload=st.one_of(st.binary(max_size=248), st.just(b"\7" * 248), st.just(b"\0" * 248)))
def test_python_reads_what_c_writes(library, kind, seq, payload):
    wire = ctypes.create_string_buffer(b"?" + bytes([kind, seq]) + payload, 1 + OVERHEAD + len(payload) + 1)
    size = library.scl_frame_seal(wire, ctypes.c_size_t(len(payload)))
    assert size == len(wire)
    assert wire.raw[-1] == 0
    assert 0 not in wire.raw[:-1]
    assert decode(wire.raw[:-1]) == Frame(kind, seq, payload)


@given(pieces=st.lists(st.binary(max_size=40).map(lambda piece: piece.replace(b"\0", b"\1")), max_size=8))
def test_both_judge_garbage_alike_and_are_in_step_after_it(library, pieces):
    good = encode(3, 9, b"in step")
    for piece in pieces:
        found = decode(piece)
        expected = [] if not piece else [WHOLE] if found else [DAMAGED, SHORT]
        events = c_decode(library, piece + b"\0" + good)
        assert events[-1] == (WHOLE, b"\3\x09in step")
        assert len(events) == 1 + bool(piece)
        assert all(event in expected for event, _ in events[:-1])


@pytest.mark.parametrize("extra", [0, 1, 2, 253, 5000])
def test_a_frame_fits_exactly_or_is_too_long(library, extra):
    wire = encode(1, 2, b"\0\5" * 20 + b"\6" * extra)
    assert [event for event, _ in c_decode(library, wire, capacity=46)] == [WHOLE if extra == 0 else LONG]


@given(kind=byte, payload=st.binary(max_size=30), data=st.data())
def test_no_single_damaged_byte_goes_unnoticed(library, kind, payload, data):
    wire = bytearray(encode(kind, 0, payload))
    position = data.draw(st.integers(0, len(wire) - 2))
    wire[position] ^= data.draw(st.integers(1, 255))
    assert WHOLE not in [event for event, _ in c_decode(library, bytes(wire))]
    assert all(decode(piece) is None for piece in bytes(wire).split(b"\0"))


def test_the_crc_covers_everything_before_it():
    raw = cobs.decode(encode(0x11, 0x22, b"\x33")[:-1])
    assert raw == b"\x11\x22\x33" + zlib.crc32(b"\x11\x22\x33").to_bytes(4, "little")


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_the_splitter_does_not_care_how_bytes_arrive(data, cuts):
    splitter, pieces, last = Splitter(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        pieces += splitter.feed(data[last:cut])
        last = max(last, min(cut, len(data)))
    assert pieces == [piece for piece in data.split(b"\0")[:-1] if piece]


def test_the_splitter_is_bounded_when_no_delimiter_comes():
    splitter = Splitter()
    for _ in range(100):
        assert splitter.feed(b"\1" * 10_000) == []
    assert len(splitter.feed(b"\0")[0]) <= Splitter.LIMIT

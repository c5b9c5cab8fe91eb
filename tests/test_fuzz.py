"""Hostile input: the C under libFuzzer for a short while, and hypothesis against what the host reads."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import SPARCL_ROOM, random_network
from programs import need
from sparcl_mcu import network_file, state_file
from sparcl_mcu.cli import fuzzing
from sparcl_mcu.link.frames import Frame, Splitter, decode, encode
from sparcl_mcu.link.messages import Hello, LayerInfo, LinkError, Stats, StoreInfo
from sparcl_mcu.network import NetworkError
from sparcl_mcu.state_file import StateFileError
from sparcl_tools import state_block
from sparcl_tools.generate import model_hash
from sparcl_tools.plan import HEAD_BYTES, plan
from sparcl_tools.state_block import StateError

NETWORK = random_network(3)


@pytest.mark.parametrize("target", fuzzing.TARGETS)
def test_the_c_withstands_what_a_fuzzer_thinks_of(tmp_path: Path, target: str):
    """What is kept, and a short run from there; `sparcl results faults fuzz` makes the long one."""
    need("clang")
    kept = sum(len(list(folder.iterdir())) for folder in fuzzing.folders(target))
    done = fuzzing.run(fuzzing.build(target, tmp_path), target, 5_000)
    assert not done.report, done.report
    assert done.inputs > kept > 50
    assert min(done.counts.values()) > 1000, done.counts


FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=600))


@given(FRAMES, st.data())
def test_a_frame_arrives_whole_or_not_at_all(frame: Frame, data: st.DataObject):
    wire = encode(*frame)
    assert [decode(piece) for piece in Splitter().feed(wire)] == [frame]
    at, flipped = data.draw(st.integers(0, len(wire) - 2)), data.draw(st.integers(1, 255))
    changed = wire[:at] + bytes([wire[at] ^ flipped]) + wire[at + 1 :]
    inserted = wire[:at] + bytes([flipped]) + wire[at:]
    for damaged in (changed, inserted, wire[:at] + wire[at + 1 :], wire[:at] + b"\0"):
        assert not any(decode(piece) for piece in Splitter().feed(damaged))


@given(st.integers(1, 255), st.lists(st.integers(1, 255), min_size=248, max_size=248))
def test_stuffing_that_no_encoder_sends_is_the_same_frame_or_none(kind: int, payload: list[int]):
    """After a last run of 254 bytes COBS may end at once, or with an empty piece."""
    wires = (encode(kind, seq, bytes(payload)) for seq in range(1, 256))
    wire = next(wire for wire in wires if wire[0] == 0xFF and len(wire) == 256)[:-1]  # no zero in the CRC either
    assert decode(wire) == decode(wire + b"\1") == Frame(kind, wire[2], bytes(payload))
    assert decode(wire + b"\1\1") is None, "one zero byte more"
    assert decode(wire + b"\2") is None, "a piece cut short"


@pytest.mark.parametrize("body", [b"", b"\1", b"\0"])
def test_a_right_crc_over_too_little_is_no_frame(body: bytes):
    assert decode(cobs.encode(body + zlib.crc32(body).to_bytes(4, "little"))) is None


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_the_splitter_keeps_a_bounded_rest_however_bytes_are_cut(pieces: list[bytes]):
    whole, cut = Splitter(), Splitter()
    data = b"".join(pieces)
    assert whole.feed(data) == [piece for part in pieces for piece in cut.feed(part)]
    assert len(whole.feed(b"\1" * 3 * Splitter.LIMIT)) == 0
    assert len(whole._rest) <= Splitter.LIMIT


@given(st.binary(max_size=200))
def test_any_reply_is_read_or_refused(body: bytes):
    for kind in (Hello, Stats, LayerInfo, StoreInfo):
        try:
            kind.unpack(body)
        except LinkError as error:
            assert "bytes" in str(error) or "protocol" in str(error)  # noqa: PT017


@settings(max_examples=60)
@given(data=st.data())
def test_any_network_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.sparcl"
    if not whole.exists():
        network_file.save(NETWORK, whole)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = folder / "damaged.sparcl"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        network_file.load(damaged)
    except NetworkError as refusal:
        assert str(damaged) in str(refusal)  # noqa: PT017


STATE = state_file.HEAD.pack(state_file.MAGIC, 3, 0xABCD) + bytes(range(200))


@given(data=st.data())
def test_a_state_file_with_a_bit_flipped_or_cut_short_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    file, state = tmp_path_factory.getbasetemp() / "learned.state", STATE
    state_file.save(file, state)
    whole = file.read_bytes()
    assert state_file.load(file, 0xABCD) == state
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    for damaged in (bytes(flipped), whole[: data.draw(st.integers(0, len(whole) - 1))]):
        file.write_bytes(damaged)
        with pytest.raises(StateFileError, match=rf"{file} is damaged or cut short"):
            state_file.load(file, 0xABCD)


@given(data=st.data())
def test_a_state_file_whose_crc_was_repaired_is_judged_by_its_head(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    file, state = tmp_path_factory.getbasetemp() / "repaired.state", bytearray(STATE)
    bit = data.draw(st.integers(0, 8 * len(state) - 1) | st.integers(0, 8 * state_file.HEAD.size - 1))
    state[bit // 8] ^= 1 << bit % 8
    length = data.draw(st.sampled_from([0, 4, state_file.HEAD.size - 1, state_file.HEAD.size, len(state)]))
    state_file.save(file, bytes(state[:length]))
    if length < state_file.HEAD.size:
        expected = "is damaged or cut short"
    elif bit < 32:
        expected = "is no state of a board"
    elif 64 <= bit < 96:
        expected = f"is a state of model {0xABCD ^ 1 << bit - 64:08x}, but the board has 0000abcd"
    else:  # the layout version and what the block holds are for the board to judge, or for state_block
        assert state_file.load(file, 0xABCD) == state[:length]
        return
    with pytest.raises(StateFileError, match=f"{file} {expected}"):
        state_file.load(file, 0xABCD)


@settings(max_examples=60)
@given(st.data())
def test_any_state_block_is_read_or_refused(data: st.DataObject):
    size, head = plan(NETWORK, SPARCL_ROOM).state_bytes, (0x534C4353, 3, model_hash(NETWORK, SPARCL_ROOM))
    block = bytearray(size)
    block[:12] = b"".join(word.to_bytes(4, "little") for word in head)
    block[56] = 1  # the mantissa of the rate
    for _ in range(data.draw(st.integers(0, 6))):
        block[data.draw(st.integers(12, HEAD_BYTES - 1))] = data.draw(st.integers(0, 3))
    for _ in range(data.draw(st.integers(0, 30))):
        block[data.draw(st.integers(12, size - 1))] = data.draw(st.integers(0, 255))
    try:
        state_block.load(NETWORK, SPARCL_ROOM, bytes(block)).state_hash()
    except StateError as error:
        assert "state" in str(error)  # noqa: PT017

"""Hostile input: the C under libFuzzer for a short while, and hypothesis against what the host reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import SPARCL_ROOM, random_network
from programs import need
from sparcl_mcu import network_file, state_file
from sparcl_mcu.cli import fuzzing
from sparcl_mcu.link.frames import OVERHEAD, Splitter, decode, encode
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


@given(st.binary(max_size=600))
def test_any_bytes_are_a_frame_or_none(data: bytes):
    for piece in Splitter().feed(data + b"\0"):
        frame = decode(piece)
        if frame:
            assert encode(*frame)[:-1] == piece
            assert len(frame.payload) <= len(piece) - OVERHEAD


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
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.sparcl"
    if not whole.exists():
        network_file.save(NETWORK, whole)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = folder / "damaged.sparcl"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read, error in ((network_file.load, NetworkError), (state_file.load, StateFileError)):
        try:
            read(damaged)
        except error as refusal:
            assert str(damaged) in str(refusal)  # noqa: PT017


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

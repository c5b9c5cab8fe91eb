"""Hostile input: a short run of the C fuzzer of `sparcl results faults`, and hypothesis against what the host reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import REPO, SPARCL_ROOM, compile_c, random_network, runtime_sources
from sparcl_mcu import network_file, state_file
from sparcl_mcu.learners.base import LearnSettings
from sparcl_mcu.link.frames import OVERHEAD, Splitter, decode, encode
from sparcl_mcu.link.messages import Hello, LayerInfo, LinkError, Stats, StoreInfo
from sparcl_mcu.network import NetworkError
from sparcl_mcu.state_file import StateFileError
from sparcl_tools import state_block
from sparcl_tools.generate import generate, model_hash
from sparcl_tools.plan import HEAD_BYTES, plan
from sparcl_tools.state_block import StateError

NETWORK = random_network(3)


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_bytes_do_no_harm_to_the_session(tmp_path: Path, seed: int):
    generate(NETWORK, tmp_path, room=SPARCL_ROOM, settings=LearnSettings())
    sources = [str(REPO / "tests/fuzz/session_fuzz.c"), str(tmp_path / "model.c"), *runtime_sources()]
    program = compile_c(tmp_path / "fuzz", sources, "-I", str(tmp_path), "-fsanitize=address,undefined")
    done = subprocess.run([program, "60000", str(seed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.replace(",", "").split()
    acted, refused = int(words[4]), int(words[6])
    assert acted > 10_000, done.stdout
    assert refused > 10_000, done.stdout


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

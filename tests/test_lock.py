"""A locked board: who has not the key changes nothing, whatever was heard before."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import random_network, random_samples, runtime_library, whole_task
from link_harness import Board, bad_line, native_firmware, packed
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.frames import Splitter, decode, encode
from sparcl_mcu.link.lock import key_of_environment, seal, siphash
from sparcl_mcu.link.messages import Hello, Kind, LinkError, RefusedError, Status
from sparcl_tools.build import BuildError, build
from sparcl_tools.generate import generate

NETWORK, ROOM, KEY = random_network(1), Room(replay=10), bytes(range(16))
X, Y = random_samples(NETWORK, 40, 0)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = f"-DSCL_KEY={','.join(map(str, KEY))}"
    return native_firmware(NETWORK, tmp_path_factory.mktemp("lock"), ROOM, "-DSCL_WITH_STORE", key)


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    return tmp_path / "flash"


def test_siphash_is_that_of_the_paper():
    """Its test vector, and two of the reference implementation's."""
    data = bytes(range(15))
    assert siphash(KEY, data) == 0xA129CA6149BE45E5
    assert siphash(KEY, b"") == 0x726FDB47DD0E0E31
    assert siphash(KEY, b"\0") == 0x74F839C593DC67FD


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=100), st.sampled_from([0, 8, 16]))
def test_c_equals_python(key: bytes, data: bytes, head: int):
    function = runtime_library().scl_siphash
    function.restype = ctypes.c_uint64
    whole = bytes(range(head)) + data
    c = function(key, whole[:head], ctypes.c_size_t(head), whole[head:], ctypes.c_size_t(len(data)))
    assert c == siphash(key, whole)


def teach(client: Client) -> None:
    client.reset(LearnSettings(seed=3))
    client.begin_task(whole_task(NETWORK))
    client.observe(X, Y, np.arange(len(X)))
    client.end_task()


def test_who_has_the_key_teaches_over_any_line(program: Path, flash: Path):
    simulated = SimulatedLearner(NETWORK, ROOM)
    simulated.reset(LearnSettings(seed=3))
    simulated.begin_task(whole_task(NETWORK))
    simulated.observe(X, Y)
    simulated.end_task()
    for seed in range(3):
        line = bad_line(Board(program=program, arguments=[flash]), seed, 0.1)
        client = Client(line, timeout=0.8, key=KEY)
        teach(client)
        assert client.state_hash() == simulated.state_hash()
        state = client.read_state()
        client.write_state(state)
        client.commit()
        client.close()
    assert seed == 2


@pytest.mark.parametrize("key", [None, bytes(16)])
def test_who_has_not_changes_and_reads_nothing(program: Path, flash: Path, key: bytes | None):
    client = Client(Board(program=program, arguments=[flash]), timeout=5, key=key)
    before = client.state_hash()
    tries = (
        lambda: client.reset(LearnSettings()),
        lambda: client.begin_task(whole_task(NETWORK)),
        lambda: client.observe(X, Y, np.arange(len(X))),
        lambda: client.remember(X, Y),
        client.end_epoch,
        client.end_task,
        client.commit,
        client.read_state,
        lambda: client.write_state(bytes(64)),
    )
    refused = client.stats().refused
    for attempt in tries:
        with pytest.raises(RefusedError, match="the board is locked") as error:
            attempt()
        assert error.value.status == Status.LOCKED
    assert client.stats().refused >= refused + len(tries)
    assert client.state_hash() == before
    assert len(client.predict(X)) == len(X), "asking is free"
    client.close()


class Recorder:
    """Hears everything that goes to a board."""

    name = "recorder"

    def __init__(self, board: Board) -> None:
        self.board, self.heard = board, b""
        self.read, self.close = board.read, board.close

    def write(self, data: bytes) -> None:
        self.heard += data
        self.board.write(data)


def test_what_was_heard_is_worth_nothing_later(program: Path, flash: Path):
    board = Board(program=program, arguments=[flash])
    recorder = Recorder(board)
    client = Client(recorder, timeout=5, key=KEY)
    teach(client)
    client.commit()
    taught = client.state_hash()
    frames = [decode(piece) for piece in Splitter().feed(recorder.heard)]
    changing = [f for f in frames if f.kind in (Kind.RESET, Kind.BEGIN_TASK, Kind.OBSERVE, Kind.END_TASK)]
    assert len(changing) == 43

    def replay(on: Board, hello: int, token: bytes) -> None:
        """The same bytes in order, after a HELLO, and with fitting sequence numbers."""
        assert on.ask(encode(Kind.HELLO, hello, token)).payload[:1] == b"\0"
        for at, frame in enumerate(changing):
            answer = on.ask(encode(frame.kind, hello + 1 + at & 0xFF, frame.payload))
            assert answer.payload == struct.pack("b", Status.LOCKED)

    for frame in frames:  # all of it once more, HELLO too: a conversation that is under way
        answer = board.ask(encode(frame.kind, frame.seq, frame.payload))
        assert answer.kind in (frame.kind | 0x80, Kind.NAK)
    assert board.ask(encode(Kind.STATE_HASH, frames[-1].seq + 1 & 0xFF)).payload == struct.pack("<bI", 0, taught)
    replay(board, 0, b"mine")
    replay(board, 7, b"more")
    assert Client(board, timeout=5).state_hash() == taught
    board.process.kill()
    board.process.communicate()
    for _ in range(2):  # the counter survives a reset: each power-on is another boot
        again = Board(program=program, arguments=[flash])
        replay(again, 0, frames[0].payload)
        assert Client(again, timeout=5).state_hash() == taught
        again.process.kill()
        again.process.communicate()


def test_a_code_is_for_one_kind_one_place_and_one_payload(program: Path, flash: Path):
    board = Board(program=program, arguments=[flash])
    hello = Hello.unpack(board.ask(encode(Kind.HELLO, 0, b"abcd")).payload[1:])
    assert (hello.locked, hello.boot, hello.conversation) == (1, 1, 1)
    again = Hello.unpack(board.ask(encode(Kind.HELLO, 0, b"abcd")).payload[1:])
    assert again.conversation == 1, "the same HELLO again"
    code, reset = seal(KEY, hello.boot, hello.conversation, hello.model_hash), packed(LearnSettings())
    wrong = [
        reset + code(Kind.RESET, 2, reset),  # of the next place
        reset + code(Kind.OBSERVE, 2, reset),
        reset + code(Kind.RESET, 3, reset[:-1] + b"\1"),
        reset + seal(KEY, hello.boot + 1, 1, hello.model_hash)(Kind.RESET, 4, reset),
        reset + seal(KEY, hello.boot, 2, hello.model_hash)(Kind.RESET, 5, reset),
        reset + code(Kind.RESET, 6, reset)[:-1] + b"\0",
        reset,
        b"",
    ]
    for at, payload in enumerate(wrong):
        assert board.ask(encode(Kind.RESET, 1 + at, payload)).payload == struct.pack("b", Status.LOCKED), at
    place = 1 + len(wrong)
    assert board.ask(encode(Kind.RESET, place, reset + code(Kind.RESET, place, reset))).payload == b"\0"
    speed = struct.pack("<I", 9600)
    for at, (payload, status) in enumerate(
        [(speed, Status.LOCKED), (speed + code(Kind.SPEED, place + 2, speed), Status.ARG)], place + 1
    ):
        assert board.ask(encode(Kind.SPEED, at, payload)).payload == struct.pack("b", status)
    first, at = bytes(2), place + 3
    owners = encode(Kind.READ_STATE, at, first + code(Kind.READ_STATE, at, first))
    told = board.ask(owners)
    assert told.payload[:1] == b"\0"
    for stranger in (encode(Kind.PREDICT, at, X[0].tobytes()), encode(Kind.READ_STATE, at, first)):
        assert board.ask(stranger).kind == Kind.NAK, "a kept reply is for who has the key"
    assert board.ask(owners).payload == told.payload
    board.close()


def test_a_lock_without_a_store_refuses_everybody(program: Path):
    client = Client(Board(program=program), timeout=5, key=KEY)
    assert client.hello().boot == 0
    with pytest.raises(RefusedError, match="locked"):
        client.reset(LearnSettings())
    client.close()


def test_a_board_that_says_it_is_not_locked_is_refused(tmp_path: Path):
    board = Board(program=native_firmware(NETWORK, tmp_path, ROOM))
    with pytest.raises(LinkError, match="a key was given, but the board says that it is not locked"):
        Client(board, timeout=5, key=KEY).hello()
    board.close()


def test_a_key_in_the_environment_locks_the_firmware(flash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By PlatformIO, as a user builds it, and over the native board's own line."""
    monkeypatch.setenv("SPARCL_KEY", KEY.hex())
    generate(NETWORK, tmp_path / "model", room=ROOM, settings=LearnSettings())
    program = build("native", tmp_path / "model", build_dir=tmp_path / "build", store=True)

    def client(key: bytes | None) -> Client:
        return Client(open_board(catalogue.find("native"), program, flash=flash), timeout=30, key=key)

    stranger = client(None)
    assert stranger.hello().locked
    before = stranger.state_hash()
    with pytest.raises(RefusedError, match="the board is locked"):
        teach(stranger)
    assert stranger.state_hash() == before
    stranger.close()
    owner = client(key_of_environment())
    teach(owner)
    assert owner.hello().step == len(X)
    assert owner.state_hash() != before
    owner.commit()
    taught = owner.state_hash()
    owner.close()
    again = client(bytes(16))  # the flash has it, whoever asks
    assert again.state_hash() == taught
    with pytest.raises(RefusedError, match="the board is locked"):
        again.read_state()
    again.close()

    with pytest.raises(BuildError, match="SPARCL_KEY locks the firmware, which needs a store"):
        build("native", tmp_path / "model", build_dir=tmp_path / "build")
    monkeypatch.setenv("SPARCL_KEY", "secret")
    with pytest.raises(BuildError, match="SPARCL_KEY is no key: give 32 hexadecimal digits"):
        build("native", tmp_path / "model", build_dir=tmp_path / "build", store=True)


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPARCL_KEY", raising=False)
    assert key_of_environment() is None
    monkeypatch.setenv("SPARCL_KEY", KEY.hex())
    assert key_of_environment() == KEY
    monkeypatch.setenv("SPARCL_KEY", "secret")
    with pytest.raises(LinkError, match="32 hexadecimal digits"):
        key_of_environment()

"""Learnt states that travel: from a board to NumPy, to another board, to a file; and what is no state."""

from __future__ import annotations

import dataclasses
import random
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from helpers import SPARCL, SPARCL_ROOM, random_network, random_samples, whole_task
from link_harness import Board, native_firmware
from sparcl_mcu import network_file, state_file
from sparcl_mcu.learners.base import LearnSettings, Replay, Room
from sparcl_mcu.learners.simulated import SimulatedLearner
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.messages import Kind, LinkError, RefusedError
from sparcl_mcu.network import Network, NetworkError
from sparcl_mcu.sparsity import Block
from sparcl_mcu.state_file import StateFileError
from sparcl_tools import state_block
from sparcl_tools.generate import model_hash
from sparcl_tools.plan import plan
from sparcl_tools.state_block import StateError

SAMPLES, EPOCHS = 80, 5
ALL = dataclasses.replace(SPARCL, ddr_fraction=20000, anneal=3)
KINDS = {
    "er": (random_network(1), Room(replay=20), LearnSettings(seed=5, lr_exponent=-6)),
    "batch": (random_network(2), Room(replay=20, batch=7), LearnSettings(seed=5, lr_exponent=-6)),
    "sparcl": (random_network(3), SPARCL_ROOM, ALL),
    "sparcl 1x4": (random_network(4, sizes=(24, 16, 8, 4), block=Block(1, 4)), SPARCL_ROOM, ALL),
    "sparcl ewc": (
        random_network(4, sizes=(24, 16, 8, 4), block=Block(1, 4)),
        dataclasses.replace(SPARCL_ROOM, replay=0, logits=False, ewc=True),
        dataclasses.replace(ALL, anneal=0, replay=Replay.EWC, alpha_shift=0, beta_shift=0),
    ),
    "dgm": (random_network(5), Room(replay=9, dgm=True, slice=64), LearnSettings(lr_exponent=-6, dgm_share=30000)),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    network, room, settings = KINDS[request.param]
    return network, room, settings, native_firmware(network, tmp_path_factory.mktemp("travel"), room)


def calls(network: Network, tasks: int = 2) -> Iterator[tuple]:
    """A run, cut into single calls: (name, arguments)."""
    for task in range(tasks):
        x, y = random_samples(network, SAMPLES, task)
        yield "begin_task", whole_task(network, SAMPLES, EPOCHS)
        for _ in range(EPOCHS):
            for i in range(SAMPLES):
                yield "observe", x[i : i + 1], y[i : i + 1], np.array([i])
            yield ("end_epoch",)
        yield ("end_task",)


def do(learner: Client | SimulatedLearner, call: tuple, wanted: np.ndarray) -> None:
    name, *arguments = call
    if name != "observe" or wanted[arguments[2][0]]:
        getattr(learner, name)(*arguments)


def test_a_state_goes_on_in_numpy_and_on_another_board(kind):
    network, room, settings, program = kind
    first = Client(Board(program=program), timeout=20)
    first.reset(settings)
    simulated = SimulatedLearner(network, room)
    simulated.reset(settings)
    run = list(calls(network))
    stops = sorted(random.Random(1).sample(range(len(run)), 12))
    wanted = np.ones(SAMPLES, np.bool_)
    for at, call in enumerate(run):
        if at in stops:
            state = first.read_state()
            loaded = state_block.load(network, room, state)
            assert loaded.state_hash() == first.state_hash() == simulated.state_hash(), at
            second = Client(Board(program=program), timeout=20)
            second.write_state(state)
            assert second.state_hash() == loaded.state_hash()
            assert second.stats().steps == 0
            first.close()
            first, simulated = second, loaded  # the run goes on where the state has come to
        for learner in (first, simulated):
            do(learner, call, wanted)
        if call[0] in ("begin_task", "end_epoch"):
            wanted = simulated.wanted()
            assert np.array_equal(first.wanted(SAMPLES), wanted)
    whole = SimulatedLearner(network, room)
    whole.reset(settings)
    for call in run:
        do(whole, call, whole.wanted() if whole.task else wanted)
    assert first.state_hash() == simulated.state_hash() == whole.state_hash()
    first.close()


@pytest.fixture
def pulled(kind) -> tuple[Network, Room, Client, bytes]:
    """A board in the middle of a task, and its state."""
    network, room, settings, program = kind
    client = Client(Board(program=program), timeout=20)
    client.reset(settings)
    for call in list(calls(network))[:500]:
        do(client, call, np.ones(SAMPLES, np.bool_) if call[0] != "observe" else client.wanted(SAMPLES))
    yield network, room, client, client.read_state()
    client.close()


def test_a_damaged_state_is_refused_or_harmless(pulled):
    """Whatever lies in the block, the sanitizers find nothing when the board learns on with it."""
    network, room, client, state = pulled
    rng = random.Random(2)
    x, y = random_samples(network, 12, 5)
    accepted = 0
    for attempt in range(100):
        damaged = bytearray(state)
        for _ in range(rng.choice((1, 2, 40))):
            # the head, with its settings and its schedule, and the masks matter most
            at = rng.randrange(12, 80 if attempt % 3 == 0 else len(state))
            damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            client.write_state(bytes(damaged))
        except RefusedError:
            continue
        accepted += 1
        learn = [("observe", x[i : i + 1], y[i : i + 1], np.array([i])) for i in range(len(x))]
        for name, *arguments in (("begin_task", whole_task(network, SAMPLES, EPOCHS)), *learn, ("end_epoch",)):
            with suppress(LinkError):  # refused
                getattr(client, name)(*arguments)
        assert len(client.predict(x)) == len(x)
        assert client.hello().model_hash == model_hash(network, room)
    assert 10 < accepted < 100


def test_a_refused_state_leaves_the_network_as_it_was_built(pulled):
    network, room, client, state = pulled
    fresh = SimulatedLearner(network, room)
    before = client.state_hash()
    for word in range(3):
        other = bytearray(state)
        other[4 * word] ^= 1
        with pytest.raises(LinkError, match="refused WRITE_STATE: no state of this network"):
            client.write_state(bytes(other))
        assert client.state_hash() == before, "a first piece of another network touches nothing"
    bad = bytearray(state)
    bad[52:76] = bytes([0xFF]) * 24  # the settings
    with pytest.raises(LinkError, match="no state of this network"):
        client.write_state(bytes(bad))
    assert client.state_hash() == fresh.state_hash()
    for field in (field for field in plan(network, room).state if field.name.endswith("_scale")):
        (exponent,) = struct.unpack_from("<i", state, field.offset)
        low = network.exponents[field.name.removesuffix("_scale")] - 1
        bad = bytearray(state)
        struct.pack_into("<i", bad, field.offset, low)
        with pytest.raises(LinkError, match="no state of this network"):
            client.write_state(bytes(bad))
        with pytest.raises(StateError, match=f"has the exponent {low}, below the {low + 1} it was made with"):
            state_block.load(network, room, bytes(bad))
        assert exponent > low


def test_a_half_written_state_is_not_used(pulled):
    _, _, client, state = pulled
    client.write_state(state[:-65])  # the last pieces are missing
    for ask in (client.state_hash, client.end_task, client.read_state, client.end_epoch):
        with pytest.raises(LinkError, match="only a part has come"):
            ask()
    assert client.stats().steps >= 0
    with pytest.raises(LinkError, match="only a part has come"):
        client._control(Kind.WRITE_STATE, struct.pack("<H64s", 1, b""))  # a piece out of order
    client.write_state(state)
    assert client.read_state() == state


def test_a_file_cut_at_any_byte_is_refused(pulled, tmp_path: Path):
    network, room, _, state = pulled
    whole, cut = tmp_path / "whole.state", tmp_path / "cut.state"
    state_file.save(whole, state)
    assert state_file.load(whole, model_hash(network, room)) == state
    data = whole.read_bytes()
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(StateFileError, match="cut short"):
            state_file.load(cut)
    for at in range(0, len(data), 7):
        cut.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(StateFileError, match="damaged"):
            state_file.load(cut)
    with pytest.raises(StateFileError, match=r"is a state of model .* but the board has 00000007"):
        state_file.load(whole, 7)


def test_a_state_of_another_network_does_not_load(pulled):
    network, room, _, state = pulled
    with pytest.raises(StateError, match=r"has .* bytes, this one"):
        state_block.load(network, room, state[:-4])
    with pytest.raises(StateError, match="this is a state of model"):
        state_block.load(network, room, state[:8] + b"\0\0\0\0" + state[12:])


def test_what_is_no_file_of_a_state(tmp_path: Path):
    with pytest.raises(StateFileError, match=r"No such file.*sparcl pull"):
        state_file.load(tmp_path / "none.state")
    huge = tmp_path / "huge.state"
    with open(huge, "wb") as file:
        file.truncate(state_file.SIZE_LIMIT + 1)
    with pytest.raises(StateFileError, match="at most"):
        state_file.load(huge)
    state_file.save(huge, b"no state of anything at all")
    with pytest.raises(StateFileError, match="is no state of a board"):
        state_file.load(huge)
    with pytest.raises(StateFileError, match="cannot write"):
        state_file.save(tmp_path / "no folder" / "x.state", b"")


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path):
    huge = tmp_path / "huge.sparcl"
    with open(huge, "wb") as file:
        file.truncate(network_file.SIZE_LIMIT + 1)
    with pytest.raises(NetworkError, match=f"{huge} has {network_file.SIZE_LIMIT + 1} bytes; at most"):
        network_file.load(huge)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes, as on a disk that has no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path):
    network, names = random_network(1), ("a.sparcl", "b.state")
    places = [tmp_path / name for name in names]
    network_file.save(network, places[0])
    state_file.save(places[1], bytes(5000))
    before = [place.read_bytes() for place in places]
    for room in (0, 100, 4000):
        with full_disk(room), pytest.raises(NetworkError, match=r"cannot write .*a\.sparcl: File too large; free some"):
            network_file.save(random_network(2), places[0])
        with (
            full_disk(room),
            pytest.raises(StateFileError, match=r"cannot write .*b\.state: File too large; free some"),
        ):
            state_file.save(places[1], bytes(range(250)) * 20)
    assert [place.read_bytes() for place in places] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == list(names)

"""The store in C over a flash in Python that behaves as NOR flash does, wears out, and loses power anywhere."""

from __future__ import annotations

import ctypes
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import runtime_library
from sparcl_mcu.link.messages import Status

MAGIC, VERSION, MODEL = 0x534C4353, 3, 0xC0FFEE
COUNTERS = 88  # sizeof(scl_counters)


class Model(ctypes.Structure):
    """The part of scl_model that the store reads."""

    _fields_ = (("hash", ctypes.c_uint32), ("state_bytes", ctypes.c_uint32))


class Learner(ctypes.Structure):
    _fields_ = (
        ("model", ctypes.POINTER(Model)),
        ("state", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("counters", ctypes.c_uint64 * (COUNTERS // 8)),
    )


ERASE = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint32)
PROGRAM = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32)
READ = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32)


class CFlash(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("bytes", "sector_bytes", "unit_bytes")),
        ("erase", ERASE),
        ("program", PROGRAM),
        ("read", READ),
    )


class CStore(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("commit", "learner", "flash")),
        *((name, ctypes.c_uint32) for name in ("slots", "slot_bytes", "newest", "tried")),
        *((name, ctypes.c_uint32) for name in ("commits", "every", "failed", "erased", "programmed")),
    )


class Flash:
    """NOR flash; what would spoil it fails the test. dead: sectors that keep nothing any more."""

    def __init__(self, sectors: int, sector: int, unit: int, content: bytes | None = None) -> None:
        # as another program left it
        self.content = bytearray(content or random.Random(0).randbytes(sectors * sector))
        self.sector, self.unit = sector, unit
        self.dead: set[int] = set()
        self.refuses = False
        self.erasures = [0] * sectors
        self.torn: list[bytes] = []  # the content, were the power cut in each operation
        self.misuse: list[str] = []
        self.c = CFlash(len(self.content), sector, unit, ERASE(self._erase), PROGRAM(self._program), READ(self._read))

    def _erase(self, offset: int) -> bool:
        if offset % self.sector or offset >= len(self.content):
            self.misuse.append(f"erase {offset}")
        self.erasures[offset // self.sector] += 1
        return self._change(offset, b"\xff" * self.sector)

    def _program(self, offset: int, data: ctypes.Array[ctypes.c_uint8], n: int) -> bool:
        if offset % self.unit or n % self.unit or n > 64 or offset + n > len(self.content):
            self.misuse.append(f"program {offset}, {n}")
        if self.content[offset : offset + n] != b"\xff" * n and offset // self.sector not in self.dead:
            self.misuse.append(f"program {offset}, {n}: not erased")
        return self._change(offset, bytes(data[:n]))

    def _change(self, offset: int, new: bytes) -> bool:
        old = bytes(self.content[offset : offset + len(new)])
        rng = random.Random(len(self.torn))
        masks = [rng.choice((0, 0xFF, rng.randrange(256))) for _ in new]
        half = bytes(a & ~m & 0xFF | b & m for a, b, m in zip(old, new, masks, strict=True))
        for middle in (old, half):
            self.torn.append(bytes(self.content[:offset]) + middle + bytes(self.content[offset + len(new) :]))
        if offset // self.sector not in self.dead:
            self.content[offset : offset + len(new)] = new
        return not self.refuses

    def _read(self, offset: int, data: ctypes.Array[ctypes.c_uint8], n: int) -> None:
        assert offset + n <= len(self.content)
        ctypes.memmove(data, bytes(self.content[offset : offset + n]), n)


class Board:
    """A learner's memory and its store, just switched on."""

    def __init__(self, flash: Flash, state_bytes: int, model: int = MODEL) -> None:
        self.flash, self.state_bytes = flash, state_bytes
        self.model = Model(model, state_bytes)
        self.state = (ctypes.c_uint32 * (state_bytes // 4))(MAGIC, VERSION, model)
        self.learner = Learner(ctypes.pointer(self.model), ctypes.cast(self.state, ctypes.c_void_p))
        self.store = CStore()
        self.opened = self._call("open", ctypes.byref(self.learner), ctypes.byref(flash.c))

    def _call(self, name: str, *arguments: object) -> int:
        error = getattr(runtime_library(), f"scl_store_{name}")(ctypes.byref(self.store), *arguments)
        assert self.flash.misuse == []
        return error

    def learn(self, seed: int) -> bytes:
        """Change everything; returns what is to be kept: the state, then the counters."""
        rng = random.Random(seed)
        self.state[3:] = [rng.randrange(1 << 32) for _ in range(self.state_bytes // 4 - 3)]
        self.learner.counters[:] = [rng.randrange(1 << 64) for _ in range(COUNTERS // 8)]
        return self.learnt

    def commit(self) -> int:
        return self._call("commit")

    @property
    def learnt(self) -> bytes:
        return bytes(self.state) + bytes(self.learner.counters)


@settings(max_examples=40, deadline=None)
@given(
    words=st.integers(19, 200),
    sectors=st.integers(4, 12),
    sector=st.sampled_from([32, 128, 256, 1024]),
    unit=st.sampled_from([1, 2, 4, 8, 16, 32]),
)
def test_the_last_commit_comes_back_wherever_the_power_was_cut(words: int, sectors: int, sector: int, unit: int):
    flash = Flash(sectors, sector, unit)
    board = Board(flash, 4 * words)
    needed = -(-4 * words // 32) * 32 + 128
    slots = sectors // -(-needed // sector)
    if slots < 2:
        assert board.opened == Status.STORE
        return
    assert (board.opened, board.store.slots, board.store.commits) == (0, slots, 0)
    kept: dict[int, bytes] = {}
    for commit in range(1, 6):
        board.store.every = 10 * commit
        kept[commit] = board.learn(commit)
        flash.torn.clear()
        assert board.commit() == 0
        *torn, last = flash.torn
        for content in torn:
            again = Board(Flash(sectors, sector, unit, content), 4 * words)
            assert again.store.commits == commit - 1
            assert commit == 1 or (again.learnt, again.store.every) == (kept[commit - 1], 10 * (commit - 1))
        # the torn end of a commit may happen to be whole
        assert Board(Flash(sectors, sector, unit, last), 4 * words).store.commits in (commit - 1, commit)
        again = Board(Flash(sectors, sector, unit, flash.content), 4 * words)
        assert (again.store.commits, again.learnt, again.store.every) == (commit, kept[commit], 10 * commit)


def test_sectors_wear_evenly():
    flash = Flash(sectors=7, sector=256, unit=4)
    board = Board(flash, 300)  # two sectors a slot: three slots, and a sector that is never used
    for commit in range(30):
        board.learn(commit)
        assert board.commit() == 0
        board = Board(flash, 300)
    assert flash.erasures == [10] * 6 + [0]


def test_a_dead_sector_costs_no_commit_that_was_made():
    flash = Flash(sectors=3, sector=512, unit=8)
    board = Board(flash, 300)
    first = board.learn(1)
    assert board.commit() == 0
    flash.dead.add(1)
    second = board.learn(2)
    assert board.commit() == Status.FLASH
    assert Board(flash, 300).learnt == first
    assert board.commit() == 0, "the next attempt takes the next slot"
    assert (board.store.commits, board.store.failed, board.store.newest) == (2, 1, 2)
    assert Board(flash, 300).learnt == second
    flash.dead.add(0)
    board.learn(3)
    for _ in range(5):
        assert board.commit() == Status.FLASH
        assert Board(flash, 300).learnt == second, "the last good slot is never erased"
    assert board.store.failed == 6


def test_flash_that_refuses_is_an_error():
    flash = Flash(sectors=2, sector=512, unit=8)
    board = Board(flash, 300)
    flash.refuses = True
    assert board.commit() == Status.FLASH
    assert (board.store.commits, board.store.failed, board.store.programmed) == (0, 1, 0)


@pytest.mark.parametrize("word", range(3))
def test_a_state_of_another_kind_version_or_network_is_no_commit(word: int):
    flash = Flash(sectors=4, sector=512, unit=8)
    board = Board(flash, 300)
    kept = board.learn(1)
    assert board.commit() == 0
    board.state[word] += 1
    assert board.commit() == Status.FLASH, "what is read back is not taken for a commit"
    assert Board(flash, 300).learnt == kept


@pytest.mark.parametrize(("model", "state_bytes"), [(MODEL + 1, 300), (MODEL, 304), (MODEL, 800)])
def test_another_network_finds_nothing_and_starts_anew(model: int, state_bytes: int):
    flash = Flash(sectors=4, sector=512, unit=8)
    board = Board(flash, 300)
    kept = board.learn(1)
    assert board.commit() == 0
    other = Board(flash, state_bytes, model)
    assert (other.opened, other.store.commits) == (0, 0)
    assert other.learnt == bytes(ctypes.c_uint32(MAGIC)) + bytes(ctypes.c_uint32(VERSION)) + bytes(
        ctypes.c_uint32(model)
    ) + bytes(state_bytes - 12 + COUNTERS), "nothing of it was read into the state"
    assert Board(flash, 300).learnt == kept


def test_what_was_written_and_read_is_counted():
    flash = Flash(sectors=8, sector=256, unit=8)
    board = Board(flash, 300)
    assert board.commit() == 0
    assert (board.store.erased, board.store.programmed) == (2, 304 + 128)

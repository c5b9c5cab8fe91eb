"""The store on the flash of the Arduino cores: each port against a stand-in core that behaves as NOR flash does.

No core and no board can be had here. The stand-ins (tests/c/flash) have the calls, registers and addresses of the
cores that firmware/boards/arduino.ini names; what they are used for wrongly ends the program.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from helpers import REPO
from programs import need
from sparcl_mcu.boards import catalogue
from sparcl_mcu.link.messages import Status
from test_store import ERASE, PROGRAM, READ, Board, CFlash

STAND_INS = REPO / "tests/c/flash"
PORT = REPO / "firmware/lib/port_arduino/src"
HEADERS = (PORT, REPO / "firmware/lib/port_api/include")
SOURCES = sorted(PORT.glob("flash_*.cpp"))
STORE_BYTES = 256 * 1024
GEOMETRY = {
    "esp32": (0x160000, 4096, 16),
    "stm32f4": (STORE_BYTES, 128 * 1024, 4),
    "rp2040": (STORE_BYTES, 4096, 32),
    "nrf52": (STORE_BYTES, 4096, 4),
}
START = {"stm32f4": 0x08040000, "rp2040": 0x101C0000, "nrf52": 0x000C0000}
"""Where the store begins, as the core sees it."""
WARNINGS = ["-std=gnu++11", "-O1", "-Wall", "-Wextra", "-Werror"]


def symbols(core: str, end: int) -> list[str]:
    """What the core's linker script says of a program that fills the flash up to `end`."""
    known = {
        "stm32f4": {"_sidata": end - 0x120, "_sdata": 0x20000000, "core_edata": 0x20000120},
        "rp2040": {"__flash_binary_end": end},
        "nrf52": {"__etext": end - 0x120, "__data_start__": 0x20000000, "__data_end__": 0x20000120},
    }.get(core, {})
    return [f"-Wl,--defsym={name}={value:#x}" for name, value in known.items()]


class CoreFlash:
    """A core's flash port in a process of its own; `c` is what the store calls."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.misuse: list[str] = []
        self.geometry = tuple(int(number) for number in self.ask("g 0").split())
        self.c = CFlash(*self.geometry, ERASE(self._erase), PROGRAM(self._program), READ(self._read))

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is None:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            if answer := self._process.stdout.readline():
                return answer.strip()
            self.misuse.append(f"{line}: exit status {self._process.wait()}, {self._process.stderr.read().strip()}")
        return "0"

    def _erase(self, offset: int) -> bool:
        return self.ask(f"e {offset}") == "1"

    def _program(self, offset: int, data: ctypes.Array[ctypes.c_uint8], n: int) -> bool:
        return self.ask(f"p {offset} {bytes(data[:n]).hex()}") == "1"

    def _read(self, offset: int, data: ctypes.Array[ctypes.c_uint8], n: int) -> None:
        ctypes.memmove(data, bytes.fromhex(self.ask(f"r {offset} {n}")).ljust(n, b"\0"), n)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cores")


@pytest.fixture
def core_flash(programs: Path) -> Iterator[Callable[..., CoreFlash]]:
    """A core's flash, of which a program fills what is below `program_end`."""
    opened: list[CoreFlash] = []

    def start(core: str, program_end: int = 0x8000) -> CoreFlash:
        need("g++")
        program = programs / f"{core}_{program_end:x}"
        if not program.exists():
            # The program lies above every address of flash, and so does its heap. The host's linker has an _edata, too.
            command = ["g++", *WARNINGS, "-no-pie", "-fno-pie", "-Wl,-Ttext-segment=0x40000000", "-D_edata=core_edata"]
            command += [*symbols(core, program_end), *(f"-I{path}" for path in (STAND_INS / core, STAND_INS, *HEADERS))]
            command += [*map(str, SOURCES), *(str(STAND_INS / name) for name in (f"{core}/core.cpp", "nor.cpp"))]
            command += [str(STAND_INS / "drive_flash.cpp"), "-o", str(program)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        opened.append(CoreFlash(program))
        return opened[-1]

    yield start
    for flash in opened:
        flash.close()


@pytest.mark.parametrize("core", GEOMETRY)
def test_what_was_committed_comes_back(core: str, core_flash: Callable[..., CoreFlash]):
    flash = core_flash(core)
    assert flash.geometry == GEOMETRY[core]
    # tails behind 468 bytes cross a page of 256; 9000 bytes take several small sectors
    for state_bytes in (300, 468, 9000):
        for commit in range(1, 4):
            board = Board(flash, state_bytes)
            assert (board.opened, board.store.commits) == (0, commit - 1)
            kept = board.learn(commit)
            assert board.commit() == 0
            again = Board(flash, state_bytes)
            assert (again.store.commits, again.learnt) == (commit, kept)


@pytest.mark.parametrize("core", GEOMETRY)
def test_all_of_it_can_be_used(core: str, core_flash: Callable[..., CoreFlash]):
    flash = core_flash(core)
    size, sector, _ = flash.geometry
    board = Board(flash, size // 2 - 128 if core == "stm32f4" else sector)
    assert board.opened == 0
    for commit in range(1, board.store.slots + 2):
        kept = board.learn(commit)
        assert board.commit() == 0
    assert (Board(flash, board.state_bytes).learnt, board.store.slots * board.store.slot_bytes) == (kept, size)


@pytest.mark.parametrize("core", ["esp32", "stm32f4"])
def test_what_the_core_says_of_a_failure_is_told(core: str, core_flash: Callable[..., CoreFlash]):
    flash = core_flash(core)
    board = Board(flash, 300)
    assert flash.ask("e 0") == "1"
    for line in (f"p 0 {bytes(64).hex()}", "e 0"):
        flash.ask("x 1")
        assert flash.ask(line) == "0"
    kept = board.learn(1)
    flash.ask("x 1")
    assert board.commit() == Status.FLASH
    assert board.commit() == 0, "the next attempt works"
    assert (Board(flash, 300).store.commits, Board(flash, 300).learnt) == (1, kept)


@pytest.mark.parametrize("core", START)
def test_a_program_that_reaches_into_it_leaves_no_store(core: str, core_flash: Callable[..., CoreFlash]):
    assert core_flash(core, START[core]).geometry == GEOMETRY[core]
    flash = core_flash(core, START[core] + 4)
    assert flash.geometry == (0, *GEOMETRY[core][1:])
    assert Board(flash, 300).opened == Status.STORE


def test_an_unknown_core_has_no_store(core_flash: Callable[..., CoreFlash]):
    flash = core_flash("unknown")
    assert flash.geometry == (0, 0, 0)
    assert flash.ask("e 0") == flash.ask("p 0 00") == "0"
    assert Board(flash, 300).opened == Status.STORE


@pytest.mark.parametrize(
    ("core", "line", "message"),
    [
        ("stm32f4", f"p 0 {bytes(4).hex()}", "programming what is not erased at 0x8040000"),
        ("rp2040", f"p 32 {bytes(32).hex()}", "programming what is not erased at 0x101c0020"),
        ("nrf52", f"p 4 {bytes(4).hex()}", "programming what is not erased at 0xc0004"),
        ("esp32", f"p 0 {bytes(16).hex()}", "programming what is not erased at 0x290000"),
        ("rp2040", "e 262144", "not whole units of what the store was given at 0x10200000"),
        ("nrf52", "e 262144", "not whole units of what the store was given at 0x100000"),
    ],
)
def test_the_stand_ins_refuse_what_nor_flash_refuses(
    core: str, line: str, message: str, core_flash: Callable[..., CoreFlash]
):
    flash = core_flash(core)
    flash.ask(line)
    assert len(flash.misuse) == 1
    assert message in flash.misuse[0]


# ---- for the boards' own compilers ----


def compile_for_arm(core: str, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    need("arm-none-eabi-g++")
    command = ["arm-none-eabi-g++", "-mcpu=cortex-m0plus", "-mthumb", *WARNINGS, "-Wconversion", "-Wshadow", *flags]
    command += [f"-I{path}" for path in (STAND_INS / core, *HEADERS)]
    done = [
        subprocess.run([*command, "-c", str(source), "-o", str(out)], capture_output=True, text=True, check=False)
        for source in SOURCES
    ]
    return max(done, key=lambda one: one.returncode)


@pytest.mark.parametrize("core", [*GEOMETRY, "unknown"])
def test_the_ports_compile_for_32_bits(core: str, tmp_path: Path):
    done = compile_for_arm(core, tmp_path / "x.o")
    assert done.returncode == 0, done.stderr


def test_a_pico_of_unknown_size_is_told_what_to_add(tmp_path: Path):
    done = compile_for_arm("rp2040", tmp_path / "x.o", "-DNO_BOARD_HEADER")
    assert "the size of the board's flash is not known: add -DPICO_FLASH_SIZE_BYTES=.. to build_flags" in done.stderr


@pytest.mark.parametrize(("part", "flag"), [("stm32f4", "-DFLASH_BANK_2=2"), ("nrf52", "-DS132")])
def test_parts_whose_flash_is_not_ours_have_no_store(part: str, flag: str):
    """Two banks number their sectors otherwise; beside a SoftDevice the NVMC must be left alone."""
    command = ["g++", *WARNINGS, flag, "-E", "-dM", *(f"-I{path}" for path in (STAND_INS / part, *HEADERS))]
    done = subprocess.run([*command, str(PORT / "flash_family.h")], capture_output=True, text=True, check=True)
    assert "#define SCL_FLASH_NONE" in done.stdout


# ---- what the boards' files say ----


@pytest.mark.parametrize(
    ("board", "core", "flash_at"), [("nucleo_f446re", "stm32f4", 0x08000000), ("pico", "rp2040", 0x10000000)]
)
def test_no_program_may_grow_into_the_stores_flash(board: str, core: str, flash_at: int):
    ini = RawConfigParser()
    ini.read(REPO / "firmware/boards/arduino.ini")
    assert catalogue.find(board).flash_bytes == START[core] - flash_at
    assert int(ini[f"env:{board}"]["board_upload.maximum_size"]) == START[core] - flash_at

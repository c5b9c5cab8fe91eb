"""What is known of each board, read from its one place: firmware/boards/*.ini."""

from __future__ import annotations

import configparser
import difflib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .stream import BoardError

ROOT = Path(__file__).resolve().parents[3]  # the checkout
Reached = Literal["native", "qemu", "serial"]

PREFIX = "custom_sparcl_"


@dataclass(frozen=True)
class BoardFacts:
    """One board = one PlatformIO environment.

    ram_bytes, flash_bytes: what the part has; None where there is no limit (this computer). machine_ram_bytes,
    machine_flash_bytes: what the emulator's machine has, None where there is none. stack_bytes: RAM the linker
    script sets aside. platform: what PlatformIO builds it with. emulator: QEMU's command line up to the UART
    and the program. store_memory: its options for flash in a file, up to the file. baud: of a serial port;
    fast_baud: what it can be told to run at, 0: nothing faster.
    """

    name: str
    title: str
    core: str
    reached: Reached
    platform: str
    ram_bytes: int | None
    flash_bytes: int | None
    machine_ram_bytes: int | None
    machine_flash_bytes: int | None
    stack_bytes: int
    emulator: tuple[str, ...]
    store_memory: tuple[str, ...]
    baud: int
    fast_baud: int

    @property
    def counts_instructions(self) -> bool:
        """Whether port_instructions() counts on this board."""
        return self.reached == "qemu"


def boards(root: Path = ROOT) -> dict[str, BoardFacts]:
    """Every board by name, in the order of the files. Raises BoardError when a file is missing or lacks a fact."""
    files = [root / "platformio.ini", *sorted((root / "firmware" / "boards").glob("*.ini"))]
    if len(files) == 1 or not files[0].is_file():
        raise BoardError(
            f"there are no board files in {root / 'firmware' / 'boards'}; sparcl-mcu builds firmware from its "
            "checkout: clone it and install it there with: pip install -e ."
        )
    parser = configparser.RawConfigParser()
    try:
        parser.read(files, encoding="utf-8")
    except configparser.Error as error:
        raise BoardError(f"the board files cannot be read: {error}") from None
    names = [section.removeprefix("env:") for section in parser.sections() if section.startswith("env:")]
    return {name: _facts(name, _options(parser, f"env:{name}")) for name in names}


def find(name: str, root: Path = ROOT) -> BoardFacts:
    """The board of that name. Raises BoardError naming the nearest one."""
    known = boards(root)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BoardError(f"there is no board {name!r}; {hint}Known: {', '.join(sorted(known))}")
    return known[name]


def _options(parser: configparser.RawConfigParser, section: str) -> dict[str, str]:
    """A section's options on top of those it extends, as PlatformIO sees them."""
    if not parser.has_section(section):
        raise BoardError(f"the board files name a section [{section}] that does not exist")
    own = dict(parser[section])
    base = own.get("extends")
    return {**(_options(parser, base) if base else {}), **own}


def _facts(name: str, options: dict[str, str]) -> BoardFacts:
    def fact(key: str) -> str:
        try:
            return options[PREFIX + key]
        except KeyError:
            raise BoardError(f"board {name!r} lacks {PREFIX}{key} in its file in firmware/boards") from None

    def size(key: str) -> int:
        try:
            return int(fact(key), 0)
        except ValueError:
            raise BoardError(f"board {name!r}: {PREFIX}{key} = {fact(key)} is not a number of bytes") from None

    reached = fact("reached")
    if reached not in get_args(Reached):
        raise BoardError(f"board {name!r}: {PREFIX}reached = {reached}; possible: {', '.join(get_args(Reached))}")
    limited, emulated = reached != "native", reached == "qemu"
    return BoardFacts(
        name=name,
        title=fact("title"),
        core=fact("core"),
        reached=reached,  # type: ignore[arg-type]  # checked above
        platform=options.get("platform", ""),
        ram_bytes=size("ram_bytes") if limited else None,
        flash_bytes=size("flash_bytes") if limited else None,
        machine_ram_bytes=size("machine_ram_bytes") if emulated else None,
        machine_flash_bytes=size("machine_flash_bytes") if emulated else None,
        stack_bytes=size("stack_bytes") if emulated else 0,
        emulator=tuple(shlex.split(fact("emulator"))) if emulated else (),
        store_memory=tuple(shlex.split(fact("store_memory"))) if emulated else (),
        baud=int(options.get("monitor_speed", "115200")),
        fast_baud=int(options.get(PREFIX + "fast_baud", "0")),
    )

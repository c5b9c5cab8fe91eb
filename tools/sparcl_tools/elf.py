"""What a built program occupies, read from its ELF file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcl_mcu.errors import SparclError

WRITE, ALLOC = 1, 2  # SHF_WRITE, SHF_ALLOC

# What compilers call for arithmetic on float and double where no FPU does it: names of the Arm EABI, and those of
# libgcc, where sf is float, df double, tf long double and hf half.
SOFT_FLOAT = re.compile(
    r"__aeabi_(c?[df]\w+|u?[il]2[df])"
    r"|__(add|sub|mul|div|neg|cmp|unord|eq|ne|lt|le|gt|ge|powi)[sdt]f[23]"
    r"|__fix(uns)?[sdt]f[sd]i|__float(un)?[sd]i[sdt]f|__(extend|trunc)[hsdt]f[hsdt]f2"
)


class ElfError(SparclError):
    """A file is not an ELF program."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program.

    ram_bytes: .data + .bss + the stack the linker script reserves (0 for a native program, whose stack is the
    system's). flash_bytes: code, constants and the initial values of .data. ram, flash: bytes of each object or
    function by its name, largest first; statics of the same name are added up.
    """

    ram_bytes: int
    flash_bytes: int
    stack_bytes: int
    ram: dict[str, int]
    flash: dict[str, int]

    @property
    def symbols(self) -> dict[str, int]:
        """Bytes of every object and function, whichever memory it is in."""
        return {**self.flash, **self.ram}


def sizes(path: Path) -> Sizes:
    """Sizes of a linked program or an object file. Raises ElfError."""
    ram: dict[str, int] = {}
    flash: dict[str, int] = {}
    with _opened(path) as elf:
        sections = [_Section(section) for section in elf.iter_sections()]
        for symbol in _symbols(elf):
            index = symbol["st_shndx"]
            if symbol["st_info"]["type"] not in ("STT_OBJECT", "STT_FUNC") or not isinstance(index, int):
                continue
            of = ram if sections[index].in_ram else flash
            of[symbol.name] = of.get(symbol.name, 0) + int(symbol["st_size"])
    return Sizes(
        ram_bytes=sum(s.size for s in sections if s.in_ram),
        flash_bytes=sum(s.size for s in sections if s.in_flash),
        stack_bytes=sum(s.size for s in sections if s.name == ".stack"),
        ram=_largest_first(ram),
        flash=_largest_first(flash),
    )


def soft_float(path: Path) -> list[str]:
    """Names of the functions for floating point that a linked program contains, in order. Raises ElfError."""
    with _opened(path) as elf:
        return sorted({symbol.name for symbol in _symbols(elf) if SOFT_FLOAT.fullmatch(symbol.name)})


def compiler(path: Path) -> str:
    """Name and version of the compiler that made a program's own C, from its debug information. Raises ElfError."""
    with _opened(path) as elf:
        for unit in elf.get_dwarf_info().iter_CUs():
            producer = unit.get_top_DIE().attributes.get("DW_AT_producer")
            if producer and producer.value.startswith(b"GNU C11 "):
                return str(producer.value.decode().split(" -")[0])
    raise ElfError(f"{path} does not say which compiler made it; build it with: sparcl build")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as pyelftools has it; what goes wrong while it is read becomes an ElfError."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            yield ELFFile(file)
    except FileNotFoundError:
        raise ElfError(f"{path} does not exist; build it with: sparcl build") from None
    except (ELFError, OSError, UnicodeDecodeError, KeyError, IndexError) as error:
        raise ElfError(f"{path} is not an ELF program ({error}); build it again with: sparcl build") from None


def _symbols(elf: Any) -> Iterator[Any]:
    from elftools.elf.sections import SymbolTableSection

    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection) and section.name == ".symtab":
            yield from section.iter_symbols()


class _Section:
    def __init__(self, section: Any) -> None:
        flags = int(section["sh_flags"])
        allocated = bool(flags & ALLOC)
        self.name = str(section.name)
        self.size = int(section["sh_size"])
        self.in_ram = allocated and bool(flags & WRITE)
        self.in_flash = allocated and section["sh_type"] != "SHT_NOBITS"


def _largest_first(bytes_of: dict[str, int]) -> dict[str, int]:
    return dict(sorted(bytes_of.items(), key=lambda item: (-item[1], item[0])))

"""What a built program occupies, read from its ELF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparcl_mcu.errors import SparclError

WRITE, ALLOC = 1, 2  # SHF_WRITE, SHF_ALLOC


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
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            sections = [_Section(section) for section in elf.iter_sections()]
            tables = [section for section in elf.iter_sections() if isinstance(section, SymbolTableSection)]
            symbols = [symbol for table in tables if table.name == ".symtab" for symbol in table.iter_symbols()]
            ram: dict[str, int] = {}
            flash: dict[str, int] = {}
            for symbol in symbols:
                index = symbol["st_shndx"]
                if symbol["st_info"]["type"] not in ("STT_OBJECT", "STT_FUNC") or not isinstance(index, int):
                    continue
                of = ram if sections[index].in_ram else flash
                of[symbol.name] = of.get(symbol.name, 0) + int(symbol["st_size"])
    except FileNotFoundError:
        raise ElfError(f"{path} does not exist; build it with: sparcl build") from None
    except (ELFError, OSError, UnicodeDecodeError, KeyError, IndexError) as error:
        raise ElfError(f"{path} is not an ELF program ({error}); build it again with: sparcl build") from None
    return Sizes(
        ram_bytes=sum(s.size for s in sections if s.in_ram),
        flash_bytes=sum(s.size for s in sections if s.in_flash),
        stack_bytes=sum(s.size for s in sections if s.name == ".stack"),
        ram=_largest_first(ram),
        flash=_largest_first(flash),
    )


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

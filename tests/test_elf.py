"""Sizes read from ELF files, against objects whose sizes are known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from programs import need
from sparcl_tools.elf import ElfError, sizes

SOURCE = """
#include <stdint.h>
uint8_t zeros[1000];
uint8_t values[300] = {1};
const uint8_t constants[200] = {2};
static uint8_t hidden[50];
uint8_t *reach(void) { return hidden; }
__attribute__((section(".stack"), used)) uint8_t stack[128];
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    (tmp_path / "a.c").write_text(SOURCE)
    out = tmp_path / "a.o"
    subprocess.run(["gcc", "-c", "-O1", "-fno-asynchronous-unwind-tables", tmp_path / "a.c", "-o", out], check=True)
    return out


def test_what_counts_as_ram_and_as_flash(compiled: Path):
    found = sizes(compiled)
    code = found.symbols["reach"]
    assert found.ram == {"zeros": 1000, "values": 300, "stack": 128, "hidden": 50}
    assert list(found.ram) == ["zeros", "values", "stack", "hidden"]
    assert found.flash == {"constants": 200, "reach": code}
    assert found.stack_bytes == 128
    # .bss may be padded between its members
    assert 1000 + 300 + 128 + 50 <= found.ram_bytes < 1000 + 300 + 128 + 50 + 64
    assert 300 + 200 + code <= found.flash_bytes - 128 < 300 + 200 + code + 128


def test_it_agrees_with_the_size_tool(compiled: Path):
    need("size")
    text, data, bss = map(int, subprocess.check_output(["size", compiled], text=True).splitlines()[1].split()[:3])
    found = sizes(compiled)
    assert found.ram_bytes == data + bss
    assert found.flash_bytes == text + data


def test_what_is_no_elf_is_named(tmp_path: Path):
    with pytest.raises(ElfError, match=r"none.elf does not exist; build it with"):
        sizes(tmp_path / "none.elf")
    (tmp_path / "text.elf").write_text("hello")
    with pytest.raises(ElfError, match=r"text.elf is not an ELF program"):
        sizes(tmp_path / "text.elf")


def test_a_cut_elf_is_named(compiled: Path):
    data = compiled.read_bytes()
    for length in (4, 20, 63, 64, len(data) // 2, len(data) - 70):
        compiled.write_bytes(data[:length])
        with pytest.raises(ElfError, match="is not an ELF program"):
            sizes(compiled)

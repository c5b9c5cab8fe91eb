"""The size report: a few firmwares measured at every test run and held against docs/results/sizes.json.

Growth fails until it is accepted with `make sizes`, which runs this file with SPARCL_ACCEPT_SIZES=1. The fresh report
is always written to build/sizes.json, and for reading to build/sizes.txt.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import REPO, random_graph_network
from programs import need
from sparcl_mcu import design
from sparcl_mcu.boards import catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Room, TaskInfo
from sparcl_mcu.link.client import Client
from sparcl_mcu.sparsity import Block
from sparcl_tools import elf, sizes
from sparcl_tools.build import build
from sparcl_tools.example import generate_example
from sparcl_tools.generate import generate
from sparcl_tools.sizes import Firmware, Growth, SizesError, Usage

ACCEPTED = REPO / "docs/results/sizes.json"
FRESH = REPO / "build/sizes.json"
CNNS = {
    "lenet": design.lenet((8, 8), 10, density=0.5, block=Block(1, 4)),
    "ds_cnn": design.ds_cnn((16, 10), 4, density=0.25, block=Block(4, 1)),
}
FIRMWARES = [
    *(("digits", board) for board in ("qemu_m4", "qemu_m3", "qemu_rv32", "qemu_m0plus")),
    *((name, "qemu_m4") for name in CNNS),
    ("digits+store", "qemu_m4"),
]


def make_model(name: str, folder: Path) -> None:
    if name not in CNNS:
        generate_example(REPO / "examples/digits", folder)
    else:
        generate(random_graph_network(CNNS[name], 0), folder, room=Room(replay=8), settings=LearnSettings())


def stack_used(name: str, program: Path) -> int:
    """Bytes of stack after everything a host can ask for was asked, replay included."""
    rng = np.random.default_rng(0)
    store = "+store" in name
    flash = program.with_name("flash") if store else None
    client = Client(open_board(catalogue.find(name.split()[-1]), program, flash=flash), timeout=60.0)
    try:
        hello = client.hello()
        x = rng.integers(-127, 128, (8, hello.inputs)).astype(np.int8)
        client.reset(LearnSettings())
        for _ in range(2):
            client.begin_task(TaskInfo(tuple(range(hello.classes))))
            client.observe(x, rng.integers(0, hello.classes, len(x)).astype(np.uint8), np.arange(len(x)))
            client.end_task()
        client.predict(x)
        if store:
            client.commit()
            client.store()
        client.state_hash()
        client.stats()
        return client.stats().stack_bytes
    finally:
        client.close()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    need("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", "qemu-system-arm", "qemu-system-riscv32")
    made = {}
    for name, board in FIRMWARES:
        folder = tmp_path_factory.getbasetemp() / "sizes" / name
        make_model(name, folder)
        made[f"{name} on {board}"] = build(board, folder, build_dir=folder.parent / "objects", store="+store" in name)
    return made


@pytest.fixture(scope="module")
def fresh(programs: dict[str, Path]) -> sizes.Report:
    report = {name: sizes.measure(path, stack_used(name, path)) for name, path in programs.items()}
    sizes.save(report, FRESH)
    FRESH.with_suffix(".txt").write_text(sizes.report_table(report), encoding="ascii")
    if os.environ.get("SPARCL_ACCEPT_SIZES") == "1":
        sizes.save(report, ACCEPTED)
    return report


@pytest.mark.emulator
def test_nothing_grew_unnoticed(fresh: sizes.Report) -> None:
    accepted = sizes.load(ACCEPTED)
    comparable = {}
    for name, firmware in fresh.items():
        was = accepted[name].compiler if name in accepted else firmware.compiler
        if was == firmware.compiler:
            comparable[name] = firmware
        else:
            warnings.warn(
                f"sizes of {name} are not compared: {firmware.compiler!r} here, {was!r} in {ACCEPTED.name}; "
                f"the figures are in {FRESH.relative_to(REPO)}",
                stacklevel=1,
            )
    growth = sizes.grown(accepted, comparable)
    assert not growth, f"firmware grew; if it has to, accept it with: make sizes\n{sizes.growth_table(growth)}"


@pytest.mark.emulator
def test_every_byte_has_an_owner(programs: dict[str, Path], fresh: sizes.Report) -> None:
    for name, path in programs.items():
        whole, parts = elf.sizes(path), fresh[name].total
        assert parts.code <= whole.flash_bytes < parts.code + 256, name  # the rest is alignment
        assert parts.ram <= whole.ram_bytes - whole.stack_bytes < parts.ram + 64, name
        assert 300 < fresh[name].stack < whole.stack_bytes, name
        objects = fresh[name].objects
        assert objects["main"].ram >= whole.symbols["scl_state_memory"] + whole.symbols["scl_arena_memory"]
        assert objects["sparcl/dense"].code > 500
        assert objects["sparcl/dense"].ram == 0
        assert ("sparcl/conv2d" in objects) == (name.split()[0] in CNNS)
        assert {"model", "sparcl/session", "sparcl/learner"} <= set(objects)
        assert ("sparcl/store" in objects) == ("+store" in name), "linked only where it is asked for"


@pytest.mark.emulator
def test_link_and_store_are_small(fresh: sizes.Report) -> None:
    objects = fresh["digits+store on qemu_m4"].objects
    assert sum(objects[f"sparcl/{part}"].code for part in ("session", "reply", "frame", "crc32")) <= 6 * 1024
    assert objects["sparcl/store"].code + objects["flash_mps2"].code <= 3 * 1024


# ---- without a compiler ----

OLD = Firmware("cc 1", 1000, {"a": Usage(10000, 100), "b": Usage(100, 0)})


def grown_to(**changes: object) -> list[tuple[str, str, int, int]]:
    return [(g.part, g.what, g.before, g.after) for g in sizes.grown({"x": OLD}, {"x": replace(OLD, **changes)})]


def test_growth_counts_when_it_is_large_and_matters() -> None:
    assert grown_to() == []
    assert grown_to(stack=1064) == []
    assert grown_to(objects={"a": Usage(10500, 100), "b": Usage(100, 64)}) == []
    assert grown_to(stack=1065) == [("all", "stack", 1000, 1065)]
    assert grown_to(objects={"a": Usage(10501, 100), "b": Usage(100, 0)}) == [("a", "code", 10000, 10501)]
    assert grown_to(objects={"a": Usage(10000, 165), "b": Usage(165, 0)}) == [
        ("all", "ram", 100, 165),
        ("a", "ram", 100, 165),
        ("b", "code", 100, 165),
    ]
    assert grown_to(objects={"a": Usage(1, 1), "new": Usage(65, 0)}) == [("new", "code", 0, 65)]
    assert [g.part for g in sizes.grown({}, {"y": OLD})] == ["all", "all", "all", "a", "a", "b"]


def test_the_table_names_everything() -> None:
    table = sizes.growth_table([Growth("digits on qemu_m4", "sparcl/dense", "code", 2000, 3000)])
    assert table.splitlines()[1].split() == ["digits", "on", "qemu_m4", "sparcl/dense", "code", "2000", "3000"]
    assert sizes.report_table({"x": OLD}).splitlines()[-1].split() == ["all", "10100", "100"]


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    sizes.save({"x": OLD}, tmp_path / "deep/report.json")
    assert sizes.load(tmp_path / "deep/report.json") == {"x": OLD}
    for text in ("", "[]", '{"x": {}}', '{"x": {"compiler": "c", "stack": 1, "objects": {"a": {"code": 1}}}}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(SizesError, match=r"broken.json is no size report .*make sizes"):
            sizes.load(tmp_path / "broken.json")


MAP = """
 .text          0x00000000      0x999 /b/discarded.o
Linker script and memory map
.text           0x00000000     0x29f0
 *(.text .text.*)
 .text.short    0x00000004        0x8 /b/src/main.o
 .text.a_name_that_is_longer_than_that
                0x00000040       0xd0 /b/lib1/libsparcl.a(dense.o)
                0x00000040                a_name_that_is_longer_than_that
 .text.forward  0x00000110        0x6 /b/model/model.o
 .rodata.of_the_model_whose_name_is_long
                0x00000116       0x20 /b/model/model.o
 *fill*         0x00000110        0x2
 .text          0x00000112       0x10 /usr/lib/libc_nano.a(lib_a-memcpy.o)
 .text          0x00000122       0x10 /usr/lib/libc.a(libc_string_memset.c.o)
.stack          0x20000000      0x800
 *fill*         0x20000000      0x800
.data           0x20000800        0x4 load address 0x00000132
 .data.x        0x20000800        0x4 /b/src/main.o
.bss            0x20000804       0x40
 .bss.state     0x20000804       0x40 /b/src/main.o
.debug_info     0x00000000      0x100
 .debug_info    0x00000000      0x100 /b/src/main.o
"""


def test_a_map_is_added_up_by_object(tmp_path: Path) -> None:
    (tmp_path / "x.map").write_text(MAP)
    found = sizes.by_object(tmp_path / "x.elf")
    assert found == {
        "libc": Usage(32, 0),
        "main": Usage(12, 68),
        "model": Usage(32, 0),
        "model code": Usage(6, 0),
        "sparcl/dense": Usage(208, 0),
    }
    firmware = Firmware("cc 1", 0, found)
    assert firmware.trainer == {"kernels": 208, "loss": 0, "replay": 0, "learner": 0, "model code": 6}
    with pytest.raises(SizesError, match=r"none.map cannot be read .*sparcl build"):
        sizes.by_object(tmp_path / "none.elf")
    (tmp_path / "x.map").write_text("hello")
    with pytest.raises(SizesError, match=r"x.map is no map of GNU ld"):
        sizes.by_object(tmp_path / "x.elf")


def test_every_object_of_the_runtime_learns_or_not() -> None:
    known = [*sizes.NOT_LEARNING, *(name for names in sizes.LEARNING.values() for name in names)]
    assert sorted(known) == sorted(path.stem for path in (REPO / "firmware/lib/sparcl/src").rglob("*.c"))

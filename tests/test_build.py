"""Building firmware: PlatformIO with and without its registry, what fails, and what fits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import REPO, random_network
from programs import need
from sparcl_mcu.boards import BoardError, catalogue, open_board
from sparcl_mcu.learners.base import LearnSettings, Room
from sparcl_mcu.link.client import Client
from sparcl_mcu.network import Network
from sparcl_tools import pio
from sparcl_tools.build import BuildError, build
from sparcl_tools.elf import sizes, soft_float
from sparcl_tools.generate import generate, model_hash
from sparcl_tools.plan import MemoryPlan

SMALL = random_network(3)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One build folder for all, as a user has one."""
    return tmp_path_factory.mktemp("objects")


def model(network: Network, folder: Path, replay: int = 10) -> MemoryPlan:
    return generate(network, folder, room=Room(replay=replay), settings=LearnSettings())


def run_pio(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        pio.command(*arguments),
        cwd=REPO,
        env=pio.environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# ---- build ----


def test_two_models_one_after_the_other(tmp_path: Path, objects: Path):
    programs = {}
    for seed in (1, 2):
        network = random_network(seed, sizes=(12, 8 * seed, 4))
        plan = model(network, tmp_path / str(seed))
        lines: list[str] = []
        program = build("native", tmp_path / str(seed), build_dir=objects, on_line=lines.append)
        assert any("SUCCESS" in line for line in lines)
        assert sizes(program).symbols["scl_state_memory"] == plan.state_bytes
        assert sizes(program).symbols["scl_arena_memory"] == plan.arena_bytes
        programs[program] = model_hash(network, Room(replay=10))
    assert len(programs) == 2
    ids = set()
    for program, expected in programs.items():
        client = Client(open_board(catalogue.find("native"), program))
        hello = client.hello()
        client.close()
        assert hello.model_hash == expected
        assert hello.board == "native"
        ids.add(hello.build_id)
    assert len(ids) == 2


def test_two_models_at_once_in_a_fresh_folder(tmp_path: Path):
    """PlatformIO empties the folder of a first build; what keeps builds apart must survive that."""
    networks = [random_network(seed) for seed in (1, 2)]
    for n, network in enumerate(networks):
        generate(network, tmp_path / f"model{n}", room=Room(replay=1), settings=LearnSettings())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build, "native", tmp_path / "model0", build_dir=tmp_path / "b")
        while not (tmp_path / "b" / "project.checksum").exists() and not first.done():
            time.sleep(0.01)
        second = pool.submit(build, "native", tmp_path / "model1", build_dir=tmp_path / "b")
        programs = [first.result(), second.result()]
    for program, network in zip(programs, networks, strict=True):
        client = Client(open_board(catalogue.find("native"), program))
        try:
            assert client.hello().model_hash == model_hash(network, Room(replay=1))
        finally:
            client.close()


def test_a_build_of_another_model_is_quick(tmp_path: Path, objects: Path):
    model(SMALL, tmp_path / "a")
    build("native", tmp_path / "a", build_dir=objects)
    model(random_network(4), tmp_path / "b")
    start = time.monotonic()
    build("native", tmp_path / "b", build_dir=objects)
    assert time.monotonic() - start < 15  # about 2 s on an idle machine


def test_a_compiler_error_is_shown_and_nothing_stale_returned(tmp_path: Path, objects: Path):
    model(SMALL, tmp_path)
    build("native", tmp_path, build_dir=objects)
    source = tmp_path / "model.c"
    source.write_text(source.read_text() + "\nint nonsense = undeclared_thing;\n")
    with pytest.raises(BuildError, match=r"'native' does not build:\n.*model.c:\d+:\d+: error: .*undeclared_thing"):
        build("native", tmp_path, build_dir=objects)


def test_a_model_for_another_runtime_is_refused(tmp_path: Path, objects: Path):
    model(SMALL, tmp_path)
    for file in tmp_path.glob("model.*"):
        file.write_text(file.read_text().replace("SCL_RUNTIME_VERSION != ", "SCL_RUNTIME_VERSION != 99"))
    with pytest.raises(BuildError, match=r"error: #error"):
        build("native", tmp_path, build_dir=objects)


def test_no_model_and_no_such_board(tmp_path: Path):
    with pytest.raises(BuildError, match=r"holds no model\.h; generate it with: sparcl generate"):
        build("native", tmp_path)
    with pytest.raises(BoardError, match="did you mean 'native'"):
        build("nativ", tmp_path)


@pytest.mark.emulator
@pytest.mark.parametrize("name", [f.name for f in catalogue.boards().values() if f.reached == "qemu"])
def test_every_emulated_board_builds_within_its_memory(name: str, tmp_path: Path, objects: Path):
    need("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")
    plan = model(SMALL, tmp_path)
    found = sizes(build(name, tmp_path, build_dir=objects))
    facts = catalogue.find(name)
    assert facts.ram_bytes is not None
    assert facts.flash_bytes is not None
    assert found.stack_bytes == facts.stack_bytes == 2048
    named = sum(found.ram.values()) + found.stack_bytes
    assert named <= found.ram_bytes < named + 64
    assert plan.state_bytes + plan.arena_bytes + 2048 < found.ram_bytes < facts.ram_bytes
    assert found.flash_bytes < facts.flash_bytes
    assert not {"malloc", "printf"} & set(found.symbols)


@pytest.mark.emulator
def test_what_does_not_fit_is_told_with_figures(tmp_path: Path, objects: Path):
    need("arm-none-eabi-gcc")
    plan = model(SMALL, tmp_path, replay=6000)
    with pytest.raises(BuildError) as caught:
        build("qemu_m4", tmp_path, build_dir=objects)
    message = str(caught.value)
    assert "'qemu_m4'" in message
    assert "131072 are available" in message
    needed = int(message.split("needs ")[1].split()[0])
    assert plan.state_bytes < needed < plan.state_bytes + 8192
    assert f"scl_state_memory {plan.state_bytes}" in message


@pytest.mark.emulator
def test_a_test_may_use_all_the_memory_of_the_emulated_machine(tmp_path: Path, objects: Path):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    plan = model(SMALL, tmp_path, replay=6000)
    program = build("qemu_m4", tmp_path, build_dir=objects, whole_memory=True)
    assert sizes(program).ram_bytes > plan.state_bytes > 128 * 1024
    client = Client(open_board(catalogue.find("qemu_m4"), program))
    assert client.hello().replay_capacity == 6000
    client.close()
    # the part's own memory again, in the same folder
    with pytest.raises(BuildError, match="131072 are available"):
        build("qemu_m4", tmp_path, build_dir=objects)
    grown = model(random_network(3, sizes=(100, 16, 5)), tmp_path, replay=65000)
    assert grown.state_bytes > 4 * 1024 * 1024
    with pytest.raises(BuildError, match="4194304 are available"):
        build("qemu_m4", tmp_path, build_dir=objects, whole_memory=True)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("board", "functions"),
    [("qemu_m3", ["__aeabi_fmul", "__aeabi_i2f"]), ("qemu_rv32", ["__floatsisf", "__mulsf3"])],
)
def test_a_float_fails_the_build(board: str, functions: list[str], tmp_path: Path, objects: Path):
    need("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")
    model(SMALL, tmp_path)
    assert soft_float(build(board, tmp_path, build_dir=objects)) == []
    source = tmp_path / "model.c"
    leak = "    static volatile float leak;\n    leak = leak * 1.5f * (float)x[0];\n"
    text, places = re.subn(r"(\*forward\([^)]*\)\n\{\n)", rf"\1{leak}", source.read_text())
    assert places == 1
    source.write_text(text)
    with pytest.raises(BuildError, match="calculates with floating point") as caught:
        build(board, tmp_path, build_dir=objects)
    assert set(functions) <= set(re.findall(r"__\w+", str(caught.value)))


# ---- PlatformIO's own door ----


@pytest.mark.emulator
def test_upload_starts_a_board_that_hosts_can_connect_to(tmp_path: Path):
    need("arm-none-eabi-gcc", "qemu-system-arm")
    model(SMALL, tmp_path)
    places = {"SPARCL_MODEL_DIR": str(tmp_path), "PLATFORMIO_BUILD_DIR": str(tmp_path / "build")}
    done = run_pio("run", "-e", "qemu_m4", "-t", "upload", **places)
    assert done.returncode == 0, done.stdout + done.stderr
    url = done.stdout.split("connect to ")[1].split()[0]
    pid = int(done.stdout.split("kill ")[1].split()[0])
    try:
        for _ in range(2):  # hosts come and go
            client = Client(open_board(catalogue.find("qemu_m4"), port=url))
            assert client.hello().board == "qemu_m4"
            assert client.hello().window == 8
            client.close()
        taken = run_pio("run", "-e", "qemu_m4", "-t", "upload", "--upload-port", url, **places)
        assert taken.returncode != 0
        assert "is another board running there?" in taken.stderr
        assert "Traceback" not in taken.stderr
    finally:
        os.kill(pid, 15)


# One board for every way of counting instructions: the ports differ in it, and MPS2 machines in the counter's rate.
COUNTING = [pytest.param(name, marks=pytest.mark.emulator) for name in ("qemu_m4", "qemu_m33", "qemu_m55", "qemu_rv32")]


@pytest.mark.parametrize("board", ["native", *COUNTING])
def test_the_tests_on_the_target(board: str, tmp_path: Path):
    if board != "native":
        need("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", catalogue.find(board).emulator[0])
    done = run_pio("test", "-e", board, PLATFORMIO_BUILD_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 test cases: 7 succeeded" in done.stdout


@pytest.mark.parametrize("board", ["native", pytest.param("qemu_m4", marks=pytest.mark.emulator)])
def test_the_example_without_a_host(board: str, tmp_path: Path):
    if board != "native":
        need("arm-none-eabi-gcc", "qemu-system-arm")
    places = {"PLATFORMIO_SRC_DIR": "examples/standalone", "PLATFORMIO_BUILD_DIR": str(tmp_path)}
    done = run_pio("run", "-e", board, **places)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = catalogue.find(board)
    stream = open_board(facts, tmp_path / board / ("program" if board == "native" else "program.elf"))
    said = b""
    while not said.endswith(b"\n"):
        data = stream.read(20.0)
        assert data, "the example says nothing"
        said += data
    stream.close()
    numbers = re.fullmatch(rb"gestures recognised of 40: before the lessons (\d+), after (\d+)\n", said)
    assert numbers, said
    assert int(numbers[1]) == 0
    assert int(numbers[2]) >= 30


def test_platformio_accepts_every_file(tmp_path: Path):
    lint = run_pio("project", "config", "--lint")
    assert lint.returncode == 0
    assert "free from linting errors" in lint.stdout
    pack = run_pio("pkg", "pack", "firmware/lib/sparcl", "-o", str(tmp_path / "sparcl.tar.gz"))
    assert pack.returncode == 0, pack.stdout + pack.stderr
    assert (tmp_path / "sparcl.tar.gz").stat().st_size > 1000


def test_from_nothing_without_the_registry(tmp_path: Path):
    """A fresh PlatformIO, its registry out of reach: the build must neither fail nor wait."""
    start = time.monotonic()
    nowhere = "http://127.0.0.1:9"  # nobody listens there
    done = run_pio(
        "run",
        "-e",
        "native",
        PLATFORMIO_CORE_DIR=str(tmp_path / "core"),
        PLATFORMIO_BUILD_DIR=str(tmp_path / "build"),
        HTTPS_PROXY=nowhere,
        HTTP_PROXY=nowhere,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - start < 30
    assert (tmp_path / "core/packages/tool-scons/.piopm").is_file()


@pytest.mark.parametrize("compiler", ["arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"])
def test_a_missing_compiler_is_named_at_once(compiler: str, tmp_path: Path):
    model(SMALL, tmp_path)
    start = time.monotonic()
    done = run_pio(
        "run",
        "-e",
        "qemu_m4" if compiler.startswith("arm") else "qemu_rv32",
        PATH=str(tmp_path),
        SPARCL_MODEL_DIR=str(tmp_path),
        PLATFORMIO_BUILD_DIR=str(tmp_path / "build"),
        PLATFORMIO_CORE_DIR=str(tmp_path / "core"),
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert done.returncode != 0
    assert f"{compiler} is not on PATH" in done.stderr
    assert "sudo apt install gcc-" in done.stderr
    assert time.monotonic() - start < 20


# ---- the registry ----


def test_a_real_board_without_the_registry_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model(SMALL, tmp_path)
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path))
    monkeypatch.setattr(pio, "registry_reachable", lambda: False)
    with pytest.raises(BuildError, match="'pico' needs PlatformIO's platform 'raspberrypi', which is not installed"):
        build("pico", tmp_path)
    (tmp_path / "platforms/raspberrypi@1.2.3").mkdir(parents=True)
    (tmp_path / "platforms/raspberrypi@1.2.3/platform.json").touch()
    assert pio.can_get_platform("raspberrypi")


def test_scons_stands_in_only_when_the_registry_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pio, "registry_reachable", lambda: True)
    pio.ensure_scons(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(pio, "registry_reachable", lambda: False)
    pio.ensure_scons(tmp_path)
    package = tmp_path / "tool-scons"
    done = subprocess.run(
        [sys.executable, package / "scons.py", "--version"], capture_output=True, text=True, check=True
    )
    assert "SCons" in done.stdout
    monkeypatch.setattr(pio, "registry_reachable", lambda: pytest.fail("asked again"))
    pio.ensure_scons(tmp_path)


def test_neither_registry_nor_scons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pio, "registry_reachable", lambda: False)
    monkeypatch.setattr(pio, "find_spec", lambda name: None)
    with pytest.raises(pio.PioError, match="pip install scons"):
        pio.ensure_scons(tmp_path)


def test_a_registry_that_does_not_answer_costs_seconds(monkeypatch: pytest.MonkeyPatch):
    import requests

    monkeypatch.setattr(requests, "head", lambda *a, **k: time.sleep(30))
    pio.registry_reachable.cache_clear()
    start = time.monotonic()
    assert pio.registry_reachable() is False
    assert time.monotonic() - start < 3
    pio.registry_reachable.cache_clear()
    monkeypatch.setattr(requests, "head", lambda *a, **k: None)
    assert pio.registry_reachable() is True
    pio.registry_reachable.cache_clear()


# ---- compilers no emulator stands behind ----

STRICT = "-std=c11 -ffreestanding -O2 -Wall -Wextra -Wconversion -Wshadow -Wdouble-promotion -Wundef -Werror"


def test_the_runtime_compiles_for_xtensa(tmp_path: Path):
    need("xtensa-lx106-elf-gcc")
    model(SMALL, tmp_path)
    # The compiler comes without a C library; these are all the runtime may ask of one.
    (tmp_path / "string.h").write_text(
        "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"
        "void *memmove(void *, const void *, size_t);\nint memcmp(const void *, const void *, size_t);\n"
        "size_t strlen(const char *);\n"
    )
    runtime = REPO / "firmware/lib/sparcl"
    sources = [*sorted((runtime / "src").rglob("*.c")), tmp_path / "model.c"]
    assert len(sources) > 5
    includes = [f"-I{path}" for path in (runtime / "include", runtime / "src", tmp_path)]
    for source in sources:
        command = ["xtensa-lx106-elf-gcc", *STRICT.split(), *includes, "-c", str(source), "-o", str(tmp_path / "x.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{source.name}: {done.stderr}"


def test_the_arduino_port_compiles_against_the_calls_every_core_has(tmp_path: Path):
    """No Arduino core can be had here; the header below is what all six offer (docs say what was compiled)."""
    need("arm-none-eabi-g++")
    (tmp_path / "Arduino.h").write_text(
        "#include <stddef.h>\n#include <stdint.h>\n"
        "struct Stream { void begin(unsigned long); int available(); int read();\n"
        "  size_t write(const uint8_t *, size_t); void flush(); };\n"
        "extern Stream Serial;\nvoid delay(unsigned long);\nvoid setup();\nvoid loop();\n"
    )
    lib = REPO / "firmware/lib"
    command = ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}"]
    command += [f"-I{lib}/port_api/include", '-DSCL_BOARD="pico"', "-c", f"{lib}/port_arduino/src/port_arduino.cpp"]
    done = subprocess.run([*command, "-o", str(tmp_path / "x.o")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

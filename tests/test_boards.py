"""The board catalogue, and byte streams to processes, emulators and ports that behave and that do not."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sparcl_mcu.boards import BoardError, ByteStream, catalogue, open_board, qemu
from sparcl_mcu.boards.process import ProcessStream
from sparcl_mcu.boards.serial import open_serial

REAL = {"nucleo_f446re", "nucleo_h743zi", "esp32dev", "esp32-c3-devkitm-1", "pico", "nrf52840"}
EMULATED = {"qemu_m0plus", "qemu_m3", "qemu_m4", "qemu_m7", "qemu_m33", "qemu_m55", "qemu_rv32"}


def read_all(stream: ByteStream, n: int, seconds: float = 10.0) -> bytes:
    deadline = time.monotonic() + seconds
    data = b""
    while len(data) < n and time.monotonic() < deadline:
        data += stream.read(0.2)
    return data


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- catalogue ----


def test_every_promised_board_is_known():
    assert set(catalogue.boards()) == REAL | EMULATED | {"native"}


def test_facts_are_what_platformio_sees():
    from platformio.project.config import ProjectConfig

    config = ProjectConfig(str(catalogue.ROOT / "platformio.ini"))
    for name, facts in catalogue.boards().items():
        option = dict(config.items(env=name))
        assert option["custom_sparcl_title"] == facts.title
        assert option["custom_sparcl_reached"] == facts.reached
        if facts.reached == "qemu":
            assert int(option["custom_sparcl_ram_bytes"]) == facts.ram_bytes
            assert int(option["custom_sparcl_stack_bytes"]) == facts.stack_bytes
            assert option["custom_sparcl_emulator"].split() == list(facts.emulator)


def test_the_emulated_m4_has_the_memory_of_an_stm32f446():
    facts = catalogue.find("qemu_m4")
    assert (facts.ram_bytes, facts.flash_bytes, facts.stack_bytes) == (128 * 1024, 512 * 1024, 2048)


def test_an_unknown_board_names_the_nearest():
    with pytest.raises(BoardError, match=r"no board 'qemu_m44'; did you mean 'qemu_m4'\?"):
        catalogue.find("qemu_m44")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[env:x]\nextends = nothing\n", r"section \[nothing\] that does not exist"),
        ("[env:x]\ncustom_sparcl_title = t\n", "'x' lacks custom_sparcl_reached"),
        ("[env:x]\ncustom_sparcl_reached = pigeon\n", "pigeon; possible: native, qemu, serial"),
        (
            "[env:x]\ncustom_sparcl_title = t\ncustom_sparcl_core = c\ncustom_sparcl_reached = serial\n"
            "custom_sparcl_ram_bytes = lots\n",
            "lots is not a number of bytes",
        ),
        ("no section\n", "cannot be read"),
    ],
)
def test_damaged_board_files_are_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "firmware/boards").mkdir(parents=True)
    (tmp_path / "platformio.ini").write_text("[platformio]\n")
    (tmp_path / "firmware/boards/x.ini").write_text(text)
    with pytest.raises(BoardError, match=message):
        catalogue.boards(tmp_path)


def test_no_checkout_no_boards(tmp_path: Path):
    with pytest.raises(BoardError, match="pip install -e"):
        catalogue.boards(tmp_path)


# ---- processes ----


def test_a_process_carries_every_byte_both_ways():
    stream = ProcessStream(["cat"], "cat")
    data = bytes(range(256)) * 128
    for _ in range(8):
        stream.write(data)
        assert read_all(stream, len(data)) == data
    start = time.monotonic()
    assert stream.read(0.1) == b""
    assert 0.05 < time.monotonic() - start < 2
    stream.close()
    stream.close()


def test_closing_ends_a_process_that_ignores_it():
    stream = ProcessStream(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], "stubborn")
    assert read_all(stream, 3) == b"up\n"
    pid = stream._process.pid
    stream.close()
    assert not alive(pid)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo broken >&2; exit 3", r"board ended \(exit status 3\): broken"),
        ("kill -SEGV $$", r"board ended \(signal SIGSEGV\)"),
        ("exit 70", "its core hit a fault"),
    ],
)
def test_a_process_that_ends_says_why(script: str, why: str):
    stream = ProcessStream(["sh", "-c", script], "board")
    with pytest.raises(BoardError, match=why):
        read_all(stream, 1)
    with pytest.raises(BoardError, match=why):
        stream.write(b"x")
    stream.close()


@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), 2); time.sleep(5)", "1 / 0"])
def test_no_board_outlives_the_host(end: str):
    host = (
        "import os, sys, time\nfrom sparcl_mcu.boards.process import ProcessStream\n"
        f"stream = ProcessStream(['sleep', '60'], 'deaf')\nprint(stream._process.pid, flush=True)\n{end}\n"
    )
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, timeout=30, check=False)
    pid = int(done.stdout)
    for _ in range(50):
        if not alive(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"the board still runs after: {end}")


def test_ctrl_c_on_the_terminal_reaches_the_host_alone():
    """The terminal interrupts the whole foreground group; the host must still be able to talk to its board."""
    host = (
        "import os, signal\nfrom sparcl_mcu.boards.process import ProcessStream\n"
        "stream = ProcessStream(['cat'], 'cat')\n"
        "try:\n    os.killpg(0, signal.SIGINT)\n    signal.pause()\nexcept KeyboardInterrupt:\n"
        "    stream.write(b'still here')\n    print(stream.read(5).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", host], capture_output=True, text=True, timeout=30, check=False, start_new_session=True
    )
    assert done.stdout == "still here\n", done.stderr


# ---- what is missing is named ----


def test_opening_without_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    native, m4, pico = (catalogue.find(name) for name in ("native", "qemu_m4", "pico"))
    with pytest.raises(BoardError, match="needs a built program or a port; build it with: sparcl build"):
        open_board(native)
    with pytest.raises(BoardError, match="does not exist; build it with: sparcl build"):
        open_board(native, tmp_path / "native")
    (tmp_path / "native").write_bytes(b"")
    with pytest.raises(BoardError, match="not executable"):
        open_board(native, tmp_path / "native")
    with pytest.raises(BoardError, match="through a serial port; name it with --port"):
        open_board(pico, tmp_path / "native")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match=r"needs qemu-system-arm, which is not on PATH; .*apt install qemu-system-arm"):
        open_board(m4, tmp_path / "native")


def test_a_program_of_another_kind_cannot_be_started(tmp_path: Path):
    program = tmp_path / "native"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    with pytest.raises(BoardError, match="cannot be started"):
        open_board(catalogue.find("native"), program)


# ---- ports ----


@pytest.fixture
def echo_url():
    """URL of a TCP server that sends everything back and hangs up after b"bye"."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = server.accept()
        with line:
            while data := line.recv(4096):
                if data == b"bye":
                    return
                line.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_socket_is_read_in_large_pieces_and_without_delay(echo_url: str):
    stream = open_serial(echo_url, 115200)
    assert stream.name == echo_url
    data = bytes(range(256)) * 64
    stream.write(data)
    assert read_all(stream, len(data)) == data
    start = time.monotonic()
    for _ in range(50):
        stream.write(b"ping")
        assert read_all(stream, 4) == b"ping"
    assert time.monotonic() - start < 1.0  # 40 ms each with Nagle's algorithm on
    stream.write(b"bye")
    with pytest.raises(BoardError, match=r"went away .* still plugged in"):
        read_all(stream, 1)
    stream.close()
    stream.close()


def test_nobody_at_the_url():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(BoardError, match=f"{url} cannot be opened: .*is the board running there"):
        open_serial(url, 115200)


@pytest.mark.parametrize("known", [True, False])
def test_a_port_one_may_not_open_names_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool):
    import grp

    import serial

    device = tmp_path / "ttyACM0"
    device.touch()

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(errno.EACCES, f"could not open port {device}: Permission denied")

    def group(number: int) -> grp.struct_group:
        assert number == device.stat().st_gid
        if not known:
            raise KeyError(number)
        return grp.struct_group(("uucp", "x", number, []))

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    monkeypatch.setattr(grp, "getgrgid", group)
    named = "uucp" if known else str(device.stat().st_gid)
    with pytest.raises(BoardError, match=rf"{device} cannot be opened: permission denied; .* -aG {named} \$USER"):
        open_serial(str(device), 115200)


def test_a_port_that_is_not_there():
    with pytest.raises(BoardError, match=r"/dev/ttyNONE cannot be opened: there is no such port; found: "):
        open_serial("/dev/ttyNONE", 115200)


def test_a_port_somebody_has_open():
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    first = open_serial(name, 115200)
    try:
        first.write(b"hello")
        assert os.read(ours, 5) == b"hello"
        with pytest.raises(BoardError, match="another program has it open"):
            open_serial(name, 115200)
    finally:
        first.close()
        os.close(ours)
        os.close(theirs)


def test_starting_on_a_port_that_is_taken(tmp_path: Path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(BoardError, match="is another board running there"),
    ):
        qemu.start_detached(catalogue.find("qemu_m4"), tmp_path, port=server.getsockname()[1])

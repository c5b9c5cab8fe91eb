"""A board that waits in its boot loader is named as such, with what to do about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sparcl_mcu.boards import BoardError, boot_loader, catalogue, open_board, opening, serial
from sparcl_mcu.link.client import Client
from sparcl_mcu.link.messages import SilentError

# As Espressif's documentation of esptool and ESP-IDF quotes them.
DOWNLOAD = (
    b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
)
WAITING = b"waiting for download\r\n"
NO_FIRMWARE = (
    b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\ninvalid header: 0xffffffff\r\n"
    b"ets Jul 29 2019 12:21:46\r\n\r\n"
)


class Talker:
    """A port at which text comes and nothing is understood."""

    name = "/dev/ttyUSB0"

    def __init__(self, text: bytes) -> None:
        self.left = text

    def read(self, timeout: float) -> bytes:
        if not self.left:
            time.sleep(timeout)
        data, self.left = self.left[:7], self.left[7:]
        return data

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (DOWNLOAD + WAITING, r"waits in its boot loader \(an ESP32 .*let go of BOOT, .*press EN or reset"),
        (NO_FIRMWARE * 40, r"an ESP32's ROM was heard\), but no firmware .* pio run -e BOARD -t upload"),
        (b"Hello, world!\r\n", r"that are no frames: check the baud rate"),
        (b"", r"check that the cable is plugged in"),
    ],
)
def test_what_a_silent_board_says(text: bytes, cause: str):
    with pytest.raises(SilentError, match=rf"ttyUSB0 did not answer within 0\.4 s.*{cause}"):
        Client(Talker(text), timeout=0.4).hello()


def usb(folder: Path, *devices: str) -> Path:
    for number, device in enumerate(devices):
        place = folder / f"1-{number}"
        place.mkdir(parents=True)
        for name, text in zip(("idVendor", "idProduct"), device.split(":"), strict=True):
            (place / name).write_text(f"{text}\n")
    (folder / "1-0:1.0").mkdir(parents=True)  # an interface has neither
    return folder


def test_boards_that_are_usb_devices_instead_of_ports(tmp_path: Path):
    assert boot_loader.attached(tmp_path / "none") is None
    assert boot_loader.attached(usb(tmp_path / "a", "1d6b:0002", "2e8a:000a")) is None  # a Pico that runs
    assert "without holding BOOTSEL" in str(boot_loader.attached(usb(tmp_path / "b", "1d6b:0002", "2e8a:0003")))
    assert "set BOOT0 to low" in str(boot_loader.attached(usb(tmp_path / "c", "0483:DF11")))


def test_a_missing_port_is_explained_by_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(boot_loader.attached, "__defaults__", (usb(tmp_path, "2e8a:0003"),))
    for module in (serial, opening):
        monkeypatch.setattr(module, "ports", list)
    with pytest.raises(BoardError, match=r"no such port; found: none; an RP2040 waits in its boot loader"):
        open_board(catalogue.find("pico"), port="/dev/ttyACM77")
    with pytest.raises(BoardError, match=r"Found: none; an RP2040 waits in its boot loader"):
        open_board(catalogue.find("pico"))

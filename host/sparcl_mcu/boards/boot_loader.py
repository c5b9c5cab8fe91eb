"""Boards that wait in their boot loader instead of running firmware: how they show it, and what to do."""

from __future__ import annotations

from pathlib import Path

HEARD_BYTES = 1024  # of what came last; an ESP32's ROM says less

# A board whose boot loader takes firmware over USB is no serial port meanwhile.
USB = Path("/sys/bus/usb/devices")  # Linux; elsewhere nothing is found
DEVICES = {
    ("2e8a", "0003"): "an RP2040 waits in its boot loader (BOOTSEL, USB 2e8a:0003): plug it in again without holding "
    "BOOTSEL; if it comes back like this, it has no firmware: give it some with: pio run -e pico -t upload",
    ("0483", "df11"): "an STM32 waits in its boot loader (DFU, USB 0483:df11): set BOOT0 to low and press reset; if it "
    "comes back like this, it has no firmware: give it some with: pio run -e BOARD -t upload",
}


def heard(data: bytes) -> str | None:
    """What the bytes of a silent board say of a boot loader; None: nothing. Espressif's ROMs print text."""
    if b"waiting for download" in data:
        return (
            'it waits in its boot loader (an ESP32 whose ROM says "waiting for download"): let go of BOOT, disconnect '
            "what pulls that pin (GPIO0 or GPIO9) to ground, and press EN or reset"
        )
    if b"rst:0x" in data and b"boot:0x" in data:
        return (
            "its boot loader has started (an ESP32's ROM was heard), but no firmware of this project behind it: give "
            "it some with: pio run -e BOARD -t upload"
        )
    return None


def attached(usb: Path = USB) -> str | None:
    """What to do about a board in its boot loader on this computer's USB; None: there is none."""
    for device in sorted(usb.glob("*")):
        try:
            ids = tuple((device / name).read_text().strip().lower() for name in ("idVendor", "idProduct"))
        except OSError:
            continue  # an interface or a hub's port, or it was just unplugged
        if ids in DEVICES:
            return DEVICES[ids]
    return None

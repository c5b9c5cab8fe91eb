"""PlatformIO platform: QEMU machines. The compiler on PATH comes first, the registry's package otherwise."""

import shutil
from pathlib import Path

from platformio.exception import UserSideException
from platformio.platform.base import PlatformBase

from sparcl_tools import pio

# compiler prefix -> the registry's package, the Debian packages
TOOLCHAINS = {
    "arm-none-eabi": ("toolchain-gccarmnoneeabi", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
    "riscv64-unknown-elf": ("toolchain-riscv", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"),
}


class SparclemulatedPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        pio.ensure_scons(Path(self.config.get("platformio", "packages_dir")))
        prefix = options["custom_sparcl_toolchain"]
        package, debian = TOOLCHAINS[prefix]
        if shutil.which(f"{prefix}-gcc") is None:
            if self.get_package(package) is None and not pio.registry_reachable():
                raise UserSideException(
                    f"{prefix}-gcc is not on PATH and PlatformIO's registry cannot be reached to fetch it; "
                    f"on Debian: sudo apt install {debian}"
                )
            self.packages[package]["optional"] = False
        return super().configure_default_packages(options, targets)

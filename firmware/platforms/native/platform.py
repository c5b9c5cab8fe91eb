"""PlatformIO platform: this computer. Needs a C compiler on PATH and no package at all."""

import shutil
from pathlib import Path

from platformio.exception import UserSideException
from platformio.platform.base import PlatformBase

from sparcl_tools import pio


class SparclnativePlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        pio.ensure_scons(Path(self.config.get("platformio", "packages_dir")))
        if shutil.which("cc") is None:
            raise UserSideException("No C compiler (cc) is on PATH; on Debian: sudo apt install gcc")
        return super().configure_default_packages(options, targets)

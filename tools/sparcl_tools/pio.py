"""PlatformIO, with or without its package registry.

PlatformIO looks up what it has not installed in its registry, and waits about a minute for one that does not answer.
The one package every build here needs is SCons, which is also an ordinary Python dependency of this project: where
the registry cannot be reached, `ensure_scons` offers that one to PlatformIO in the form it expects. Nothing here is
needed once the package is installed, by whichever way.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sparcl_mcu.errors import SparclError

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]  # the checkout: platformio.ini lies here
PROBE_SECONDS = 2.5

# No connection is attempted at all with these: a build must not depend on the network being up.
QUIET = {
    "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    "PLATFORMIO_SETTING_DISABLE_UDEV_RULES_CHECK": "yes",
    "PLATFORMIO_DISABLE_PROGRESSBAR": "true",
}


class PioError(SparclError):
    """PlatformIO lacks something it can neither find here nor fetch."""


@lru_cache(maxsize=1)
def registry_reachable() -> bool:
    """Whether PlatformIO's registry answers, asked once; takes at most PROBE_SECONDS (proxies are honoured)."""
    answered = threading.Event()

    def ask() -> None:
        import requests
        from platformio import __registry_mirror_hosts__ as hosts

        try:
            requests.head(f"https://api.{hosts[0]}/", timeout=PROBE_SECONDS)
        except requests.RequestException as error:
            log.debug("the registry does not answer: %s", error)
        else:
            answered.set()

    # A thread, because a name server that does not answer ignores every time-out of the request itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answered.is_set()


def ensure_scons(packages_dir: Path) -> None:
    """See to it that PlatformIO finds SCons in `packages_dir` or can fetch it.

    Raises PioError when neither the registry nor the Python package is there.
    """
    from platformio.dependencies import get_core_dependencies

    wanted = str(get_core_dependencies()["tool-scons"])
    folder = packages_dir / "tool-scons"
    if (folder / ".piopm").is_file() or registry_reachable():
        return
    if find_spec("SCons") is None:
        raise PioError(
            "PlatformIO's registry cannot be reached and the Python package that stands in for it is missing; run: "
            f"{sys.executable} -m pip install scons"
        )
    version = wanted.lstrip("~^=")
    spec = {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None, "uri": None}
    files = {
        "scons.py": "from SCons.Script import main\n\nmain()\n",
        "package.json": json.dumps({"name": "tool-scons", "version": version, "description": "SCons of this Python"}),
        ".piopm": json.dumps({"type": "tool", "name": "tool-scons", "version": version, "spec": spec}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        # The last one makes the package valid, so that an interrupted set-up is repeated.
        (folder / name).write_text(text, encoding="utf-8")
    log.info("the registry cannot be reached; PlatformIO will use the SCons of this Python")


def core_dir() -> Path:
    """Where PlatformIO keeps its packages: private to the checkout unless PLATFORMIO_CORE_DIR says otherwise."""
    chosen = os.environ.get("PLATFORMIO_CORE_DIR")
    return Path(chosen) if chosen else ROOT / ".pio" / "core"


def can_get_platform(name: str) -> bool:
    """Whether a platform of the registry is installed or can be: PlatformIO itself takes a minute to say no."""
    return any((core_dir() / "platforms").glob(f"{name}*/platform.json")) or registry_reachable()


def environment(**extra: str) -> dict[str, str]:
    """Environment variables for running PlatformIO quietly, with `extra` on top."""
    return {**os.environ, **QUIET, "PLATFORMIO_CORE_DIR": str(core_dir()), **extra}


def command(*arguments: str) -> list[str]:
    """Command line of this Python's PlatformIO."""
    if find_spec("platformio") is None:
        raise PioError(f"PlatformIO is not installed; run: {sys.executable} -m pip install 'platformio>=6.1,<7'")
    return [sys.executable, "-m", "platformio", *arguments]

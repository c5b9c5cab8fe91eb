"""What `sparcl doctor` looks for, each with the command that gets it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import record


@dataclass(frozen=True)
class Check:
    """find: what there is, in words, or None. required: without it not even the native board runs."""

    name: str
    find: Callable[[], str | None]
    needed_for: str
    remedy: str
    required: bool = False


def _python() -> str | None:
    return f"{platform.python_version()} in {sys.prefix}"


def _packages() -> str | None:
    found = record.packages()
    return ", ".join(f"{name} {version}" for name, version in found.items()) if all(found.values()) else None


def _beside_python(program: str) -> str | None:
    """A program of this virtual environment, whether or not it is active."""
    return str(path) if (path := Path(sys.executable).with_name(program)).exists() else shutil.which(program)


def _version(program: str) -> Callable[[], str | None]:
    def find() -> str | None:
        path = _beside_python(program)
        if path is None:
            return None
        try:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.splitlines()[0] if done.stdout else path

    return find


def _picolibc() -> str | None:
    compiler = shutil.which("riscv64-unknown-elf-gcc")
    if compiler is None:
        return None
    command = [compiler, "-print-file-name=picolibc.specs"]
    path = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    return path if Path(path).is_file() else None


def _fuzzer() -> str | None:
    if not shutil.which("clang"):
        return None
    command = ["clang", "-print-resource-dir"]
    folder = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    return next((str(path) for path in Path(folder).glob("lib/*/libclang_rt.fuzzer*")), None)


def _get(debian: str, brew: str) -> str:
    return f"brew install {brew}" if sys.platform == "darwin" else f"sudo apt-get install {debian}"


_PIP = f"{sys.executable} -m pip install -e ."
CHECKS = (
    Check("python", _python, "everything", "", required=True),
    Check("packages", _packages, "everything", _PIP, required=True),
    Check("PlatformIO", _version("pio"), "building firmware", _PIP, required=True),
    Check("gcc", _version("gcc"), "the native board", _get("gcc libc6-dev", "gcc"), required=True),
    Check(
        "arm-none-eabi-gcc",
        _version("arm-none-eabi-gcc"),
        "the Cortex-M boards",
        _get("gcc-arm-none-eabi libnewlib-arm-none-eabi", "--cask gcc-arm-embedded"),
    ),
    Check("qemu-system-arm", _version("qemu-system-arm"), "emulated Cortex-M", _get("qemu-system-arm", "qemu")),
    Check(
        "riscv64-unknown-elf-gcc",
        _version("riscv64-unknown-elf-gcc"),
        "board qemu_rv32",
        _get("gcc-riscv64-unknown-elf", "riscv64-elf-gcc"),
    ),
    Check("picolibc", _picolibc, "board qemu_rv32", _get("picolibc-riscv64-unknown-elf", "picolibc")),
    Check("qemu-system-riscv32", _version("qemu-system-riscv32"), "board qemu_rv32", _get("qemu-system-misc", "qemu")),
    Check("libFuzzer", _fuzzer, "fuzzing the C (tests)", _get("clang libclang-rt-14-dev", "llvm")),
)
